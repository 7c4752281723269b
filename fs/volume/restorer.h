// Restorer: plans how a file or directory of the present becomes what it was at
// a past moment. No bytes are copied: the restored files refer to the entries
// that the past ones have. Everything is one commit.
//
// Files that differ are replaced, not changed: who has one open keeps what it
// had. Directories that both have are merged.
//
// Not thread-safe.

#ifndef VARVE_FS_VOLUME_RESTORER_H_
#define VARVE_FS_VOLUME_RESTORER_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/log/commit.h"
#include "fs/log/core.h"
#include "fs/log/past_tree.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

class Restorer {
 public:
  // The present tree is that of `core`, whose commit_mu the caller holds as
  // long as this is in use. `past` must outlive this.
  Restorer(Core& core, const PastTree& past, const RestoreRequest& request)
      : core_(core), past_(past), request_(request) {}

  // Works out what has to be done. Inode numbers from `next_ino` on are used.
  // ENOENT if the past has no such path; ENOTDIR if a directory would be needed
  // where a file is; EISDIR if a file would take the place of a directory, and
  // `delete_others` is not given; EINVAL if the root would become a file.
  absl::Status Plan(uint64_t next_ino) ABSL_LOCKS_EXCLUDED(core_.tree_mu);

  // How many inode numbers the plan uses.
  uint64_t new_inodes() const { return new_inodes_; }
  const RestoreReport& report() const { return report_; }
  // The names that change, by directory. For telling those who have them
  // cached.
  const StaleNames& names() const { return names_; }
  bool empty() const { return changes_.empty(); }
  // Adds the plan to a commit.
  void AddTo(Commit& commit) const;

 private:
  // A place in the present, and what is there.
  struct Target {
    uint64_t parent = 0;
    std::string name;
    std::optional<InodeItem> inode;
  };

  absl::Status PlanLocked() ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  absl::StatusOr<Target> FindTarget() ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // Makes a directory of the past that the present lacks on the way to the
  // target; returns its number.
  absl::StatusOr<uint64_t> MakeParent(absl::string_view path, uint64_t parent,
                                      absl::string_view name)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);

  absl::Status Restore(const InodeItem& past, const Target& target)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  absl::Status RestoreDirectory(const InodeItem& past, const Target& target)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  absl::Status RestoreFile(const InodeItem& past, const Target& target)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  absl::Status RestoreNames(const InodeItem& past, uint64_t directory,
                            bool is_new)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  absl::Status RemoveOthers(const InodeItem& past, const InodeItem& present)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // Removes what is at the target, with all below it.
  absl::Status Remove(const Target& target)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // Makes an inode at the target that is as the past one; returns its number.
  absl::StatusOr<uint64_t> Make(const InodeItem& past, const Target& target);
  absl::Status AddContent(const InodeItem& past, uint64_t ino);
  absl::Status AddXattrs(uint64_t past_ino, uint64_t ino);
  absl::StatusOr<bool> IsSame(const InodeItem& past, const InodeItem& present)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  void AddName(const Target& target, uint64_t ino);

  uint64_t NewIno() { return next_ino_ + new_inodes_++; }
  // A copy of the text that lives as long as this.
  absl::string_view Keep(absl::string_view text) {
    return texts_.emplace_back(text);
  }

  Core& core_;
  const PastTree& past_;
  const RestoreRequest& request_;
  uint64_t next_ino_ = 0;
  uint64_t new_inodes_ = 0;
  RestoreReport report_;
  std::vector<EntryKeys> hidden_;
  std::vector<Change> changes_;
  // Attributes that are put last, as putting names changes them.
  std::vector<Change> attributes_;
  std::deque<std::string> texts_;
  StaleNames names_;
  // By the past number, what has been restored and may get further names.
  absl::flat_hash_map<uint64_t, uint64_t> restored_;
  // How many names of a present inode the plan removes.
  absl::flat_hash_map<uint64_t, uint32_t> removed_links_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_RESTORER_H_
