#include "fs/compaction/pinned_source.h"

#include <utility>

#include "engine/base/status.h"

namespace varve::fs {

absl::StatusOr<absl::Span<const std::byte>> PinnedSource::BytesAt(
    uint64_t offset, uint64_t length) {
  VARVE_ASSIGN_OR_RETURN(Store::PinnedBytes bytes, store_.View(offset, length));
  // One pin is enough for bytes of the same mapping.
  if (pins_.empty() || pins_.back() != bytes.pin) {
    pins_.push_back(std::move(bytes.pin));
  }
  return bytes.bytes;
}

}  // namespace varve::fs
