#include "fs/log/segment_writer.h"

#include <algorithm>
#include <limits>

#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/log/commit.h"

namespace varve::fs {

absl::StatusOr<NodePointer> SegmentWriter::Append(absl::string_view node) {
  if (nodes_.size() + node.size() > kSegmentSize && !nodes_.empty()) {
    VARVE_RETURN_IF_ERROR(Flush());
  }
  if (number_ == std::numeric_limits<uint32_t>::max()) return NumbersUsedUp();
  const NodePointer pointer = {.segment = number_,
                               .offset = static_cast<uint32_t>(nodes_.size()),
                               .size = static_cast<uint32_t>(node.size()),
                               .checksum = HashKey(node)};
  nodes_.append(node.data(), node.size());
  return pointer;
}

void SegmentWriter::Retire(const NodePointer& node) {
  retired_[node.segment] += node.size;
}

uint64_t SegmentWriter::AddTo(Batch& batch) {
  CommitHeader header = NewHeader(core_, time_, batch.begin());
  header.flags = CommitHeader::kSegment;
  header.sequence = number_;
  header.position = Align64(batch.begin());
  record_.emplace(header);
  const SegmentParity parity = ParityOf(nodes_);
  record_->AddNodes(parity.before);
  const uint64_t nodes_offset = header.position + record_->payload().size();
  record_->AddNodes(nodes_);
  record_->AddNodes(parity.behind);
  record_->AddDigest();
  const EntryLocation location = batch.Add(
      core_.identity.SegmentKeyHash(number_), AsBytes(record_->payload()));
  const auto size = static_cast<uint32_t>(nodes_.size());
  written_.push_back({.number = number_,
                      .nodes_offset = nodes_offset,
                      .nodes_size = size,
                      .live_bytes = size});
  nodes_.clear();
  ++number_;
  return location.end();
}

absl::Status SegmentWriter::Flush() {
  absl::MutexLock lock(&core_.commit_mu);
  VARVE_RETURN_IF_ERROR(MarkInUse(core_, time_));
  Batch batch = core_.store->BeginBatch();
  AddTo(batch);
  return batch.Commit();
}

uint64_t SegmentWriter::AddLast(Batch& batch) {
  core_.commit_mu.AssertHeld();
  return nodes_.empty() ? batch.begin() : AddTo(batch);
}

std::vector<Segment> SegmentWriter::Update(std::vector<Segment> before) const {
  before.insert(before.end(), written_.begin(), written_.end());
  for (Segment& segment : before) {
    const auto it = retired_.find(segment.number);
    if (it == retired_.end()) continue;
    segment.live_bytes -= static_cast<uint32_t>(
        std::min<uint64_t>(it->second, segment.live_bytes));
  }
  return before;
}

}  // namespace varve::fs
