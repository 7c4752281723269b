#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/entry/layout.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

using testing::ElementsAre;

class CompactionTest : public StoreFixture {
 protected:
  // 100 live keys among three times as many dead entries.
  void Fill() {
    for (int round = 0; round < 4; ++round) {
      for (int i = 0; i < 100; ++i) {
        Write(absl::StrCat(i), Pattern(round * 1000 + i, 1 + i * 13));
      }
    }
    Write("deleted", "x");
    ASSERT_THAT(store_->Delete("deleted"), IsOk());
  }
  void ExpectFilled() {
    EXPECT_EQ(store_->size(), 100);
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(Read(absl::StrCat(i)) == Pattern(3000 + i, 1 + i * 13)) << i;
    }
  }
};

TEST_F(CompactionTest, KeepsJustTheLiveEntriesOldestFirst) {
  Write("a", "1");
  Write("b", "2");
  Write("a", "3");
  Write("c", "4");
  ASSERT_THAT(store_->Delete("c"), IsOk());
  ASSERT_THAT(store_->Compact(), IsOk());
  EXPECT_THAT(Live(), ElementsAre("3", "2"));
  EXPECT_EQ(store_->tail(), 64 + 1 + 20);
  EXPECT_EQ(File().size(), store_->tail());
  EXPECT_EQ(store_->size(), 2);
  EXPECT_EQ(directory_.Listing(), "store ");
  int entries = 0;
  EXPECT_THAT(store_->ForEachInChain([&](const EntryView& entry) {
    EXPECT_TRUE(entry.HasValidChecksum());
    ++entries;
    return true;
  }),
              IsOk());
  EXPECT_EQ(entries, 2);
}

TEST_F(CompactionTest, SavesWhatWasEstimated) {
  Fill();
  const uint64_t before = store_->tail();
  const uint64_t savings = store_->EstimateCompactionSavings();
  EXPECT_GT(savings, before / 2);
  ASSERT_THAT(store_->Compact(), IsOk());
  EXPECT_EQ(store_->tail(), before - savings);
  EXPECT_EQ(store_->EstimateCompactionSavings(), 0);
  ExpectFilled();
  Write("more", "x");
  Open();
  EXPECT_EQ(Read("more"), "x");
  EXPECT_EQ(store_->size(), 101);
}

TEST_F(CompactionTest, OfNothingLiveIsAnEmptyFile) {
  Write("a", "1");
  ASSERT_THAT(store_->Delete("a"), IsOk());
  ASSERT_THAT(store_->Compact(), IsOk());
  EXPECT_EQ(File(), "");
  EXPECT_EQ(store_->tail(), 0);
  Write("b", "2");
  Open();
  EXPECT_EQ(Read("b"), "2");
}

TEST_F(CompactionTest, LargePayloadsAreCopiedWhole) {
  const std::string large = Pattern(1, (5 << 20) + 123);
  Write("dead", "x");
  Write("large", large);
  Write("dead", "y");
  ASSERT_THAT(store_->Delete("dead"), IsOk());
  ASSERT_THAT(store_->Compact(), IsOk());
  EXPECT_TRUE(Read("large") == large);
  EXPECT_THAT(store_->Verify(store_->Read("large")->location()), IsOk());
}

TEST_F(CompactionTest, ViewsStayValid) {
  Write("a", "old");
  const EntryView old = *store_->Read("a");
  Write("a", "new");
  ASSERT_THAT(store_->Compact(), IsOk());
  ASSERT_THAT(store_->Compact(), IsOk());
  Write("b", "x");
  EXPECT_EQ(old.payload_text(), "old");
  EXPECT_TRUE(old.HasValidChecksum());
  EXPECT_EQ(Read("a"), "new");
}

TEST_F(CompactionTest, GivesTheOldFilesSpaceBack) {
  struct stat info;
  Fill();
  ASSERT_THAT(store_->Compact(), IsOk());
  // No descriptor and no mapping of the old file is left.
  const std::string maps = ReadWholeFile("/proc/self/maps");
  EXPECT_EQ(maps.find(Path() + " (deleted)"), std::string::npos);
  ASSERT_EQ(stat(Path().c_str(), &info), 0);
  EXPECT_EQ(info.st_nlink, 1);
}

