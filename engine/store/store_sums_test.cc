// Block sums: written with large entries, found again, and hidden with them.

#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/entry/block_sums.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

constexpr uint64_t kSumsKey = 77;
constexpr uint64_t kSize = kMinSummedSize + 1000;

class StoreSumsTest : public StoreFixture {
 protected:
  static EntryKeys Keys(absl::string_view key, uint64_t sums = kSumsKey) {
    return {HashKey(key), sums};
  }
  EntryLocation Add(absl::string_view key, const std::string& payload,
                    uint64_t sums = kSumsKey) {
    Batch batch = store_->BeginBatch();
    const EntryLocation entry = batch.Add(Keys(key, sums), Bytes(payload));
    EXPECT_THAT(batch.Commit(), IsOk());
    return entry;
  }
  void OpenWithoutIndex() {
    store_.reset();
    // The last entry vouches for what is before it.
    const auto durable_tail = [](const EntryView& entry) {
      return entry.location().end();
    };
    auto store = Store::Open(Path(), {.mode = OpenMode::kReadWrite,
                                      .durable_tail = durable_tail,
                                      .defer_index = true});
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
    ASSERT_FALSE(store_->has_index());
  }
  static std::vector<uint32_t> AllSums(const BlockSums& sums) {
    std::vector<uint32_t> all;
    for (uint64_t block = 0; block < sums.count(); ++block) {
      all.push_back(*sums.SumOf(block));
    }
    return all;
  }
  // Whether the entry has sums, and these match all of its blocks.
  bool IsSummed(const EntryLocation& entry, uint64_t key = kSumsKey) const {
    const auto sums = store_->FindBlockSums(entry, key);
    if (!sums.has_value()) return false;
    EXPECT_TRUE(sums->MatchEntry());
    for (uint64_t block = 0; block < sums->count(); ++block) {
      EXPECT_THAT(store_->VerifyBlocks(entry, block, {*sums->SumOf(block)}),
                  IsOk());
      EXPECT_THAT(store_->VerifyBlocks(entry, block, {*sums->SumOf(block) ^ 1}),
                  HasCode(absl::StatusCode::kDataLoss));
    }
    EXPECT_THAT(store_->VerifyBlocks(entry, 0, AllSums(*sums)), IsOk());
    return true;
  }
};

TEST_F(StoreSumsTest, FollowALargeEntryInTheSameAppend) {
  const std::string payload = Pattern(1, kSize);
  Batch batch = store_->BeginBatch();
  const EntryLocation entry = batch.Add(Keys("k"), Bytes(payload));
  const uint64_t end = batch.end();
  EXPECT_GT(end, entry.end());
  EXPECT_EQ(batch.Add(HashKey("next"), Bytes("x")).prev_tail, end);
}

