// SegmentWriter: packs the nodes that a checkpoint makes into segments, appends
// these to the store, and counts the bytes of older nodes that the new tree no
// longer uses.
//
// Not thread-safe.

#ifndef VARVE_FS_LOG_SEGMENT_WRITER_H_
#define VARVE_FS_LOG_SEGMENT_WRITER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/store/store.h"
#include "fs/btree/merge.h"
#include "fs/format/commit_record.h"
#include "fs/log/core.h"
#include "fs/log/segment_parity.h"
#include "fs/log/tree_root.h"

namespace varve::fs {

class SegmentWriter final : public NodeSink {
 public:
  // The size of a full segment: the most that its parity can cover.
  static constexpr size_t kSegmentSize = kMaxNodesSize;

  // `next_segment` is the number of the first segment.
  SegmentWriter(Core& core, Timestamp time, uint32_t next_segment)
      : core_(core), time_(time), number_(next_segment) {}

  // Takes commit_mu for each segment that has become full.
  absl::StatusOr<NodePointer> Append(absl::string_view node) override
      ABSL_LOCKS_EXCLUDED(core_.commit_mu);
  void Retire(const NodePointer& node) override;

  // Adds the last segment, if it has nodes, to a batch that has no entries yet.
  // Returns where the batch ends now. The writer must outlive the batch, and
  // the caller must hold commit_mu.
  uint64_t AddLast(Batch& batch);

  // The new tree's segments, given those of the old tree: adds the segments
  // that were written, and subtracts retired nodes from the live bytes.
  std::vector<Segment> Update(std::vector<Segment> before) const;
  uint32_t next_segment() const { return number_; }

 private:
  uint64_t AddTo(Batch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu);
  absl::Status Flush() ABSL_LOCKS_EXCLUDED(core_.commit_mu);

  Core& core_;
  const Timestamp time_;
  uint32_t number_;                     // of the segment that is being filled
  std::string nodes_;                   // in it
  std::optional<CommitWriter> record_;  // of the segment that was added last
  std::vector<Segment> written_;
  // Bytes of retired nodes, by the number of their segment.
  absl::btree_map<uint32_t, uint64_t> retired_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_SEGMENT_WRITER_H_
