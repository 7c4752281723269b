// Looking for damage in a store: chain, checksums, and the tree against the
// entries. Changes nothing, and works while the store is mounted.

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

// One thing that is wrong.
struct Problem {
  enum class Kind {
    kChain,    // a link or a record is damaged, and mended for reading
    kEntry,    // an entry's payload does not match its checksum
    kContent,  // a file refers to an entry that is not there
    kTree,     // the tree cannot be read, or contradicts itself
  };
  Kind kind = Kind::kChain;
  std::string message;
  std::optional<uint64_t> offset;  // in the store
  std::optional<uint64_t> key_hash;
  std::vector<std::string> files;  // that it affects
};

struct CheckResult {
  std::vector<Problem> problems;
  std::vector<std::string> notes;  // unusual, but no damage
  // Why the store may not be whole; empty if nothing says so.
  std::string incomplete;
  uint64_t chain_entries = 0;  // tombstones and superseded ones included
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
  // Looks at one extent of one file.
  void CheckExtent(const Store& store, const fs::Extent& extent,
                   const std::string& file);
  // Counts what has been verified.
  void AddVerified(uint64_t bytes);
  void AddDamagedEntry(const EntryLocation& entry, const absl::Status& status);

  const std::string path_;
  std::unique_ptr<Progress> progress_;  // from when the store is open
  CheckResult result_;
  // Payload offsets of entries whose checksum has been looked at: the good
  // ones, and the places in result_.problems of the bad ones.
  absl::flat_hash_set<uint64_t> good_;
  absl::flat_hash_map<uint64_t, size_t> bad_;
};

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_CHECKER_H_
