#include "engine/io/reserve.h"

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace varve {
namespace {

constexpr uint64_t kBlock = 4096;
// Room for ordinary appends is allocated in steps: a part of the store's size,
// limited by a part of what the disk has left.
constexpr uint64_t kLeastStep = uint64_t{256} << 10;
constexpr uint64_t kShareOfStore = 8;
constexpr uint64_t kShareOfSpace = 16;
constexpr uint64_t kSmallestStep = uint64_t{64} << 10;
// Smaller reserves are not worth keeping.
constexpr uint64_t kLeastReserve = uint64_t{16} << 10;

constexpr uint64_t RoundUp(uint64_t offset) {
  return (offset + kBlock - 1) / kBlock * kBlock;
}

}  // namespace

absl::Status Reserve::Allocate(File& file, uint64_t begin, uint64_t end) {
  begin = std::max(begin, end_);
  if (begin >= end) return absl::OkStatus();
  const absl::Status status = file.Preallocate(begin, end - begin);
  unsupported_ = absl::IsUnimplemented(status);
  may_hold_ = may_hold_ || !unsupported_;
  if (status.ok()) end_ = end;
  return status;
}

absl::Status Reserve::Extend(File& file, uint64_t begin, uint64_t end) {
  const uint64_t needed = end - std::min(end, std::max(begin, end_));
  const absl::StatusOr<SpaceOnDisk> space = file_system_->Space(path_);
  if (space.ok() && space->is_known()) {
    const uint64_t step =
        std::min(std::clamp(end / kShareOfStore, kLeastStep, kMostAhead),
                 space->available / kShareOfSpace);
    if (step >= kSmallestStep && step + needed < space->available) {
      const absl::Status status = Allocate(file, begin, RoundUp(end + step));
      if (status.ok() || unsupported_) return status;
    }
    // Some hosts keep the blocks that they allocated before they failed. A file
    // that does not fit must not take the space that others need, nor the space
    // for its own deletion.
    if (needed > kSize && space->free < needed) {
      return SystemError(ENOSPC,
                         absl::StrCat("cannot allocate space for ", path_));
    }
  }
  const absl::Status status = Allocate(file, begin, RoundUp(end));
  if (IsOutOfSpace(status) && needed > kSize) {
    GiveBack(file, begin);
    TopUp(file, begin);
  }
  return status;
}

absl::Status Reserve::MakeRoom(File& file, uint64_t begin, uint64_t end,
                               bool may_use_reserve) {
  if (unsupported_ || end + kSize <= end_) return absl::OkStatus();
  absl::Status status = Extend(file, begin, end + kSize);
  is_short_ = IsOutOfSpace(status);
  if (is_short_ && may_use_reserve) status = Allocate(file, begin, end);
  // If this failure matters, the write itself will fail, too.
  return IsOutOfSpace(status) ? status : absl::OkStatus();
}

void Reserve::TopUp(File& file, uint64_t end) {
  if (unsupported_) return;
  is_short_ = false;
  if (end + kSize <= end_) return;
  is_short_ = IsOutOfSpace(Extend(file, end, end + kSize));
  // A part of the reserve is better than none. (Some hosts have kept a part
  // anyway.)
  for (uint64_t size = kSize / 2; is_short_ && size >= kLeastReserve;
       size /= 2) {
    if (Allocate(file, end, RoundUp(end + size)).ok()) break;
  }
}

void Reserve::Renew(File& file, uint64_t end) {
  may_hold_ = true;
  GiveBack(file, end);
  TopUp(file, end);
}

void Reserve::GiveBack(File& file, uint64_t end) {
  end_ = 0;
  if (!may_hold_) return;
  // Only if the length is what we expect: if another program has changed the
  // file, we must not correct its length.
  const absl::StatusOr<FileInfo> info = file.Info();
  if (!info.ok() || info->size != end) return;
  // If this fails, the next open for writing releases the blocks.
  may_hold_ = !file.Truncate(end).ok();
}

void Reserve::HandOver(Reserve& to) {
  to.end_ = std::exchange(end_, 0);
  to.may_hold_ = std::exchange(may_hold_, false);
  to.unsupported_ = unsupported_;
  to.is_short_ = is_short_;
}

uint64_t Reserve::HeldBehind(uint64_t end) const {
  const uint64_t begin = RoundUp(end);
  return end_ - std::min(end_, begin);
}

}  // namespace varve
