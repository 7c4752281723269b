#include "engine/entry/block_sums.h"

#include <string>
#include <vector>

#include "engine/base/test_util.h"
#include "engine/entry/crc32_combine.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve {
namespace {

constexpr uint64_t kKey = 0x0123456789abcdef;
constexpr uint64_t kHeader = 24;
constexpr uint64_t kGroup = 1022;

std::string Payload(uint64_t size) {
  std::string text(size, '\0');
  uint32_t state = 1;
  for (char& c : text) {
    state = state * 1664525 + 1013904223;
    c = static_cast<char>(state >> 24);
  }
  return text;
}

// A payload, and the entry and sums that belong to it.
struct Summed {
  explicit Summed(uint64_t size) : payload(Payload(size)) {
    BlockSummer summer;
    summer.Add(AsBytes(payload));
    sums = summer.Encode(kKey);
    entry = {.key_hash = kKey,
             .payload_offset = 64,
             .payload_size = size,
             .crc32 = summer.crc32()};
  }
  std::optional<BlockSums> Open() const { return BlockSums::Open(sums, entry); }

  std::string payload;
  std::string sums;
  EntryLocation entry;
};

TEST(BlockSums, BlocksCoverThePayloadAndNoneIsShort) {
  for (const uint64_t size :
       {kMinSummedSize, kMinSummedSize + 1, 5 * kSumBlockSize - 1,
        5 * kSumBlockSize, 100 * kSumBlockSize + 17}) {
    uint64_t at = 0;
    for (uint64_t block = 0; block < CountBlocks(size); ++block) {
      const BlockRange range = BlockAt(size, block);
      EXPECT_EQ(range.begin, at);
      EXPECT_GE(range.end - range.begin, kSumBlockSize);
      EXPECT_LT(range.end - range.begin, 2 * kSumBlockSize);
      EXPECT_EQ(BlockOfByte(size, range.begin), block);
      EXPECT_EQ(BlockOfByte(size, range.end - 1), block);
      at = range.end;
    }
    EXPECT_EQ(at, size);
  }
}

TEST(BlockSums, SumsAreThoseOfTheBlocksAndGiveTheWhole) {
  for (const uint64_t size : {kMinSummedSize, kMinSummedSize + 1,
                              5 * kSumBlockSize - 1, 7 * kSumBlockSize + 99}) {
    const Summed summed(size);
    EXPECT_EQ(summed.entry.crc32, Crc32(0, AsBytes(summed.payload)));
    const auto sums = summed.Open();
    ASSERT_TRUE(sums.has_value()) << size;
    ASSERT_EQ(sums->count(), CountBlocks(size));
    for (uint64_t block = 0; block < sums->count(); ++block) {
      const BlockRange range = BlockAt(size, block);
      EXPECT_EQ(sums->SumOf(block),
                Crc32(0, AsBytes(summed.payload)
                             .subspan(range.begin, range.end - range.begin)));
    }
    EXPECT_FALSE(sums->SumOf(sums->count()).has_value());
    EXPECT_TRUE(sums->MatchEntry());
  }
}

TEST(BlockSums, DoNotDependOnThePiecesThatThePayloadComesIn) {
  const Summed whole(6 * kSumBlockSize + 5);
  for (const size_t step : {size_t{1000}, size_t{65536}, size_t{65537}}) {
    BlockSummer summer;
    auto rest = AsBytes(whole.payload);
    while (!rest.empty()) {
      summer.Add(rest.first(std::min(step, rest.size())));
      rest.remove_prefix(std::min(step, rest.size()));
    }
    EXPECT_EQ(summer.size(), whole.payload.size());
    EXPECT_EQ(summer.crc32(), whole.entry.crc32);
    EXPECT_EQ(summer.Encode(kKey), whole.sums);
  }
}

TEST(BlockSums, BelongToOneEntryOnly) {
  const Summed summed(kMinSummedSize + 10);
  EXPECT_EQ(BlockSums::DataKeyIn(summed.sums), kKey);
  for (const auto change : std::vector<void (*)(EntryLocation&)>{
           [](EntryLocation& entry) { ++entry.key_hash; },
           [](EntryLocation& entry) { ++entry.payload_size; },
           [](EntryLocation& entry) { ++entry.crc32; },
           [](EntryLocation& entry) { entry.payload_size = 10; },
           [](EntryLocation& entry) { entry.payload_size = UINT64_MAX; },
           [](EntryLocation& entry) { entry.is_tombstone = true; }}) {
    EntryLocation other = summed.entry;
    change(other);
    EXPECT_FALSE(BlockSums::Open(summed.sums, other).has_value());
  }
}

TEST(BlockSums, OfAnotherFormAreNone) {
  const Summed summed(kMinSummedSize);
  for (size_t size = 0; size < summed.sums.size(); ++size) {
    EXPECT_FALSE(
        BlockSums::Open(summed.sums.substr(0, size), summed.entry).has_value());
  }
  EXPECT_FALSE(BlockSums::Open(summed.sums + "x", summed.entry).has_value());
  EXPECT_FALSE(BlockSums::DataKeyIn("VRS1").has_value());
  EXPECT_FALSE(BlockSums::DataKeyIn(std::string(100, 'x')).has_value());
}

// A flipped bit makes them none at all, or unknown where it is.
TEST(BlockSums, NoFlippedBitGivesAnotherSum) {
  const Summed sound(kMinSummedSize + 1);
  for (size_t bit = 0; bit < 8 * sound.sums.size(); ++bit) {
    Summed summed = sound;
    summed.sums[bit / 8] ^= static_cast<char>(1 << bit % 8);
    const auto sums = summed.Open();
    EXPECT_EQ(sums.has_value(), bit / 8 >= kHeader) << bit;
    if (!sums.has_value()) continue;
    EXPECT_FALSE(sums->SumOf(0).has_value()) << bit;
    EXPECT_FALSE(sums->MatchEntry()) << bit;
  }
}

// Sums are checked by groups, and only the damaged one is lost.
TEST(BlockSums, GroupsAreCheckedByThemselves) {
  BlockSummer summer;
  const std::string block = Payload(kSumBlockSize);
  const uint64_t count = 2 * kGroup + 1;
  for (uint64_t i = 0; i < count; ++i) summer.Add(AsBytes(block));
  const EntryLocation entry = {.key_hash = kKey,
                               .payload_offset = 64,
                               .payload_size = count * kSumBlockSize,
                               .crc32 = summer.crc32()};
  std::string bytes = summer.Encode(kKey);
  EXPECT_EQ(bytes.size(), BlockSums::SizeFor(entry.payload_size));
  EXPECT_EQ(bytes.size(), kHeader + 2 * 4096 + 4 + 8);
  ASSERT_TRUE(BlockSums::Open(bytes, entry).has_value());
  EXPECT_TRUE(BlockSums::Open(bytes, entry)->MatchEntry());
  // What was group 0 does not pass for group 1.
  std::string swapped = bytes;
  swapped.replace(kHeader + 4096, 4096, bytes, kHeader, 4096);
  EXPECT_FALSE(BlockSums::Open(swapped, entry)->SumOf(kGroup).has_value());
  bytes[kHeader + 4096 + 10] ^= 1;
  const auto sums = BlockSums::Open(bytes, entry);
  ASSERT_TRUE(sums.has_value());
  const uint32_t sum = Crc32(0, AsBytes(block));
  EXPECT_EQ(sums->SumOf(0), sum);
  EXPECT_EQ(sums->SumOf(kGroup - 1), sum);
  EXPECT_FALSE(sums->SumOf(kGroup).has_value());
  EXPECT_EQ(sums->SumOf(2 * kGroup), sum);
  EXPECT_FALSE(sums->MatchEntry());
}

}  // namespace
}  // namespace varve
