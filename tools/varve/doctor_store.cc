// The problems that a store can have.

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/io/lock_holder.h"
#include "engine/store/store.h"
#include "fs/log/store_identity.h"
#include "fs/volume/volume.h"
#include "tools/varve/compaction_report.h"
#include "tools/varve/doctor.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/host_disk.h"
#include "tools/varve/long_work.h"
#include "tools/varve/mount_holders.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/open_store.h"
#include "tools/varve/progress.h"

namespace varve::tools {
namespace {

// With less free space than this, a mount is short of room: it keeps up to 8
// MiB back for deletions.
constexpr uint64_t kLittleRoom = uint64_t{32} << 20;
// Compaction is due if it would reclaim so many bytes and such a part of the
// store.
constexpr uint64_t kMuchDead = uint64_t{16} << 20;
constexpr double kDeadShare = 0.5;
// How many bytes to compare with their checksums.
constexpr uint64_t kSampleEntries = 1000;
constexpr uint64_t kSampleBytes = uint64_t{64} << 20;

// What to do about a store that cannot be opened.
std::string MendOf(ExitStatus status) {
  switch (status) {
    case ExitStatus::kNotAStore:
      return "if it was one once: varve check --repair STORE, on a copy; "
             "otherwise restore it from a backup";
    case ExitStatus::kDamage:
      return "varve check STORE, then varve check --repair STORE";
    case ExitStatus::kNoPermission:
      return "chown \"$(id -u)\" STORE (as root), or become its owner";
    case ExitStatus::kTooNew:
      return "install a version of Varve that is as new as the store";
    case ExitStatus::kCutShort:
      return "copy it again from where it is whole, or restore it from a "
             "backup";
    case ExitStatus::kWrongKind:
      return "name the file that is the store";
    default:
      return "varve check STORE";
  }
}

void ExamineRoom(const std::string& path, Findings& findings) {
  struct statvfs room;
  if (statvfs(DirectoryOf(path).c_str(), &room) != 0) return;
  constexpr char kRoom[] = "room";
  if ((room.f_flag & ST_RDONLY) != 0 || LiesOnReadOnlyDisk(path)) {
    findings.Trouble("host", "the disk of the store is mounted read-only",
                     kMendReadOnlyDisk);
  }
  const uint64_t free = uint64_t{room.f_bavail} * room.f_frsize;
  if (free < kLittleRoom) {
    findings.Trouble(kRoom,
                     absl::StrCat("the disk of the store is full: ",
                                  HumanBytes(free), " are left"),
                     "varve compact --punch STORE, or delete files beside it");
  } else {
    findings.Ok(kRoom,
                absl::StrCat(HumanBytes(free), " are left beside the store"));
  }
}

// Whether a process has it open for writing.
bool ExamineLock(const std::string& path, const std::string& real,
                 Findings& findings) {
  constexpr char kLock[] = "lock";
  if (!IsInUse(path)) {
    findings.Ok(kLock, "nobody has it open for writing");
    return false;
  }
  const auto file = OpenForReading(path);
  const std::optional<pid_t> pid =
      file.ok() ? FindLockHolder(file->get()) : std::nullopt;
  const auto mounts = ReadMountInfo();
  const bool is_mounted = mounts.ok() && !MountpointsOf(*mounts, real).empty();
  if (!pid.has_value()) {
    findings.Note(kLock,
                  "it is open for writing, by a process that cannot be "
                  "seen from here",
                  "sudo varve doctor STORE");
  } else if (IsStopped(*pid)) {
    findings.Trouble(
        kLock,
        absl::StrCat("pid ", *pid, " has it open for writing, and is stopped"),
        absl::StrCat("kill -CONT ", *pid));
  } else if (is_mounted) {
    findings.Ok(kLock, absl::StrCat("it is mounted, by pid ", *pid));
  } else {
    findings.Note(kLock,
                  absl::StrCat("pid ", *pid,
                               " has it open for writing, and it is "
                               "not mounted where this can be seen"),
                  absl::StrCat("wait until pid ", *pid,
                               " has ended, or end it: kill ", *pid));
  }
  return true;
}

void ExamineTail(fs::Volume& volume, bool is_in_use, Findings& findings) {
  // A process is still writing the end of a store that is in use.
  if (is_in_use) return;
  const RecoveryReport& recovery = volume.store().recovery();
  if (recovery.torn_bytes > 0) {
    findings.Note("tail",
                  absl::StrCat("it ends in ", recovery.torn_bytes,
                               " bytes of an unfinished write, which do not "
                               "count"),
                  "varve mount STORE DIR, which moves them out of the way");
  } else {
    findings.Ok("tail", "its end is whole");
  }
  if (volume.closed_properly()) {
    findings.Ok("closed", "it was closed properly");
  } else {
    findings.Trouble(
        "closed", "it was not closed properly: a crash, or a copy in part",
        "varve mount STORE DIR && varve umount DIR; but a copy or download has "
        "to be made again, while it is not mounted");
  }
}

void ExamineDamage(fs::Volume& volume, Findings& findings) {
  const Store& store = volume.store();
  if (const size_t mends = store.recovery().mends.size(); mends > 0) {
    findings.Trouble(
        "chain",
        absl::StrCat(mends,
                     " of its records are damaged and were mended for "
                     "reading"),
        "varve check --repair STORE");
  } else {
    findings.Ok("chain", "its records lead from the end to the beginning");
  }
  uint64_t entries = 0, bytes = 0, damaged = 0;
  store.ForEach([&](const EntryView& entry) {
    if (bytes + entry.size() <= kSampleBytes) {
      ++entries;
      bytes += entry.size();
      damaged += store.Verify(entry.location()).ok() ? 0 : 1;
    }
    return entries < kSampleEntries && bytes < kSampleBytes;
  });
  const std::string sample =
      absl::StrCat(entries, " entries with ", HumanBytes(bytes));
  if (damaged > 0) {
    findings.Trouble(
        "checksums",
        absl::StrCat(damaged, " of ", sample, " do not match their checksums"),
        "varve check STORE says which files they are in; restore "
        "those from a backup");
  } else {
    findings.Ok("checksums", absl::StrCat(sample,
                                          " match their checksums (varve check "
                                          "compares all)"));
  }
}

void ExamineDead(fs::Volume& volume, Findings& findings) {
  constexpr char kDead[] = "dead";
  const auto statistics = volume.GetStatistics();
  if (!statistics.ok()) {
    findings.Trouble(kDead, std::string(statistics.status().message()),
                     "varve check STORE");
    return;
  }
  // What the policy leaves to the past is not reclaimed.
  const uint64_t dead = statistics->dead_bytes - statistics->history_bytes;
  const uint64_t all = std::max<uint64_t>(statistics->allocated_bytes, 1);
  const double share = static_cast<double>(dead) / static_cast<double>(all);
  const std::string text = absl::StrFormat(
      "a compaction would reclaim %s, %.0f %%", HumanBytes(dead), 100 * share);
  if (dead >= kMuchDead && share >= kDeadShare) {
    findings.Trouble(kDead, text, "varve compact STORE");
  } else {
    findings.Ok(kDead, text);
  }
}

void ExamineOpened(fs::Volume& volume, Findings& findings) {
  std::string text = absl::StrCat(
      "a store of ", HumanBytes(volume.store().recovery().file_size), ", ",
      volume.store().size(), " entries");
  if (!fs::FindIdentityEntry(volume.store()).ok()) {
    findings.Note("format", text + ", without a tree");
    return;
  }
  absl::StrAppend(&text, ", ", volume.totals().inodes, " files");
  findings.Ok("format", text);
}

}  // namespace

void ExamineStore(const std::string& path, Findings& findings) {
  constexpr char kExists[] = "exists";
  struct stat stat;
  if (::stat(path.c_str(), &stat) != 0) {
    const bool is_missing = errno == ENOENT || errno == ENOTDIR;
    findings.Trouble(
        kExists, is_missing ? "there is no such file" : "it cannot be examined",
        is_missing ? "find where it is; varve mount STORE DIR "
                     "would make a new one"
                   : "sudo varve doctor STORE");
    return;
  }
  findings.Ok(kExists, absl::StrCat("a file of ",
                                    HumanBytes(static_cast<uint64_t>(
                                        std::max<off_t>(stat.st_size, 0)))));
  const auto real_path = RealPath(path);
  const std::string real = real_path.ok() ? *real_path : path;
  ExamineRoom(real, findings);
  const auto volume = OpenVolume(path, {.read_only = true});
  absl::Status status = volume.status();
  if (status.ok() && !(*volume)->cut_short().ok()) {
    status = CutShort((*volume)->cut_short());
  }
  if (!status.ok()) {
    findings.Trouble("format",
                     absl::StrCat("it cannot be opened: ",
                                  WithoutNames(std::string(status.message()),
                                               {path, real}, "STORE")),
                     MendOf(ExitStatusOf(status)));
    return;
  }
  ShowUntilOutput("examining " + LastPartOf(path));
  ExamineOpened(**volume, findings);
  const bool is_in_use = ExamineLock(path, real, findings);
  ExamineTail(**volume, is_in_use, findings);
  ExamineDamage(**volume, findings);
  ExamineDead(**volume, findings);
  EndShown();
}

}  // namespace varve::tools
