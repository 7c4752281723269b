// NodeSegments: the segments of a tree, and the nodes in them, read in place. A
// segment of which something is damaged is brought back from its parity, in
// memory.
//
// Thread-safe, except as said.

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

  // What the segment's number leads to from now on.
  void Add(const Segment& segment) ABSL_LOCKS_EXCLUDED(mu_);
  // The same for segments that only the checkpoint before the last needs.
  void AddRetired(std::vector<Segment> segments) ABSL_LOCKS_EXCLUDED(mu_);
  // Forgets a segment: nothing that lies in it may be in use.
  void Remove(uint32_t number) ABSL_LOCKS_EXCLUDED(mu_);

  // The node's bytes, as long as its segment is not removed. DATA_LOSS if there
  // is no such segment, or it does not reach so far.
  absl::StatusOr<absl::string_view> Fetch(
      const NodePointer& pointer) const override ABSL_LOCKS_EXCLUDED(mu_);

  // All nodes of the segment are brought back. DATA_LOSS if too much of it is
  // damaged.
  absl::StatusOr<absl::string_view> Recover(
      const NodePointer& pointer) const override ABSL_LOCKS_EXCLUDED(mu_);
  // Remembers the failure, unless there is one already.
  void NoteDamage(const absl::Status& damage) ABSL_LOCKS_EXCLUDED(mu_);
  // What has been brought back, or noted, since this was asked last, in a
  // sentence; OK if nothing was.
  absl::Status TakeDamage() ABSL_LOCKS_EXCLUDED(mu_);

  // DATA_LOSS if the store's file has become too short for what was read from
  // here: some of it may have been zeros. To be asked after reading, whatever
  // came of that.
  absl::Status CheckLength() const {
    const uint64_t end = end_.load(std::memory_order_relaxed);
    Store* const store = store_.load();
    return end == 0 || store == nullptr ? absl::OkStatus()
                                        : store->CheckLength(end);
  }

  // By number.
  std::vector<Segment> All() const ABSL_LOCKS_EXCLUDED(mu_);

  // Says that another store is about to take over the file in which the
  // segments lie. All of them are mapped first, and can be read until Attach()
  // says which store that is. DATA_LOSS if one has no place; nothing has
  // changed then.
  absl::Status Detach() ABSL_LOCKS_EXCLUDED(mu_);
  void Attach(Store* store) { store_.store(store); }

 private:
  struct Mapped {
    Segment segment;
    // All of it, once one of its nodes has been asked for.
    Store::PinnedBytes whole;
    // Its nodes, where they had to be brought back.
    std::unique_ptr<const std::string> recovered;

    // Empty if it was not asked for yet.
    absl::string_view nodes() const;
  };
  // Those bytes; empty if there is no such segment, or it was not mapped yet.
  absl::string_view FindMapped(uint32_t number) const ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<absl::string_view> Map(uint32_t number) const
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status MapLocked(Mapped& segment) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  absl::StatusOr<absl::string_view> RecoverLocked(Mapped& segment) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  std::atomic<Store*> store_;  // null while they are detached
  // Where in the store the last of them ends.
  std::atomic<uint64_t> end_{0};
  mutable absl::Mutex mu_;
  mutable absl::Status damage_ ABSL_GUARDED_BY(mu_);
  mutable absl::btree_map<uint32_t, Mapped> segments_ ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_NODE_SEGMENTS_H_
