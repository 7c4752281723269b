// KeptTrees: the trees of past moments, one after the other.
//
// Thread-safe.

#ifndef VARVE_FS_HISTORY_KEPT_TREES_H_
#define VARVE_FS_HISTORY_KEPT_TREES_H_

#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/store/store.h"
#include "fs/format/extent.h"
#include "fs/format/identity.h"
#include "fs/log/moments.h"
#include "fs/log/past_tree.h"
#include "fs/log/used_ranges.h"

namespace varve::fs {

class KeptTrees final : public ExtentSource {
 public:
  // `store` and `identity` must outlive this, and the store must not move.
  KeptTrees(Store* store, const Identity* identity,
            std::vector<MomentLocation> places, std::vector<PurgedPath> purged)
      : store_(store),
        identity_(identity),
        places_(std::move(places)),
        purged_(std::move(purged)) {}

  // Calls `visit` with each tree, and the one before it (null for the first),
  // until it returns false. DATA_LOSS if a tree cannot be read.
  absl::Status ForEachTree(absl::FunctionRef<absl::StatusOr<bool>(
                               const PastTree* before, const PastTree& tree)>
                               visit) const;

  // Calls `visit` with each extent of any of the trees that is not a hole,
  // until it returns false. What one tree shares with the one before is not
  // gone through again. DATA_LOSS if a tree cannot be read.
  absl::Status ForEachExtent(
      absl::FunctionRef<bool(const Extent&)> visit) const override;

  // The numbers of the segments that the trees need, and the ranges of the
  // store in which their records lie: from where the log of a moment begins to
  // its end, and the checkpoint that it is read from.
  struct Needed {
    absl::flat_hash_set<uint64_t> segments;
    UsedRanges records{UINT64_MAX};
  };
  absl::StatusOr<Needed> FindNeeded() const;

 private:
  Store* const store_;
  const Identity* const identity_;
  const std::vector<MomentLocation> places_;
  const std::vector<PurgedPath> purged_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_KEPT_TREES_H_
