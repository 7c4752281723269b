#include "tools/varve/mount_options.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"

namespace varve::tools {
namespace {

// Options that are on or off, and what says so.
struct Switches {
  bool read_only = false;
  bool nosuid = true;  // unless root mounts, as with any file system
  bool nodev = true;
  bool noexec = false;
  fs::AccessTimes access_times = fs::AccessTimes::kRelative;
  bool nodiratime = false;
  bool sync = false;
  bool dirsync = false;
  bool allow_other = false;
  bool allow_root = false;
  bool auto_unmount = false;
  bool create = true;
  bool debug = false;
  bool io_uring = false;
  bool remount = false;
};

struct Switch {
  const char* name;
  bool Switches::*target;
  bool value;
};

constexpr Switch kSwitches[] = {
    {"ro", &Switches::read_only, true},
    {"rw", &Switches::read_only, false},
    {"nosuid", &Switches::nosuid, true},
    {"suid", &Switches::nosuid, false},
    {"nodev", &Switches::nodev, true},
    {"dev", &Switches::nodev, false},
    {"noexec", &Switches::noexec, true},
    {"exec", &Switches::noexec, false},
    {"nodiratime", &Switches::nodiratime, true},
    {"diratime", &Switches::nodiratime, false},
    {"sync", &Switches::sync, true},
    {"async", &Switches::sync, false},
    {"dirsync", &Switches::dirsync, true},
    {"allow_other", &Switches::allow_other, true},
    {"allow_root", &Switches::allow_root, true},
    {"auto_unmount", &Switches::auto_unmount, true},
    {"create", &Switches::create, true},
    {"nocreate", &Switches::create, false},
    {"debug", &Switches::debug, true},
    // The first one is how libfuse calls it, too.
    {"io_uring", &Switches::io_uring, true},
    {"io_uring=yes", &Switches::io_uring, true},
    {"io_uring=no", &Switches::io_uring, false},
    {"remount", &Switches::remount, true},
};

// Each of these decides about access times alone.
constexpr std::pair<absl::string_view, fs::AccessTimes> kAccessTimes[] = {
    {"noatime", fs::AccessTimes::kNever},
    {"atime", fs::AccessTimes::kRelative},
    {"relatime", fs::AccessTimes::kRelative},
    {"norelatime", fs::AccessTimes::kRelative},
    {"strictatime", fs::AccessTimes::kAlways},
    {"nostrictatime", fs::AccessTimes::kRelative},
};

// Handed on with their value.
constexpr absl::string_view kPassed[] = {
    "max_read=", "context=", "fscontext=", "defcontext=", "rootcontext="};

// Meant for mount(8), systemd or nobody, or true of Varve anyway.
constexpr absl::string_view kIgnored[] = {
    "auto",       "noauto",  "defaults", "default_permissions",
    "user",       "nouser",  "users",    "owner",
    "group",      "_netdev", "nofail",   "lazytime",
    "nolazytime", "silent",  "loud",     "acl",
    "user_xattr"};
constexpr absl::string_view kIgnoredPrefixes[] = {
    "x-", "X-", "comment=", "user=", "subtype="};

// Splits at commas; "\," is a comma inside an option.
std::vector<std::string> SplitList(absl::string_view list) {
  std::vector<std::string> options(1);
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i] == ',') {
      options.emplace_back();
      continue;
    }
    if (list[i] == '\\' && i + 1 < list.size()) ++i;
    options.back() += list[i];
  }
  return options;
}

bool IsIgnored(absl::string_view option) {
  return std::find(std::begin(kIgnored), std::end(kIgnored), option) !=
             std::end(kIgnored) ||
         std::any_of(std::begin(kIgnoredPrefixes), std::end(kIgnoredPrefixes),
                     [option](absl::string_view prefix) {
                       return absl::StartsWith(option, prefix);
                     });
}

absl::Status BadOption(absl::string_view option, absl::string_view why) {
  return ExitError(ExitStatus::kUsage,
                   absl::StrCat("mount option ", Printable(option), " ", why));
}

// "auto", "never", or the part of a store that has to be dead.
std::optional<fs::AutoCompaction> ParseAutoCompaction(absl::string_view value) {
  using Mode = fs::AutoCompaction::Mode;
  if (value == "auto") return fs::AutoCompaction{.mode = Mode::kAuto};
  if (value == "never") return fs::AutoCompaction{.mode = Mode::kNever};
  double ratio = 0;
  // Not a number is not between any two, either.
  if (!absl::SimpleAtod(value, &ratio) || !(ratio > 0 && ratio < 1)) {
    return std::nullopt;
  }
  return fs::AutoCompaction{.mode = Mode::kRatio, .dead_ratio = ratio};
}

// An option whose value is a number, or the like. False if it is none of these.
absl::StatusOr<bool> ParseValue(const std::string& option,
                                MountOptions& options) {
  absl::string_view value = option;
  if (absl::ConsumePrefix(&value, "threads=")) {
    constexpr int kMaxThreads = 1024;
    if (!absl::SimpleAtoi(value, &options.threads) || options.threads < 1 ||
        options.threads > kMaxThreads) {
      return BadOption(option, "needs a number from 1 to 1024");
    }
    return true;
  }
  if (absl::ConsumePrefix(&value, "poll=")) {
    constexpr int kMaxMicroseconds = 100'000;
    int microseconds;
    if (!absl::SimpleAtoi(value, &microseconds) || microseconds < 0 ||
        microseconds > kMaxMicroseconds) {
      return BadOption(option, "needs microseconds, from 0 to 100000");
    }
    options.poll = absl::Microseconds(microseconds);
    return true;
  }
  if (absl::ConsumePrefix(&value, "compact=")) {
    const auto parsed = ParseAutoCompaction(value);
    if (!parsed.has_value()) {
      return BadOption(option,
                       "needs auto, never or a ratio between 0 and 1, as "
                       "compact=0.5");
    }
    options.auto_compaction = *parsed;
    return true;
  }
  return false;
}

