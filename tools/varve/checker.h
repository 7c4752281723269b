// Looks for damage in a store: in its chain, in payloads by their checksums,
// and in the tree, whose extents are compared with the entries. Changes
// nothing, and works while the store is mounted.

#ifndef VARVE_TOOLS_VARVE_CHECKER_H_
#define VARVE_TOOLS_VARVE_CHECKER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "engine/store/store.h"
#include "fs/format/extent.h"
#include "fs/volume/volume.h"
#include "tools/varve/progress.h"

namespace varve::tools {

// A single problem.
struct Problem {
  enum class Kind {
    kChain,    // a link or a record is damaged and was mended for reading
    kEntry,    // an entry's payload does not match its checksum
    kContent,  // a file refers to an entry that does not exist
    kTree,     // the tree cannot be read, or contradicts itself
  };
  Kind kind = Kind::kChain;
  std::string message;
  std::optional<uint64_t> offset;  // in the store
  std::optional<uint64_t> key_hash;
  std::vector<std::string> files;  // the affected files
};

struct CheckResult {
  std::vector<Problem> problems;
  std::vector<std::string> notes;  // unusual, but no damage
  // Why the store may be incomplete; empty if there is no sign of that.
  std::string incomplete;
  uint64_t chain_entries = 0;  // includes tombstones and superseded ones
  uint64_t live_entries = 0;
  uint64_t verified_bytes = 0;
  bool has_tree = false;
  uint64_t files = 0;
};

// Not thread-safe.
class Checker {
 public:
  explicit Checker(std::string path) : path_(std::move(path)) {}

  // An error means that the store could not be checked; damage is a result.
  absl::StatusOr<CheckResult> Check();

 private:
  void CheckStore(const Store& store);
  void CheckChain(const Store& store);
  void CheckEntries(const Store& store);
  void CheckTree(fs::Volume& volume);
  // Checks what is kept of the past, beyond what the newest tree has.
  void CheckPast(fs::Volume& volume);
  // Checks one extent of one file.
  void CheckExtent(const Store& store, const fs::Extent& extent,
                   const std::string& file);
  // Compares an entry with its checksum. The failure says which parts of a
  // large one are damaged.
  absl::Status Verify(const Store& store, const EntryLocation& entry) const;
  // Counts verified bytes.
  void AddVerified(uint64_t bytes);
  void AddDamagedEntry(const EntryLocation& entry, const absl::Status& status);

  const std::string path_;
  std::unique_ptr<Progress> progress_;  // set once the store is open
  CheckResult result_;
  std::optional<fs::Identity> identity_;  // of a store with a tree
  // The payload offsets of entries whose checksums have been checked: those of
  // the good ones, and those of the bad ones with their places in
  // result_.problems.
  absl::flat_hash_set<uint64_t> good_;
  absl::flat_hash_map<uint64_t, size_t> bad_;
};

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_CHECKER_H_
