// Past moments: what they show, how long they are kept, and that nothing that
// reclaims space takes anything away from them.

#include <errno.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "fs/log/moments.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using testing::ElementsAre;

class VolumeHistoryTest : public VolumeTest {
 protected:
  absl::Status Compact(CompactionOptions options) {
    VARVE_RETURN_IF_ERROR(volume().compactions().Start(options));
    return volume().compactions().WaitForEnd();
  }
  // A few files of different kinds, with names that begin so.
  void MakeFiles(const std::string& prefix) {
    ASSERT_THAT(Write(prefix + "small", prefix + "text"), IsOk());
    ASSERT_THAT(Write(prefix + "large", Pattern(1, 500'000)), IsOk());
    ASSERT_THAT(MakeDir(prefix + "d"), IsOk());
    ASSERT_THAT(Write(prefix + "d/in", "below"), IsOk());
    ASSERT_THAT(Symlink(prefix + "link", "target"), IsOk());
    ASSERT_THAT(Link(prefix + "small", prefix + "hard"), IsOk());
    ASSERT_THAT(Write(prefix + "pieces", Pattern(2, 100'000)), IsOk());
    ASSERT_THAT(WriteAt(prefix + "pieces", 50'000, "patch"), IsOk());
    ASSERT_THAT(volume().SetXattr(Ino(prefix + "small"), "user.a", prefix, 0),
                IsOk());
  }
};

TEST_F(VolumeHistoryTest, ASnapshotShowsTheTreeAsItWas) {
  MakeFiles("a");
  ASSERT_THAT(volume().history().CreateSnapshot("first"), IsOk());
  const std::string before = Dump();
  ASSERT_THAT(Write("asmall", "changed"), IsOk());
  ASSERT_THAT(Rename("ad", "moved"), IsOk());
  ASSERT_THAT(Unlink("alarge"), IsOk());
  ASSERT_THAT(WriteAt("apieces", 0, "more"), IsOk());
  const std::string after = Dump();
  EXPECT_EQ(DumpAt("first"), before);
  EXPECT_EQ(DumpAt("now"), after);
  Reopen();
  EXPECT_EQ(DumpAt("first"), before);
  ASSERT_THAT(Write("more", "x"), IsOk());
  Crash();
  EXPECT_EQ(DumpAt("first"), before);
  EXPECT_EQ(DumpAt("last"), before);
}

TEST_F(VolumeHistoryTest, CompactionsKeepSnapshots) {
  std::map<std::string, std::string> snapshots;
  MakeFiles("a");
  for (int i = 0; i < 5; ++i) {
    const std::string name = absl::StrCat("s", i);
    ASSERT_THAT(volume().history().CreateSnapshot(name), IsOk());
    snapshots[name] = Dump();
    if (i == 2) Reopen();
    MakeFiles(absl::StrCat("b", i));
    ASSERT_THAT(Write("asmall", absl::StrCat("version ", i)), IsOk());
    ASSERT_THAT(WriteAt("apieces", 1000 * i, "patch"), IsOk());
    if (i > 0) {
      ASSERT_THAT(Unlink(absl::StrCat("b", i - 1, "large")), IsOk());
      ASSERT_THAT(Rename(absl::StrCat("b", i - 1, "small"), "asmall"), IsOk());
    }
  }
  for (const bool punch : {true, false, true, false, false}) {
    SCOPED_TRACE(punch);
    const std::string now = Dump();
    ASSERT_THAT(Compact({.punch = punch, .forget = true}), IsOk());
    EXPECT_EQ(Dump(), now);
    for (const auto& [name, dump] : snapshots) {
      EXPECT_EQ(DumpAt(name), dump) << name;
    }
    Reopen();
    for (const auto& [name, dump] : snapshots) {
      EXPECT_EQ(DumpAt(name), dump) << name;
    }
  }
}

TEST_F(VolumeHistoryTest, ASnapshotAfterManyCommitsIsFoundAtACheckpoint) {
  const auto replayed = [this](absl::string_view name) {
    const auto place = volume().history().FindMoment(name);
    EXPECT_THAT(place, IsOk()) << name;
    const auto checkpoint = ReadCheckpoint(
        volume().store(), volume().identity(), place->checkpoint);
    EXPECT_THAT(checkpoint, IsOk()) << name;
    return place->sequence - checkpoint->header.sequence;
  };
  ASSERT_THAT(volume().history().SetPolicy(*HistoryPolicy::Parse("hourly=9")),
              IsOk());
  std::map<std::string, std::string> snapshots;
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 1500; ++j) {
      ASSERT_THAT(Write(absl::StrCat("f", j % 100), absl::StrCat(i, j)),
                  IsOk());
    }
    std::string name = absl::StrCat("s", i);
    if (i < 2) {
      ASSERT_THAT(volume().history().CreateSnapshot(name), IsOk());
    } else {
      AdvanceClock(absl::Hours(1));
      ASSERT_THAT(volume().history().ApplyPolicy(), IsOk());
      const auto made = volume().history().Snapshots();
      ASSERT_THAT(made, IsOk());
      name = std::max_element(made->begin(), made->end(),
                              [](const Snapshot& a, const Snapshot& b) {
                                return a.sequence < b.sequence;
                              })
                 ->name;
    }
    snapshots[name] = Dump();
    EXPECT_EQ(replayed(name), 0u) << name;
    ASSERT_THAT(Write("behind", name), IsOk());
    if (i == 0) Reopen();
    if (i == 1) Crash();
  }
  for (const bool punch : {true, false, true}) {
    for (const auto& [name, dump] : snapshots) {
      EXPECT_EQ(DumpAt(name), dump) << name;
      EXPECT_EQ(replayed(name), 0u) << name;
    }
    ASSERT_THAT(Compact({.punch = punch, .forget = true}), IsOk());
    Crash();
  }
}

TEST_F(VolumeHistoryTest, WhatOnlyADeletedSnapshotHeldIsReclaimed) {
  ASSERT_THAT(Write("big", Pattern(1, 8u << 20)), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("s"), IsOk());
  ASSERT_THAT(Unlink("big"), IsOk());
  ASSERT_THAT(Compact({.forget = true}), IsOk());
  EXPECT_GT(FileSize(), 8u << 20);
  ASSERT_THAT(volume().history().DeleteSnapshot("s"), IsOk());
  ASSERT_THAT(Compact({.forget = true}), IsOk());
  EXPECT_LT(FileSize(), 1u << 20);
  EXPECT_THAT(DumpAt("s"), testing::StartsWith("INVALID_ARGUMENT"));
}

TEST_F(VolumeHistoryTest, UsageSaysWhatWouldComeBack) {
  constexpr uint64_t kBig = 2 << 20;
  constexpr uint64_t kSmall = 1 << 20;
  ASSERT_THAT(Write("big", Pattern(1, kBig)), IsOk());
  ASSERT_THAT(Write("stays", Pattern(2, kSmall)), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("a"), IsOk());
  ASSERT_THAT(Unlink("big"), IsOk());
  ASSERT_THAT(Write("between", Pattern(3, kSmall)), IsOk());
  ASSERT_THAT(WriteAt("stays", 1000, "patch"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("b"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("c"), IsOk());
  ASSERT_THAT(Unlink("between"), IsOk());
  ASSERT_THAT(volume().history().SetPolicy(*HistoryPolicy::Parse("within=0")),
              IsOk());
  const auto own = [this] {
    const auto usage = volume().history().GetUsage();
    EXPECT_THAT(usage, IsOk());
    std::map<std::string, uint64_t> bytes;
    for (const auto& [snapshot, own_bytes] : usage->snapshots) {
      bytes[snapshot.name] = own_bytes;
    }
    return bytes;
  };
  using Own = std::map<std::string, uint64_t>;
  // Of what was patched, five bytes are gone.
  EXPECT_EQ(own(), (Own{{"a", kBig + 5}, {"b", 0}, {"c", 0}}));
  ASSERT_THAT(Compact({.forget = true}), IsOk());
  EXPECT_EQ(own(), (Own{{"a", kBig + 5}, {"b", 0}, {"c", 0}}));
  ASSERT_THAT(volume().history().DeleteSnapshot("b"), IsOk());
  EXPECT_EQ(own(), (Own{{"a", kBig + 5}, {"c", kSmall}}));
  ASSERT_THAT(volume().history().CreateSnapshot("d", "c"), IsOk());
  EXPECT_EQ(own(), (Own{{"a", kBig + 5}, {"c", 0}, {"d", 0}}));
  const uint64_t before = volume().history().GetUsage()->allocated;
  ASSERT_THAT(volume().history().DeleteSnapshot("a"), IsOk());
  ASSERT_THAT(Compact({.forget = true}), IsOk());
  EXPECT_NEAR(volume().history().GetUsage()->allocated, before - kBig,
              kBig / 8);
}

TEST_F(VolumeHistoryTest, SnapshotsHaveNamesAndCanBeHeld) {
  ASSERT_THAT(volume().history().CreateSnapshot("a"), IsOk());
  EXPECT_THAT(volume().history().CreateSnapshot("a"), HasErrno(EEXIST));
  EXPECT_THAT(volume().history().CreateSnapshot(""), HasErrno(EINVAL));
  EXPECT_THAT(volume().history().CreateSnapshot("x/y"), HasErrno(EINVAL));
  EXPECT_THAT(volume().history().CreateSnapshot(std::string(256, 'n')),
              HasErrno(ENAMETOOLONG));
  EXPECT_THAT(volume().history().DeleteSnapshot("b"), HasErrno(ENOENT));
  ASSERT_THAT(volume().history().RenameSnapshot("a", "b"), IsOk());
  EXPECT_THAT(volume().history().RenameSnapshot("a", "c"), HasErrno(ENOENT));
  ASSERT_THAT(volume().history().HoldSnapshot("b", true), IsOk());
  EXPECT_THAT(volume().history().DeleteSnapshot("b"), HasErrno(EBUSY));
  Reopen();
  const auto found = volume().history().FindSnapshot("b");
  ASSERT_THAT(found, IsOk());
  ASSERT_TRUE(found->has_value());
  EXPECT_TRUE((*found)->held);
  ASSERT_THAT(volume().history().HoldSnapshot("b", false), IsOk());
  EXPECT_THAT(volume().history().DeleteSnapshot("b"), IsOk());
  EXPECT_TRUE(volume().history().Snapshots()->empty());
}

TEST_F(VolumeHistoryTest, AnyMomentCanBeNamedByNumberAndTime) {
  ASSERT_THAT(Write("f", "one"), IsOk());
  const uint64_t first = LastCommit();
  const std::string one = Dump();
  AdvanceClock(absl::Hours(1));
  ASSERT_THAT(Write("f", "two"), IsOk());
  const std::string two = Dump();
  AdvanceClock(absl::Hours(1));
  ASSERT_THAT(Write("f", "three"), IsOk());
  AdvanceClock(absl::Minutes(30));
  EXPECT_EQ(DumpAt(absl::StrCat("seq:", first)), one);
  EXPECT_EQ(DumpAt("1h"), two);
  EXPECT_EQ(DumpAt("2h"), one);
  EXPECT_THAT(DumpAt("3h"), testing::StartsWith("NOT_FOUND"));
  EXPECT_THAT(DumpAt(absl::StrCat("seq:", LastCommit() + 1)),
              testing::StartsWith("NOT_FOUND"));
  EXPECT_THAT(DumpAt("never heard of"),
              testing::StartsWith("INVALID_ARGUMENT"));
  ASSERT_THAT(volume().history().CreateSnapshot("named later", "2h"), IsOk());
  EXPECT_EQ(DumpAt("named later"), one);
  // However it is named, its time is that of its last commit.
  const auto by_number = volume().history().CreateSnapshot(
      "by number", absl::StrCat("seq:", first));
  ASSERT_THAT(by_number, IsOk());
  const auto by_time = volume().history().FindSnapshot("named later");
  EXPECT_EQ(by_number->time, (*by_time)->time);
  ASSERT_THAT(Compact({.forget = true}), IsOk());
  EXPECT_EQ(DumpAt("named later"), one);
  EXPECT_THAT(DumpAt("1h"), testing::Eq(one));  // the last one before
  EXPECT_THAT(DumpAt(absl::StrCat("seq:", first + 1)),
              testing::StartsWith("NOT_FOUND"));
}

TEST_F(VolumeHistoryTest, TheClockMayGoBack) {
  ASSERT_THAT(Write("f", "one"), IsOk());
  AdvanceClock(absl::Hours(10));
  ASSERT_THAT(Write("f", "two"), IsOk());
  const std::string two = Dump();
  AdvanceClock(-absl::Hours(9));
  ASSERT_THAT(Write("f", "three"), IsOk());
  const std::string three = Dump();
  AdvanceClock(absl::Hours(20));
  // Its time is that of the commit before, which was later.
  EXPECT_EQ(DumpAt("1h"), three);
  ASSERT_THAT(volume().history().CreateSnapshot("s"), IsOk());
  EXPECT_EQ(DumpAt("last"), Dump());
}

TEST_F(VolumeHistoryTest, DeepTreesAreRestored) {
  constexpr int kDepth = 20'000;
  ASSERT_THAT(MakeDir("deep"), IsOk());
  uint64_t parent = Ino("deep");
  for (int i = 0; i < kDepth; ++i) {
    const auto made = volume().MakeDirectory(parent, "d", 0755, {});
    ASSERT_THAT(made, IsOk());
    parent = made->ino;
  }
  ASSERT_THAT(volume().history().CreateSnapshot("deep"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("before", "seq:1"), IsOk());
  const uint64_t inodes = volume().totals().inodes;
  const auto removed =
      volume().history().Restore({.at = "before", .delete_others = true});
  ASSERT_THAT(removed, IsOk());
  EXPECT_EQ(removed->removed, 1u);
  EXPECT_EQ(volume().totals().inodes, 1u);
  const auto made = volume().history().Restore({.at = "deep"});
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(made->made, static_cast<uint64_t>(kDepth) + 1);
  EXPECT_EQ(volume().totals().inodes, inodes);
  Reopen();
  EXPECT_EQ(volume().totals().inodes, inodes);
}

TEST_F(VolumeHistoryTest, AMergedDirectoryHasItsAttributesAgain) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/f", "text"), IsOk());
  const uint64_t d = Ino("d");
  ASSERT_THAT(volume().SetXattr(d, "user.kept", "then", 0), IsOk());
  ASSERT_THAT(volume().SetXattr(d, "user.gone", "then", 0), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("s"), IsOk());
  ASSERT_THAT(volume().SetXattr(d, "user.kept", "now", 0), IsOk());
  ASSERT_THAT(volume().SetXattr(d, "user.new", "now", 0), IsOk());
  ASSERT_THAT(volume().RemoveXattr(d, "user.gone"), IsOk());
  ASSERT_THAT(volume().history().Restore({.at = "s", .from = "d", .to = "d"}),
              IsOk());
  EXPECT_EQ(Ino("d"), d);
  EXPECT_EQ(*volume().GetXattr(d, "user.kept"), "then");
  EXPECT_EQ(*volume().GetXattr(d, "user.gone"), "then");
  EXPECT_THAT(volume().GetXattr(d, "user.new"), HasErrno(ENODATA));
  const uint64_t last = LastCommit();
  ASSERT_THAT(volume().history().Restore({.at = "s", .from = "d", .to = "d"}),
              IsOk());
  EXPECT_EQ(LastCommit(), last);  // there was nothing to do
}

TEST_F(VolumeHistoryTest, HardLinksAreRestored) {
  ASSERT_THAT(Write("b", "text"), IsOk());
  ASSERT_THAT(Link("b", "a"), IsOk());
  ASSERT_THAT(Link("b", "c"), IsOk());
  ASSERT_THAT(MakeDir("e"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("s"), IsOk());
  const auto expect_one_file = [this] {
    EXPECT_EQ(Ino("a"), Ino("b"));
    EXPECT_EQ(Ino("a"), Ino("c"));
    EXPECT_EQ(GetStat("a")->nlink, 3u);
    EXPECT_EQ(*Read("b"), "text");
  };
  const RestoreRequest all = {.at = "s", .delete_others = true};
  // Each of them, as they are restored in some order.
  for (const char* const name : {"a", "b", "c"}) {
    ASSERT_THAT(Unlink(name), IsOk());
    ASSERT_THAT(volume().history().Restore(all), IsOk());
    expect_one_file();
  }
  ASSERT_THAT(Unlink("b"), IsOk());
  ASSERT_THAT(volume().history().Restore({.at = "s", .from = "b", .to = "b"}),
              IsOk());
  expect_one_file();
  // Under other names, which go.
  ASSERT_THAT(Rename("a", "e/x"), IsOk());
  ASSERT_THAT(Rename("b", "e/y"), IsOk());
  ASSERT_THAT(Rename("c", "z"), IsOk());
  ASSERT_THAT(volume().history().Restore(all), IsOk());
  expect_one_file();
  EXPECT_EQ(Ino("z"), 0u);
  // With another content, which goes.
  ASSERT_THAT(Write("b", "changed"), IsOk());
  ASSERT_THAT(Unlink("a"), IsOk());
  ASSERT_THAT(volume().history().Restore(all), IsOk());
  expect_one_file();
  Reopen();
  expect_one_file();
}

TEST_F(VolumeHistoryTest, ThePolicyMakesAndRemovesSnapshots) {
  const auto names = [this] {
    std::vector<std::string> found;
    const auto snapshots = volume().history().Snapshots();
    EXPECT_THAT(snapshots, IsOk());
    for (const Snapshot& snapshot : *snapshots) found.push_back(snapshot.name);
    return found;
  };
  const auto apply = [this] {
    EXPECT_THAT(volume().history().ApplyPolicy(), IsOk());
  };
  ASSERT_THAT(
      volume().history().SetPolicy(*HistoryPolicy::Parse("within=0 hourly=2")),
      IsOk());
  ASSERT_THAT(Write("f", "one"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("mine"), IsOk());
  apply();  // the clock begins at 22:13:20
  EXPECT_THAT(names(), ElementsAre("2023-11-14T22:13:20Z", "mine"));
  const std::string one = Dump();
  apply();
  AdvanceClock(absl::Minutes(40));
  ASSERT_THAT(Write("f", "two"), IsOk());
  apply();  // 22:53
  AdvanceClock(absl::Hours(5));
  apply();  // 03:53
  EXPECT_THAT(names(), ElementsAre("2023-11-14T22:13:20Z",
                                   "2023-11-15T03:53:20Z", "mine"));
  AdvanceClock(absl::Hours(2));
  apply();  // nothing has changed
  EXPECT_EQ(names().size(), 3u);
  AdvanceClock(-absl::Hours(6));
  ASSERT_THAT(Write("f", "three"), IsOk());
  apply();  // the clock was set back
  EXPECT_EQ(names().size(), 3u);
  EXPECT_EQ(DumpAt("2023-11-14T22:13:20Z"), one);
  ASSERT_THAT(
      volume().history().RenameSnapshot("2023-11-14T22:13:20Z", "named"),
      IsOk());
  ASSERT_THAT(volume().history().HoldSnapshot("2023-11-15T03:53:20Z", true),
              IsOk());
  for (int hour = 0; hour < 12; ++hour) {
    AdvanceClock(absl::Hours(1));
    ASSERT_THAT(Write("f", absl::StrCat("in hour ", hour)), IsOk());
    apply();
    apply();  // removes what the new one displaces
  }
  EXPECT_THAT(names(),
              ElementsAre("2023-11-15T03:53:20Z", "2023-11-15T10:53:20Z",
                          "2023-11-15T11:53:20Z", "mine", "named"));
  ASSERT_THAT(volume().history().SetPolicy(HistoryPolicy()), IsOk());
  AdvanceClock(absl::Hours(48));
  apply();
  EXPECT_THAT(names(), ElementsAre("2023-11-15T03:53:20Z", "mine", "named"));
  ASSERT_THAT(Compact({.forget = true}), IsOk());
  EXPECT_EQ(DumpAt("named"), one);
}

}  // namespace
}  // namespace varve::fs