// What the kernel shows of a mount, which mount(8) repeats when it remounts.
bool IsShownByKernel(absl::string_view option) {
  return absl::StartsWith(option, "user_id=") ||
         absl::StartsWith(option, "group_id=");
}

// One option. Switches are collected apart, since the last one counts.
absl::Status ParseOption(const std::string& option, Switches& switches,
                         MountOptions& options) {
  for (const Switch& known : kSwitches) {
    if (option == known.name) {
      switches.*known.target = known.value;
      return absl::OkStatus();
    }
  }
  for (const auto& [name, access_times] : kAccessTimes) {
    if (option == name) {
      switches.access_times = access_times;
      return absl::OkStatus();
    }
  }
  for (const absl::string_view prefix : kPassed) {
    if (absl::StartsWith(option, prefix)) {
      options.kernel_options.push_back(option);
      return absl::OkStatus();
    }
  }
  if (IsIgnored(option)) return absl::OkStatus();
  const absl::StatusOr<bool> parsed = ParseValue(option, options);
  if (!parsed.ok() || *parsed) return parsed.status();
  if (absl::StartsWith(option, "io_uring=")) {
    return BadOption(option, "needs yes or no");
  }
  if (absl::StartsWith(option, "fsname=")) {
    return BadOption(option,
                     "is not possible: the source of the mount is "
                     "always the path of the store");
  }
  return BadOption(option, "is not known (see varve mount --help)");
}

absl::Status CheckAllowed(const Switches& switches, const Mounter& mounter) {
  if (switches.allow_other && switches.allow_root) {
    return ExitError(
        ExitStatus::kUsage,
        "mount options allow_other and allow_root exclude each other");
  }
  if ((switches.allow_other || switches.allow_root) &&
      !mounter.may_allow_other) {
    return ExitError(
        ExitStatus::kNoPermission,
        absl::StrCat("mount option ",
                     switches.allow_other ? "allow_other" : "allow_root",
                     " needs the line user_allow_other in /etc/fuse.conf, "
                     "unless root mounts"));
  }
  if ((!switches.nosuid || !switches.nodev) && !mounter.is_root) {
    return ExitError(
        ExitStatus::kNoPermission,
        absl::StrCat("mount option ", switches.nosuid ? "dev" : "suid",
                     " is for root only"));
  }
  return absl::OkStatus();
}

void AddKernelOptions(const Switches& switches, MountOptions& options) {
  const auto add = [&options](const char* name) {
    options.kernel_options.emplace_back(name);
  };
  if (switches.read_only) add("ro");
  add(switches.nosuid ? "nosuid" : "suid");
  add(switches.nodev ? "nodev" : "dev");
  if (switches.noexec) add("noexec");
  if (switches.access_times == fs::AccessTimes::kNever) add("noatime");
  if (switches.sync) add("sync");
  if (switches.dirsync) add("dirsync");
  if (switches.allow_other) add("allow_other");
  if (switches.allow_root) add("allow_root");
  if (switches.auto_unmount) add("auto_unmount");
}

}  // namespace

bool AllowsOther(absl::string_view fuse_conf_text) {
  for (const absl::string_view line : absl::StrSplit(fuse_conf_text, '\n')) {
    if (absl::StripAsciiWhitespace(line) == "user_allow_other") return true;
  }
  return false;
}

Mounter CurrentMounter(const std::string& fuse_conf) {
  Mounter mounter;
  mounter.is_root = geteuid() == 0;
  // Who cannot read the file gets the stricter answer, as from fusermount3.
  const absl::StatusOr<std::string> text = ReadHostFile(fuse_conf);
  mounter.may_allow_other =
      mounter.is_root || (text.ok() && AllowsOther(*text));
  return mounter;
}

absl::StatusOr<MountOptions> ParseMountOptions(
    absl::Span<const std::string> lists, const Mounter& mounter) {
  MountOptions options;
  Switches switches;
  // mount(8) passes suid and dev on to nobody, as they are its defaults; and
  // mount.fuse3(8) passes them on also if nobody has asked for them.
  switches.nosuid = switches.nodev = !mounter.is_root;
  for (const std::string& list : lists) {
    for (std::string option : SplitList(list)) {
      if (!option.empty()) options.changes.push_back(std::move(option));
    }
  }
  options.remount = std::find(options.changes.begin(), options.changes.end(),
                              "remount") != options.changes.end();
  for (const std::string& option : options.changes) {
    if (options.remount && IsShownByKernel(option)) continue;
    VARVE_RETURN_IF_ERROR(ParseOption(option, switches, options));
  }
  VARVE_RETURN_IF_ERROR(CheckAllowed(switches, mounter));
  options.read_only = switches.read_only;
  options.create = switches.create;
  options.debug = switches.debug;
  options.io_uring = switches.io_uring;
  options.access_times = switches.access_times;
  options.directory_access_times = !switches.nodiratime;
  AddKernelOptions(switches, options);
  return options;
}

}  // namespace varve::tools