TEST_F(StoreSumsTest, AreThoseOfTheEntry) {
  const int writes = file_system_.Count(kOpWrite);
  const EntryLocation entry = Add("k", Pattern(1, kSize));
  EXPECT_EQ(file_system_.Count(kOpWrite), writes + 1);
  EXPECT_TRUE(IsSummed(entry));
  EXPECT_FALSE(IsSummed(entry, kSumsKey + 1));
  EXPECT_EQ(store_->tail(),
            Align64(entry.end()) + BlockSums::SizeFor(kSize) + kMetadataSize);
  EXPECT_THAT(store_->VerifyBlocks(entry, CountBlocks(kSize), {0}),
              HasCode(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(store_->VerifyBlocks(entry, CountBlocks(kSize) - 1, {0, 0}),
              HasCode(absl::StatusCode::kOutOfRange));
  Open();
  EXPECT_TRUE(IsSummed(entry));
  EXPECT_EQ(Read("k"), Pattern(1, kSize));
}

TEST_F(StoreSumsTest, SmallEntriesHaveNone) {
  const EntryLocation entry = Add("k", Pattern(1, kMinSummedSize - 1));
  EXPECT_FALSE(IsSummed(entry));
  EXPECT_EQ(store_->tail(), entry.end());
}

TEST_F(StoreSumsTest, AreFoundByTheirKeyInAnotherOrder) {
  const EntryLocation before = Add("k", Pattern(1, kSize));
  Write("other", "x");
  ASSERT_THAT(store_->Delete("other"), IsOk());
  ASSERT_THAT(store_->Write("k", Bytes(Pattern(1, kSize))), IsOk());
  const EntryLocation moved = store_->Read("k")->location();
  EXPECT_NE(moved.payload_offset, before.payload_offset);
  EXPECT_TRUE(IsSummed(moved));
  // And by their place under another newest entry of the key.
  ASSERT_THAT(store_->Write(EntryKey::OfHash(kSumsKey), Bytes("x")), IsOk());
  EXPECT_FALSE(IsSummed(moved));
  EXPECT_TRUE(IsSummed(before));
}

TEST_F(StoreSumsTest, ACompactionKeepsThemWithTheEntry) {
  Write("first", "x");
  Add("k", Pattern(1, kSize));
  Write("last", "y");
  ASSERT_THAT(store_->Delete("first"), IsOk());
  ASSERT_THAT(store_->Compact(), IsOk());
  EXPECT_TRUE(IsSummed(store_->Read("k")->location()));
}

TEST_F(StoreSumsTest, AreHiddenWithTheEntry) {
  Add("k", Pattern(1, kSize));
  {
    Batch batch = store_->BeginBatch();
    batch.AddTombstone(Keys("k"));
    ASSERT_THAT(batch.Commit(), IsOk());
  }
  EXPECT_EQ(ReadHashed(kSumsKey), "(NOT_FOUND)");
  Add("k", Pattern(1, kSize));
  Add("k", "small");
  EXPECT_EQ(ReadHashed(kSumsKey), "(NOT_FOUND)");
  EXPECT_EQ(Read("k"), "small");
}

// Nobody looks whether something lies there, as that would take the index.
TEST_F(StoreSumsTest, AReservedKeyIsNotLookedUp) {
  Write("first", "x");
  OpenWithoutIndex();
  const EntryKeys keys(HashKey("k"), kSumsKey, /*sums_key_reserved=*/true);
  const std::string large = Pattern(1, kSize);
  {
    Batch batch = store_->BeginBatch();
    const EntryLocation entry = batch.Add(keys, Bytes(large));
    ASSERT_THAT(batch.Commit(), IsOk());
    EXPECT_TRUE(IsSummed(entry));
  }
  EXPECT_FALSE(store_->has_index());
  {
    Batch batch = store_->BeginBatch();
    batch.AddTombstone(keys);
    ASSERT_THAT(batch.Commit(), IsOk());
  }
  EXPECT_FALSE(store_->has_index());
  EXPECT_EQ(ReadHashed(kSumsKey), "(NOT_FOUND)");
  EXPECT_EQ(Read("k"), "(NOT_FOUND)");
}

TEST_F(StoreSumsTest, SmallEntriesDoNotTakeTheIndex) {
  Add("k", Pattern(1, kSize));
  OpenWithoutIndex();
  Add("k", "small");
  EXPECT_FALSE(store_->has_index());
  EXPECT_EQ(Read("k"), "small");
  EXPECT_TRUE(store_->has_index());
  Add("k", "smaller");
  EXPECT_EQ(ReadHashed(kSumsKey), "(NOT_FOUND)");
}

TEST_F(StoreSumsTest, SomethingElseUnderTheirKeyStays) {
  ASSERT_THAT(store_->Write(EntryKey::OfHash(kSumsKey), Bytes("theirs")),
              IsOk());
  const EntryLocation entry = Add("k", Pattern(1, kSize));
  EXPECT_FALSE(IsSummed(entry));
  Add("k", "small");
  {
    Batch batch = store_->BeginBatch();
    batch.AddTombstone(Keys("k"));
    ASSERT_THAT(batch.Commit(), IsOk());
  }
  EXPECT_EQ(ReadHashed(kSumsKey), "theirs");
}

TEST_F(StoreSumsTest, AStreamHasThemHoweverItEnds) {
  const std::string payload = Pattern(1, kSize);
  const auto stream =
      store_->BeginStream([] { return Keys("piece", kSumsKey + 1); });
  for (size_t at = 0; at < payload.size(); at += 1000) {
    ASSERT_THAT(stream->Write(Bytes(payload.substr(at, 1000))), IsOk());
  }
  Write("in between", "x");  // seals it
  ASSERT_EQ(stream->sealed().size(), 1u);
  EXPECT_TRUE(IsSummed(stream->sealed()[0], kSumsKey + 1));
  ASSERT_THAT(stream->Write(Bytes(payload)), IsOk());
  Batch batch = store_->BeginBatch(stream.get());
  const auto entry = batch.FinishStream(Keys("k"));
  ASSERT_TRUE(entry.has_value());
  ASSERT_THAT(batch.Commit(), IsOk());
  EXPECT_TRUE(IsSummed(*entry));
  EXPECT_EQ(Read("k"), payload);
}

// It gets one byte more, which the sums know of.
TEST_F(StoreSumsTest, AStreamOfZeros) {
  const auto stream = store_->BeginStream([] { return Keys("piece"); });
  ASSERT_THAT(stream->Write(Bytes(std::string(kSize, '\0'))), IsOk());
  Batch batch = store_->BeginBatch(stream.get());
  const auto entry = batch.FinishStream(Keys("k"));
  ASSERT_THAT(batch.Commit(), IsOk());
  EXPECT_EQ(entry->payload_size, kSize + 1);
  EXPECT_TRUE(IsSummed(*entry));
}

TEST_F(StoreSumsTest, AFailedWriteToAStreamLeavesThemRight) {
  const std::string payload = Pattern(1, kSize);
  const auto stream = store_->BeginStream([] { return Keys("piece"); });
  ASSERT_THAT(stream->Write(Bytes(payload)), IsOk());
  file_system_.Inject({.ops = kOpWrite, .error_number = 5});
  EXPECT_FALSE(stream->Write(Bytes(payload)).ok());
  file_system_.Heal();
  ASSERT_THAT(stream->Write(Bytes(payload)), IsOk());
  Batch batch = store_->BeginBatch(stream.get());
  const auto entry = batch.FinishStream(Keys("k"));
  ASSERT_THAT(batch.Commit(), IsOk());
  EXPECT_TRUE(IsSummed(*entry));
  EXPECT_EQ(Read("k"), payload + payload);
}

TEST_F(StoreSumsTest, ADamagedBlockIsNamedAndTheOthersAreSound) {
  const EntryLocation entry = Add("k", Pattern(1, kSize));
  std::string bytes = File();
  bytes[entry.payload_offset + kSumBlockSize] ^= 1;
  WriteWholeFile(Path(), bytes);
  for (const bool in_memory : {false, true}) {
    if (in_memory) file_system_.SeeMemory();
    Open();
    const auto sums = store_->FindBlockSums(entry, kSumsKey);
    ASSERT_TRUE(sums.has_value());
    for (uint64_t block = 0; block < sums->count(); ++block) {
      const absl::Status status =
          store_->VerifyBlocks(entry, block, {*sums->SumOf(block)});
      EXPECT_EQ(status.ok(), block != 1);
    }
    const absl::Status all = store_->VerifyBlocks(entry, 0, AllSums(*sums));
    EXPECT_THAT(all, HasCode(absl::StatusCode::kDataLoss));
    EXPECT_THAT(std::string(all.message()),
                testing::HasSubstr("bytes [65536, 131072)"));
  }
}

TEST_F(StoreSumsTest, WhatIsInMemoryIsComparedWithoutARead) {
  const EntryLocation entry = Add("k", Pattern(1, 3 * kSize));
  file_system_.SeeMemory();
  Open();
  const int reads = file_system_.Count(kOpRead);
  EXPECT_TRUE(IsSummed(entry));
  // Each block was compared with a wrong sum, too; that is found out by a read.
  EXPECT_EQ(file_system_.Count(kOpRead) - reads,
            static_cast<int>(CountBlocks(entry.payload_size)));
}

TEST_F(StoreSumsTest, BlocksAreReadTogetherAndNothingElse) {
  const EntryLocation entry = Add("k", Pattern(1, 3 * kSize));
  const auto sums = store_->FindBlockSums(entry, kSumsKey);
  ASSERT_TRUE(sums.has_value());
  const int reads = file_system_.Count(kOpRead);
  const uint64_t asked = file_system_.bytes_asked();
  EXPECT_THAT(store_->VerifyBlocks(entry, 0, AllSums(*sums)), IsOk());
  EXPECT_EQ(file_system_.Count(kOpRead) - reads, 3);
  EXPECT_EQ(file_system_.bytes_asked() - asked, 3 * kSize);
}

TEST_F(StoreSumsTest, WhatSomebodyCutOffIsNotInMemory) {
  const EntryLocation entry = Add("k", Pattern(1, kSize));
  const auto sums = store_->FindBlockSums(entry, kSumsKey);
  ASSERT_TRUE(sums.has_value());
  const std::vector<uint32_t> all = AllSums(*sums);
  file_system_.SeeMemory();
  ASSERT_EQ(truncate(Path().c_str(), static_cast<off_t>(entry.payload_offset +
                                                        2 * kSumBlockSize)),
            0);
  EXPECT_THAT(store_->VerifyBlocks(entry, 0, {all[0], all[1]}), IsOk());
  EXPECT_THAT(store_->VerifyBlocks(entry, 1, {all[1], all[2]}),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(store_->VerifyBlocks(entry, 3, {all[3]}),
              HasCode(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace varve
