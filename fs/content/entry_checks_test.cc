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
  int CountReads(const Extent& extent) {
    const int before = file_system_.Count(kOpRead);
    EXPECT_THAT(checks_.Check(extent), IsOk());
    return file_system_.Count(kOpRead) - before;
  }

  const TemporaryDirectory directory_;
  FaultFileSystem file_system_;
  Core core_;
  EntryChecks checks_{core_};
};

TEST_F(EntryChecksTest, EachBlockIsReadOnce) {
  const Extent entry = Add(kKey, Pattern(1, kSize));
  EXPECT_EQ(CountReads(entry.Part(3 * kSumBlockSize, 1, 0)), 1);
  EXPECT_EQ(CountReads(entry.Part(3 * kSumBlockSize, kSumBlockSize, 0)), 0);
  EXPECT_EQ(CountReads(entry.Part(3 * kSumBlockSize, kSumBlockSize + 1, 0)), 1);
  EXPECT_EQ(CountReads(entry), 8);
  EXPECT_EQ(CountReads(entry), 0);
}

TEST_F(EntryChecksTest, WhatIsForgottenIsReadAgain) {
  const Extent entry = Add(kKey, Pattern(1, kSize));
  EXPECT_EQ(CountReads(entry), 10);
  checks_.Forget();
  EXPECT_EQ(CountReads(entry), 10);
  const absl::Status damage = checks_.NoteDamaged(entry, {2, 3, 9});
  EXPECT_THAT(std::string(damage.message()),
              HasSubstr("[131072, 262144), [589824, 655460) of it"));
  EXPECT_EQ(CountReads(entry), 3);
}

TEST_F(EntryChecksTest, AReadThatFailsIsTriedAgain) {
  const Extent entry = Add(kKey, Pattern(1, kSize));
  file_system_.Inject({.ops = kOpRead, .error_number = 5});
  EXPECT_FALSE(checks_.Check(entry.Part(0, 1, 0)).ok());
  file_system_.Heal();
  EXPECT_EQ(CountReads(entry.Part(0, 1, 0)), 1);
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
