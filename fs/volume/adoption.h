// Adoption: makes files of unnamed entries (content/unnamed_entries.h), in one
// commit. Not thread-safe.

#ifndef VARVE_FS_VOLUME_ADOPTION_H_
#define VARVE_FS_VOLUME_ADOPTION_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/store/store.h"
#include "fs/log/commit.h"
#include "fs/log/core.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

class Adoption {
 public:
  Adoption(Core& core, Caller caller, Timestamp now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu)
      : core_(core), caller_(caller), commit_(core, now) {}

  // The caller must hold core.commit_mu, as for the constructor, in all of
  // these.

  // Makes the entry a file with this path, and directories as needed.
  // ALREADY_EXISTS if the path is taken.
  absl::Status Add(absl::string_view path, const EntryLocation& entry);
  // Makes the entry a file with this name in an existing directory. Must be the
  // only file of the commit. Errors: those of CheckFree().
  absl::Status AddAs(uint64_t parent, absl::string_view name,
                     const EntryLocation& entry);
  // Commits all files, or none.
  absl::Status Finish();

 private:
  // An inode that the commit makes.
  struct Made {
    uint64_t ino;
    bool is_directory;
  };

  // The deepest directory of a path that exists or is made by this commit, and
  // the number of parts of the path that lead to it.
  struct Start {
    uint64_t parent = kRootIno;
    size_t depth = 0;
  };
  absl::StatusOr<Start> FindStart(
      const std::vector<absl::string_view>& parts) const;

  void AddFile(uint64_t parent, absl::string_view name, uint64_t ino,
               const EntryLocation& entry);

  Core& core_;
  const Caller caller_;
  Commit commit_;
  absl::flat_hash_map<std::string, Made> made_;  // by path
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_ADOPTION_H_
