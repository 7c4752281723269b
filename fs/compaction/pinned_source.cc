#include "fs/compaction/pinned_source.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/content/content_reader.h"

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

absl::Status PinnedSource::VerifyOnce(const Extent& extent) {
  if (verified_.contains(extent.payload_offset())) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(Annotate(
      VerifyEntryOf(store_, extent, /*checksum=*/true),
      absl::StrCat("the entry at offset ", extent.payload_offset(),
                   " is damaged; a copy of it would have a valid checksum")));
  verified_.insert(extent.payload_offset());
  return absl::OkStatus();
}

}  // namespace varve::fs
