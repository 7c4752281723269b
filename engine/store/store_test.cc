#include "engine/store/store.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using StoreTest = StoreFixture;

TEST_F(StoreTest, IsEmptyAtFirst) {
  EXPECT_TRUE(store_->empty());
  EXPECT_EQ(store_->tail(), 0);
  EXPECT_THAT(store_->ReadLastEntry(), HasCode(absl::StatusCode::kNotFound));
  EXPECT_EQ(Read("a"), "(NOT_FOUND)");
  EXPECT_EQ(store_->path(), Path());
}

TEST_F(StoreTest, ReadsWhatWasWritten) {
  const EntryLocation a = Write("a", "first");
  const EntryLocation b = Write("b", "second");
  EXPECT_EQ(Read("a"), "first");
  EXPECT_EQ(Read("b"), "second");
  EXPECT_EQ(store_->size(), 2);
  EXPECT_EQ(a.payload_offset, 0);
  EXPECT_EQ(b.payload_offset, 64);
  EXPECT_EQ(b.prev_tail, a.end());
  EXPECT_EQ(store_->tail(), b.end());
  EXPECT_EQ(store_->Find(EntryKey::OfHash(HashKey("b"))), b.metadata_offset());
  EXPECT_EQ(store_->ReadMetadata("b")->prev_tail, a.end());
  EXPECT_EQ(store_->ReadMetadata("b")->crc32, b.crc32);
  EXPECT_EQ(File().size(), b.end());
}

TEST_F(StoreTest, PayloadsAreAligned) {
  for (int i = 1; i < 200; ++i) {
    const EntryLocation entry = Write(absl::StrCat(i), std::string(i, 'x'));
    EXPECT_EQ(entry.payload_offset % 64, 0);
    const auto view = store_->Read(absl::StrCat(i));
    ASSERT_THAT(view, IsOk());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view->payload().data()) % 64, 0);
  }
}

TEST_F(StoreTest, NewestEntryWins) {
  Write("a", "old");
  Write("a", "new");
  EXPECT_EQ(Read("a"), "new");
  EXPECT_EQ(store_->size(), 1);
  Open();
  EXPECT_EQ(Read("a"), "new");
  EXPECT_EQ(store_->size(), 1);
}

