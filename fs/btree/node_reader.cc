#include "fs/btree/node_reader.h"

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/entry/entry.h"
#include "engine/io/bus_guard.h"
#include "fs/base/error.h"

namespace varve::fs {

NodeReader::NodeReader(const NodeSource* source)
    : source_(source),
      sound_(
          std::make_unique<std::array<std::atomic<uint64_t>, kRemembered>>()) {}

absl::StatusOr<NodeView> NodeReader::Read(const NodePointer& pointer) const {
  VARVE_ASSIGN_OR_RETURN(absl::string_view bytes, source_->Fetch(pointer));
  // The mark tells apart pointers to one place that differ in size or checksum,
  // because one node is a part of the other.
  const uint64_t mark =
      pointer.checksum ^ (pointer.place() * 0x9E3779B97F4A7C15) ^ pointer.size;
  std::atomic<uint64_t>& slot =
      (*sound_)[(pointer.place() * 0x9E3779B97F4A7C15) >> 47];
  static_assert(kRemembered == size_t{1} << (64 - 47));
  const bool is_lost = HasLostBytes(AsBytes(bytes));
  if (!is_lost && mark != 0 && slot.load(std::memory_order_relaxed) == mark) {
    return NodeView(bytes);
  }
  if (is_lost || HashKey(bytes) != pointer.checksum) {
    VARVE_ASSIGN_OR_RETURN(bytes, source_->Recover(pointer));
    if (HashKey(bytes) != pointer.checksum) {
      return DamageError(
          absl::StrCat(DescribeNode(pointer), ": checksum mismatch"));
    }
  }
  NodeView node(bytes);
  if (const absl::Status status = node.Check(); !status.ok()) {
    return Annotate(status, DescribeNode(pointer));
  }
  slot.store(mark, std::memory_order_relaxed);
  return node;
}

}  // namespace varve::fs
