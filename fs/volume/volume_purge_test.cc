// Purging: what is taken out of the past is gone from each moment, and nothing
// else is.

#include <errno.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "fs/base/error.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// The dump without the lines of a path and of what lies below it.
std::string Without(absl::string_view path, const std::string& dump) {
  std::vector<absl::string_view> lines;
  for (const absl::string_view line : absl::StrSplit(dump, '\n')) {
    if (absl::StartsWith(line, absl::StrCat(path, ":")) ||
        absl::StartsWith(line, absl::StrCat(path, "/"))) {
      continue;
    }
    lines.push_back(line);
  }
  return absl::StrJoin(lines, "\n");
}

class VolumePurgeTest : public VolumeTest {
 protected:
  absl::Status Compact(CompactionOptions options) {
    VARVE_RETURN_IF_ERROR(volume().compactions().Start(options));
    return volume().compactions().WaitForEnd();
  }
  uint64_t AllocatedBytes() {
    const auto statistics = volume().GetStatistics();
    EXPECT_THAT(statistics, IsOk());
    return statistics->allocated_bytes;
  }
  std::vector<std::string> SnapshotNames() {
    std::vector<std::string> names;
    const auto snapshots = volume().history().Snapshots();
    EXPECT_THAT(snapshots, IsOk());
    for (const Snapshot& snapshot : *snapshots) names.push_back(snapshot.name);
    return names;
  }
  std::string ReadAt(const std::string& moment, const std::string& path) {
    const auto number = volume().past_files().Resolve(moment, PeekClock());
    if (!number.ok()) return number.status().ToString();
    const auto found = volume().past_files().Lookup(*number, kRootIno, path);
    if (!found.ok()) return absl::StrCat("errno ", ErrnoOf(found.status()));
    const auto reply =
        volume().past_files().Read(*number, found->ino, 0, 1 << 20);
    return reply.ok() ? reply->ToString() : reply.status().ToString();
  }
};

