// Repair of damaged stores: what is sound is there, and nothing is gone.

#include "fs/repair/repair.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RepairTest : public VolumeTest {
 protected:
  void SetUp() override {
    Open();
    ASSERT_THAT(MakeDir("d"), IsOk());
    ASSERT_THAT(Write("d/changed", "the first version"), IsOk());
    ASSERT_THAT(Write("d/changed", "the next version"), IsOk());
    ASSERT_THAT(Write("sound", Pattern(1, 5000)), IsOk());
    ASSERT_THAT(Write("large", Pattern(2, 3 << 20)), IsOk());
    ASSERT_THAT(Link("large", "d/link"), IsOk());
    ASSERT_THAT(volume().SetXattr(Ino("sound"), "user.a", "1", 0), IsOk());
  }
  void Damage(absl::string_view text, uint64_t skip) {
    std::string bytes = ReadWholeFile(path());
    const size_t at = bytes.rfind(std::string(text));
    ASSERT_NE(at, std::string::npos);
    bytes[at + skip] = static_cast<char>(bytes[at + skip] ^ 4);
    WriteWholeFile(path(), bytes);
  }
  RepairReport Repair() {
    const auto report = RepairStore(files(), path());
    EXPECT_THAT(report, IsOk());
    return report.value_or(RepairReport{});
  }
};

TEST_F(RepairTest, SoundStoreStaysWhatItIs) {
  const std::string before = Dump();
  const uint64_t ino = Ino("d/link");
  Close();
  const std::string bytes = ReadWholeFile(path());
  const RepairReport report = Repair();
  EXPECT_THAT(report.notes, IsEmpty());
  EXPECT_THAT(report.files, IsEmpty());
  EXPECT_TRUE(ReadWholeFile(report.kept) == bytes);
  Open();
  EXPECT_EQ(Dump(), before);
  EXPECT_EQ(Ino("large"), ino);
}

// The file is what is damaged, and not the link to it.
TEST_F(RepairTest, FollowsALinkToTheStore) {
  Close();
  Damage("the next version", 4);
  const std::string bytes = ReadWholeFile(path());
  const std::string link = directory().File("link");
  ASSERT_EQ(symlink("store", link.c_str()), 0);
  const auto report = RepairStore(files(), link);
  ASSERT_THAT(report, IsOk());
  struct stat info;
  ASSERT_EQ(lstat(link.c_str(), &info), 0);
  EXPECT_TRUE(S_ISLNK(info.st_mode));
  EXPECT_TRUE(ReadWholeFile(report->kept) == bytes);
  EXPECT_THAT(report->kept, HasSubstr("/store.damaged"));
  Open();
  EXPECT_EQ(*Read("d/changed.older"), "the first version");
}

TEST_F(RepairTest, DamagedFilesAreKeptBesideTheirOlderVersions) {
  Close();
  Damage("the next version", 4);
  Damage(Pattern(2, 100), 7);
  const std::string bytes = ReadWholeFile(path());
  const RepairReport report = Repair();
  EXPECT_TRUE(ReadWholeFile(report.kept) == bytes);
  EXPECT_THAT(report.files, Contains(HasSubstr("changed.older")));
  Open();
  EXPECT_FALSE(volume().read_only());
  EXPECT_EQ(*Read("d/changed.older"), "the first version");
  EXPECT_EQ(*Read("d/changed.damaged"), "the jext version");
  EXPECT_EQ(Ino("d/changed"), 0u);
  // Both names of a file are damaged, and one file has its bytes.
  EXPECT_EQ(Ino("large"), 0u);
  EXPECT_EQ(Ino("d/link"), 0u);
  std::string large = Pattern(2, 3 << 20);
  large[7] = static_cast<char>(large[7] ^ 4);
  EXPECT_TRUE(*Read("large.damaged") == large);
  EXPECT_TRUE(*Read("sound") == Pattern(1, 5000));
  EXPECT_EQ(*volume().GetXattr(Ino("sound"), "user.a"), "1");
  ASSERT_THAT(Write("d/changed", "the third version"), IsOk());
  Reopen();
  EXPECT_EQ(*Read("d/changed"), "the third version");
}

