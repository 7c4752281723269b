// PastTree: the tree of a past moment. Opening it takes as long as replaying
// the commits since the checkpoint before that moment, and memory for what they
// changed; the rest is read where it lies.
//
// Thread-safe once it is open.

#ifndef VARVE_FS_LOG_PAST_TREE_H_
#define VARVE_FS_LOG_PAST_TREE_H_

#include <cstdint>
#include <memory>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/store/store.h"
#include "fs/format/commit_record.h"
#include "fs/format/extent.h"
#include "fs/format/identity.h"
#include "fs/log/log_tree.h"
#include "fs/log/moments.h"
#include "fs/tree/items.h"

namespace varve::fs {

class PastTree {
 public:
  // `store` must outlive the tree, and not be relocated. What was purged of the
  // moment, according to `purged`, is not in it. DATA_LOSS if a record or node
  // that is needed is damaged, or is not kept any more.
  static absl::StatusOr<std::unique_ptr<PastTree>> Open(
      Store* store, const Identity& identity, const MomentLocation& place,
      absl::Span<const PurgedPath> purged);

  const TreeReader& reader() const { return tree_->live->reader(); }
  const TreeTotals& totals() const { return tree_->live->totals(); }
  const std::shared_ptr<LogTree>& tree() const { return tree_; }
  // The number of its last commit, and the latest time of all up to that.
  uint64_t sequence() const { return sequence_; }
  Timestamp time() const { return time_; }
  // The checkpoint that it began with; nothing if the store had none.
  const std::optional<Checkpoint>& checkpoint() const { return checkpoint_; }

  // Makes it the tree of the next moment: that after this commit, whose number
  // must be the next one. Nothing may have been purged of the tree. Views that
  // the reader has returned are no longer valid. DATA_LOSS if the record is
  // malformed or contradicts the tree.
  absl::Status Apply(const EntryView& record, const CommitHeader& header);

  // Calls `visit` with each extent that is not a hole, until it returns false.
  // DATA_LOSS if a node is damaged.
  absl::Status ForEachExtent(
      absl::FunctionRef<bool(const Extent&)> visit) const;

 private:
  PastTree() = default;
  // Takes away what is not to be in the moment.
  absl::Status Purge(absl::Span<const PurgedPath> purged);
  absl::Status Replay(const Store& store, const Identity& identity,
                      const MomentLocation& place);

  uint64_t sequence_ = 0;
  Timestamp time_ = Timestamp::FromPacked(0);
  std::optional<Checkpoint> checkpoint_;
  std::shared_ptr<LogTree> tree_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_PAST_TREE_H_
