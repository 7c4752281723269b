// The space of a store in unusual circumstances: what counts as live, and what
// compactions keep.

#include <errno.h>
#include <fcntl.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "fs/log/commit.h"
#include "fs/log/loader.h"
#include "fs/log/store_identity.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

// A host that does not tell its free space.
class SilentFileSystem : public FileSystem {
 public:
  explicit SilentFileSystem(FileSystem& base) : base_(base) {}
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path,
                                             OpenMode mode,
                                             uint32_t permissions) override {
    return base_.Open(path, mode, permissions);
  }
  absl::StatusOr<FileInfo> Info(const std::string& path) override {
    return base_.Info(path);
  }
  absl::StatusOr<SpaceOnDisk> Space(const std::string&) override {
    return SpaceOnDisk();
  }
  absl::Status Rename(const std::string& from, const std::string& to) override {
    return base_.Rename(from, to);
  }
  absl::Status Link(const std::string& from, const std::string& to) override {
    return base_.Link(from, to);
  }
  absl::Status Remove(const std::string& path) override {
    return base_.Remove(path);
  }
  absl::Status SyncDirectoryOf(const std::string& path) override {
    return base_.SyncDirectoryOf(path);
  }

 private:
  FileSystem& base_;
};

class VolumeSpaceTest : public VolumeTest {
 protected:
  // What is deleted is dead at once; volume_history_test has the rest.
  void SetUp() override {
    VolumeTest::SetUp();
    ASSERT_THAT(volume().history().SetPolicy({.within = absl::ZeroDuration()}),
                IsOk());
  }
  void OpenWithCompaction() {
    Close();
    options().auto_compaction.mode = AutoCompaction::Mode::kAuto;
    options().sync_interval = absl::Milliseconds(20);
    Open();
  }
  uint64_t DeadBytes() { return volume().GetStatistics()->dead_bytes; }
  uint64_t Allocated() { return volume().store().Info()->allocated; }
  // Waits for the condition; false if it does not hold within a minute.
  static bool Await(const std::function<bool()>& condition) {
    const absl::Time deadline = absl::Now() + absl::Minutes(1);
    while (!condition()) {
      if (absl::Now() > deadline) return false;
      absl::SleepFor(absl::Milliseconds(10));
    }
    return true;
  }
  void Clone(absl::string_view from, absl::string_view to,
             uint64_t offset = 0) {
    auto source = OpenFile(from, O_RDONLY);
    auto target = Ino(to) == 0 ? CreateFile(to, O_RDWR) : OpenFile(to, O_RDWR);
    const uint64_t size = GetStat(from)->attributes.size;
    ASSERT_EQ(*volume().CopyRange(**source, 0, **target, offset, size), size);
    ASSERT_THAT(CloseFile(*std::move(target)), IsOk());
    ASSERT_THAT(CloseFile(*std::move(source)), IsOk());
  }

  absl::Status Compact(CompactionOptions options = {}) {
    options.forget = true;  // the tests of history have the rest
    VARVE_RETURN_IF_ERROR(volume().compactions().Start(options));
    return volume().compactions().WaitForEnd();
  }

  // Makes the closed store look as if this many data ids had been drawn.
  void DrawDataIds(uint64_t next_data_id) {
    Core core;
    OpenOptions options;
    auto store = Store::Open(path(), options);
    ASSERT_THAT(store, IsOk());
    core.store = *std::move(store);
    const auto identity = FindIdentityEntry(*core.store);
    ASSERT_THAT(identity, IsOk());
    core.identity = *Identity::Decode(identity->payload_text());
    ASSERT_THAT(LoadTree(core), IsOk());
    core.next_data_id.store(next_data_id);
    absl::MutexLock lock(&core.commit_mu);
    Commit commit(core, PeekClock());
    commit.set_flags(CommitHeader::kClean);
    ASSERT_THAT(commit.Finish(), IsOk());
  }
};

