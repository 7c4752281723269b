// Restorer: plans how a file or directory of the present becomes what it was at
// a past moment. No bytes are copied: the restored files refer to the entries
// that the past ones have. Everything is one commit.
//
// Files that differ are replaced, not changed: a program that has one open
// keeps what it had. Directories that both have are merged.
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
#include "absl/container/flat_hash_set.h"
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
  // The names that change, by directory. For telling caches.
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

  // A directory of the past, and the one of the present that gets its names.
  struct Merge {
    InodeItem past;
    uint64_t directory = 0;
    std::optional<InodeItem> present;  // nothing if the plan makes it
  };

  // Trees may be deep, so what lies below is put on a list.
  absl::Status Restore(const InodeItem& past, const Target& target)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  absl::Status RestoreDirectory(const InodeItem& past, const Target& target)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  absl::Status RestoreFile(const InodeItem& past, const Target& target)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  absl::Status RestoreNames(const Merge& merge)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  absl::Status RemoveOthers(const Merge& merge)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // Once all is planned: makes a merged directory's attributes what they were.
  absl::Status RestoreAttributes(const Merge& merge)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // Returns whether they differ.
  absl::StatusOr<bool> RestoreXattrs(uint64_t past_ino, uint64_t present_ino)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // The present inode that a file of the past with several names can get
  // another name of: it is that file, unchanged. Nothing if there is none.
  absl::StatusOr<std::optional<uint64_t>> FindLinked(const InodeItem& past)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // Removes what is at the target, with all below it.
  absl::Status Remove(const Target& target)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // Removes one name, and the inode if it was the last. A directory must be
  // empty.
  absl::Status RemoveOne(const Target& target)
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
  absl::flat_hash_set<uint64_t> seen_;  // directories of the past
  std::deque<Merge> merges_;            // what is left to do, and what was done
  // By the past number, what has been restored and may get further names.
  absl::flat_hash_map<uint64_t, uint64_t> restored_;
  // How many names of an inode the plan removes, and adds.
  struct Links {
    uint32_t removed = 0;
    uint32_t added = 0;
  };
  absl::flat_hash_map<uint64_t, Links> links_;
  // The directories in which names change.
  absl::flat_hash_set<uint64_t> changed_directories_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_RESTORER_H_