TEST_F(StoreTest, RefusesPayloadsThatTheFormatCannotHold) {
  const std::string nul(1, '\0');
  EXPECT_THAT(store_->Write("a", {}),
              HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(store_->Write("a", Bytes(nul)),
              HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(store_->WriteBatch({{"b", Bytes("fine")}, {"a", Bytes(nul)}}),
              HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(File(), "");
  EXPECT_TRUE(store_->empty());
  Write("a", std::string(2, '\0'));
  EXPECT_EQ(Read("a").size(), 2);
}

TEST_F(StoreTest, EmptyKeyIsAKey) {
  Write("", "x");
  EXPECT_EQ(Read(""), "x");
}

TEST_F(StoreTest, DeletedKeysAreAbsent) {
  Write("a", "1");
  Write("b", "2");
  EXPECT_EQ(*store_->Delete("a"), 1);
  EXPECT_FALSE(store_->Exists("a"));
  EXPECT_TRUE(store_->Exists("b"));
  EXPECT_EQ(store_->size(), 1);
  Open();
  EXPECT_FALSE(store_->Exists("a"));
  EXPECT_EQ(store_->size(), 1);
  Write("a", "again");
  EXPECT_EQ(Read("a"), "again");
}

TEST_F(StoreTest, DeletingAbsentKeysWritesNothing) {
  Write("a", "1");
  const std::string before = File();
  EXPECT_EQ(*store_->Delete("b"), 0);
  EXPECT_EQ(*store_->DeleteBatch({"b", "c"}), 0);
  EXPECT_EQ(File(), before);
}

TEST_F(StoreTest, DeleteBatchCountsEachKeyOnce) {
  Write("a", "1");
  Write("b", "2");
  EXPECT_EQ(*store_->DeleteBatch({"a", "x", "b", "a"}), 2);
  EXPECT_TRUE(store_->empty());
}

TEST_F(StoreTest, BatchIsWrittenInOrder) {
  EXPECT_THAT(
      store_->WriteBatch(
          {{"a", Bytes("old")}, {"b", Bytes("other")}, {"a", Bytes("new")}}),
      IsOk());
  EXPECT_EQ(Read("a"), "new");
  EXPECT_THAT(Live(), ElementsAre("new", "other"));
  EXPECT_THAT(store_->WriteBatch({}), IsOk());
}

TEST_F(StoreTest, BatchOfMoreThanOneWriteIsWhole) {
  // Far more pieces than one system call takes.
  constexpr int kCount = 5000;
  std::vector<std::string> payloads;
  for (int i = 0; i < kCount; ++i) payloads.push_back(Pattern(i, 1 + i % 300));
  payloads[0] = "first";
  std::vector<BatchItem> items;
  for (int i = 0; i < kCount; ++i) {
    items.push_back({absl::StrCat(i), Bytes(payloads[i])});
  }
  ASSERT_THAT(store_->WriteBatch(items), IsOk());
  Open();
  EXPECT_EQ(store_->size(), kCount);
  for (int i = 0; i < kCount; ++i) {
    ASSERT_TRUE(Read(absl::StrCat(i)) == payloads[i]) << i;
  }
}

TEST_F(StoreTest, RenameMovesTheEntry) {
  Write("a", "payload");
  Write("b", "other");
  EXPECT_THAT(store_->Rename("a", "c"), IsOk());
  EXPECT_FALSE(store_->Exists("a"));
  EXPECT_EQ(Read("c"), "payload");
  EXPECT_THAT(store_->Rename("c", "b"), IsOk());
  EXPECT_EQ(Read("b"), "payload");
  EXPECT_EQ(store_->size(), 1);
  EXPECT_THAT(store_->Rename("x", "y"), HasCode(absl::StatusCode::kNotFound));
  EXPECT_THAT(store_->Rename("b", "b"),
              HasCode(absl::StatusCode::kInvalidArgument));
}

TEST_F(StoreTest, RenameKeepsDamageVisible) {
  const EntryLocation a = Write("a", "payload");
  Write("b", "other");
  store_.reset();
  std::string bytes = File();
  bytes[a.payload_offset] ^= 1;
  WriteWholeFile(Path(), bytes);
  Open();
  ASSERT_THAT(store_->Rename("a", "c"), IsOk());
  const auto entry = store_->Read("c");
  ASSERT_THAT(entry, IsOk());
  EXPECT_FALSE(entry->HasValidChecksum());
  const absl::Status status = store_->Verify(entry->location());
  EXPECT_THAT(status, HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(status, HasErrorNumber(EIO));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(absl::StrCat(absl::Hex(HashKey("c")))));
}

TEST_F(StoreTest, CopiesAndTransfersBetweenStores) {
  const auto other = OpenOther("other");
  Write("a", "payload");
  EXPECT_THAT(store_->Copy("a", *other), IsOk());
  EXPECT_EQ(other->Read("a")->payload_text(), "payload");
  EXPECT_EQ(Read("a"), "payload");
  EXPECT_THAT(store_->Transfer("a", *other), IsOk());
  EXPECT_FALSE(store_->Exists("a"));
  EXPECT_THAT(store_->Copy("a", *other), HasCode(absl::StatusCode::kNotFound));
  EXPECT_THAT(other->Copy("a", *other),
              HasCode(absl::StatusCode::kInvalidArgument));
}

TEST_F(StoreTest, ReadBatchAnswersInOrder) {
  Write("a", "1");
  Write("b", "2");
  const auto answers = store_->ReadBatch({"b", "x", "a"});
  ASSERT_EQ(answers.size(), 3);
  EXPECT_EQ(answers[0]->payload_text(), "2");
  EXPECT_FALSE(answers[1].has_value());
  EXPECT_EQ(answers[2]->payload_text(), "1");
  EXPECT_TRUE(store_->ReadBatch({}).empty());
}

TEST_F(StoreTest, ReadBatchAnswersAreOfOneMoment) {
  Write("a", "0");
  Write("b", "0");
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  for (int t = 0; t < 2; ++t) {
    readers.emplace_back([&] {
      while (!done.load()) {
        const auto answers = store_->ReadBatch({"a", "b"});
        ASSERT_EQ(answers[0]->payload_text(), answers[1]->payload_text());
      }
    });
  }
  for (int i = 1; i <= 5000; ++i) {
    const std::string text = absl::StrCat(i);
    ASSERT_THAT(store_->WriteBatch({{"a", Bytes(text)},
                                    {absl::StrCat("other", i), Bytes("x")},
                                    {"b", Bytes(text)}}),
                IsOk());
  }
  done.store(true);
  for (std::thread& reader : readers) reader.join();
}

TEST_F(StoreTest, LastEntryMayBeATombstone) {
  Write("a", "1");
  EXPECT_EQ(store_->ReadLastEntry()->payload_text(), "1");
  ASSERT_THAT(store_->Delete("a"), IsOk());
  const auto last = store_->ReadLastEntry();
  ASSERT_THAT(last, IsOk());
  EXPECT_TRUE(last->is_tombstone());
  EXPECT_EQ(last->key_hash(), HashKey("a"));
  EXPECT_EQ(last->size(), 1);
  EXPECT_TRUE(last->HasValidChecksum());
}

TEST_F(StoreTest, EntryEndingAtChecksBounds) {
  const EntryLocation a = Write("a", "1");
  const EntryLocation b = Write("b", "2");
  EXPECT_EQ(store_->EntryEndingAt(a.end())->payload_text(), "1");
  EXPECT_EQ(store_->EntryEndingAt(b.end())->payload_text(), "2");
  EXPECT_THAT(store_->EntryEndingAt(b.end() + 1),
              HasCode(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(store_->EntryEndingAt(0), HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(store_->EntryEndingAt(a.end() - 1),
              HasCode(absl::StatusCode::kDataLoss));
}

TEST_F(StoreTest, ViewSeesAnyWrittenBytes) {
  Write("a", "0123456789");
  EXPECT_EQ(store_->View(3, 4)->bytes, Bytes("3456"));
  EXPECT_THAT(store_->View(store_->tail(), 0), IsOk());
  EXPECT_THAT(store_->View(0, store_->tail() + 1),
              HasCode(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(store_->View(~uint64_t{0}, 2),
              HasCode(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(store_->View(2, ~uint64_t{0}),
              HasCode(absl::StatusCode::kOutOfRange));
}

// Around the size in which payloads are read, whatever of the metadata is read
// with them.
TEST_F(StoreTest, VerifySeesEveryByteOfLargeEntries) {
  constexpr size_t kChunk = size_t{256} << 10;
  for (const size_t size : {kChunk - 21, kChunk - 20, kChunk - 19, kChunk - 1,
                            kChunk, kChunk + 1, 2 * kChunk - 7}) {
    Write("large", std::string(size, 'x'));
    EntryLocation entry = store_->Read("large")->location();
    EXPECT_THAT(store_->Verify(entry), IsOk()) << size;
    entry.crc32 ^= 1;
    EXPECT_THAT(store_->Verify(entry), HasCode(absl::StatusCode::kDataLoss));
    entry.crc32 ^= 1;
    entry.prev_tail ^= 1;
    EXPECT_THAT(store_->Verify(entry), HasCode(absl::StatusCode::kDataLoss));
  }
}

TEST_F(StoreTest, VerifyRefusesPlacesWithoutAnEntry) {
  EntryLocation entry = Write("a", "0123456789");
  EXPECT_THAT(store_->Verify(entry), IsOk());
  EXPECT_THAT(store_->Verify({}), HasCode(absl::StatusCode::kOutOfRange));
  EntryLocation beyond = entry;
  beyond.payload_size = ~uint64_t{0} - 3;
  EXPECT_THAT(store_->Verify(beyond), HasCode(absl::StatusCode::kOutOfRange));
  entry.key_hash ^= 1;
  EXPECT_THAT(store_->Verify(entry), HasCode(absl::StatusCode::kDataLoss));
}

TEST_F(StoreTest, ViewsOutliveTheStore) {
  Write("a", "payload");
  const EntryView view = *store_->Read("a");
  Write("a", "other");
  store_.reset();
  EXPECT_EQ(view.payload_text(), "payload");
  EXPECT_TRUE(view.HasValidChecksum());
}

TEST_F(StoreTest, ForEachShowsTheMomentOfTheCall) {
  for (int i = 0; i < 300; ++i) Write(absl::StrCat(i), absl::StrCat("v", i));
  Write("5", "v5 again");
  ASSERT_THAT(store_->Delete("7"), IsOk());
  std::set<std::string> seen;
  store_->ForEach([&](const EntryView& entry) {
    if (seen.empty()) {
      // Everything changes while the walk is under way.
      for (int i = 0; i < 300; ++i) {
        if (i % 3 == 0) Write(absl::StrCat(i), "changed");
        if (i % 3 == 1) {
          EXPECT_THAT(store_->Delete(absl::StrCat(i)), IsOk());
        }
      }
      Write("new", "new");
    }
    EXPECT_TRUE(seen.insert(std::string(entry.payload_text())).second);
    return true;
  });
  EXPECT_EQ(seen.size(), 299);
  EXPECT_TRUE(seen.contains("v5 again"));
  EXPECT_FALSE(seen.contains("v5"));
  EXPECT_FALSE(seen.contains("v7"));
  EXPECT_FALSE(seen.contains("changed"));
}

TEST_F(StoreTest, ForEachStopsWhenAsked) {
  Write("a", "1");
  Write("b", "2");
  int calls = 0;
  store_->ForEach([&](const EntryView&) { return ++calls < 1; });
  EXPECT_EQ(calls, 1);
}

TEST_F(StoreTest, ForEachParallelVisitsTheSameEntries) {
  for (int i = 0; i < 5000; ++i) Write(absl::StrCat(i % 3000), absl::StrCat(i));
  std::mutex mutex;
  std::vector<std::string> visited;
  store_->ForEachParallel([&](const EntryView& entry) {
    const std::lock_guard<std::mutex> lock(mutex);
    visited.emplace_back(entry.payload_text());
  });
  std::vector<std::string> expected = Live();
  std::sort(expected.begin(), expected.end());
  std::sort(visited.begin(), visited.end());
  EXPECT_EQ(expected.size(), 3000);
  EXPECT_TRUE(visited == expected);
}

TEST_F(StoreTest, ReadOnlyStoreRefusesEveryWrite) {
  Write("a", "1");
  const auto other = OpenOther("other");
  Open(OpenMode::kRead);
  EXPECT_TRUE(store_->read_only());
  EXPECT_EQ(Read("a"), "1");
  const auto is_refused = HasErrorNumber(EROFS);
  EXPECT_THAT(store_->Write("a", Bytes("2")), is_refused);
  EXPECT_THAT(store_->Write("a", Bytes("2")),
              HasCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(store_->WriteBatch({{"a", Bytes("2")}}), is_refused);
  EXPECT_THAT(store_->WriteBatch({}), is_refused);
  std::istringstream source("stream");
  EXPECT_THAT(store_->WriteStream("a", source), is_refused);
  EXPECT_THAT(store_->Delete("a"), is_refused);
  EXPECT_THAT(store_->Rename("a", "b"), is_refused);
  EXPECT_THAT(store_->Transfer("a", *other), is_refused);
  EXPECT_THAT(store_->Copy("a", *other), IsOk());
  EXPECT_THAT(store_->Compact(), is_refused);
  EXPECT_THAT(store_->BeginBatch().Commit(), is_refused);
  EXPECT_THAT(store_->BeginStream([] { return 1; })->Write(Bytes("xy")),
              is_refused);
  EXPECT_THAT(store_->Sync(), IsOk());
  EXPECT_EQ(Read("a"), "1");
}

TEST_F(StoreTest, ReadOnlyStoresOpenBesideAWriter) {
  Write("a", "1");
  const auto reader = Store::Open(Path(), {.mode = OpenMode::kRead});
  ASSERT_THAT(reader, IsOk());
  Write("a", "2");
  EXPECT_EQ((*reader)->Read("a")->payload_text(), "1");
}

TEST_F(StoreTest, OpeningSaysWhatIsWrong) {
  EXPECT_THAT(Store::Open(Path("none"), {.mode = OpenMode::kRead}),
              HasCode(absl::StatusCode::kNotFound));
  EXPECT_THAT(Store::Open(Path("none"), {.mode = OpenMode::kReadWrite}),
              HasCode(absl::StatusCode::kNotFound));
  EXPECT_THAT(Store::Open(Path(), {.mode = OpenMode::kCreateNew}),
              HasCode(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(Store::Open(directory_.path(), {.mode = OpenMode::kRead}),
              HasErrorNumber(EISDIR));
}

TEST_F(StoreTest, SecondWriterIsToldWhoHoldsTheStore) {
  const auto second = Store::Open(Path(), {.mode = OpenMode::kReadWrite});
  EXPECT_THAT(second, HasCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(second, HasErrorNumber(EWOULDBLOCK));
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(absl::StrCat("pid ", getpid())));
}

TEST_F(StoreTest, SecondWriterCanWait) {
  std::thread closer([&] {
    absl::SleepFor(absl::Milliseconds(50));
    store_.reset();
  });
  const auto second = Store::Open(
      Path(), {.mode = OpenMode::kReadWrite, .lock_wait = absl::Minutes(1)});
  closer.join();
  EXPECT_THAT(second, IsOk());
}

TEST_F(StoreTest, MappingGrowsWithTheFile) {
  file_system_.set_max_mapping(1 << 16);
  Open();
  Write("first", "first");
  const EntryView first = *store_->Read("first");
  file_system_.set_max_mapping(1 << 24);
  const std::string large = Pattern(1, 1 << 20);
  Write("large", large);
  EXPECT_TRUE(Read("large") == large);
  EXPECT_EQ(first.payload_text(), "first");
  EXPECT_EQ(Read("first"), "first");
  // Where no mapping can cover it, nothing is written.
  file_system_.set_max_mapping(1 << 21);
  EXPECT_THAT(store_->Write("huge", Bytes(std::string(1 << 22, 'x'))),
              HasErrorNumber(ENOMEM));
  EXPECT_EQ(File().size(), store_->tail());
}

}  // namespace
}  // namespace varve
