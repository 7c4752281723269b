// A store whose index is built when it is first needed.

#include <atomic>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <thread>  // NOLINT(build/c++11): readers beside a writer
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/entry/layout.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

using ::testing::Not;

constexpr uint64_t kImageKey = 0x1111111111111111;
constexpr char kSealKey[] = "seal";

class StoreDeferIndexTest : public StoreFixture {
 protected:
  // An entry under kSealKey vouches for everything up to its own end.
  static uint64_t VouchedBy(const EntryView& entry) {
    return entry.key_hash() == HashKey(kSealKey) && !entry.is_tombstone()
               ? entry.location().end()
               : 0;
  }
  static OpenOptions Options(OpenMode mode = OpenMode::kReadWrite) {
    return {.mode = mode,
            .durable_tail = VouchedBy,
            .index_image_key = kImageKey,
            .defer_index = true};
  }
  void Reopen(OpenMode mode = OpenMode::kReadWrite) {
    store_.reset();
    auto store = Store::Open(Path(), Options(mode));
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }
  // Damages the link of an entry, so that no walk gets past it.
  void BreakChainAt(const EntryLocation& entry) {
    store_.reset();
    std::string file = File();
    std::memset(&file[entry.metadata_offset() + 8], 0xff, 8);
    WriteWholeFile(Path(), file);
  }
};

TEST_F(StoreDeferIndexTest, OpeningLooksOnlyAtWhatNobodyVouchesFor) {
  const EntryLocation first = Write("first", "1");
  Write("second", "2");
  Write(kSealKey, "all is well");
  Write("last", "3");
  BreakChainAt(first);
  Reopen();
  EXPECT_EQ(store_->recovery().torn_bytes, 0u);
  EXPECT_EQ(store_->entries_since_image(), 0u);
  // Only now it is needed, and what it misses is told.
  EXPECT_EQ(Read("last"), "3");
  EXPECT_EQ(Read("second"), "2");
  EXPECT_EQ(Read("first"), "(DATA_LOSS)");
  EXPECT_THAT(store_->CheckIndex(), HasCode(absl::StatusCode::kDataLoss));
}

TEST_F(StoreDeferIndexTest, WithoutASealTheWholeChainIsWalked) {
  const EntryLocation first = Write("first", "1");
  Write("second", "2");
  BreakChainAt(first);
  EXPECT_THAT(Store::Open(Path(), Options()), Not(IsOk()));
}

TEST_F(StoreDeferIndexTest, KnowsWhatWasAppendedBeforeAndAfterIt) {
  Write("a", "1");
  Write("b", "1");
  Write("c", "1");
  Write(kSealKey, "seal");
  Reopen();
  Write("a", "2");
  EXPECT_THAT(store_->BeginBatch().Commit(), IsOk());
  {
    Batch batch = store_->BeginBatch();
    batch.AddTombstone(HashKey("b"));
    ASSERT_THAT(batch.Commit(), IsOk());
  }
  EXPECT_EQ(Read("a"), "2");  // builds it
  EXPECT_EQ(Read("b"), "(NOT_FOUND)");
  EXPECT_EQ(Read("c"), "1");
  EXPECT_EQ(store_->size(), 3u);
  Write("b", "3");
  EXPECT_THAT(store_->Delete("c"), IsOk());
  EXPECT_EQ(Read("b"), "3");
  EXPECT_EQ(Read("c"), "(NOT_FOUND)");
  EXPECT_EQ(store_->size(), 3u);
}

TEST_F(StoreDeferIndexTest, EachFunctionThatNeedsItBuildsIt) {
  Write("a", "1");
  Write(kSealKey, "seal");
  const std::function<void()> uses[] = {
      [&] { EXPECT_EQ(store_->size(), 2u); },
      [&] { EXPECT_TRUE(store_->Exists("a")); },
      [&] { EXPECT_EQ(Live().size(), 2u); },
      [&] { EXPECT_THAT(store_->Rename("a", "b"), IsOk()); },
      [&] { EXPECT_THAT(store_->Delete("b"), IsOk()); },
      [&] {
        EXPECT_EQ(store_->ReadBatch({"a", kSealKey}).size(), 2u);
      },
      [&] { EXPECT_GT(store_->EstimateCompactionSavings(), 0u); },
      [&] { EXPECT_THAT(store_->WriteIndexImage(kImageKey), IsOk()); },
      [&] { EXPECT_THAT(store_->Compact(), IsOk()); },
      [&] { EXPECT_EQ(Read(kSealKey), "seal"); },
  };
  for (const auto& use : uses) {
    Reopen();
    use();
  }
}

TEST_F(StoreDeferIndexTest, StopsAtAnImage) {
  const EntryLocation first = Write("first", "1");
  Write("first", "1 again");
  Write("second", "2");
  ASSERT_THAT(store_->WriteIndexImage(kImageKey), IsOk());
  Write(kSealKey, "seal");
  BreakChainAt(first);
  Reopen();
  EXPECT_EQ(Read("second"), "2");
  EXPECT_THAT(store_->CheckIndex(), IsOk());
  EXPECT_TRUE(store_->index_image_in_use().has_value());
  EXPECT_EQ(store_->entries_since_image(), 2u);  // and the image itself
}

TEST_F(StoreDeferIndexTest, IsBuiltWhileOthersWrite) {
  constexpr int kKeys = 20000;
  std::map<std::string, std::string> model;
  std::mt19937 random(1);
  for (int i = 0; i < kKeys; ++i) {
    const std::string key = absl::StrCat("k", i % (kKeys / 2));
    model[key] = absl::StrCat("v", i);
    Write(key, model[key]);
  }
  Write(kSealKey, "seal");
  for (int round = 0; round < 5; ++round) {
    Reopen();
    std::atomic<bool> writes = false;
    std::vector<std::thread> readers;
    for (int i = 0; i < 3; ++i) {
      readers.emplace_back([&] {
        while (!writes) std::this_thread::yield();
        EXPECT_TRUE(store_->Exists(kSealKey));
      });
    }
    for (int i = 0; i < 2000; ++i) {
      const std::string key = absl::StrCat("k", random() % kKeys);
      if (random() % 4 == 0) {
        Batch batch = store_->BeginBatch();
        batch.AddTombstone(HashKey(key));
        ASSERT_THAT(batch.Commit(), IsOk());
        model.erase(key);
      } else {
        model[key] = absl::StrCat("w", round, "-", i);
        Write(key, model[key]);
      }
      writes = true;
    }
    for (std::thread& reader : readers) reader.join();
    EXPECT_EQ(store_->size(), model.size() + 1);
    for (int i = 0; i < kKeys; ++i) {
      const std::string key = absl::StrCat("k", i);
      const auto found = model.find(key);
      ASSERT_EQ(Read(key),
                found == model.end() ? "(NOT_FOUND)" : found->second);
    }
    Write(kSealKey, "seal");
  }
}

}  // namespace
}  // namespace varve