TEST_F(VolumePurgeTest, APathIsGoneFromAllMomentsAtOnce) {
  ASSERT_THAT(Write("other", "stays"), IsOk());
  ASSERT_THAT(Write("secret", "password"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("one"), IsOk());
  const std::string one = Dump();
  ASSERT_THAT(Write("secret", "another"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("two"), IsOk());
  const std::string two = Dump();
  const uint64_t in_window = LastCommit();
  ASSERT_THAT(Unlink("secret"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("three"), IsOk());
  const std::string now = Dump();
  // A tree that is open already changes, too.
  EXPECT_EQ(ReadAt("one", "secret"), "password");
  const auto lookup_deleted = [this] {
    return volume()
        .deleted_files()
        .Lookup(DeletedFiles::kRoot, "secret")
        .status();
  };
  EXPECT_THAT(lookup_deleted(), IsOk());

  const auto purged = volume().history().Purge("secret");
  ASSERT_THAT(purged, IsOk());
  EXPECT_THAT(purged->snapshots, ElementsAre("one", "two"));
  EXPECT_TRUE(purged->in_window);
  EXPECT_FALSE(purged->in_present);
  EXPECT_EQ(Dump(), now);
  for (const bool reopened : {false, true}) {
    SCOPED_TRACE(reopened);
    EXPECT_EQ(ReadAt("one", "secret"), absl::StrCat("errno ", ENOENT));
    EXPECT_THAT(lookup_deleted(), HasErrno(ENOENT));
    EXPECT_EQ(ReadAt("one", "other"), "stays");
    EXPECT_EQ(DumpAt(absl::StrCat("seq:", in_window)).find("secret"),
              std::string::npos);
    EXPECT_EQ(Without("", DumpAt("one")), Without("", Without("secret", one)));
    EXPECT_EQ(Without("", DumpAt("two")), Without("", Without("secret", two)));
    EXPECT_EQ(DumpAt("three"), now);
    Crash();
  }
}

TEST_F(VolumePurgeTest, ItsBytesAreReclaimedByTheNextCompaction) {
  for (const bool punch : {false, true}) {
    SCOPED_TRACE(punch);
    const std::string name = punch ? "a" : "b";
    ASSERT_THAT(Write("small", "text"), IsOk());
    ASSERT_THAT(MakeDir("keys"), IsOk());
    ASSERT_THAT(Write("keys/big", Pattern(7, 8u << 20)), IsOk());
    ASSERT_THAT(volume().history().CreateSnapshot(name), IsOk());
    ASSERT_THAT(Unlink("keys/big"), IsOk());
    ASSERT_THAT(RemoveDir("keys"), IsOk());
    ASSERT_THAT(volume().history().CreateSnapshot(name + "2"), IsOk());
    ASSERT_THAT(Compact({.punch = punch, .forget = true}), IsOk());
    EXPECT_GT(AllocatedBytes(), 8u << 20);
    ASSERT_THAT(volume().history().Purge("keys"), IsOk());
    const std::string at = DumpAt(name);
    const std::string now = Dump();
    // What is behind the last checkpoint but one is never punched.
    ASSERT_THAT(Write("more", "x"), IsOk());
    Reopen();
    ASSERT_THAT(Write("more", "y"), IsOk());
    Reopen();
    ASSERT_THAT(Compact({.punch = punch}), IsOk());
    EXPECT_LT(AllocatedBytes(), 1u << 20);
    EXPECT_EQ(DumpAt(name), at);
    EXPECT_THAT(at, Not(HasSubstr("keys")));
    EXPECT_EQ(ReadAt(name, "small"), "text");
    ASSERT_THAT(Unlink("more"), IsOk());
  }
}

TEST_F(VolumePurgeTest, ADirectoryGoesWithAllBelowAndOtherNamesStay) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(MakeDir("d/e"), IsOk());
  ASSERT_THAT(Write("d/e/f", "hard"), IsOk());
  ASSERT_THAT(Write("d/g", "gone"), IsOk());
  ASSERT_THAT(Link("d/e/f", "elsewhere"), IsOk());
  ASSERT_THAT(Write("dx", "not below"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("s"), IsOk());
  const std::string now = Dump();
  const auto purged = volume().history().Purge("d");
  ASSERT_THAT(purged, IsOk());
  EXPECT_TRUE(purged->in_present);
  EXPECT_EQ(Dump(), now);  // the present has it
  for (const bool compacted : {false, true}) {
    SCOPED_TRACE(compacted);
    EXPECT_THAT(DumpAt("s"), Not(HasSubstr("\nd:")));
    EXPECT_THAT(DumpAt("s"), Not(HasSubstr("\nd/")));
    EXPECT_EQ(ReadAt("s", "elsewhere"), "hard");
    EXPECT_EQ(ReadAt("s", "dx"), "not below");
    EXPECT_EQ(Dump(), now);
    ASSERT_THAT(Compact({}), IsOk());
  }
  // What comes later is not affected.
  ASSERT_THAT(Write("d/g", "new"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("t"), IsOk());
  EXPECT_THAT(DumpAt("t"), HasSubstr("\nd/g"));
}

TEST_F(VolumePurgeTest, TheWindowsHoursAreKept) {
  std::map<std::string, std::string> hours;
  ASSERT_THAT(Write("file", "text"), IsOk());
  for (int hour = 0; hour < 4; ++hour) {
    ASSERT_THAT(Write("secret", absl::StrCat("in hour ", hour)), IsOk());
    ASSERT_THAT(Write("file", absl::StrCat("text ", hour)), IsOk());
    AdvanceClock(absl::Hours(1));
  }
  ASSERT_THAT(volume().history().Purge("secret"), IsOk());
  const std::vector<std::string> names = SnapshotNames();
  // The clock begins at 22:13:20.
  EXPECT_THAT(names,
              ElementsAre("2023-11-14T23:00:00Z", "2023-11-15T00:00:00Z",
                          "2023-11-15T01:00:00Z", "2023-11-15T02:00:00Z"));
  ASSERT_THAT(Write("file", "behind"), IsOk());
  ASSERT_THAT(Compact({}), IsOk());
  for (int hour = 0; hour < 4; ++hour) {
    EXPECT_EQ(ReadAt(names[static_cast<size_t>(hour)], "file"),
              absl::StrCat("text ", hour));
    EXPECT_EQ(ReadAt(names[static_cast<size_t>(hour)], "secret"),
              absl::StrCat("errno ", ENOENT));
  }
}

TEST_F(VolumePurgeTest, ShortLivedFilesAreFoundInTheLog) {
  ASSERT_THAT(MakeDir("a"), IsOk());
  ASSERT_THAT(Write("a/short", "lived"), IsOk());
  const std::string then = absl::StrCat("seq:", LastCommit());
  ASSERT_THAT(Unlink("a/short"), IsOk());
  const auto purged = volume().history().Purge("a/short");
  ASSERT_THAT(purged, IsOk());
  EXPECT_THAT(purged->snapshots, IsEmpty());
  EXPECT_TRUE(purged->in_window);
  EXPECT_THAT(DumpAt(then), Not(HasSubstr("short")));
  // It is gone already.
  EXPECT_THAT(volume().history().Purge("a/short"), HasErrno(ENOENT));
}

TEST_F(VolumePurgeTest, WhatNoMomentHasIsRefused) {
  ASSERT_THAT(Write("file", "text"), IsOk());
  ASSERT_THAT(volume().history().CreateSnapshot("s"), IsOk());
  const uint64_t before = LastCommit();
  EXPECT_THAT(volume().history().Purge("other"), HasErrno(ENOENT));
  for (const char* const path : {"", "/file", "file/", "a//b", "../x", "."}) {
    EXPECT_THAT(volume().history().Purge(path), HasErrno(EINVAL)) << path;
  }
  EXPECT_EQ(LastCommit(), before);
}

}  // namespace
}  // namespace varve::fs