TEST_F(VolumeSpaceTest, UnnamedEntriesAreKeptHoweverManyIdsWereDrawn) {
  ASSERT_THAT(Write("f", Pattern(1, 1'000'000)), IsOk());
  Close();
  WithForeignStore([](Store& store) {
    ASSERT_THAT(store.Write("foreign", Bytes(Pattern(2, 50'000))), IsOk());
  });
  Open();
  Close();
  DrawDataIds(Identity::kMostNumbers - 1000);
  Open();
  // Data entries of ours, dead and live.
  for (int i = 0; i < 4; ++i) {
    ASSERT_THAT(WriteAt("f", 10'000, Pattern(i, 100'000)), IsOk());
  }
  const std::string before = Dump();
  const uint64_t allocated = Allocated();
  for (const bool punch : {true, false}) {
    ASSERT_THAT(Compact({.punch = punch}), IsOk());
    EXPECT_LT(Allocated(), allocated - 200'000);
    EXPECT_EQ(Dump(), before);
    Reopen();
  }
  ASSERT_EQ(Unnamed().size(), 1u);
  EXPECT_TRUE(volume().ReadUnnamed(HashKey("foreign"), 0, 50'000)->ToString() ==
              Pattern(2, 50'000));
}

TEST_F(VolumeSpaceTest, DeletedFileIsLiveAsLongAsItIsOpen) {
  ASSERT_THAT(Write("f", Pattern(1, 3 * kMiB)), IsOk());
  auto handle = OpenFile("f", O_RDONLY);
  ASSERT_THAT(Unlink("f"), IsOk());
  EXPECT_LT(DeadBytes(), kMiB);
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_GT(DeadBytes(), 5 * kMiB / 2);
}

TEST_F(VolumeSpaceTest, WhatIsBeingWrittenIsLive) {
  auto handle = CreateFile("f", O_RDWR);
  const std::string chunk = Pattern(1, kMiB);
  for (uint64_t i = 0; i < 12; ++i) {
    ASSERT_THAT(volume().Write(**handle, i * kMiB, chunk), IsOk());
  }
  EXPECT_LT(DeadBytes(), kMiB);
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_LT(DeadBytes(), kMiB);
}

TEST_F(VolumeSpaceTest, SpaceOfADeletedFileComesBackOnceItIsClosed) {
  OpenWithCompaction();
  ASSERT_THAT(Write("kept", Pattern(2, kMiB)), IsOk());
  ASSERT_THAT(Write("f", Pattern(1, 80 * kMiB)), IsOk());
  auto handle = OpenFile("f", O_RDONLY);
  ASSERT_THAT(Unlink("f"), IsOk());
  // Many other bytes are written, and are live.
  for (int i = 0; i < 5; ++i) {
    ASSERT_THAT(Write(absl::StrCat(i), Pattern(i, 16 * kMiB)), IsOk());
  }
  absl::SleepFor(absl::Milliseconds(300));
  EXPECT_EQ(volume().compactions().progress().phase, CompactionPhase::kNone);
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_TRUE(Await([this] { return Allocated() < 100 * kMiB; }))
      << Allocated();
}

TEST_F(VolumeSpaceTest, WhatClonesShareCountsOnce) {
  ASSERT_THAT(Write("a", Pattern(1, 2 * kMiB)), IsOk());
  for (const char* name : {"b", "c", "d"}) Clone("a", name);
  EXPECT_LT(volume().GetStatistics()->live_bytes, 5 * kMiB / 2);
  ASSERT_THAT(Write("dead", Pattern(2, 3 * kMiB)), IsOk());
  ASSERT_THAT(Unlink("dead"), IsOk());
  EXPECT_GT(DeadBytes(), 5 * kMiB / 2);
  // One of them is enough for the bytes to be live.
  for (const char* name : {"a", "b", "c"}) ASSERT_THAT(Unlink(name), IsOk());
  EXPECT_GT(volume().GetStatistics()->live_bytes, 2 * kMiB);
  ASSERT_THAT(Unlink("d"), IsOk());
  EXPECT_LT(volume().GetStatistics()->live_bytes, kMiB);
}

TEST_F(VolumeSpaceTest, WhatIsDeadAmongClonesComesBackByItself) {
  OpenWithCompaction();
  ASSERT_THAT(Write("kept", Pattern(1, kMiB)), IsOk());
  Clone("kept", "clone");
  // As a whole: it is punched.
  ASSERT_THAT(Write("f", Pattern(2, 80 * kMiB)), IsOk());
  Clone("f", "g");
  for (const char* name : {"f", "g"}) ASSERT_THAT(Unlink(name), IsOk());
  EXPECT_TRUE(Await([this] { return Allocated() < 20 * kMiB; })) << Allocated();
  // But for a part, which is in use and keeps the entry: it is copied.
  ASSERT_THAT(Write("h", Pattern(3, 150 * kMiB)), IsOk());
  Clone("h", "part");
  ASSERT_THAT(Truncate("part", kMiB), IsOk());
  ASSERT_THAT(Unlink("h"), IsOk());
  EXPECT_TRUE(Await([this] { return Allocated() < 20 * kMiB; })) << Allocated();
  EXPECT_TRUE(*Read("part") == Pattern(3, 150 * kMiB).substr(0, kMiB));
  EXPECT_TRUE(*Read("clone") == Pattern(1, kMiB));
}

TEST_F(VolumeSpaceTest, ClonesStayClonesWhenTheStoreIsCopied) {
  ASSERT_THAT(Write("original", Pattern(1, 2 * kMiB)), IsOk());
  ASSERT_THAT(Write("medium", Pattern(2, 100'000)), IsOk());
  ASSERT_THAT(Write("small", Pattern(3, 1000)), IsOk());
  for (const char* name : {"a", "b", "z"}) {
    Clone("original", name);
    Clone("medium", absl::StrCat(name, "-medium"));
    Clone("small", absl::StrCat(name, "-small"));
  }
  // Files that were changed since, are joined from several, and have a hole.
  ASSERT_THAT(WriteAt("b", 1'000'000, Pattern(4, 50'000)), IsOk());
  Clone("medium", "b", 1'500'000);
  Clone("medium", "holey", 400'000);
  const std::string before = Dump();
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(Compact(), IsOk());
    EXPECT_EQ(Dump(), before);
    EXPECT_LT(FileSize(), 5 * kMiB / 2);
    // The first of several clones is plain, and so are small files.
    EXPECT_TRUE(ReadRaw("a") == Pattern(1, 2 * kMiB));
    EXPECT_TRUE(ReadRaw("z-small") == Pattern(3, 1000));
    // Reading a clone does not copy it.
    const uint64_t size = FileSize();
    ASSERT_THAT(Read("z"), IsOk());
    EXPECT_EQ(FileSize(), size);
    if (i == 0) Crash();
    if (i == 1) Reopen();
    EXPECT_EQ(Dump(), before);
  }
  // The clones do not depend on each other.
  for (const char* name : {"a", "original", "medium", "b-medium"}) {
    ASSERT_THAT(Unlink(name), IsOk());
  }
  ASSERT_THAT(Write("b", "new"), IsOk());
  const std::string after = Dump();
  for (const bool punch : {true, false}) {
    ASSERT_THAT(Compact({.punch = punch}), IsOk());
    Crash();
    EXPECT_EQ(Dump(), after);
  }
  EXPECT_TRUE(*Read("z") == Pattern(1, 2 * kMiB));
  EXPECT_TRUE(Unnamed().empty());
}

TEST_F(VolumeSpaceTest, ShortSessionsDoNotLetTheStoreGrow) {
  Close();
  options().auto_compaction.mode = AutoCompaction::Mode::kAuto;
  for (int i = 0; i < 10; ++i) {
    Open();
    ASSERT_THAT(Write("f", Pattern(i, 40 * kMiB)), IsOk());
    Close();
  }
  Open();
  EXPECT_LT(Allocated(), 200 * kMiB);
  EXPECT_TRUE(*Read("f") == Pattern(9, 40 * kMiB));
}

TEST_F(VolumeSpaceTest, WhatIsDeadIsGivenBackAtMounting) {
  ASSERT_THAT(Write("kept", Pattern(2, kMiB)), IsOk());
  ASSERT_THAT(Write("f", Pattern(1, 80 * kMiB)), IsOk());
  ASSERT_THAT(Unlink("f"), IsOk());
  Close();
  options().auto_compaction.mode = AutoCompaction::Mode::kAuto;
  Open();  // and the next check is in a day
  EXPECT_TRUE(Await([this] { return Allocated() < 10 * kMiB; })) << Allocated();
}

TEST_F(VolumeSpaceTest, HostThatDoesNotTellItsSpaceIsNoObstacle) {
  SilentFileSystem silent(files());
  Close();
  options().file_system = &silent;
  Open();
  ASSERT_THAT(Write("f", Pattern(1, 5 * kMiB)), IsOk());
  ASSERT_THAT(Write("g", Pattern(2, 5 * kMiB), 5 * kMiB), IsOk());
  ASSERT_THAT(Unlink("f"), IsOk());
  ASSERT_THAT(Compact(), IsOk());
  EXPECT_LT(FileSize(), 6 * kMiB);
  EXPECT_TRUE(*Read("g") == Pattern(2, 5 * kMiB));
  Close();
  options().file_system = &files();
}

TEST_F(VolumeSpaceTest, CopyingEndsThoughMoreIsWrittenThanTheLimitLetsThrough) {
  ASSERT_THAT(Write("f", Pattern(1, kMiB)), IsOk());
  std::atomic<bool> stop{false};
  std::thread writer([this, &stop] {
    for (int i = 0; !stop.load(); ++i) {
      EXPECT_THAT(Write("busy", Pattern(i, 200'000)), IsOk());
      absl::SleepFor(absl::Milliseconds(20));
    }
  });
  ASSERT_THAT(volume().compactions().Start(
                  {.forget = true, .bytes_per_second = 2 * kMiB}),
              IsOk());
  EXPECT_TRUE(
      Await([this] { return !volume().compactions().progress().running(); }));
  volume().compactions().Cancel();
  EXPECT_THAT(volume().compactions().WaitForEnd(), IsOk());
  stop.store(true);
  writer.join();
}

// Operations do not wait for another thread's long copy, though punching does.
TEST_F(VolumeSpaceTest, PunchingDoesNotHoldUpOthersWhileAFileIsCopied) {
  ASSERT_THAT(Write("large", Pattern(1, 6 * kMiB)), IsOk());
  auto other = CreateFile("other", O_RDWR);
  auto handle = OpenFile("large", O_RDWR);
  ASSERT_THAT(volume().Write(**handle, kMiB, Pattern(2, 4 * kMiB)), IsOk());
  ASSERT_THAT(volume().Flush(**handle), IsOk());
  // The last close copies the file; its first read takes long.
  absl::Notification copying, go_on;
  files().Inject(
      {.ops = kOpRead, .partial_bytes = size_t{1} << 30, .before = [&] {
         copying.Notify();
         go_on.WaitForNotification();
       }});
  std::thread closer(
      [&] { EXPECT_THAT(volume().Release(*std::move(handle)), IsOk()); });
  copying.WaitForNotification();
  ASSERT_THAT(volume().compactions().Start({.punch = true, .forget = true}),
              IsOk());
  absl::SleepFor(absl::Milliseconds(200));
  absl::Notification written;
  std::thread third([&] {
    EXPECT_THAT(volume().Write(**other, 0, "text"), IsOk());
    written.Notify();
  });
  EXPECT_TRUE(written.WaitForNotificationWithTimeout(absl::Seconds(10)));
  go_on.Notify();
  closer.join();
  third.join();
  EXPECT_THAT(volume().compactions().WaitForEnd(), IsOk());
  ASSERT_THAT(CloseFile(*std::move(other)), IsOk());
  // The file has become plain.
  EXPECT_TRUE(ReadRaw("large") == *Read("large"));
}

TEST_F(VolumeSpaceTest, StallIsCountedFromWhereOthersBeginToWait) {
  ASSERT_THAT(Write("f", Pattern(1, 100'000)), IsOk());
  absl::Notification reading, go_on;
  files().Inject(
      {.ops = kOpRead, .partial_bytes = size_t{1} << 30, .before = [&] {
         reading.Notify();
         go_on.WaitForNotification();
       }});
  std::thread reader([&] { EXPECT_THAT(Read("f"), IsOk()); });
  reading.WaitForNotification();
  ASSERT_THAT(volume().compactions().Start({.punch = true, .forget = true}),
              IsOk());
  absl::SleepFor(absl::Seconds(1));
  go_on.Notify();
  reader.join();
  EXPECT_THAT(volume().compactions().WaitForEnd(), IsOk());
  EXPECT_GT(volume().compactions().progress().longest_stall,
            absl::Milliseconds(500));
}

// A clone of a deleted file, made while the store is copied.
TEST_F(VolumeSpaceTest, DamageIsNotShippedAsSound) {
  ASSERT_THAT(Write("f", Pattern(1, 100'000)), IsOk());
  const auto entry = volume().store().Read("f");
  ASSERT_THAT(entry, IsOk());
  const uint64_t at = entry->location().payload_offset + 500;
  auto deleted = OpenFile("f", O_RDONLY);
  ASSERT_THAT(Unlink("f"), IsOk());
  std::fstream(path()).seekp(static_cast<std::streamoff>(at)).put('\xa5');
  bool done = false;
  files().Inject({.ops = kOpSync, .before = [&] {
                    auto clone = CreateFile("clone", O_RDWR);
                    EXPECT_EQ(
                        *volume().CopyRange(**deleted, 0, **clone, 0, 100'000),
                        100'000u);
                    EXPECT_THAT(CloseFile(*std::move(clone)), IsOk());
                    done = true;
                  }});
  const absl::Status status = Compact();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_TRUE(done);
  EXPECT_FALSE(Read("clone").ok());
  ASSERT_THAT(CloseFile(*std::move(deleted)), IsOk());
}

}  // namespace
}  // namespace varve::fs
