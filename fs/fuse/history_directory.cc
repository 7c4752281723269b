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
#include "engine/entry/entry.h"
#include "fs/base/error.h"
#include "fs/history/moment_names.h"

namespace varve::fs {
namespace {

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

std::string GmtName(Timestamp time) {
  return absl::FormatTime(kGmtForm, ToTime(time), absl::UTCTimeZone());
}

}  // namespace

HistoryDirectory::HistoryDirectory(Volume& volume, uint64_t parent)
    : volume_(volume),
      parent_(parent),
      changed_(Timestamp::Now()),
      changes_(volume.history().changes()) {}

std::optional<uint64_t> HistoryDirectory::DirectoryNamed(
    absl::string_view name) {
  const auto* const it = std::find(std::begin(kNames), std::end(kNames), name);
  if (it == std::end(kNames)) return std::nullopt;
  return kSnapshots + static_cast<uint64_t>(it - std::begin(kNames));
}

std::optional<uint64_t> HistoryDirectory::DeletedId(uint64_t ino) {
  if (ino == kDeleted) return DeletedFiles::kRoot;
  if (!IsPast(ino) || IsConstant(ino)) return std::nullopt;
  return ino & ~(kPast | kIsDeleted);
}

Stat HistoryDirectory::AsDeleted(Stat stat) {
  stat.ino = stat.ino == DeletedFiles::kRoot ? kDeleted
                                             : stat.ino | kPast | kIsDeleted;
  return stat;
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
    const uint64_t changes = volume_.history().changes();
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

absl::StatusOr<HistoryDirectory::View> HistoryDirectory::OpenView(
    uint64_t parent, absl::string_view name, uint64_t moment) {
  std::string key = absl::StrCat(parent, "/", moment, "/", name);
  absl::MutexLock lock(&mu_);
  if (const auto it = by_key_.find(key); it != by_key_.end()) {
    LiveView& live = views_[it->second];
    ++live.references;
    return live.view;
  }
  if (views_.size() >= kMostViews) return PosixError(ENFILE);
  while (views_.contains(next_number_ % kMostViews)) ++next_number_;
  const View view = {.number = next_number_++ % kMostViews,
                     .parent = parent,
                     .moment = moment,
                     .generation = static_cast<uint32_t>(HashKey(key))};
  by_key_.emplace(key, view.number);
  views_.emplace(
      view.number,
      LiveView{.view = view, .key = std::move(key), .references = 1});
  return view;
}

absl::StatusOr<HistoryDirectory::View> HistoryDirectory::FindView(
    uint64_t ino) {
  absl::MutexLock lock(&mu_);
  const auto it = views_.find((ino >> kTreeBits) % kMostViews);
  if (it == views_.end()) return PosixError(ESTALE);
  return it->second.view;
}

void HistoryDirectory::Reference(const View& view) {
  absl::MutexLock lock(&mu_);
  const auto it = views_.find(view.number);
  if (it != views_.end()) ++it->second.references;
}

void HistoryDirectory::Forget(uint64_t ino, uint64_t count) {
  // Numbers of what is deleted are not used again.
  if (!IsConstant(ino)) return;
  absl::MutexLock lock(&mu_);
  const auto it = views_.find((ino >> kTreeBits) % kMostViews);
  if (it == views_.end()) return;
  LiveView& live = it->second;
  live.references -= std::min(count, live.references);
  if (live.references > 0) return;
  by_key_.erase(live.key);
  views_.erase(it);
}

void HistoryDirectory::ForgetTrees() {
  absl::MutexLock lock(&mu_);
  views_.clear();
  by_key_.clear();
}

absl::StatusOr<HistoryDirectory::PastInode> HistoryDirectory::Find(
    uint64_t ino) {
  if (const auto id = DeletedId(ino)) return PastInode{.ino = *id};
  VARVE_ASSIGN_OR_RETURN(const View view, FindView(ino));
  return PastInode{.moment = view.moment, .ino = ino & kTreeMask};
}

absl::StatusOr<HistoryDirectory::PastInode> HistoryDirectory::Open(
    uint64_t ino) {
  VARVE_ASSIGN_OR_RETURN(const PastInode past, Find(ino));
  VARVE_RETURN_IF_ERROR(GetAttributes(ino).status());
  return past;
}

absl::StatusOr<std::string> HistoryDirectory::ReadSymlink(uint64_t ino) {
  VARVE_ASSIGN_OR_RETURN(const PastInode past, Find(ino));
  if (past.moment == 0) return volume_.deleted_files().ReadSymlink(past.ino);
  return volume_.past_files().ReadSymlink(past.moment, past.ino);
}

absl::StatusOr<std::string> HistoryDirectory::GetXattr(uint64_t ino,
                                                       absl::string_view name) {
  VARVE_ASSIGN_OR_RETURN(const PastInode past, Find(ino));
  if (past.moment == 0) return volume_.deleted_files().GetXattr(past.ino, name);
  return volume_.past_files().GetXattr(past.moment, past.ino, name);
}

absl::StatusOr<std::string> HistoryDirectory::ListXattrs(uint64_t ino,
                                                         bool trusted) {
  VARVE_ASSIGN_OR_RETURN(const PastInode past, Find(ino));
  if (past.moment == 0)
    return volume_.deleted_files().ListXattrs(past.ino, trusted);
  return volume_.past_files().ListXattrs(past.moment, past.ino, trusted);
}

absl::StatusOr<ReadReply> HistoryDirectory::Read(const PastInode& past,
                                                 uint64_t offset,
                                                 uint64_t size) {
  if (past.moment == 0) {
    return volume_.deleted_files().Read(past.ino, offset, size);
  }
  return volume_.past_files().Read(past.moment, past.ino, offset, size);
}

absl::StatusOr<uint64_t> HistoryDirectory::Seek(const PastInode& past,
                                                uint64_t offset, int whence) {
  if (past.moment == 0) {
    return volume_.deleted_files().Seek(past.ino, offset, whence);
  }
  return volume_.past_files().Seek(past.moment, past.ino, offset, whence);
}

absl::StatusOr<Stat> HistoryDirectory::In(const View& view, Stat stat) {
  if (stat.ino > kTreeMask) return PosixError(EOVERFLOW);
  stat.ino |= kPast | view.number << kTreeBits;
  stat.attributes.generation += view.generation;
  return stat;
}

absl::StatusOr<uint64_t> HistoryDirectory::FindMoment(uint64_t parent,
                                                      absl::string_view name) {
  if (parent == kSnapshots) {
    VARVE_ASSIGN_OR_RETURN(const auto snapshot,
                           volume_.history().FindSnapshot(name));
    if (!snapshot.has_value()) return PosixError(ENOENT);
    return snapshot->sequence;
  }
  if (parent == kAt) {
    if (const auto ago = ParseAgo(name)) return FindAgo(name, *ago);
    return volume_.past_files().Resolve(name, Timestamp::Now());
  }
  // A snapshot is meant by the name under which it is listed, though more may
  // have happened in that second.
  VARVE_ASSIGN_OR_RETURN(const auto snapshots, volume_.history().Snapshots());
  std::optional<uint64_t> moment;
  for (const Snapshot& snapshot : snapshots) {
    if (GmtName(snapshot.time) == name) {
      moment = std::max(moment.value_or(0), snapshot.sequence);
    }
  }
  if (moment.has_value()) return *moment;
  return volume_.past_files().Resolve(name, Timestamp::Now());
}

absl::StatusOr<uint64_t> HistoryDirectory::FindAgo(absl::string_view name,
                                                   absl::Duration ago) {
  // It means the same until it is not used for a tenth of the span, and at most
  // for as long as that is.
  constexpr size_t kMostMeanings = 1000;
  constexpr absl::Duration kLongestPause = absl::Minutes(1);
  const absl::Time now = absl::Now();
  {
    absl::MutexLock lock(&mu_);
    const auto it = meanings_.find(name);
    if (it != meanings_.end()) {
      Meaning& meaning = it->second;
      if (now >= meaning.used &&
          now - meaning.used < std::min(ago / 10, kLongestPause) &&
          now - meaning.found < ago) {
        meaning.used = now;
        return meaning.moment;
      }
      meanings_.erase(it);
    }
  }
  VARVE_ASSIGN_OR_RETURN(const uint64_t moment,
                         volume_.past_files().Resolve(name, ToTimestamp(now)));
  absl::MutexLock lock(&mu_);
  if (meanings_.size() >= kMostMeanings) meanings_.clear();
  meanings_[std::string(name)] = {.moment = moment, .found = now, .used = now};
  return moment;
}

absl::StatusOr<Stat> HistoryDirectory::Lookup(uint64_t parent,
                                              absl::string_view name) {
  if (const auto id = DeletedId(parent)) {
    VARVE_ASSIGN_OR_RETURN(const Stat stat,
                           volume_.deleted_files().Lookup(*id, name));
    return AsDeleted(stat);
  }
  if (IsPast(parent)) {
    VARVE_ASSIGN_OR_RETURN(const View view, FindView(parent));
    const uint64_t ino = parent & kTreeMask;
    if (name == ".." && ino == kRootIno) return DirectoryStat(view.parent);
    VARVE_ASSIGN_OR_RETURN(const Stat found,
                           volume_.past_files().Lookup(view.moment, ino, name));
    VARVE_ASSIGN_OR_RETURN(const Stat stat, In(view, found));
    Reference(view);
    return stat;
  }
  if (name == ".") return DirectoryStat(parent);
  if (name.size() > kMaxNameSize) return PosixError(ENAMETOOLONG);
  // Of what is no name, such as "..", there is no snapshot or moment.
  const absl::StatusOr<uint64_t> moment = FindMoment(parent, name);
  if (!moment.ok()) return Ordinary(moment.status());
  VARVE_ASSIGN_OR_RETURN(const View view, OpenView(parent, name, *moment));
  const absl::StatusOr<Stat> root =
      volume_.past_files().GetAttributes(view.moment, kRootIno);
  const absl::StatusOr<Stat> stat = root.ok() ? In(view, *root) : root;
  if (!stat.ok()) Forget(kPast | view.number << kTreeBits, 1);
  return stat;
}

absl::StatusOr<Stat> HistoryDirectory::GetAttributes(uint64_t ino) {
  if (const auto id = DeletedId(ino)) {
    VARVE_ASSIGN_OR_RETURN(const Stat stat,
                           volume_.deleted_files().GetAttributes(*id));
    return AsDeleted(stat);
  }
  if (!IsPast(ino)) return DirectoryStat(ino);
  VARVE_ASSIGN_OR_RETURN(const View view, FindView(ino));
  VARVE_ASSIGN_OR_RETURN(const Stat stat, volume_.past_files().GetAttributes(
                                              view.moment, ino & kTreeMask));
  return In(view, stat);
}

absl::Status HistoryDirectory::ReadPast(
    const View& view, uint64_t ino, uint64_t cookie, bool reference,
    const std::function<bool(const Volume::Entry&)>& visit) {
  absl::Status status;
  VARVE_RETURN_IF_ERROR(volume_.past_files().ReadDirectory(
      view.moment, ino, cookie,
      [&](absl::string_view name, const Stat& stat, uint64_t next) {
        absl::StatusOr<Stat> shown = In(view, stat);
        if (name == ".." && ino == kRootIno) shown = DirectoryStat(view.parent);
        status = shown.status();
        if (!status.ok() || !visit({name, *shown, next})) return false;
        if (reference && name != "." && name != "..") Reference(view);
        return true;
      }));
  return status;
}

absl::Status HistoryDirectory::ReadDeleted(
    uint64_t id, uint64_t cookie,
    const std::function<bool(const Volume::Entry&)>& visit) {
  return volume_.deleted_files().ReadDirectory(
      id, cookie, [&](absl::string_view name, const Stat& stat, uint64_t next) {
        Stat shown = AsDeleted(stat);
        if (name == ".." && id == DeletedFiles::kRoot) shown.ino = parent_;
        return visit({name, shown, next});
      });
}

absl::StatusOr<std::vector<std::string>> HistoryDirectory::GmtNames() {
  VARVE_ASSIGN_OR_RETURN(const auto snapshots, volume_.history().Snapshots());
  VARVE_ASSIGN_OR_RETURN(const HistoryPolicy policy,
                         volume_.history().GetPolicy());
  std::vector<std::string> names;
  names.reserve(snapshots.size());
  for (const Snapshot& snapshot : snapshots) {
    names.push_back(GmtName(snapshot.time));
  }
  const absl::Time now = absl::Now();
  VARVE_ASSIGN_OR_RETURN(const auto points,
                         volume_.past_files().LastMoments(
                             HistoryPoints(now - policy.within, now)));
  for (const MomentAt& point : points) {
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
  VARVE_ASSIGN_OR_RETURN(const auto snapshots, volume_.history().Snapshots());
  names.reserve(snapshots.size());
  for (const Snapshot& snapshot : snapshots) names.push_back(snapshot.name);
  return names;
}

absl::Status HistoryDirectory::ReadDirectory(
    uint64_t ino, uint64_t cookie, bool reference,
    const std::function<bool(const Volume::Entry&)>& visit) {
  if (const auto id = DeletedId(ino)) return ReadDeleted(*id, cookie, visit);
  if (IsPast(ino)) {
    VARVE_ASSIGN_OR_RETURN(const View view, FindView(ino));
    return ReadPast(view, ino & kTreeMask, cookie, reference, visit);
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
  const auto made = volume_.history().CreateSnapshotNow(name);
  if (!made.ok()) return Ordinary(made.status());
  VARVE_ASSIGN_OR_RETURN(const View view,
                         OpenView(parent, name, made->first.sequence));
  return In(view, made->second);
}

absl::Status HistoryDirectory::RemoveDirectory(uint64_t parent,
                                               absl::string_view name) {
  if (parent != kSnapshots || volume_.read_only()) return PosixError(EROFS);
  return Ordinary(volume_.history().DeleteSnapshot(name));
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
  return Ordinary(volume_.history().RenameSnapshot(name, new_name));
}

}  // namespace varve::fs
