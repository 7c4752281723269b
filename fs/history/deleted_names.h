// DeletedNames: the names that some kept moment has and the newest has not.
// Those of renamed files and directories are among them.
//
// It goes through all that is kept, once: it compares each moment before the
// window with the next, and then applies one commit of the window after the
// other. From then on it takes in what is committed. It begins anew when a
// compaction has moved what it found, or something is no longer kept.
//
// Not thread-safe.

#ifndef VARVE_FS_HISTORY_DELETED_NAMES_H_
#define VARVE_FS_HISTORY_DELETED_NAMES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/format/change.h"
#include "fs/format/commit_record.h"
#include "fs/history/deleted_tree.h"
#include "fs/log/core.h"
#include "fs/log/moments.h"
#include "fs/log/past_tree.h"

namespace varve::fs {

class DeletedNames {
 public:
  // About half a million names, if they are of files in one piece.
  static constexpr size_t kMostBytes = size_t{256} << 20;

  // `core` must outlive this object.
  explicit DeletedNames(Core& core, size_t most_bytes = kMostBytes)
      : core_(core), tree_(most_bytes) {}

  // Takes in what has been committed since the last call, or a part of it.
  // Returns whether that was all; until then, nothing may be looked up. After a
  // part, let go of the lock before the next call, so that a compaction can
  // end. DATA_LOSS if what is kept is damaged.
  absl::StatusOr<bool> Update() ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu)
      ABSL_LOCKS_EXCLUDED(core_.commit_mu, core_.tree_mu);
  // Whether all that was found is still kept, and lies where it did.
  bool IsKept() const ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu);

  // What was found, and the newest tree, as of the last Update().
  const DeletedTree& tree() const { return tree_; }
  const TreeReader& newest() const { return at_->reader(); }

 private:
  // What the newest tree says.
  struct Present {
    uint64_t moment_changes = 0;
    uint64_t checkpoint = 0;
    uint64_t tail = 0;
    uint64_t last_sequence = 0;
    uint64_t kept_from = 0;
    std::vector<MomentLocation> snapshots;  // before `kept_from`
    std::vector<PurgedPath> purged;
  };
  // What everything that was found follows from, beside the log.
  struct Basis {
    uint64_t relocations = 0;
    uint64_t kept_from = 0;
    std::vector<MomentLocation> snapshots;
    std::vector<PurgedPath> purged;

    friend bool operator==(const Basis&, const Basis&) = default;
  };
  struct Record {
    CommitHeader header;
    uint64_t end = 0;  // of its entry
  };

  absl::StatusOr<bool> UpdateFrom(const Present& present)
      ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu);
  absl::StatusOr<Present> ReadPresent() const
      ABSL_LOCKS_EXCLUDED(core_.commit_mu, core_.tree_mu);
  absl::Status BeginAnew(const Present& present, Basis basis);
  // Goes on to the next moment before the window, or to its first.
  absl::Status TakeMoment();
  absl::Status Compare(const PastTree& before, const PastTree& after);
  // Finds the commits up to the next checkpoint, or to the store's end.
  absl::Status FindCommits(const Present& present);
  // Takes in some of them.
  absl::Status TakeCommits();
  absl::Status TakeCommit(const Record& record);
  // The names that a commit drops. The views lie in its record.
  static absl::StatusOr<std::vector<DropName>> ReadDropped(
      const EntryView& record);
  // Takes in that the next commit drops the name. Returns its path, or nothing
  // if there is no such name yet.
  absl::StatusOr<std::optional<std::string>> AddDropped(const DropName& drop);
  // If the tree has the path, it is not deleted.
  absl::Status RemoveIfThere(absl::string_view path, const TreeReader& tree);
  // Lets the tree begin with the newest checkpoint, so that it does not keep in
  // memory what has changed since an older one.
  absl::Status Rebase(const MomentLocation& place);

  Core& core_;
  DeletedTree tree_;
  std::optional<Basis> basis_;  // nothing: begin anew
  uint64_t moment_changes_ = 0;
  bool is_complete_ = false;

  // The moments to come before the log is followed, the next one last.
  std::vector<MomentLocation> places_;
  // The tree of the moment up to which everything is taken in, and the end of
  // its last commit.
  std::unique_ptr<PastTree> at_;
  uint64_t end_ = 0;
  // The commits to come, the next one last, and where what they were found in
  // ends.
  std::vector<Record> commits_;
  uint64_t commits_end_ = 0;
  // Checkpoints further on, the next one last; and the newest that was seen.
  std::vector<MomentLocation> checkpoints_;
  uint64_t newest_checkpoint_ = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_DELETED_NAMES_H_
