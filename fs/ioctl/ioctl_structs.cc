#include "fs/ioctl/ioctl_structs.h"

#include <errno.h>

#include <algorithm>
#include <cstddef>
#include <iterator>

#include "absl/time/time.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

// The layout is a promise to programs built elsewhere, some of which align
// uint64_t to 4 bytes.
static_assert(sizeof(varve_compaction_start) == 64);
static_assert(offsetof(varve_compaction_start, bytes_per_second) == 8);
static_assert(offsetof(varve_compaction_start, joined) == 16);
static_assert(offsetof(varve_compaction_start, reserved) == 24);
static_assert(sizeof(varve_compaction_progress) == 384);
static_assert(offsetof(varve_compaction_progress, result) == 12);
static_assert(offsetof(varve_compaction_progress, bytes_done) == 16);
static_assert(offsetof(varve_compaction_progress, longest_stall_us) == 72);
static_assert(offsetof(varve_compaction_progress, reserved) == 80);
static_assert(offsetof(varve_compaction_progress, message) == 128);
static_assert(sizeof(varve_history) == 9216);
static_assert(offsetof(varve_history, made) == 16);
static_assert(offsetof(varve_history, name) == 256);
static_assert(offsetof(varve_history, message) == 8960);
static_assert(sizeof(varve_statistics) == 192);
static_assert(offsetof(varve_statistics, total_bytes) == 8);
static_assert(offsetof(varve_statistics, available_bytes) == 72);
static_assert(offsetof(varve_statistics, reserved) == 80);

uint32_t ToPhase(CompactionPhase phase) {
  switch (phase) {
    case CompactionPhase::kNone:
      return VARVE_PHASE_NONE;
    case CompactionPhase::kCopying:
      return VARVE_PHASE_COPYING;
    case CompactionPhase::kCatchingUp:
      return VARVE_PHASE_CATCHING_UP;
    case CompactionPhase::kSwitching:
      return VARVE_PHASE_SWITCHING;
    case CompactionPhase::kPunching:
      return VARVE_PHASE_PUNCHING;
    case CompactionPhase::kEnded:
      return VARVE_PHASE_ENDED;
  }
  return VARVE_PHASE_NONE;
}

int ResultOf(const absl::Status& result) {
  return absl::IsCancelled(result) ? ECANCELED : ErrnoOf(result);
}

uint64_t AtLeastZero(int64_t number) {
  return static_cast<uint64_t>(std::max<int64_t>(number, 0));
}

// The time that the rest takes at the speed so far.
uint64_t EtaMilliseconds(const CompactionProgress& progress) {
  if (!progress.running()) return 0;
  if (progress.bytes_done == 0) return VARVE_ETA_UNKNOWN;
  if (progress.phase == CompactionPhase::kSwitching) return 0;
  // There was more to copy than estimated.
  if (progress.bytes_done >= progress.bytes_total) return VARVE_ETA_UNKNOWN;
  const double left =
      absl::ToDoubleMilliseconds(progress.elapsed) *
      (static_cast<double>(progress.bytes_total - progress.bytes_done) /
       static_cast<double>(progress.bytes_done));
  constexpr double kLongest = 1e15;
  return static_cast<uint64_t>(std::clamp(left, 0.0, kLongest));
}

}  // namespace

absl::StatusOr<CompactionOptions> FromIoctl(
    const varve_compaction_start& request) {
  const bool reserved_is_set =
      request.reserved32 != 0 ||
      std::any_of(std::begin(request.reserved), std::end(request.reserved),
                  [](uint64_t value) { return value != 0; });
  if (request.version > VARVE_IOCTL_VERSION || reserved_is_set ||
      (request.flags & ~(VARVE_COMPACT_PUNCH | VARVE_COMPACT_FORGET)) != 0) {
    return PosixError(EINVAL);
  }
  return CompactionOptions{
      .punch = (request.flags & VARVE_COMPACT_PUNCH) != 0,
      .forget = (request.flags & VARVE_COMPACT_FORGET) != 0,
      .bytes_per_second = request.bytes_per_second};
}

varve_compaction_start ToIoctl(const CompactionOptions& options) {
  varve_compaction_start request = {};
  request.version = VARVE_IOCTL_VERSION;
  request.flags = (options.punch ? VARVE_COMPACT_PUNCH : 0) |
                  (options.forget ? VARVE_COMPACT_FORGET : 0);
  request.bytes_per_second = options.bytes_per_second;
  return request;
}

varve_compaction_progress ToIoctl(const CompactionProgress& progress) {
  varve_compaction_progress out = {};
  out.version = VARVE_IOCTL_VERSION;
  out.phase = ToPhase(progress.phase);
  out.kind = progress.punch ? VARVE_KIND_PUNCH : VARVE_KIND_COPY;
  out.bytes_done = progress.bytes_done;
  out.bytes_total = progress.bytes_total;
  out.files_done = progress.files_done;
  out.files_total = progress.files_total;
  out.bytes_reclaimed = progress.bytes_reclaimed;
  out.elapsed_ms = AtLeastZero(absl::ToInt64Milliseconds(progress.elapsed));
  out.eta_ms = EtaMilliseconds(progress);
  out.longest_stall_us =
      AtLeastZero(absl::ToInt64Microseconds(progress.longest_stall));
  if (progress.phase != CompactionPhase::kEnded) return out;
  out.result = static_cast<uint32_t>(ResultOf(progress.result));
  progress.result.message().copy(out.message, sizeof(out.message) - 1);
  return out;
}

varve_statistics ToIoctl(const StoreStatistics& statistics,
                         uint64_t available_bytes) {
  varve_statistics out = {};
  out.version = VARVE_IOCTL_VERSION;
  out.total_bytes = statistics.total_bytes;
  out.allocated_bytes = statistics.allocated_bytes;
  out.live_bytes = statistics.live_bytes;
  out.dead_bytes = statistics.dead_bytes;
  out.files = statistics.files;
  out.commits = statistics.commits;
  out.extents = statistics.extents;
  out.peak_extra_bytes = statistics.peak_extra_bytes;
  out.available_bytes = available_bytes;
  return out;
}

}  // namespace varve::fs
