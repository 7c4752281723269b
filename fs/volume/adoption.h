// Adoption: makes files of entries without a name, by one commit.

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

  // All with the commit_mu held that the constructor demands.

  // Makes the entry a file of that path; directories are made as needed.
  // ALREADY_EXISTS if the path is taken.
  absl::Status Add(absl::string_view path, const EntryLocation& entry);
  // Makes it a file of that name in an existing directory; the only one of the
  // commit. The errors of CheckFree().
  absl::Status AddAs(uint64_t parent, absl::string_view name,
                     const EntryLocation& entry);
  // Makes them files, all or none.
  absl::Status Finish();

 private:
  // Of an inode that the commit makes.
  struct Made {
    uint64_t ino;
    bool is_directory;
  };

  // The deepest directory on the way that exists or is made, and the number of
  // parts that lead to it.
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