TEST_F(CompactionTest, KeepsModeAndOwner) {
  ASSERT_EQ(chmod(Path().c_str(), 0640), 0);
  // Allowed to root alone, and not in a sandbox that knows no such user.
  const bool given_away = chown(Path().c_str(), 1234, 5678) == 0;
  Write("a", "1");
  ASSERT_THAT(store_->Compact(), IsOk());
  struct stat info;
  ASSERT_EQ(stat(Path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0640);
  if (given_away) {
    EXPECT_EQ(info.st_uid, 1234);
    EXPECT_EQ(info.st_gid, 5678);
  }
}

TEST_F(CompactionTest, IsDurable) {
  Fill();
  ASSERT_THAT(store_->Compact(), IsOk());
  EXPECT_EQ(store_->durable_tail(), store_->tail());
  const int syncs = file_system_.Count(kOpSync);
  EXPECT_THAT(store_->Sync(), IsOk());
  EXPECT_EQ(file_system_.Count(kOpSync), syncs);
}

// Whose it is cannot be told, and it may be somebody's only copy.
TEST_F(CompactionTest, LeavesWhatIsInItsPlaceAlone) {
  Fill();
  const std::string place = Path("store.compact");
  const std::string before = File();
  for (const std::string& target :
       {std::string(), Path("other"), Path("nowhere")}) {
    SCOPED_TRACE(target);
    WriteWholeFile(Path("other"), "somebody's");
    if (target.empty()) {
      WriteWholeFile(place, "somebody's");
    } else {
      ASSERT_EQ(symlink(target.c_str(), place.c_str()), 0);
    }
    const absl::Status status = store_->Compact();
    EXPECT_THAT(status, HasCode(absl::StatusCode::kAlreadyExists));
    EXPECT_THAT(std::string(status.message()),
                testing::HasSubstr("store.compact is in the way"));
    struct stat info;
    ASSERT_EQ(lstat(place.c_str(), &info), 0);
    EXPECT_EQ(S_ISLNK(info.st_mode), !target.empty());
    EXPECT_EQ(ReadWholeFile(Path("other")), "somebody's");
    EXPECT_TRUE(File() == before);
    ASSERT_EQ(unlink(place.c_str()), 0);
  }
  ASSERT_THAT(store_->Compact(), IsOk());
  EXPECT_EQ(directory_.Listing(), "other store ");
  ExpectFilled();
}

// Its name may be that of a compaction which was killed before it could make
// that durable.
TEST_F(CompactionTest, TheFirstSyncAfterOpeningIsOneOfTheDirectoryToo) {
  Fill();
  ASSERT_THAT(store_->Sync(), IsOk());
  Open();
  const int before = file_system_.Count(kOpSyncDirectory);
  ASSERT_THAT(store_->Sync(), IsOk());
  EXPECT_EQ(file_system_.Count(kOpSyncDirectory), before + 1);
  ASSERT_THAT(store_->Sync(), IsOk());
  EXPECT_EQ(file_system_.Count(kOpSyncDirectory), before + 1);
}

TEST_F(CompactionTest, FollowsALinkToTheStore) {
  Fill();
  ASSERT_EQ(symlink("store", Path("link").c_str()), 0);
  store_.reset();
  auto store = Store::Open(Path("link"), {});
  ASSERT_THAT(store, IsOk());
  store_ = *std::move(store);
  ASSERT_THAT(store_->Compact(), IsOk());
  store_.reset();
  struct stat info;
  ASSERT_EQ(lstat(Path("link").c_str(), &info), 0);
  EXPECT_TRUE(S_ISLNK(info.st_mode));
  Open();
  ExpectFilled();
  EXPECT_EQ(store_->EstimateCompactionSavings(), 0);
}

TEST_F(CompactionTest, LeavesAFileAloneThatHasTakenTheStoresPlace) {
  Fill();
  ASSERT_THAT(RealFileSystem()->Rename(Path(), Path("moved")), IsOk());
  WriteWholeFile(Path(), "something else");
  EXPECT_THAT(store_->Compact(),
              HasCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_EQ(File(), "something else");
  EXPECT_EQ(directory_.Listing(), "moved store ");
  ExpectFilled();
}

TEST_F(CompactionTest, StopsAtADamagedEntry) {
  Fill();
  const EntryLocation entry = store_->Read("50")->location();
  store_.reset();
  std::string bytes = File();
  bytes[entry.payload_offset + 5] ^= 1;
  WriteWholeFile(Path(), bytes);
  Open();
  const absl::Status status = store_->Compact();
  EXPECT_THAT(status, HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(status, HasErrorNumber(EIO));
  EXPECT_EQ(File(), bytes);
  EXPECT_EQ(directory_.Listing(), "store ");
  Write("more", "x");
}

// No writer appends one, but a reader takes it for a value behind a pad.
TEST_F(CompactionTest, SingleNulOfAnotherWriterStaysAValue) {
  Write("a", "x");
  ASSERT_THAT(store_->Delete("a"), IsOk());
  std::string file = File();
  const uint64_t tail = file.size();
  file.resize(Align64(tail));
  file.push_back('\0');
  std::byte metadata[kMetadataSize];
  EncodeMetadata({HashKey("nul"), tail, kTombstoneCrc32}, metadata);
  file.append(reinterpret_cast<const char*>(metadata), kMetadataSize);
  store_ = nullptr;
  WriteWholeFile(Path(), file);
  Open();
  ASSERT_EQ(Read("nul"), std::string(1, '\0'));
  ASSERT_THAT(store_->Compact(), IsOk());
  EXPECT_EQ(Read("nul"), std::string(1, '\0'));
  Open();
  EXPECT_EQ(Read("nul"), std::string(1, '\0'));
}

TEST_F(CompactionTest, FailureLeavesTheStoreAsItWas) {
  Fill();
  const std::string before = File();
  // The sync of the directory comes after the rename; see below.
  for (int nth = 1;; ++nth) {
    SCOPED_TRACE(nth);
    // A mapping that fails is tried again, smaller; and a compacted store may
    // do without a reserve, and without a look at the length of the file.
    file_system_.Inject(
        {.ops = kAllOps & ~(kOpSyncDirectory | kOpRemove | kOpMap |
                            kOpPreallocate | kOpSpace | kOpInfo | kOpTruncate),
         .nth = nth,
         .error_number = ENOSPC});
    const absl::Status status = store_->Compact();
    const bool was_hit = file_system_.hits() > 0;
    file_system_.Heal();
    if (status.ok()) {
      EXPECT_GT(nth, 5);
      EXPECT_FALSE(was_hit);
      break;
    }
    EXPECT_TRUE(was_hit);
    ASSERT_EQ(File(), before);
    EXPECT_EQ(directory_.Listing(), "store ");
    ExpectFilled();
  }
  ExpectFilled();
}

TEST_F(CompactionTest, FailedSyncOfTheDirectoryEndsWriting) {
  Fill();
  file_system_.Inject({.ops = kOpSyncDirectory, .error_number = EIO});
  EXPECT_THAT(store_->Compact(), HasErrorNumber(EIO));
  // The new file is in place, but a power cut could bring the old one back.
  EXPECT_TRUE(store_->read_only());
  EXPECT_EQ(directory_.Listing(), "store ");
  ExpectFilled();
  Open();
  ExpectFilled();
}

TEST_F(CompactionTest, NoSecondWriterGetsInBetween) {
  Fill();
  std::atomic<bool> done{false};
  std::thread intruder([&] {
    while (!done.load()) {
      const auto second = Store::Open(Path(), {.mode = OpenMode::kReadWrite});
      EXPECT_THAT(second, HasErrorNumber(EWOULDBLOCK));
    }
  });
  for (int i = 0; i < 20; ++i) {
    Write("churn", absl::StrCat(i));
    EXPECT_THAT(store_->Compact(), IsOk());
  }
  done.store(true);
  intruder.join();
}

TEST_F(CompactionTest, WaitingWriterFindsTheNewFile) {
  Fill();
  std::unique_ptr<Store> second;
  std::thread waiter([&] {
    auto opened = Store::Open(
        Path(), {.mode = OpenMode::kReadWrite, .lock_wait = absl::Minutes(1)});
    ASSERT_THAT(opened, IsOk());
    second = *std::move(opened);
  });
  for (int i = 0; i < 20; ++i) {
    Write("churn", absl::StrCat(i));
    EXPECT_THAT(store_->Compact(), IsOk());
  }
  store_.reset();
  waiter.join();
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->Read("churn")->payload_text(), "19");
  ASSERT_THAT(second->Write("after", Bytes("x")), IsOk());
  second.reset();
  Open();
  EXPECT_EQ(Read("after"), "x");
}

TEST_F(CompactionTest, ReadersAndWritersGoOn) {
  for (int i = 0; i < 100; ++i) Write(absl::StrCat(i), absl::StrCat("v", i));
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      for (int i = t; !done.load(); ++i) {
        const auto view = store_->Read(absl::StrCat(i % 100));
        ASSERT_THAT(view, IsOk());
        ASSERT_EQ(view->payload_text(), absl::StrCat("v", i % 100));
      }
    });
  }
  threads.emplace_back([&] {
    for (int i = 0; !done.load(); ++i) {
      Write(absl::StrCat(i % 100), absl::StrCat("v", i % 100));
    }
  });
  threads.emplace_back([&] {
    while (!done.load()) {
      size_t count = 0;
      store_->ForEach([&](const EntryView&) { return ++count > 0; });
      EXPECT_EQ(count, 100);
      EXPECT_FALSE(store_->ReadBatch({"1", "2", "x"})[2].has_value());
      EXPECT_THAT(store_->Sync(), IsOk());
    }
  });
  for (int i = 0; i < 20; ++i) EXPECT_THAT(store_->Compact(), IsOk());
  done.store(true);
  for (std::thread& thread : threads) thread.join();
  Open();
  EXPECT_EQ(store_->size(), 100);
}

}  // namespace
}  // namespace varve
