#include "engine/index/index.h"

#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "engine/base/test_util.h"

namespace varve {
namespace {

void Set(Index& index, uint64_t key_hash, uint64_t offset) {
  ASSERT_THAT(index.Reserve(1), IsOk());
  index.Set(key_hash, offset);
}

TEST(IndexTest, IsEmptyAtFirst) {
  Index index;
  EXPECT_EQ(index.Find(0), std::nullopt);
  EXPECT_FALSE(index.Erase(0));
  EXPECT_EQ(index.size(), 0);
  EXPECT_EQ(index.memory(), 0);
  EXPECT_TRUE(index.Offsets().empty());
  index.Prefetch(1);
}

TEST(IndexTest, FindsWhatWasSet) {
  Index index;
  for (const uint64_t key_hash : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
    Set(index, key_hash, 100 + key_hash % 7);
    EXPECT_EQ(index.Find(key_hash), 100 + key_hash % 7);
  }
  EXPECT_EQ(index.Find(2), std::nullopt);
  EXPECT_EQ(index.size(), 3);
}

TEST(IndexTest, ErasedKeysCanComeBack) {
  Index index;
  Set(index, 5, 10);
  EXPECT_TRUE(index.Erase(5));
  EXPECT_FALSE(index.Erase(5));
  EXPECT_EQ(index.Find(5), std::nullopt);
  EXPECT_EQ(index.size(), 0);
  Set(index, 5, 20);
  EXPECT_EQ(index.Find(5), 20);
  EXPECT_EQ(index.size(), 1);
}

TEST(IndexTest, SetIfUnknownKeepsWhatWasSeenFirst) {
  Index index;
  ASSERT_THAT(index.Reserve(10), IsOk());
  index.SetIfUnknown(1, 100);
  index.SetIfUnknown(1, 50);
  index.SetIfUnknown(2, Index::kDeleted);
  index.SetIfUnknown(2, 50);
  EXPECT_EQ(index.Find(1), 100);
  EXPECT_EQ(index.Find(2), std::nullopt);
  EXPECT_EQ(index.size(), 1);
}

TEST(IndexTest, DeletedKeysAreRememberedWhileTheIndexIsFilledNewestFirst) {
  Index index;
  constexpr uint64_t kCount = 10000;
  for (uint64_t i = 1; i <= kCount; ++i) {
    ASSERT_THAT(index.Reserve(1), IsOk());
    index.SetIfUnknown(i, Index::kDeleted);
  }
  for (uint64_t i = 1; i <= kCount; ++i) {
    ASSERT_THAT(index.Reserve(1), IsOk());
    index.SetIfUnknown(i, i);
    EXPECT_EQ(index.Find(i), std::nullopt);
  }
  EXPECT_EQ(index.size(), 0);
  index.ForgetDeleted();
  ASSERT_THAT(index.Reserve(kCount), IsOk());
  EXPECT_LE(index.memory(), kCount * 33);
}

TEST(IndexTest, ClearForgetsEverything) {
  Index index;
  Set(index, 1, 1);
  index.Clear();
  EXPECT_EQ(index.Find(1), std::nullopt);
  EXPECT_EQ(index.size(), 0);
  Set(index, 1, 2);
  EXPECT_EQ(index.Find(1), 2);
}

TEST(IndexTest, BehavesLikeAMap) {
  Index index;
  std::map<uint64_t, uint64_t> model;
  std::mt19937_64 random(1);
  for (int i = 1; i < 200000; ++i) {
    const uint64_t key_hash = random() % 50000 * 0x100000001;
    if (random() % 3 == 0) {
      EXPECT_EQ(index.Erase(key_hash), model.erase(key_hash) == 1);
    } else {
      Set(index, key_hash, i);
      model[key_hash] = i;
    }
    ASSERT_EQ(index.size(), model.size());
  }
  for (uint64_t i = 0; i < 50000; ++i) {
    const uint64_t key_hash = i * 0x100000001;
    const auto found = model.find(key_hash);
    ASSERT_EQ(index.Find(key_hash),
              found == model.end() ? std::nullopt
                                   : std::optional<uint64_t>(found->second));
  }
  EXPECT_EQ(index.Offsets().size(), model.size());
}

TEST(IndexTest, ChurnDoesNotFillTheTable) {
  Index index;
  for (uint64_t i = 1; i < 1000000; ++i) {
    Set(index, i, i);
    EXPECT_TRUE(index.Erase(i));
  }
  EXPECT_LE(index.memory(), 64 << 10);
}

TEST(IndexTest, NeedsAtMost32BytesPerKey) {
  Index index;
  constexpr uint64_t kCount = 1000000;
  double sum = 0;
  for (uint64_t i = 1; i <= kCount; ++i) {
    Set(index, i, i);
    if (i > kCount / 2) sum += static_cast<double>(index.memory()) / i;
    if (i > 1000) {
      ASSERT_LE(index.memory(), 33 * i);
    }
  }
  EXPECT_LE(sum / (kCount / 2), 32);
}

// Probes stay short for keys that are chosen to collide under common hashes.
TEST(IndexTest, StructuredKeysDoNotCluster) {
  for (const int shift : {0, 8, 16, 32, 43}) {
    Index index;
    constexpr uint64_t kCount = 300000;
    for (uint64_t i = 1; i <= kCount; ++i) Set(index, i << shift, i);
    // Quadratic behaviour would take minutes.
    for (uint64_t i = 1; i <= kCount; ++i) {
      ASSERT_EQ(index.Find(i << shift), i);
      ASSERT_EQ(index.Find((i << shift) + (uint64_t{1} << 63)), std::nullopt);
    }
  }
}

TEST(IndexTest, ReadersNeverMissAKeyWhileTheTableGrows) {
  Index index;
  constexpr uint64_t kStable = 100;
  constexpr uint64_t kGrowing = 300000;
  for (uint64_t i = 0; i < kStable; ++i) Set(index, i, i + 1);
  std::atomic<bool> done{false};
  std::atomic<uint64_t> published{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      std::mt19937_64 random(t);
      while (!done.load()) {
        const uint64_t stable = random() % kStable;
        const auto found = index.Find(stable);
        // The writer moves each stable key on, and never takes it away.
        ASSERT_TRUE(found.has_value());
        ASSERT_EQ(*found % kStable, (stable + 1) % kStable);
        const uint64_t limit = published.load();
        if (limit > 0) {
          const uint64_t growing = random() % limit;
          ASSERT_EQ(index.Find((growing + 1) << 20), growing + 1);
        }
      }
    });
  }
  for (uint64_t i = 0; i < kGrowing; ++i) {
    Set(index, (i + 1) << 20, i + 1);
    published.store(i + 1);
    const uint64_t stable = i % kStable;
    Set(index, stable, stable + 1 + i / kStable * kStable);
  }
  done.store(true);
  for (std::thread& reader : readers) reader.join();
}

}  // namespace
}  // namespace varve
