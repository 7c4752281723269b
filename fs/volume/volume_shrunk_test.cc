// Another program truncates or deletes the store of an open volume, or puts
// another file in its place. Reads of lost bytes fail with an error that says
// so, and never give zeros instead; everything else works.

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/io/bus_guard.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kPage = 4096;

class VolumeShrunkTest : public VolumeTest {
 protected:
  void SetUp() override {
    InstallBusGuard();
    options().sync_interval = absl::Milliseconds(20);
    // Shared, because the volume outlives this part of the test.
    options().on_incident = [log = log_](const absl::Status& status) {
      absl::MutexLock lock(&log->mu);
      log->incidents.emplace_back(status.message());
    };
    VolumeTest::SetUp();
  }

  void Cut(uint64_t size) {
    ASSERT_EQ(truncate(path().c_str(), static_cast<off_t>(size)), 0);
  }
  // Where the bytes of a file lie in the store.
  EntryLocation EntryOf(absl::string_view key) {
    return volume().store().Read(key)->location();
  }
  void ExpectGone(absl::string_view name) {
    const auto read = Read(name);
    EXPECT_THAT(read, HasCode(absl::StatusCode::kDataLoss));
    EXPECT_THAT(read, HasErrno(EIO));
    EXPECT_THAT(std::string(read.status().message()),
                HasSubstr(absl::StrCat("\"", name, "\"")));
  }
  // Waits until something was reported.
  std::vector<std::string> AwaitIncidents() {
    const auto is_there = [this] {
      log_->mu.AssertReaderHeld();
      return !log_->incidents.empty();
    };
    absl::MutexLock lock(&log_->mu);
    log_->mu.AwaitWithTimeout(absl::Condition(&is_there), absl::Seconds(60));
    return log_->incidents;
  }
  std::vector<std::string> Incidents() {
    absl::MutexLock lock(&log_->mu);
    return log_->incidents;
  }

 private:
  struct Log {
    absl::Mutex mu;
    std::vector<std::string> incidents ABSL_GUARDED_BY(mu);
  };
  const std::shared_ptr<Log> log_ = std::make_shared<Log>();
};

TEST_F(VolumeShrunkTest, WhatIsLeftIsReadAndWhatIsGoneIsAnError) {
  ASSERT_THAT(Write("small", "text"), IsOk());
  ASSERT_THAT(Write("first", Pattern(1, 3'000'000)), IsOk());
  ASSERT_THAT(Write("second", Pattern(2, 3'000'000)), IsOk());
  ASSERT_THAT(Write("third", Pattern(3, 300)), IsOk());
  ASSERT_THAT(Write("tiny", "more"), IsOk());
  const uint64_t left = EntryOf("first").end();
  Cut(left);
  ExpectGone("tiny");
  ExpectGone("third");
  ExpectGone("second");
  EXPECT_TRUE(*Read("first") == Pattern(1, 3'000'000));
  EXPECT_EQ(*Read("small"), "text");
  EXPECT_THAT(List(""), testing::UnorderedElementsAre(
                            "small", "first", "second", "third", "tiny"));
}

// The newest nodes of the tree are gone, and with them the names.
TEST_F(VolumeShrunkTest, WhatTheTreeHasLostIsAnErrorAndNothingElse) {
  ASSERT_THAT(Write("small", "text"), IsOk());
  ASSERT_THAT(Write("first", Pattern(1, 3'000'000)), IsOk());
  const uint64_t ino = Ino("small");
  const uint64_t left = EntryOf("first").end();
  Reopen();
  Cut(left);
  EXPECT_THAT(volume().Lookup(kRootIno, "small"), HasErrno(EIO));
  EXPECT_THAT(volume().Lookup(kRootIno, "nothing"), HasErrno(EIO));
  EXPECT_THAT(volume().GetAttributes(ino), HasErrno(EIO));
  EXPECT_THAT(volume().Open(ino, O_RDONLY), HasErrno(EIO));
  EXPECT_THAT(volume().ReadDirectory(kRootIno, Volume::kBehindDots,
                                     /*reference=*/false,
                                     [](const Volume::Entry&) { return true; }),
              HasErrno(EIO));
}

