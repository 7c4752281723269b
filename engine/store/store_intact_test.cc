// What a store does when somebody else changes its file.

#include <errno.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>

#include "engine/io/bus_guard.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

using ::testing::HasSubstr;

class StoreIntactTest : public StoreFixture {
 protected:
  void SetUp() override { InstallBusGuard(); }

  void Truncate(uint64_t size) {
    ASSERT_EQ(truncate(Path().c_str(), static_cast<off_t>(size)), 0);
  }
  uint64_t FileSize() const { return std::filesystem::file_size(Path()); }
  // Lets the pages of an entry's payload be lost in the store's map, as if the
  // disk had failed once: the file is as it was afterwards.
  void LosePayload(absl::string_view key) {
    const auto entry = store_->Read(key);
    ASSERT_THAT(entry, IsOk());
    const std::string all = File();
    Truncate(0);
    EXPECT_EQ(entry->payload()[0], std::byte{0});
    WriteWholeFile(Path(), all);
  }
};

TEST_F(StoreIntactTest, AppendToATruncatedFileFailsAndLeavesNoHole) {
  Write("a", "first");
  Write("b", "second");
  Truncate(50);
  const auto entry = store_->Write("c", Bytes("third"));
  EXPECT_THAT(entry, HasErrorNumber(EIO));
  EXPECT_THAT(std::string(entry.status().message()),
              HasSubstr("was truncated by somebody else"));
  EXPECT_EQ(FileSize(), 50);
  EXPECT_TRUE(store_->read_only());
  EXPECT_THAT(store_->failure(), HasErrorNumber(EIO));
  const auto later = store_->Write("c", Bytes("third"));
  EXPECT_THAT(later, HasErrorNumber(EROFS));
  EXPECT_THAT(std::string(later.status().message()),
              HasSubstr("was truncated by somebody else"));
  EXPECT_THAT(store_->Sync(), HasErrorNumber(EIO));
  store_.reset();
  EXPECT_EQ(FileSize(), 50);
}

TEST_F(StoreIntactTest, SyncOfATruncatedFileFails) {
  Write("a", "first");
  Truncate(10);
  EXPECT_THAT(store_->Sync(), HasErrorNumber(EIO));
  EXPECT_TRUE(store_->read_only());
}

