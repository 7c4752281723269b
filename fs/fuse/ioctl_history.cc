#include "fs/fuse/ioctl_history.h"

#include <errno.h>
#include <string.h>

#include <algorithm>
#include <iterator>
#include <string>

#include "absl/strings/string_view.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

constexpr uint32_t kFlags = VARVE_RESTORE_DELETE | VARVE_RESTORE_DRY_RUN;

template <size_t N>
absl::string_view TextOf(const char (&text)[N]) {
  return {text, strnlen(text, N)};
}

template <size_t N>
bool Ends(const char (&text)[N]) {
  return strnlen(text, N) < N;
}

bool IsKnown(const varve_history& call) {
  const bool is_restore = call.operation == VARVE_HISTORY_RESTORE;
  return call.version <= VARVE_IOCTL_VERSION &&
         (call.flags & ~(is_restore ? kFlags : 0)) == 0 &&
         std::all_of(std::begin(call.reserved), std::end(call.reserved),
                     [](uint64_t value) { return value == 0; }) &&
         Ends(call.name) && Ends(call.at) && Ends(call.from) && Ends(call.to);
}

absl::Status Restore(Volume& volume, varve_history& call) {
  const RestoreRequest request = {
      .at = std::string(TextOf(call.at)),
      .from = std::string(TextOf(call.from)),
      .to = std::string(TextOf(call.to)),
      .delete_others = (call.flags & VARVE_RESTORE_DELETE) != 0,
      .dry_run = (call.flags & VARVE_RESTORE_DRY_RUN) != 0};
  const absl::StatusOr<RestoreReport> report =
      volume.history().Restore(request);
  if (!report.ok()) return report.status();
  call.made = report->made;
  call.replaced = report->replaced;
  call.unchanged = report->unchanged;
  call.removed = report->removed;
  call.bytes = report->bytes;
  return absl::OkStatus();
}

absl::Status SetPolicy(Volume& volume, absl::string_view text) {
  const absl::StatusOr<HistoryPolicy> policy = HistoryPolicy::Parse(text);
  if (!policy.ok()) return policy.status();
  return volume.history().SetPolicy(*policy);
}

absl::Status Purge(Volume& volume, varve_history& call) {
  const absl::StatusOr<MomentsWithPath> purged =
      volume.history().Purge(TextOf(call.from));
  if (!purged.ok()) return purged.status();
  call.replaced = purged->snapshots.size();
  return absl::OkStatus();
}

// Sets `known` to false if there is no such operation.
absl::Status Run(Volume& volume, varve_history& call, bool& known) {
  const absl::string_view name = TextOf(call.name);
  switch (call.operation) {
    case VARVE_HISTORY_CREATE:
      return volume.history().CreateSnapshot(name, TextOf(call.at)).status();
    case VARVE_HISTORY_DELETE:
      return volume.history().DeleteSnapshot(name);
    case VARVE_HISTORY_RENAME:
      return volume.history().RenameSnapshot(name, TextOf(call.to));
    case VARVE_HISTORY_HOLD:
      return volume.history().HoldSnapshot(name, true);
    case VARVE_HISTORY_RELEASE:
      return volume.history().HoldSnapshot(name, false);
    case VARVE_HISTORY_POLICY:
      return SetPolicy(volume, name);
    case VARVE_HISTORY_RESTORE:
      return Restore(volume, call);
    case VARVE_HISTORY_PURGE:
      return Purge(volume, call);
    default:
      known = false;
      return absl::OkStatus();
  }
}

}  // namespace

absl::Status CallHistory(Volume& volume, varve_history& call) {
  if (!IsKnown(call)) return PosixError(EINVAL);
  if (volume.read_only()) return PosixError(EROFS);
  bool known = true;
  const absl::Status result = Run(volume, call, known);
  if (!known) return PosixError(EINVAL);
  call.version = VARVE_IOCTL_VERSION;
  call.result = static_cast<uint32_t>(ErrnoOf(result));
  memset(call.message, 0, sizeof(call.message));
  result.message().copy(call.message, sizeof(call.message) - 1);
  return absl::OkStatus();
}

}  // namespace varve::fs