TEST_F(VolumeShrunkTest, ZerosBehindTheNewEndAreNotServed) {
  ASSERT_THAT(Write("f", Pattern(1, 3'000'000)), IsOk());
  ASSERT_THAT(Write("g", Pattern(2, 100)), IsOk());
  // The entry was checked, and will not be checked again.
  EXPECT_TRUE(*Read("f") == Pattern(1, 3'000'000));
  EXPECT_TRUE(*Read("g") == Pattern(2, 100));
  // A page in which the file ends reads as zeros from there on.
  Cut(EntryOf("g").payload_offset + 1);
  ExpectGone("g");
  Cut(EntryOf("f").payload_offset + 2'000'001);
  auto handle = OpenFile("f", O_RDONLY);
  ASSERT_THAT(handle, IsOk());
  EXPECT_THAT(volume().Read(**handle, 2'000'000, 10), HasErrno(EIO));
  EXPECT_EQ(volume().Read(**handle, 1'999'990, 10)->ToString(),
            Pattern(1, 3'000'000).substr(1'999'990, 10));
  // Nor if the file is made longer again.
  Cut(8'000'000);
  EXPECT_THAT(volume().Read(**handle, 2'000'000, 10), HasErrno(EIO));
  EXPECT_THAT(CloseFile(*std::move(handle)), IsOk());
}