// Of a commit that is damaged in several places only what it changed is lost.
TEST_F(RepairTest, LostCommitIsNamedAndTheRestStays) {
  ASSERT_THAT(volume().SyncAll(), IsOk());
  ASSERT_THAT(MakeDir("a-directory-of-long-name"), IsOk());
  ASSERT_THAT(Write("afterwards", "still here"), IsOk());
  ASSERT_THAT(volume().SyncAll(), IsOk());
  ASSERT_THAT(MakeDir("last"), IsOk());
  ASSERT_THAT(volume().SyncAll(), IsOk());
  // Without its checkpoint, as after a crash.
  TestVolume crashed;
  WriteWholeFile(crashed.path(), ReadWholeFile(path()));
  Close();
  WriteWholeFile(path(), ReadWholeFile(crashed.path()));
  Damage("a-directory-of-long-name", 20);
  Damage("a-directory-", 1);
  EXPECT_THAT(TryOpen(), HasCode(absl::StatusCode::kDataLoss));
  const RepairReport report = Repair();
  EXPECT_THAT(report.notes, Contains(HasSubstr("commit")));
  Open();
  EXPECT_EQ(*Read("afterwards"), "still here");
  EXPECT_EQ(*Read("d/changed"), "the next version");
  EXPECT_NE(Ino("last"), 0u);
  EXPECT_EQ(Ino("a-directory-of-long-name"), 0u);
}

// There is another way to the whole tree than through a node that is damaged.
TEST_F(RepairTest, DamagedNodesCostNothing) {
  Reopen();
  const std::string before = Dump();
  std::vector<EntryLocation> segments;
  ASSERT_THAT(volume().store().ForEachInChain([&](const EntryView& entry) {
    const auto header = volume().identity().AsCommit(entry);
    if (header.has_value() && header->is_segment()) {
      segments.push_back(entry.location());
    }
    return true;
  }),
              IsOk());
  ASSERT_FALSE(segments.empty());
  Close();
  std::string bytes = ReadWholeFile(path());
  for (const EntryLocation& segment : segments) {
    bytes[segment.payload_offset + segment.payload_size / 2] ^= 0x11;
    bytes[segment.payload_offset + segment.payload_size / 2 + 40] ^= 0x11;
  }
  WriteWholeFile(path(), bytes);
  const RepairReport report = Repair();
  EXPECT_THAT(report.notes, Contains(HasSubstr("nodes of the tree")));
  EXPECT_THAT(report.files, IsEmpty());
  Open();
  EXPECT_EQ(Dump(), before);
}

TEST_F(RepairTest, FileInTheWayIsLeftAlone) {
  Close();
  WriteWholeFile(path() + ".repair", "somebody's");
  const std::string bytes = ReadWholeFile(path());
  EXPECT_THAT(RepairStore(files(), path()), HasErrno(EEXIST));
  EXPECT_EQ(ReadWholeFile(path() + ".repair"), "somebody's");
  EXPECT_TRUE(ReadWholeFile(path()) == bytes);
}

TEST_F(RepairTest, StoreInUseIsRefused) {
  EXPECT_THAT(RepairStore(files(), path()), HasErrno(EWOULDBLOCK));
}

// Whichever call fails, the store is what it was.
TEST_F(RepairTest, FailureChangesNothing) {
  Close();
  Damage("the next version", 4);
  const std::string bytes = ReadWholeFile(path());
  for (int nth = 1; nth < 500; ++nth) {
    files().Inject(
        {.ops = kAllOps & ~kOpSyncDirectory, .nth = nth, .error_number = EIO});
    const auto report = RepairStore(files(), path());
    const bool hit = files().hits() > 0;
    files().Heal();
    if (report.ok()) {
      // One of those calls that nothing depends on.
      ASSERT_TRUE(ReadWholeFile(report->kept) == bytes);
      ASSERT_THAT(files().Rename(report->kept, path()), IsOk());
      if (!hit) break;
      continue;
    }
    ASSERT_TRUE(ReadWholeFile(path()) == bytes) << nth;
    // It may not have been possible to remove it.
    files().Remove(path() + ".repair").IgnoreError();
  }
}

}  // namespace
}  // namespace varve::fs
