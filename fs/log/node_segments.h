// NodeSegments: the segments of a tree, and the nodes in them, read in place.
//
// Thread-safe, except as said.

#ifndef VARVE_FS_LOG_NODE_SEGMENTS_H_
#define VARVE_FS_LOG_NODE_SEGMENTS_H_

#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "engine/store/store.h"
#include "fs/btree/node_reader.h"
#include "fs/log/tree_root.h"

namespace varve::fs {

class NodeSegments final : public NodeSource {
 public:
  // `store` must outlive it.
  explicit NodeSegments(const Store* store) : store_(store) {}

  // What the segment's number leads to from now on.
  void Add(const Segment& segment) ABSL_LOCKS_EXCLUDED(mu_);
  // Forgets a segment: nothing that lies in it may be in use.
  void Remove(uint32_t number) ABSL_LOCKS_EXCLUDED(mu_);

  // The node's bytes, as long as its segment is not removed. DATA_LOSS if there
  // is no such segment, or it does not reach so far.
  absl::StatusOr<absl::string_view> Fetch(
      const NodePointer& pointer) const override ABSL_LOCKS_EXCLUDED(mu_);

  // By number.
  std::vector<Segment> All() const ABSL_LOCKS_EXCLUDED(mu_);

  // Says that the segments lie in this store now. Nobody else may use this
  // meanwhile, nor bytes that came from it before.
  void SetStore(const Store* store) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  struct Mapped {
    Segment segment;
    // Its nodes, once one of them has been asked for.
    Store::PinnedBytes nodes;
  };
  // Those bytes; empty if there is no such segment, or it was not mapped yet.
  absl::string_view FindMapped(uint32_t number) const ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<absl::string_view> Map(uint32_t number) const
      ABSL_LOCKS_EXCLUDED(mu_);

  const Store* store_;
  mutable absl::Mutex mu_;
  mutable absl::btree_map<uint32_t, Mapped> segments_ ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_NODE_SEGMENTS_H_