TEST_F(VolumeShrunkTest, WritesFailAndTheStoreIsLeftAsItIs) {
  ASSERT_THAT(Write("f", Pattern(1, 100'000)), IsOk());
  Cut(5000);
  EXPECT_THAT(Write("g", "text"), HasErrno(EIO));
  EXPECT_TRUE(volume().read_only());
  EXPECT_THAT(std::string(volume().failure().message()),
              HasSubstr("was truncated by somebody else"));
  EXPECT_THAT(MakeDir("d"), HasErrno(EROFS));
  EXPECT_THAT(Rename("f", "h"), HasErrno(EROFS));
  EXPECT_THAT(volume().SyncAll(), HasErrno(EIO));
  EXPECT_THAT(volume().compactions().Start({.forget = true}), HasErrno(EROFS));
  EXPECT_EQ(FileSize(), 5000);
  EXPECT_THAT(volume().Close(), IsOk());
  EXPECT_EQ(FileSize(), 5000);
}

TEST_F(VolumeShrunkTest, RenamingAFileThatIsGoneFails) {
  ASSERT_THAT(Write("f", Pattern(1, 50'000)), IsOk());
  Cut(5000);
  // Copying it to its new key has failed before the append.
  EXPECT_THAT(Rename("f", "g"), HasErrno(EROFS));
  EXPECT_NE(Ino("f"), 0);
  EXPECT_EQ(Ino("g"), 0);
}

TEST_F(VolumeShrunkTest, DirtyBytesStayReadable) {
  auto handle = CreateFile("f", O_RDWR);
  ASSERT_THAT(handle, IsOk());
  ASSERT_THAT(volume().Write(**handle, 0, "dirty"), IsOk());
  Cut(100);
  EXPECT_THAT(volume().Flush(**handle), HasErrno(EIO));
  EXPECT_EQ(ReadHandle(**handle), "dirty");
  Abandon(*std::move(handle));
}

TEST_F(VolumeShrunkTest, TheLogTellsOnce) {
  ASSERT_THAT(Write("f", Pattern(1, 100'000)), IsOk());
  EXPECT_THAT(Incidents(), IsEmpty());
  Cut(5000);
  EXPECT_THAT(AwaitIncidents(),
              ElementsAre(AllOf(HasSubstr("serves only reads"),
                                HasSubstr("was truncated by somebody else"))));
  EXPECT_TRUE(volume().read_only());
  EXPECT_THAT(volume().Close(), IsOk());
  EXPECT_EQ(Incidents().size(), 1);
}

TEST_F(VolumeShrunkTest, DeletedStoreGoesOnUntilItIsClosed) {
  ASSERT_THAT(Write("f", "text"), IsOk());
  std::filesystem::remove(path());
  EXPECT_THAT(AwaitIncidents(),
              ElementsAre(HasSubstr("was deleted while mounted. ")));
  EXPECT_EQ(*volume().LocateFile(), FileLocation::kDeleted);
  EXPECT_THAT(volume().GetSpace(), IsOk());  // as for df and the status file
  ASSERT_THAT(Write("g", "more"), IsOk());
  EXPECT_EQ(*Read("f"), "text");
  EXPECT_EQ(*Read("g"), "more");
  EXPECT_THAT(volume().Close(), IsOk());
  EXPECT_THAT(Incidents(),
              ElementsAre(HasSubstr("was deleted while mounted. "),
                          HasSubstr("everything in the mount is lost")));
}

TEST_F(VolumeShrunkTest, ReplacedStoreGoesOnWithTheFileThatIsOpen) {
  ASSERT_THAT(Write("f", "text"), IsOk());
  const std::string moved = directory().File("moved");
  std::filesystem::rename(path(), moved);
  WriteWholeFile(path(), "another file");
  EXPECT_THAT(AwaitIncidents(),
              ElementsAre(HasSubstr("it was moved or replaced")));
  ASSERT_THAT(Write("g", "more"), IsOk());
  EXPECT_THAT(volume().Close(), IsOk());
  EXPECT_EQ(ReadWholeFile(path()), "another file");
  std::filesystem::rename(moved, path());
  Crash();
  EXPECT_EQ(*Read("f"), "text");
  EXPECT_EQ(*Read("g"), "more");
}

TEST_F(VolumeShrunkTest, CompactionPutsNoWarningIntoTheLog) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_THAT(Write("f", Pattern(i, 10'000)), IsOk());
    ASSERT_THAT(volume().compactions().Start({.forget = true}), IsOk());
    ASSERT_THAT(volume().compactions().WaitForEnd(), IsOk());
  }
  EXPECT_EQ(*volume().LocateFile(), FileLocation::kInPlace);
  EXPECT_THAT(Incidents(), IsEmpty());
}

// As if the disk had failed for a moment, pages of the mapping are zeros, while
// the store's file is whole.
TEST_F(VolumeShrunkTest, LostPagesAreNeitherServedNorCopied) {
  const std::string text = Pattern(1, 20'000);
  ASSERT_THAT(Write("f", text), IsOk());
  ASSERT_THAT(Write("g", Pattern(2, 20'000)), IsOk());
  EXPECT_TRUE(*Read("f") == text);
  const uint64_t at = EntryOf("f").payload_offset + 8192;
  options().sync_interval = absl::Hours(1);
  Reopen();
  EXPECT_TRUE(*Read("f") == text);
  const std::string store = ReadWholeFile(path());
  const auto bytes = volume().store().View(at, 1);
  Cut(0);
  EXPECT_EQ(bytes->bytes[0], std::byte{0});
  WriteWholeFile(path(), store);
  ExpectGone("f");
  EXPECT_TRUE(*Read("g") == Pattern(2, 20'000));
  EXPECT_THAT(Rename("f", "h"), HasErrno(EIO));
  EXPECT_TRUE(*Read("g") == Pattern(2, 20'000));
  // Only the mapping has lost them. A compaction uses another mapping.
  ASSERT_THAT(volume().compactions().Start({.forget = true}), IsOk());
  ASSERT_THAT(volume().compactions().WaitForEnd(), IsOk());
  EXPECT_TRUE(*Read("f") == text);
}

TEST_F(VolumeShrunkTest, OpeningAStoreThatIsBeingCutShortIsSafe) {
  for (int i = 0; i < 50; ++i) {
    ASSERT_THAT(Write(absl::StrCat("f", i), Pattern(i, 3000)), IsOk());
  }
  Close();
  const std::string store = ReadWholeFile(path());
  std::atomic<bool> stop{false};
  std::thread cutter([&] {
    for (uint64_t i = 0; !stop.load(); ++i) {
      WriteWholeFile(path(), store);
      // Truncate at the end of a page. Otherwise, the rest of the last page
      // becomes zeros, which cannot be noticed between the check of the length
      // and the use of the bytes.
      Cut(store.size() * (i % 50) / 50 / kPage * kPage);
    }
  });
  options().read_only = true;
  options().on_incident = nullptr;
  for (int i = 0; i < 300; ++i) {
    if (!TryOpen().ok()) continue;
    for (int j = 0; j < 50; ++j) {
      const std::string name = absl::StrCat("f", j);
      // Not there yet when the store was opened, or gone since.
      const auto read = Ino(name) == 0 ? absl::NotFoundError("") : Read(name);
      if (!read.ok() || read->empty()) continue;
      EXPECT_TRUE(*read == Pattern(j, 3000)) << name;
    }
    EXPECT_THAT(volume().Close(), IsOk());
  }
  stop.store(true);
  cutter.join();
  WriteWholeFile(path(), store);
  Open();
  EXPECT_EQ(*Read("f7"), Pattern(7, 3000));
}

}  // namespace
}  // namespace varve::fs
