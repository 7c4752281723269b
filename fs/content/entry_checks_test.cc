#include "fs/content/entry_checks.h"

#include <memory>
#include <string>
#include <utility>

#include "engine/base/test_util.h"
#include "engine/entry/block_sums.h"
#include "engine/io/fault_file.h"
#include "fs/log/commit.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using testing::HasSubstr;

constexpr uint64_t kKey = 1234;
constexpr uint64_t kSize = 10 * kSumBlockSize + 100;

class EntryChecksTest : public testing::Test {
 protected:
  EntryChecksTest() {
    core_.identity = Identity::Make(Timestamp::Now());
    auto store =
        Store::Open(directory_.File("store"),
                    {.mode = OpenMode::kCreate, .file_system = &file_system_});
    EXPECT_THAT(store, IsOk());
    core_.store = *std::move(store);
  }
  Extent Add(uint64_t key_hash, const std::string& content) {
    Batch batch = core_.store->BeginBatch();
    const EntryLocation entry =
        batch.Add(core_.identity.ContentKeys(key_hash), Bytes(content));
    EXPECT_THAT(batch.Commit(), IsOk());
    return ExtentOf(entry);
  }
  // To check the extent, which must be sound.
  uint64_t BytesRead(const Extent& extent) {
    const uint64_t before = file_system_.bytes_asked();
    EXPECT_THAT(checks_.Check(extent), IsOk());
    return file_system_.bytes_asked() - before;
  }

  const TemporaryDirectory directory_;
  FaultFileSystem file_system_;
  Core core_;
  EntryChecks checks_{core_};
};

TEST_F(EntryChecksTest, EachBlockIsReadOnce) {
  const Extent entry = Add(kKey, Pattern(1, kSize));
  constexpr uint64_t kBlock = kSumBlockSize;
  EXPECT_EQ(BytesRead(entry.Part(3 * kBlock, 1, 0)), kBlock);
  EXPECT_EQ(BytesRead(entry.Part(3 * kBlock, kBlock, 0)), 0);
  EXPECT_EQ(BytesRead(entry.Part(3 * kBlock, kBlock + 1, 0)), kBlock);
  EXPECT_EQ(BytesRead(entry), kSize - 2 * kBlock);
  EXPECT_EQ(BytesRead(entry), 0);
}

TEST_F(EntryChecksTest, WhatIsForgottenIsReadAgain) {
  const Extent entry = Add(kKey, Pattern(1, kSize));
  EXPECT_EQ(BytesRead(entry), kSize);
  checks_.Forget();
  EXPECT_EQ(BytesRead(entry), kSize);
  const absl::Status damage = checks_.NoteDamaged(entry, {2, 3, 9});
  EXPECT_THAT(std::string(damage.message()),
              HasSubstr("[131072, 262144), [589824, 655460) of it"));
  EXPECT_EQ(BytesRead(entry), 3 * kSumBlockSize + 100);
}

TEST_F(EntryChecksTest, AReadThatFailsIsTriedAgain) {
  const Extent entry = Add(kKey, Pattern(1, kSize));
  file_system_.Inject({.ops = kOpRead, .error_number = 5});
  EXPECT_FALSE(checks_.Check(entry.Part(0, 1, 0)).ok());
  file_system_.Heal();
  EXPECT_EQ(BytesRead(entry.Part(0, 1, 0)), kSumBlockSize);
}

TEST_F(EntryChecksTest, WhatIsInMemoryIsNotRead) {
  const Extent entry = Add(kKey, Pattern(1, kSize));
  file_system_.SeeMemory();
  EXPECT_EQ(BytesRead(entry), 0);
  file_system_.Inject({.ops = kOpRead, .error_number = 5});
  checks_.Forget();
  EXPECT_THAT(checks_.Check(entry), IsOk());
}

TEST_F(EntryChecksTest, AnEntryOfManyBlocks) {
  constexpr uint64_t kMany = 40 * kSumBlockSize;
  const Extent entry = Add(kKey, Pattern(1, kMany));
  EXPECT_EQ(BytesRead(entry.Part(20 * kSumBlockSize, 1, 0)), kSumBlockSize);
  EXPECT_EQ(BytesRead(entry), kMany - kSumBlockSize);
  EXPECT_EQ(BytesRead(entry), 0);
}

// Where an entry is gone, what was found out of the one that lies there must
// not make it readable.
TEST_F(EntryChecksTest, ALostEntryIsNotTheOneThatLiesThere) {
  for (const uint64_t size : {uint64_t{1000}, kSize}) {
    const Extent entry = Add(kKey, Pattern(1, size));
    EXPECT_THAT(checks_.Check(entry), IsOk());
    Extent lost = entry;
    lost.entry_crc32 ^= 1;
    EXPECT_FALSE(checks_.Check(lost).ok());
    lost = entry;
    lost.key_hash ^= 1;
    EXPECT_FALSE(checks_.Check(lost).ok());
    lost = entry;
    lost.store_offset += 64;
    EXPECT_FALSE(checks_.Check(lost).ok());
    EXPECT_THAT(checks_.Check(entry), IsOk());
  }
}

}  // namespace
}  // namespace varve::fs
