// NodeSegments: the segments of a tree. Their nodes are read in place, in the
// store's mapping. If part of a segment is damaged, its nodes are recovered
// from its parity, in memory.
//
// Thread-safe, except that a segment must not be removed while its nodes are in
// use.

#ifndef VARVE_FS_LOG_NODE_SEGMENTS_H_
#define VARVE_FS_LOG_NODE_SEGMENTS_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
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
  explicit NodeSegments(Store* store) : store_(store) {}

  // Another object with the same segments, but for what was recovered.
  NodeSegments(const NodeSegments& other) ABSL_LOCKS_EXCLUDED(other.mu_);
  NodeSegments& operator=(const NodeSegments&) = delete;

  // Adds a segment, or replaces the one with its number.
  void Add(const Segment& segment) ABSL_LOCKS_EXCLUDED(mu_);
  // Adds segments that only the checkpoint before the last needs.
  void AddRetired(std::vector<Segment> segments) ABSL_LOCKS_EXCLUDED(mu_);
  // Removes a segment. No node of it may be in use.
  void Remove(uint32_t number) ABSL_LOCKS_EXCLUDED(mu_);

  // The node's bytes, valid until its segment is removed. DATA_LOSS if there is
  // no such segment, or the node would lie beyond the segment's end.
  absl::StatusOr<absl::string_view> Fetch(
      const NodePointer& pointer) const override ABSL_LOCKS_EXCLUDED(mu_);

  // Recovers all nodes of the segment, and returns this one. DATA_LOSS if too
  // much of the segment is damaged.
  absl::StatusOr<absl::string_view> Recover(
      const NodePointer& pointer) const override ABSL_LOCKS_EXCLUDED(mu_);
  // Keeps the failure for TakeDamage(), unless it keeps one already.
  void NoteDamage(const absl::Status& damage) ABSL_LOCKS_EXCLUDED(mu_);
  // The first damage that was recovered from, or noted, since the last call; OK
  // if there was none.
  absl::Status TakeDamage() ABSL_LOCKS_EXCLUDED(mu_);

  // DATA_LOSS if the store's file has become too short for the segments: bytes
  // that were read may have been zeros. Must be called after reading, even if
  // that failed.
  absl::Status CheckLength() const {
    const uint64_t end = end_.load(std::memory_order_relaxed);
    Store* const store = store_.load();
    return end == 0 || store == nullptr ? absl::OkStatus()
                                        : store->CheckLength(end);
  }

  // All segments, in the order of their numbers.
  std::vector<Segment> All() const ABSL_LOCKS_EXCLUDED(mu_);

  // Prepares for another Store object to take over the file that holds the
  // segments. Maps all segments, so that they can be read until Attach() passes
  // the new Store. DATA_LOSS if a segment cannot be mapped; then nothing has
  // changed.
  absl::Status Detach() ABSL_LOCKS_EXCLUDED(mu_);
  void Attach(Store* store) { store_.store(store); }

 private:
  struct Mapped {
    Segment segment;
    // The whole segment, once one of its nodes has been requested.
    Store::PinnedBytes whole;
    // Its nodes, if they had to be recovered; else null.
    std::unique_ptr<const std::string> recovered;

    // Its nodes; empty until they are mapped.
    absl::string_view nodes() const;
  };
  // The nodes of a segment; empty if there is no such segment, or it is not
  // mapped yet.
  absl::string_view FindMapped(uint32_t number) const ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<absl::string_view> Map(uint32_t number) const
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status MapLocked(Mapped& segment) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  absl::StatusOr<absl::string_view> RecoverLocked(Mapped& segment) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  std::atomic<Store*> store_;  // null between Detach() and Attach()
  // Where in the store the last segment ends.
  std::atomic<uint64_t> end_{0};
  mutable absl::Mutex mu_;
  mutable absl::Status damage_ ABSL_GUARDED_BY(mu_);
  mutable absl::btree_map<uint32_t, Mapped> segments_ ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_NODE_SEGMENTS_H_
