#include "tools/varve/mount_options.h"

#include <sys/mount.h>

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tools/varve/exit_status.h"

namespace varve::tools {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr Mounter kRoot = {.is_root = true, .may_allow_other = true};
constexpr Mounter kUser = {.is_root = false, .may_allow_other = false};

// The options of a list that has to be accepted.
MountOptions Parse(const std::string& list, const Mounter& mounter = kRoot) {
  const auto options = ParseMountOptions({list}, mounter);
  EXPECT_TRUE(options.ok()) << list << ": " << options.status();
  return options.value_or(MountOptions());
}

// The failure of a list that must not be.
absl::Status Refusal(const std::string& list, const Mounter& mounter = kRoot) {
  const auto options = ParseMountOptions({list}, mounter);
  EXPECT_FALSE(options.ok()) << list;
  return options.status();
}

std::string Message(const absl::Status& status) {
  return std::string(status.message());
}

TEST(MountOptionsTest, NosuidAndNodevAreOnUnlessRootMounts) {
  const MountOptions options = Parse("");
  EXPECT_FALSE(options.volume.read_only);
  EXPECT_TRUE(options.volume.create);
  EXPECT_EQ(options.fuse.threads, 0);
  EXPECT_THAT(options.fuse.mount_options, ElementsAre("suid", "dev"));
  EXPECT_THAT(ParseMountOptions({}, kUser)->fuse.mount_options,
              ElementsAre("nosuid", "nodev"));
  EXPECT_THAT(Parse("nodev,nosuid").fuse.mount_options,
              ElementsAre("nosuid", "nodev"));
}

TEST(MountOptionsTest, ReadOnlyIsForTheStoreAndForTheKernel) {
  const MountOptions options = Parse("ro");
  EXPECT_TRUE(options.volume.read_only);
  EXPECT_THAT(options.fuse.mount_options, Contains("ro"));
}

TEST(MountOptionsTest, TheLastOfContradictingOptionsCounts) {
  EXPECT_FALSE(Parse("ro,rw").volume.read_only);
  EXPECT_TRUE(Parse("rw,ro").volume.read_only);
  EXPECT_THAT(Parse("noexec,exec").fuse.mount_options, Not(Contains("noexec")));
  EXPECT_THAT(Parse("exec,noexec").fuse.mount_options, Contains("noexec"));
  EXPECT_FALSE(Parse("create,nocreate").volume.create);
  // As mount(8) expands fstab's "user,suid".
  EXPECT_THAT(Parse("noexec,nosuid,nodev,suid").fuse.mount_options,
              Contains("suid"));
}

TEST(MountOptionsTest, SeveralListsAreTakenInOrder) {
  const auto options = ParseMountOptions({"ro,threads=3", "rw"}, kRoot);
  ASSERT_TRUE(options.ok());
  EXPECT_FALSE(options->volume.read_only);
  EXPECT_EQ(options->fuse.threads, 3);
}

TEST(MountOptionsTest, WhatFstabAndTheKernelAddIsIgnored) {
  const MountOptions options = Parse(
      "defaults,auto,noauto,user,user=me,users,_netdev,nofail,lazytime,"
      "x-systemd.automount,x-gvfs-show,comment=a,default_permissions,"
      "subtype=other,,");
  EXPECT_THAT(options.fuse.mount_options, ElementsAre("suid", "dev"));
}

TEST(MountOptionsTest, KernelOptionsArePassedOn) {
  const MountOptions options =
      Parse("allow_other,noatime,sync,dirsync,auto_unmount");
  for (const char* passed :
       {"allow_other", "noatime", "sync", "dirsync", "auto_unmount"}) {
    EXPECT_THAT(options.fuse.mount_options, Contains(passed));
  }
}

TEST(MountOptionsTest, ThreadsNeedANumber) {
  EXPECT_EQ(Parse("threads=8").fuse.threads, 8);
  for (const char* bad :
       {"threads=", "threads=0", "threads=-1", "threads=x", "threads=9999"}) {
    const absl::Status status = Refusal(bad);
    EXPECT_EQ(ExitStatusOf(status), ExitStatus::kUsage);
    EXPECT_THAT(Message(status), HasSubstr(bad));
  }
}

TEST(MountOptionsTest, MaxReadNeedsANumber) {
  EXPECT_EQ(Parse("").fuse.max_read, 0u);
  EXPECT_EQ(Parse("max_read=65536").fuse.max_read, 65536u);
  EXPECT_EQ(Parse("max_read=65536,max_read=4096").fuse.max_read, 4096u);
  for (const char* bad :
       {"max_read=", "max_read=-1", "max_read=64k", "max_read=4294967296"}) {
    const absl::Status status = Refusal(bad);
    EXPECT_EQ(ExitStatusOf(status), ExitStatus::kUsage);
    EXPECT_THAT(Message(status), HasSubstr(bad));
  }
}

TEST(MountOptionsTest, MetricsNeedAPathOrAName) {
  EXPECT_EQ(Parse("metrics=/run/m").fuse.metrics_socket, "/run/m");
  EXPECT_EQ(Parse("metrics=@m").fuse.metrics_socket, "@m");
  for (const char* bad : {"metrics=", "metrics", "metrics=/", "metrics=m"}) {
    EXPECT_FALSE(ParseMountOptions({bad}, kRoot).ok()) << bad;
  }
}

TEST(MountOptionsTest, PollingNeedsMicroseconds) {
  EXPECT_EQ(Parse("").fuse.poll, fs::FuseOptions().poll);
  EXPECT_EQ(Parse("poll=0").fuse.poll, absl::ZeroDuration());
  EXPECT_EQ(Parse("poll=250").fuse.poll, absl::Microseconds(250));
  for (const char* bad : {"poll=", "poll=-1", "poll=x", "poll=100001"}) {
    const absl::Status status = Refusal(bad);
    EXPECT_EQ(ExitStatusOf(status), ExitStatus::kUsage);
    EXPECT_THAT(Message(status), HasSubstr(bad));
  }
}

TEST(MountOptionsTest, IoUringIsUsedWhereAskedFor) {
  EXPECT_FALSE(Parse("").fuse.io_uring);
  EXPECT_TRUE(Parse("io_uring").fuse.io_uring);
  EXPECT_TRUE(Parse("io_uring=yes").fuse.io_uring);
  EXPECT_FALSE(Parse("io_uring,io_uring=no").fuse.io_uring);
  for (const char* bad : {"io_uring=", "io_uring=on", "io_uring=1"}) {
    const absl::Status status = Refusal(bad);
    EXPECT_EQ(ExitStatusOf(status), ExitStatus::kUsage);
    EXPECT_THAT(Message(status), HasSubstr(bad));
  }
}

TEST(MountOptionsTest, CompactionIsAutomaticUnlessToldOtherwise) {
  using Mode = fs::AutoCompaction::Mode;
  EXPECT_EQ(Parse("").volume.auto_compaction.mode, Mode::kAuto);
  EXPECT_EQ(Parse("compact=never").volume.auto_compaction.mode, Mode::kNever);
  EXPECT_EQ(Parse("compact=never,compact=auto").volume.auto_compaction.mode,
            Mode::kAuto);
  const fs::AutoCompaction half = Parse("compact=0.5").volume.auto_compaction;
  EXPECT_EQ(half.mode, Mode::kRatio);
  EXPECT_EQ(half.dead_ratio, 0.5);
  for (const char* bad :
       {"compact=", "compact=0", "compact=1", "compact=-0.5", "compact=1.5",
        "compact=nan", "compact=inf", "compact=50%", "compact=always"}) {
    const absl::Status status = Refusal(bad);
    EXPECT_EQ(ExitStatusOf(status), ExitStatus::kUsage) << bad;
    EXPECT_THAT(Message(status), HasSubstr(bad));
  }
}

TEST(MountOptionsTest, UnknownOptionsAreNamed) {
  const absl::Status status = Refusal("ro,allow_othr");
  EXPECT_EQ(ExitStatusOf(status), ExitStatus::kUsage);
  EXPECT_THAT(Message(status), HasSubstr("allow_othr is not known"));
  for (const char* unknown :
       {"threads", "max_read", "compact", "uid=0", "fd=3"}) {
    EXPECT_EQ(ExitStatusOf(Refusal(unknown)), ExitStatus::kUsage) << unknown;
  }
}

TEST(MountOptionsTest, TheSourceCannotBeOverridden) {
  EXPECT_THAT(Message(Refusal("fsname=x")), HasSubstr("path of the store"));
}

TEST(MountOptionsTest, AnEscapedCommaIsPartOfTheOption) {
  EXPECT_THAT(Parse("context=a\\,b").fuse.mount_options,
              Contains("context=a,b"));
}

TEST(MountOptionsTest, OthersNeedPermissionToBeLetIn) {
  for (const char* option : {"allow_other", "allow_root"}) {
    const absl::Status status = Refusal(option, kUser);
    EXPECT_EQ(ExitStatusOf(status), ExitStatus::kNoPermission);
    EXPECT_THAT(Message(status), HasSubstr("user_allow_other"));
    Parse(option, {.is_root = false, .may_allow_other = true});
    Parse(option, kRoot);
  }
  EXPECT_EQ(ExitStatusOf(Refusal("allow_other,allow_root")),
            ExitStatus::kUsage);
}

TEST(MountOptionsTest, SuidAndDevAreForRoot) {
  EXPECT_THAT(Parse("suid,dev").fuse.mount_options, ElementsAre("suid", "dev"));
  EXPECT_EQ(ExitStatusOf(Refusal("suid", kUser)), ExitStatus::kNoPermission);
  EXPECT_THAT(Message(Refusal("dev", kUser)), HasSubstr("dev is for root"));
}

TEST(MountOptionsTest, WhatTheKernelShowsIsRepeatedWhenRemounting) {
  const MountOptions options = Parse("ro,user_id=0,group_id=0,remount");
  EXPECT_TRUE(options.remount);
  EXPECT_THAT(options.changes,
              ElementsAre("ro", "user_id=0", "group_id=0", "remount"));
  EXPECT_FALSE(Parse("ro").remount);
  EXPECT_EQ(ExitStatusOf(Refusal("user_id=0")), ExitStatus::kUsage);
  EXPECT_EQ(ExitStatusOf(Refusal("remount,bogus")), ExitStatus::kUsage);
}

TEST(MountOptionsTest, ARowThatIsToldHasNamesAndAPhrase) {
  std::set<std::string> names;
  for (const MountOptionText& option : DescribeMountOptions()) {
    ASSERT_FALSE(option.names.empty()) << option.help;
    for (const std::string& name : option.names) {
      EXPECT_TRUE(names.insert(name).second) << name << " is told twice";
    }
    // It becomes a sentence in the manual.
    EXPECT_FALSE(absl::EndsWith(option.help, ".")) << option.help;
    if (option.details.empty()) continue;
    EXPECT_TRUE(absl::EndsWith(option.details, ".")) << option.details;
  }
  for (const char* told :
       {"ro", "rw", "compact=auto|never|RATIO", "io_uring[=yes|no]"}) {
    EXPECT_THAT(names, Contains(told));
  }
  // Just what takes back another one.
  EXPECT_THAT(names, Not(Contains("exec")));
}

TEST(MountOptionsTest, HelpIsAlignedAndFitsATerminal) {
  const std::string help = MountOptionsHelp();
  EXPECT_THAT(help, HasSubstr("  ro, rw                      read-only"));
  EXPECT_THAT(help, HasSubstr("\n  noatime, relatime, strictatime, nodiratime\n"
                              "                              whether"));
  for (const absl::string_view line : absl::StrSplit(help, '\n')) {
    EXPECT_LT(line.size(), 80u) << line;
    EXPECT_FALSE(absl::EndsWith(line, " ")) << line;
  }
}

TEST(MountOptionsTest, FlagsOfTheKernelAreKnown) {
  const auto on = KernelFlagOf("noexec");
  const auto off = KernelFlagOf("exec");
  ASSERT_TRUE(on.has_value() && off.has_value());
  EXPECT_EQ(on->bit, static_cast<unsigned long>(MS_NOEXEC));
  EXPECT_EQ(off->bit, on->bit);
  EXPECT_TRUE(on->on);
  EXPECT_FALSE(off->on);
  for (const char* none : {"threads=2", "noexec=1", "user_id=0", "remount"}) {
    EXPECT_FALSE(KernelFlagOf(none).has_value()) << none;
  }
}

TEST(FuseConfTest, TheLineHasToStandAlone) {
  EXPECT_TRUE(AllowsOther("mount_max = 5\nuser_allow_other\n"));
  EXPECT_TRUE(AllowsOther("  user_allow_other  "));
  EXPECT_FALSE(AllowsOther("#user_allow_other\n"));
  EXPECT_FALSE(AllowsOther("no user_allow_other\n"));
  EXPECT_FALSE(AllowsOther(""));
}

TEST(FuseConfTest, AMissingFileAllowsNothing) {
  const Mounter mounter = CurrentMounter("/nonexistent/fuse.conf");
  EXPECT_EQ(mounter.may_allow_other, mounter.is_root);
}

TEST(MountOptionsTest, TheLastWordOnAccessTimesCounts) {
  using fs::AccessTimes;
  struct Case {
    const char* list;
    AccessTimes access_times;
    bool of_directories;
  };
  constexpr Case kCases[] = {
      {"", AccessTimes::kRelative, true},
      {"noatime", AccessTimes::kNever, true},
      {"noatime,relatime", AccessTimes::kRelative, true},
      {"strictatime", AccessTimes::kAlways, true},
      {"strictatime,noatime", AccessTimes::kNever, true},
      {"nodiratime", AccessTimes::kRelative, false},
      {"nodiratime,diratime,atime", AccessTimes::kRelative, true},
  };
  for (const Case& c : kCases) {
    const MountOptions options = Parse(c.list);
    EXPECT_EQ(options.volume.access_times, c.access_times) << c.list;
    EXPECT_EQ(options.volume.directory_access_times, c.of_directories)
        << c.list;
  }
}

}  // namespace
}  // namespace varve::tools