TEST_F(StoreIntactTest, WhatIsLeftOfATruncatedFileCanBeRead) {
  const std::string large = Pattern(1, 100'000);
  const uint64_t end = Write("a", large).end();
  Write("b", large);
  Truncate(end + 1000);
  EXPECT_THAT(store_->CheckLength(end), IsOk());
  EXPECT_THAT(store_->CheckLength(end + 1001),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_EQ(Read("a"), large);
  EXPECT_EQ(Read("b"), "(DATA_LOSS)");
  EXPECT_THAT(store_->View(end, 1001), HasCode(absl::StatusCode::kDataLoss));
}

TEST_F(StoreIntactTest, WhatIsGoneStaysGoneIfTheFileGrowsAgain) {
  Write("a", Pattern(1, 100'000));
  const uint64_t size = FileSize();
  Truncate(50'000);
  EXPECT_THAT(store_->CheckLength(size), HasCode(absl::StatusCode::kDataLoss));
  Truncate(size);
  EXPECT_THAT(store_->CheckLength(size), HasCode(absl::StatusCode::kDataLoss));
  EXPECT_EQ(Read("a"), "(DATA_LOSS)");
}

TEST_F(StoreIntactTest, WalksOfATruncatedFileEndInAnError) {
  for (int i = 0; i < 100; ++i) Write(absl::StrCat(i), Pattern(i, 1000));
  Truncate(20'000);
  EXPECT_THAT(store_->ForEachInChain([](const EntryView&) { return true; }),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(store_->EntryEndingAt(store_->tail()),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_TRUE(Live().empty());
}

TEST_F(StoreIntactTest, CompactionOfATruncatedFileFails) {
  Write("a", Pattern(1, 100'000));
  Write("b", Pattern(2, 100'000));
  Truncate(120'000);
  EXPECT_THAT(store_->Compact(), HasCode(absl::StatusCode::kDataLoss));
  EXPECT_EQ(FileSize(), 120'000);
  EXPECT_EQ(directory_.Listing(), "store ");
}

TEST_F(StoreIntactTest, StreamThatIsGivenUpDoesNotMakeTheFileLonger) {
  Write("a", Pattern(1, 1000));
  auto stream = store_->BeginStream([] { return uint64_t{1}; });
  EXPECT_THAT(stream->Write(Bytes(Pattern(2, 1000))), IsOk());
  Truncate(500);
  stream.reset();
  EXPECT_EQ(FileSize(), 500);
  EXPECT_TRUE(store_->read_only());
}

TEST_F(StoreIntactTest, StreamGoesOnOnlyWhereItsBytesAre) {
  Write("a", Pattern(1, 1000));
  auto stream = store_->BeginStream([] { return uint64_t{1}; });
  EXPECT_THAT(stream->Write(Bytes(Pattern(2, 1000))), IsOk());
  Truncate(FileSize() - 1);
  EXPECT_THAT(stream->Write(Bytes("more")), HasErrorNumber(EIO));
  stream.reset();
  // Nothing that was committed is gone.
  EXPECT_THAT(store_->Write("b", Bytes("text")), IsOk());
  EXPECT_EQ(Read("a"), Pattern(1, 1000));
}

TEST_F(StoreIntactTest, LostBytesAreNotCopiedAsZeros) {
  Write("small", Pattern(1, 1000));
  Write("large", Pattern(2, 10'000));
  const auto other = OpenOther("other");
  for (const char* key : {"small", "large"}) {
    LosePayload(key);
    EXPECT_THAT(store_->Copy(key, *other), HasErrorNumber(EIO));
    EXPECT_THAT(store_->Rename(key, "new"), HasErrorNumber(EIO));
    EXPECT_FALSE(other->Exists(key));
    EXPECT_FALSE(store_->Exists("new"));
    const auto lost = store_->Read(key);
    Batch batch = store_->BeginBatch();
    // A new checksum would make zeros sound.
    if (lost.ok()) batch.Add(7, lost->payload());
    EXPECT_EQ(batch.Commit().ok(), !lost.ok());
  }
  EXPECT_THAT(store_->Write("b", Bytes("text")), IsOk());
  Open();
  EXPECT_EQ(Read("small"), Pattern(1, 1000));
  EXPECT_EQ(Read("large"), Pattern(2, 10'000));
}

TEST_F(StoreIntactTest, WhatCannotBeReadWhileOpeningIsNotTakenForATornEnd) {
  for (int i = 0; i < 100; ++i) Write(absl::StrCat(i), Pattern(i, 1000));
  const std::string all = File();
  store_.reset();
  for (const uint64_t left : {0, 5000, 50'000, 100'000}) {
    for (const OpenMode mode : {OpenMode::kReadWrite, OpenMode::kRead}) {
      // Between the look at its length and the first reading.
      file_system_.Inject({.ops = kOpMap, .before = [&] { Truncate(left); }});
      const auto store = TryOpen(mode);
      file_system_.Heal();
      EXPECT_THAT(store, HasCode(absl::StatusCode::kDataLoss));
      EXPECT_THAT(store, HasErrorNumber(EIO));
      EXPECT_EQ(FileSize(), left);
      EXPECT_EQ(directory_.Listing(), "store ");
      WriteWholeFile(Path(), all);
    }
  }
  Open();
  EXPECT_EQ(Read("99"), Pattern(99, 1000));
}

TEST_F(StoreIntactTest, PlaceTellsWhatBecameOfTheName) {
  Write("a", "text");
  EXPECT_EQ(*store_->LocateFile(), FileLocation::kInPlace);
  std::filesystem::rename(Path(), Path("moved"));
  EXPECT_EQ(*store_->LocateFile(), FileLocation::kMoved);
  WriteWholeFile(Path(), "another file");
  EXPECT_EQ(*store_->LocateFile(), FileLocation::kMoved);
  std::filesystem::rename(Path("moved"), Path());
  EXPECT_EQ(*store_->LocateFile(), FileLocation::kInPlace);
  WriteWholeFile(Path("new"), "another file");
  std::filesystem::rename(Path("new"), Path());
  EXPECT_EQ(*store_->LocateFile(), FileLocation::kDeleted);
  std::filesystem::remove(Path());
  EXPECT_EQ(*store_->LocateFile(), FileLocation::kDeleted);
  EXPECT_THAT(store_->Write("b", Bytes("more")), IsOk());
  EXPECT_EQ(Read("a"), "text");
}

TEST_F(StoreIntactTest, DiskThatCannotBeAskedIsNoShorterFile) {
  Write("a", "text");
  file_system_.Inject({.ops = kOpInfo, .times = 100, .error_number = EIO});
  EXPECT_THAT(store_->CheckLength(store_->tail()), IsOk());
  EXPECT_EQ(Read("a"), "text");
  EXPECT_THAT(store_->Write("b", Bytes("more")), IsOk());
  EXPECT_GT(file_system_.hits(), 0);
  file_system_.Heal();
  Truncate(30);
  file_system_.Inject({.ops = kOpInfo | kOpWrite | kOpTruncate,
                       .times = 100,
                       .error_number = EIO});
  EXPECT_THAT(store_->Write("c", Bytes("more")), HasErrorNumber(EIO));
  EXPECT_FALSE(store_->read_only());
  file_system_.Heal();
  // What the failed write has left is cut off only where there is something.
  EXPECT_THAT(store_->Write("c", Bytes("more")), HasErrorNumber(EIO));
  EXPECT_TRUE(store_->read_only());
  EXPECT_EQ(FileSize(), 30);
}

TEST_F(StoreIntactTest, DiskThatTurnedReadOnlyIsWhatTheCallerIsTold) {
  Write("a", "text");
  file_system_.Inject({.ops = kOpWrite, .error_number = EROFS});
  EXPECT_THAT(store_->Write("b", Bytes("more")), HasErrorNumber(EROFS));
  EXPECT_FALSE(store_->read_only());
  file_system_.Heal();
  EXPECT_FALSE(store_->Exists("b"));
  EXPECT_THAT(store_->Write("b", Bytes("more")), IsOk());
}

// Of files, in bytes.
uint64_t MappedPages() {
  std::ifstream status("/proc/self/status");
  std::string name;
  uint64_t kilobytes = 0;
  while (status >> name && name != "RssFile:") {
  }
  status >> kilobytes;
  return kilobytes << 10;
}

TEST_F(StoreIntactTest, WhatHasBeenServedFromTheMapIsReleased) {
  constexpr size_t kChunk = size_t{1} << 20;
  constexpr size_t kChunks = 200;
  Write("large", std::string(kChunks * kChunk, 'x'));
  const auto entry = store_->Read("large");
  ASSERT_THAT(entry, IsOk());
  const uint64_t before = MappedPages();
  uint64_t most = 0;
  for (size_t i = 0; i < kChunks; ++i) {
    store_->NoteServed(kChunk);
    const auto chunk = entry->payload().subspan(i * kChunk, kChunk);
    for (size_t at = 0; at < kChunk; at += 512) {
      ASSERT_EQ(chunk[at], std::byte{'x'});
    }
    most = std::max(most, MappedPages());
  }
  EXPECT_GT(most, before + 32 * kChunk);  // else this measures nothing
  EXPECT_LT(most, before + 100 * kChunk);
  EXPECT_EQ(entry->payload()[0], std::byte{'x'});
}

}  // namespace
}  // namespace varve
