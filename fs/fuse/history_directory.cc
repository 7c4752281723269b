#include "fs/fuse/history_directory.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/history/moment_names.h"

namespace varve::fs {
namespace {

constexpr absl::string_view kNames[] = {"snapshots", "at", "gmt"};
constexpr char kGmtForm[] = "@GMT-%Y.%m.%d-%H.%M.%S";

// What a user has asked for and cannot have is no incident for the log.
absl::Status Ordinary(const absl::Status& status) {
  if (status.ok() || absl::IsDataLoss(status)) return status;
  if (absl::IsNotFound(status) || absl::IsInvalidArgument(status)) {
    return PosixError(ENOENT);
  }
  switch (ErrnoOf(status)) {
    case EEXIST:
    case ENOENT:
    case EBUSY:
    case EINVAL:
    case ENAMETOOLONG:
      return PosixError(ErrnoOf(status));
    default:
      return status;
  }
}

// The full hours of the last two days, and before them the days, in UTC, back
// to `since`, in ascending order.
std::vector<Timestamp> PointsSince(absl::Time since, absl::Time now) {
  constexpr absl::Duration kHours = absl::Hours(48);
  constexpr size_t kMost = 500;
  std::vector<Timestamp> points;
  absl::Duration step = absl::Hours(1);
  absl::Time at =
      absl::UnixEpoch() + absl::Floor(now - absl::UnixEpoch(), step);
  while (at >= since && at > absl::UnixEpoch() && points.size() < kMost) {
    points.push_back(ToTimestamp(at));
    if (step < absl::Hours(24) && now - at >= kHours) {
      step = absl::Hours(24);
      at = absl::UnixEpoch() + absl::Ceil(at - absl::UnixEpoch(), step);
    }
    at -= step;
  }
  std::reverse(points.begin(), points.end());
  return points;
}

std::string GmtName(Timestamp time) {
  return absl::FormatTime(kGmtForm, ToTime(time), absl::UTCTimeZone());
}

}  // namespace

HistoryDirectory::HistoryDirectory(Volume& volume, uint64_t parent)
    : volume_(volume),
      parent_(parent),
      changed_(Timestamp::Now()),
      changes_(volume.moment_changes()) {}

std::optional<uint64_t> HistoryDirectory::DirectoryNamed(
    absl::string_view name) {
  const auto* const it = std::find(std::begin(kNames), std::end(kNames), name);
  if (it == std::end(kNames)) return std::nullopt;
  return kSnapshots + static_cast<uint64_t>(it - std::begin(kNames));
}

Stat HistoryDirectory::DirectoryStat(uint64_t ino) {
  Stat stat{.ino = ino, .attributes = {.mode = S_IFDIR | 0555}, .nlink = 2};
  stat.attributes.size = 4096;
  const Timestamp now = Timestamp::Now();
  // The kernel reads a listing again when the directory's time has changed. The
  // moments of the window change all the time.
  Timestamp changed = now;
  if (ino == kSnapshots) {
    // The owner of the tree may make and remove snapshots.
    const absl::StatusOr<Stat> root = volume_.GetAttributes(kRootIno);
    if (root.ok()) {
      stat.attributes.mode = S_IFDIR | 0755;
      stat.attributes.uid = root->attributes.uid;
      stat.attributes.gid = root->attributes.gid;
    }
    absl::MutexLock lock(&mu_);
    const uint64_t changes = volume_.moment_changes();
    if (changes != changes_) {
      changes_ = changes;
      changed_ = now;
    }
    changed = changed_;
  }
  stat.attributes.atime = stat.attributes.btime = changed;
  stat.attributes.mtime = stat.attributes.ctime = changed;
  return stat;
}

HistoryDirectory::View HistoryDirectory::Open(uint64_t parent,
                                              absl::string_view name,
                                              uint64_t moment) {
  std::string key = absl::StrCat(parent, "/", moment, "/", name);
  absl::MutexLock lock(&mu_);
  if (const auto it = by_key_.find(key); it != by_key_.end()) {
    views_.splice(views_.begin(), views_, it->second);
    return views_.front();
  }
  if (views_.size() >= kMostViews) {
    by_key_.erase(views_.back().key);
    by_number_.erase(views_.back().number & kViewMask);
    views_.pop_back();
  }
  // There are many more numbers than views.
  while (by_number_.contains(next_number_ & kViewMask)) ++next_number_;
  views_.push_front({.number = next_number_++,
                     .parent = parent,
                     .key = std::move(key),
                     .moment = moment});
  by_key_.emplace(views_.front().key, views_.begin());
  by_number_.emplace(views_.front().number & kViewMask, views_.begin());
  return views_.front();
}

absl::StatusOr<HistoryDirectory::View> HistoryDirectory::FindView(
    uint64_t ino) {
  absl::MutexLock lock(&mu_);
  const auto it = by_number_.find((ino >> kTreeBits) & kViewMask);
  if (it == by_number_.end()) return PosixError(ESTALE);
  return *it->second;
}

absl::StatusOr<HistoryDirectory::PastInode> HistoryDirectory::Find(
    uint64_t ino) {
  VARVE_ASSIGN_OR_RETURN(const View view, FindView(ino));
  return PastInode{.moment = view.moment, .ino = ino & kTreeMask};
}

absl::StatusOr<Stat> HistoryDirectory::In(const View& view, Stat stat) {
  if (stat.ino > kTreeMask) return PosixError(EOVERFLOW);
  stat.ino |= kPast | (view.number & kViewMask) << kTreeBits;
  // An inode number that was used before gets another generation.
  stat.attributes.generation += static_cast<uint32_t>(view.number / kViewMask);
  return stat;
}

absl::StatusOr<uint64_t> HistoryDirectory::FindMoment(uint64_t parent,
                                                      absl::string_view name) {
  if (parent != kSnapshots) {
    return volume_.past_files().Resolve(name, Timestamp::Now());
  }
  VARVE_ASSIGN_OR_RETURN(const auto snapshot, volume_.FindSnapshot(name));
  if (!snapshot.has_value()) return PosixError(ENOENT);
  return snapshot->sequence;
}

absl::StatusOr<Stat> HistoryDirectory::Lookup(uint64_t parent,
                                              absl::string_view name) {
  if (IsPast(parent)) {
    VARVE_ASSIGN_OR_RETURN(const View view, FindView(parent));
    const uint64_t ino = parent & kTreeMask;
    if (name == ".." && ino == kRootIno) return DirectoryStat(view.parent);
    VARVE_ASSIGN_OR_RETURN(const Stat stat,
                           volume_.past_files().Lookup(view.moment, ino, name));
    return In(view, stat);
  }
  if (name == ".") return DirectoryStat(parent);
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  // Of what is no name, such as "..", there is no snapshot or moment.
  const absl::StatusOr<uint64_t> moment = FindMoment(parent, name);
  if (!moment.ok()) return Ordinary(moment.status());
  const View view = Open(parent, name, *moment);
  VARVE_ASSIGN_OR_RETURN(const Stat stat, volume_.past_files().GetAttributes(
                                              view.moment, kRootIno));
  return In(view, stat);
}

absl::StatusOr<Stat> HistoryDirectory::GetAttributes(uint64_t ino) {
  if (!IsPast(ino)) return DirectoryStat(ino);
  VARVE_ASSIGN_OR_RETURN(const View view, FindView(ino));
  VARVE_ASSIGN_OR_RETURN(const Stat stat, volume_.past_files().GetAttributes(
                                              view.moment, ino & kTreeMask));
  return In(view, stat);
}

absl::Status HistoryDirectory::ReadPast(
    const View& view, uint64_t ino, uint64_t cookie,
    const std::function<bool(const Volume::Entry&)>& visit) {
  absl::Status status;
  VARVE_RETURN_IF_ERROR(volume_.past_files().ReadDirectory(
      view.moment, ino, cookie,
      [&](absl::string_view name, const Stat& stat, uint64_t next) {
        absl::StatusOr<Stat> shown = In(view, stat);
        if (name == ".." && ino == kRootIno) shown = DirectoryStat(view.parent);
        status = shown.status();
        return status.ok() && visit({name, *shown, next});
      }));
  return status;
}

absl::StatusOr<std::vector<std::string>> HistoryDirectory::GmtNames() {
  VARVE_ASSIGN_OR_RETURN(const auto snapshots, volume_.Snapshots());
  VARVE_ASSIGN_OR_RETURN(const HistoryPolicy policy,
                         volume_.GetHistoryPolicy());
  std::vector<std::string> names;
  names.reserve(snapshots.size());
  for (const Snapshot& snapshot : snapshots) {
    names.push_back(GmtName(snapshot.time));
  }
  const absl::Time now = absl::Now();
  VARVE_ASSIGN_OR_RETURN(
      const auto points,
      volume_.past_files().LastMoments(PointsSince(now - policy.within, now)));
  for (const PastFiles::Point& point : points) {
    names.push_back(GmtName(point.time));
  }
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

absl::StatusOr<std::vector<std::string>> HistoryDirectory::ListedIn(
    uint64_t ino) {
  if (ino == kGmt) return GmtNames();
  std::vector<std::string> names;
  if (ino == kAt) return names;
  VARVE_ASSIGN_OR_RETURN(const auto snapshots, volume_.Snapshots());
  names.reserve(snapshots.size());
  for (const Snapshot& snapshot : snapshots) names.push_back(snapshot.name);
  return names;
}

absl::Status HistoryDirectory::ReadDirectory(
    uint64_t ino, uint64_t cookie,
    const std::function<bool(const Volume::Entry&)>& visit) {
  if (IsPast(ino)) {
    VARVE_ASSIGN_OR_RETURN(const View view, FindView(ino));
    return ReadPast(view, ino & kTreeMask, cookie, visit);
  }
  if (cookie < 1 && !visit({".", DirectoryStat(ino), 1})) {
    return absl::OkStatus();
  }
  Stat above = DirectoryStat(kAt);
  above.ino = parent_;
  if (cookie < 2 && !visit({"..", above, 2})) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListedIn(ino));
  for (uint64_t i = cookie > 2 ? cookie - 2 : 0; i < names.size(); ++i) {
    // To give the attributes, each tree would have to be opened.
    const Stat type = {.ino = ino, .attributes = {.mode = S_IFDIR}};
    if (!visit({names[i], type, i + 3})) break;
  }
  return absl::OkStatus();
}

absl::StatusOr<Stat> HistoryDirectory::MakeDirectory(uint64_t parent,
                                                     absl::string_view name) {
  if (parent != kSnapshots || volume_.read_only()) return PosixError(EROFS);
  const auto made = volume_.CreateSnapshot(name);
  if (!made.ok()) return Ordinary(made.status());
  return Lookup(parent, name);
}

absl::Status HistoryDirectory::RemoveDirectory(uint64_t parent,
                                               absl::string_view name) {
  if (parent != kSnapshots || volume_.read_only()) return PosixError(EROFS);
  return Ordinary(volume_.DeleteSnapshot(name));
}

absl::Status HistoryDirectory::Rename(uint64_t parent, absl::string_view name,
                                      uint64_t new_parent,
                                      absl::string_view new_name,
                                      unsigned flags) {
  if (parent != kSnapshots || new_parent != kSnapshots || volume_.read_only()) {
    return PosixError(EROFS);
  }
  if ((flags & ~static_cast<unsigned>(RENAME_NOREPLACE)) != 0) {
    return PosixError(EINVAL);
  }
  return Ordinary(volume_.RenameSnapshot(name, new_name));
}

}  // namespace varve::fs
