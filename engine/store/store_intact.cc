// Checks that the store's file is as the store has left it. Other programs can
// truncate it, delete it, or put another file in its place.

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/store/store_impl.h"

namespace varve {
namespace {

absl::Status Truncated(const std::string& path, uint64_t size, uint64_t end) {
  return ErrorWithCode(
      absl::StatusCode::kDataLoss, EIO,
      absl::StrCat(path, " was truncated by somebody else: it has ", size,
                   " bytes and must have ", end));
}

}  // namespace

absl::Status Store::CheckLength(uint64_t end) {
  return impl_->CheckLength(*impl_->Pin(), end);
}

void Store::NoteServed(uint64_t bytes) const { impl_->NoteServed(bytes); }

absl::Status Store::failure() const { return impl_->failure(); }

absl::StatusOr<FileLocation> Store::LocateFile() const {
  return impl_->LocateFile();
}

void StoreImpl::NoteServed(uint64_t bytes) {
  // Touching a page also maps its neighbours.
  constexpr uint64_t kAround = uint64_t{64} << 10;
  constexpr uint64_t kMostResident = uint64_t{64} << 20;
  const uint64_t served = bytes + kAround;
  // If several threads reach the limit at once, only one of them goes on.
  const uint64_t before = served_.fetch_add(served, std::memory_order_relaxed);
  if (before >= kMostResident || before + served < kMostResident) return;
  Pin()->mapping()->ReleasePages();
  served_.store(0, std::memory_order_relaxed);
}

absl::Status StoreImpl::failure() const {
  absl::MutexLock lock(&sync_mutex_);
  return failure_;
}

absl::Status StoreImpl::CheckLength(const Generation& generation,
                                    uint64_t end) {
  // Load the tail before asking for the length: the file is never shorter than
  // an earlier tail. Beyond the tail, streams come and go.
  const uint64_t tail = generation.tail();
  const absl::StatusOr<uint64_t> found = generation.file().Size();
  // If the disk fails, the length is unknown. The caller's next step then
  // fails, too, or succeeds because the host has the bytes in memory.
  const uint64_t size = found.value_or(UINT64_MAX);
  if (size < tail) {
    // Lost for good: bytes that are written there later are not those that were
    // there.
    generation.NoteLostFrom(size);
    absl::MutexLock lock(&sync_mutex_);
    Fail(Truncated(path_, size, tail));
  }
  const uint64_t intact = std::min(size, generation.lost_from());
  return end <= intact ? absl::OkStatus() : Truncated(path_, intact, end);
}

absl::StatusOr<FileLocation> StoreImpl::LocateFile() const {
  VARVE_ASSIGN_OR_RETURN(const FileInfo ours, Pin()->file().Info());
  const absl::StatusOr<FileInfo> named = options_.file_system->Info(file_path_);
  if (!named.ok() && !absl::IsNotFound(named.status())) return named.status();
  if (named.ok() && IsSameFile(*named, ours)) {
    return FileLocation::kInPlace;
  }
  if (ours.links == 0) return FileLocation::kDeleted;
  return FileLocation::kMoved;
}

}  // namespace varve
