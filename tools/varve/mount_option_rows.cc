#include "tools/varve/mount_option_rows.h"

#include <sys/mount.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"

namespace varve::tools {
namespace {

// ---- Setters of the rows below ----------------------------------------------

template <auto kField, auto kValue>
absl::Status InVolume(const MountOptionWord&, MountOptions& options) {
  options.volume.*kField = kValue;
  return absl::OkStatus();
}

template <auto kField, auto kValue>
absl::Status InFuse(const MountOptionWord&, MountOptions& options) {
  options.fuse.*kField = kValue;
  return absl::OkStatus();
}

// Passes the option on to kernel and libfuse as it is, instead of its opposite.
absl::Status Pass(const MountOptionWord& word, MountOptions& options) {
  absl::string_view name = word.text;
  const std::string opposite = absl::ConsumePrefix(&name, "no")
                                   ? std::string(name)
                                   : absl::StrCat("no", name);
  std::vector<std::string>& passed = options.fuse.mount_options;
  const auto place = std::find(passed.begin(), passed.end(), opposite);
  if (place != passed.end()) {
    *place = std::string(word.text);
  } else if (!IsPassedOn(options, word.text)) {
    passed.emplace_back(word.text);
  }
  return absl::OkStatus();
}

void TakeBack(MountOptions& options, absl::string_view option) {
  std::erase(options.fuse.mount_options, option);
}

// For an option that is the default: removes its opposite.
absl::Status AllowExecution(const MountOptionWord&, MountOptions& options) {
  TakeBack(options, "noexec");
  return absl::OkStatus();
}

absl::Status WriteLater(const MountOptionWord&, MountOptions& options) {
  TakeBack(options, "sync");
  return absl::OkStatus();
}

absl::Status ReadOnly(const MountOptionWord& word, MountOptions& options) {
  options.volume.read_only = true;
  return Pass(word, options);
}

absl::Status ReadAndWrite(const MountOptionWord&, MountOptions& options) {
  options.volume.read_only = false;
  TakeBack(options, "ro");
  return absl::OkStatus();
}

// Of the options about access times that call this, only the last one counts.
template <fs::AccessTimes kAccessTimes>
absl::Status SetAccessTimes(const MountOptionWord&, MountOptions& options) {
  options.volume.access_times = kAccessTimes;
  TakeBack(options, "noatime");
  if (kAccessTimes != fs::AccessTimes::kNever) return absl::OkStatus();
  return Pass(TakeApart("noatime"), options);
}

absl::Status SetMoment(const MountOptionWord& word, MountOptions& options) {
  if (word.value.empty()) {
    return ExitError(ExitStatus::kUsage,
                     "the mount option at= needs a moment, such as at=2h");
  }
  options.volume.at = std::string(word.value);
  return ReadOnly(TakeApart("ro"), options);
}

absl::Status SetThreads(const MountOptionWord& word, MountOptions& options) {
  constexpr int kMaxThreads = 1024;
  int& threads = options.fuse.threads;
  if (!absl::SimpleAtoi(word.value, &threads) || threads < 1 ||
      threads > kMaxThreads) {
    return BadMountOption(word, "needs a number from 1 to 1024");
  }
  return absl::OkStatus();
}

absl::Status SetPoll(const MountOptionWord& word, MountOptions& options) {
  constexpr int kMaxMicroseconds = 100'000;
  int microseconds;
  if (!absl::SimpleAtoi(word.value, &microseconds) || microseconds < 0 ||
      microseconds > kMaxMicroseconds) {
    return BadMountOption(word, "needs microseconds, from 0 to 100000");
  }
  options.fuse.poll = absl::Microseconds(microseconds);
  return absl::OkStatus();
}

absl::Status SetMaxRead(const MountOptionWord& word, MountOptions& options) {
  if (!absl::SimpleAtoi(word.value, &options.fuse.max_read)) {
    return BadMountOption(word, "needs a number of bytes");
  }
  return absl::OkStatus();
}

absl::Status SetIoUring(const MountOptionWord& word, MountOptions& options) {
  // libfuse also uses the first name.
  const bool yes = !word.has_value || word.value == "yes";
  if (!yes && word.value != "no") {
    return BadMountOption(word, "needs yes or no");
  }
  options.fuse.io_uring = yes;
  return absl::OkStatus();
}

// "auto", "never", or the part of the store that must be dead.
std::optional<fs::AutoCompaction> ParseAutoCompaction(absl::string_view value) {
  using Mode = fs::AutoCompaction::Mode;
  if (value == "auto") return fs::AutoCompaction{.mode = Mode::kAuto};
  if (value == "never") return fs::AutoCompaction{.mode = Mode::kNever};
  double ratio = 0;
  // Also refuses "not a number", which is between no two numbers.
  if (!absl::SimpleAtod(value, &ratio) || !(ratio > 0 && ratio < 1)) {
    return std::nullopt;
  }
  return fs::AutoCompaction{.mode = Mode::kRatio, .dead_ratio = ratio};
}

absl::Status SetAutoCompaction(const MountOptionWord& word,
                               MountOptions& options) {
  const auto parsed = ParseAutoCompaction(word.value);
  if (!parsed.has_value()) {
    return BadMountOption(word,
                          "needs auto, never or a ratio between 0 and 1, as "
                          "compact=0.5");
  }
  options.volume.auto_compaction = *parsed;
  return absl::OkStatus();
}

absl::Status SetMetrics(const MountOptionWord& word, MountOptions& options) {
  if (word.value.size() < 2 || (word.value[0] != '/' && word.value[0] != '@')) {
    return BadMountOption(word, "needs an absolute path");
  }
  options.fuse.metrics_socket = std::string(word.value);
  return absl::OkStatus();
}

absl::Status SetRemount(const MountOptionWord&, MountOptions& options) {
  options.remount = true;
  return absl::OkStatus();
}

absl::Status RefuseSource(const MountOptionWord& word, MountOptions&) {
  return BadMountOption(
      word,
      "is not possible: the source of the mount is always the "
      "path of the store");
}

// ---- The options ------------------------------------------------------------

using fs::AccessTimes;
using fs::FuseOptions;
using fs::VolumeOptions;

constexpr MountOptionRow kRows[] = {
    {.name = "ro", .set = &ReadOnly, .flag = {MS_RDONLY, true}},
    {.name = "rw",
     .set = &ReadAndWrite,
     .flag = {MS_RDONLY, false},
     .help = "read-only or not; the default is rw",
     .details =
         "A damaged store is mounted read-only with either, if it "
         "can be mounted; the log and .varve/status say what is wrong. See "
         "varve-check(1)."},
    {.name = "create", .set = &InVolume<&VolumeOptions::create, true>},
    {.name = "nocreate",
     .set = &InVolume<&VolumeOptions::create, false>,
     .help = "whether to make the store if there is none; the default is to "
             "make it"},
    {.name = "compact",
     .value = "auto|never|RATIO",
     .set = &SetAutoCompaction,
     .help = "when to compact by itself: auto (the default), never, or when "
             "this part of the store is dead",
     .details =
         "This reclaims the space of deleted and overwritten data in the "
         "background. With auto, once 64 MiB are dead: if that is more than a "
         "quarter of the space that the store takes on the disk, by punching "
         "holes into it; if it is more than half and the disk has room, by "
         "copying live data. What history may have is not dead (see "
         "varve-history(1)). A RATIO between 0 and 1 replaces that half. Holes "
         "are also punched when the store is mounted, and when it is "
         "unmounted, for no longer than writing took while it was mounted. See "
         "varve-compact(1) for compacting by hand."},
    {.name = "at",
     .value = "MOMENT",
     .set = &SetMoment,
     .help = "show the tree of a past moment, read-only",
     .details = "A moment is the name of a snapshot, a time, a span such as "
                "2h, or seq:N; see varve-log(1)."},
    {.name = "threads",
     .value = "N",
     .set = &SetThreads,
     .help = "threads that answer requests",
     .details = "With io_uring they are spread over the processors, with at "
                "least one for each."},
    {.name = "io_uring",
     .value = "[yes|no]",
     .set = &SetIoUring,
     .help = "receive requests through io_uring if the kernel offers it; "
             "the default is no",
     .details =
         "Otherwise requests come through /dev/fuse. On an otherwise idle "
         "machine io_uring makes deleting, small transactions and large writes "
         "faster, and unpacking slower; on a busy one it makes small "
         "operations several times faster. The kernel offers it from Linux "
         "6.14 on, once root has written Y to "
         "/sys/module/fuse/parameters/enable_uring. If it does not, the log "
         "says so, and /dev/fuse is used. The line transport of .varve/status "
         "shows which one is in use."},
    {.name = "poll",
     .value = "MICROSECONDS",
     .set = &SetPoll,
     .help = "how long to poll for the next request before sleeping, while "
             "that pays off; 0 means never",
     .details =
         "The daemon polls only while many requests come within that time, so "
         "an idle mount takes no processor time. It never polls on a machine "
         "with one processor, or with io_uring."},
    {.name = "metrics",
     .value = "PATH",
     .set = &SetMetrics,
     .help = "also serve metrics for Prometheus on a Unix socket at this path",
     .details =
         "The file .varve/metrics has the same text. The socket speaks HTTP: "
         "`curl --unix-socket PATH http://varve/metrics`. Anybody who can "
         "reach the path may read them. A name behind an @ is in the abstract "
         "namespace."},
    {.name = "log_processes",
     .set = &InFuse<&FuseOptions::log_processes, true>,
     .help = "note with each change which process made it, for `varve log`",
     .details =
         "Without this, the log has the user alone. It has the number of the "
         "process and the name of its command."},
    {.name = "debug",
     .set = &InFuse<&FuseOptions::debug, true>,
     .help = "log every request (with -f)"},
    {.name = "allow_other",
     .set = &Pass,
     .help = "let other users in; unless root mounts, it needs "
             "user_allow_other in /etc/fuse.conf"},
    {.name = "allow_root", .set = &Pass, .help = "let root in"},
    {.name = "nosuid", .set = &Pass, .flag = {MS_NOSUID, true}},
    {.name = "nodev",
     .set = &Pass,
     .flag = {MS_NODEV, true},
     .help = "set-user-ID bits and device nodes of the store have no effect; "
             "always on unless root mounts, when the default is suid,dev as "
             "with any file system",
     .details = "Mount a store that you do not trust with nosuid,nodev."},
    {.name = "remount",
     .set = &SetRemount,
     .help = "change an existing mount: ro, rw, nosuid and other flags of "
             "the kernel; for root only",
     .details =
         "These options can be changed: ro, rw, nosuid, nodev, noexec, sync, "
         "dirsync, noatime and their opposites. All others belong to the "
         "daemon and stay as they were when it was started; they are accepted, "
         "because mount(8) repeats those of fstab(5). A mount that began "
         "read-only cannot become writable."},
    {.name = "noatime",
     .set = &SetAccessTimes<AccessTimes::kNever>,
     .flag = {MS_NOATIME, true}},
    {.name = "relatime",
     .set = &SetAccessTimes<AccessTimes::kRelative>,
     .flag = {MS_RELATIME, true}},
    {.name = "strictatime", .set = &SetAccessTimes<AccessTimes::kAlways>},
    {.name = "nodiratime",
     .set = &InVolume<&VolumeOptions::directory_access_times, false>,
     .flag = {MS_NODIRATIME, true},
     .help = "whether reading changes access times; relatime (the default): "
             "the first time after a change",
     .details =
         "See mount(8). The daemon keeps access times in memory until the next "
         "change of the same file, a checkpoint, or unmounting, so a crash may "
         "lose them."},
    {.name = "noexec", .set = &Pass, .flag = {MS_NOEXEC, true}},
    {.name = "sync", .set = &Pass, .flag = {MS_SYNCHRONOUS, true}},
    {.name = "dirsync", .set = &Pass, .flag = {MS_DIRSYNC, true}},
    {.name = "max_read", .value = "N", .set = &SetMaxRead},
    {.name = "auto_unmount",
     .set = &Pass,
     .help = "as mount(8) and mount.fuse3(8) describe them"},
    // Rows behind the last help are not shown to users: defaults, which revoke
    // one of the options above, and options that security modules pass on.
    {.name = "suid", .set = &Pass, .flag = {MS_NOSUID, false}},
    {.name = "dev", .set = &Pass, .flag = {MS_NODEV, false}},
    {.name = "exec", .set = &AllowExecution, .flag = {MS_NOEXEC, false}},
    {.name = "async", .set = &WriteLater, .flag = {MS_SYNCHRONOUS, false}},
    {.name = "atime",
     .set = &SetAccessTimes<AccessTimes::kRelative>,
     .flag = {MS_NOATIME, false}},
    {.name = "norelatime", .set = &SetAccessTimes<AccessTimes::kRelative>},
    {.name = "nostrictatime", .set = &SetAccessTimes<AccessTimes::kRelative>},
    {.name = "diratime",
     .set = &InVolume<&VolumeOptions::directory_access_times, true>,
     .flag = {MS_NODIRATIME, false}},
    {.name = "context", .value = "TEXT", .set = &Pass},
    {.name = "fscontext", .value = "TEXT", .set = &Pass},
    {.name = "defcontext", .value = "TEXT", .set = &Pass},
    {.name = "rootcontext", .value = "TEXT", .set = &Pass},
    {.name = "fsname", .value = "TEXT", .set = &RefuseSource},
};

}  // namespace

MountOptionWord TakeApart(absl::string_view text) {
  const size_t equals = text.find('=');
  if (equals == absl::string_view::npos) return {text, text, "", false};
  return {text, text.substr(0, equals), text.substr(equals + 1), true};
}

absl::Status BadMountOption(const MountOptionWord& word,
                            absl::string_view why) {
  return ExitError(
      ExitStatus::kUsage,
      absl::StrCat("mount option ", Printable(word.text), " ", why));
}

bool IsPassedOn(const MountOptions& options, absl::string_view option) {
  const std::vector<std::string>& passed = options.fuse.mount_options;
  return std::find(passed.begin(), passed.end(), option) != passed.end();
}

absl::Span<const MountOptionRow> MountOptionRows() { return kRows; }

}  // namespace varve::tools
