// Recovery takes time in proportion to the bytes, whoever made them up.

#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/endian.h"
#include "engine/recovery/recovery.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

constexpr size_t kGarbage = size_t{256} << 20;

class RecoveryScaleTest : public StoreFixture {
 protected:
  RecoveryScaleTest() {
    for (int i = 0; i < 1000; ++i) {
      Write(absl::StrCat(i), Pattern(i, 100 + i % 50));
    }
    tail_ = store_->tail();
    sound_ = File();
    store_.reset();
  }

  // Recovers the store with `garbage` behind it, repeated up to kGarbage bytes,
  // as a writer does and as a reader does.
  void ExpectQuick(const std::string& garbage) {
    std::string all = sound_;
    all.reserve(sound_.size() + kGarbage + garbage.size());
    while (all.size() < sound_.size() + kGarbage) all += garbage;
    WriteWholeFile(Path(), all);
    const auto file = RealFileSystem()->Open(Path(), OpenMode::kRead, 0);
    ASSERT_THAT(file, IsOk());
    const std::shared_ptr<const Mapping> mapping = *(*file)->Map(all.size());
    for (const bool locked : {true, false}) {
      Index index;
      const absl::Time begin = absl::Now();
      const auto recovered = Recover({.path = Path(),
                                      .file = file->get(),
                                      .mapping = mapping,
                                      .file_size = all.size(),
                                      .locked = locked},
                                     index);
      const absl::Duration duration = absl::Now() - begin;
      std::printf("%s: %s for %zu MiB\n", locked ? "writer" : "reader",
                  absl::FormatDuration(duration).c_str(), kGarbage >> 20);
      ASSERT_THAT(recovered, IsOk());
      EXPECT_EQ(recovered->tail, tail_);
      EXPECT_EQ(index.size(), 1000);
      // Quadratic work would take hours.
      EXPECT_LT(duration, absl::Minutes(1));
    }
  }

  uint64_t tail_ = 0;
  std::string sound_;
};

TEST_F(RecoveryScaleTest, Zeros) { ExpectQuick(std::string(1 << 20, '\0')); }

TEST_F(RecoveryScaleTest, Random) { ExpectQuick(Pattern(1, 64 << 20)); }

// Every prev_tail in these is a tail of this store.
TEST_F(RecoveryScaleTest, OldEntries) { ExpectQuick(sound_.substr(1)); }

// Every prev_tail in these is a tail of this store, too.
TEST_F(RecoveryScaleTest, EntriesOfAnotherStoreWithTheSameSizes) {
  const auto other = OpenOther("other");
  for (int i = 0; i < 1000; ++i) {
    ASSERT_THAT(other->Write(absl::StrCat("other", i),
                             Bytes(Pattern(100000 + i, 100 + i % 50))),
                IsOk());
  }
  ExpectQuick(ReadWholeFile(Path("other")));
}

// A prev_tail of 0 is valid anywhere, and what it claims is the whole file.
TEST_F(RecoveryScaleTest, ShortRunsOfZeros) {
  std::string garbage;
  for (int i = 0; i < 100000; ++i) {
    garbage += std::string(9, '\0') + "abc";
  }
  ExpectQuick(garbage);
}

TEST_F(RecoveryScaleTest, SmallNumbers) {
  std::string garbage;
  for (uint64_t i = 0; i < 1000000; ++i) {
    std::byte word[8];
    StoreLittle64(i * 7 % 1000003, word);
    garbage.append(reinterpret_cast<const char*>(word), sizeof(word));
  }
  ExpectQuick(garbage);
}

// The tail of the store, over and over: each a candidate for the next entry.
TEST_F(RecoveryScaleTest, TailRepeated) {
  std::byte word[8];
  StoreLittle64(tail_, word);
  std::string garbage;
  for (int i = 0; i < 100000; ++i) {
    garbage.append(reinterpret_cast<const char*>(word), sizeof(word));
  }
  ExpectQuick(garbage);
}

// A chain that looks sound but reaches no start.
TEST_F(RecoveryScaleTest, ChainFromNowhere) {
  std::string garbage = "x";
  uint64_t prev_tail = tail_ + 1;
  while (garbage.size() < kGarbage) {
    std::string entry(Align64(prev_tail) - prev_tail + 40, 'x');
    std::byte metadata[kMetadataSize];
    EncodeMetadata({.key_hash = 1, .prev_tail = prev_tail, .crc32 = 2},
                   metadata);
    entry.append(reinterpret_cast<const char*>(metadata), kMetadataSize);
    garbage += entry;
    prev_tail += entry.size();
  }
  ExpectQuick(garbage);
}

TEST_F(RecoveryScaleTest, FileOfZerosIsRefusedQuickly) {
  WriteWholeFile(Path(), std::string(kGarbage, '\0'));
  const absl::Time begin = absl::Now();
  EXPECT_THAT(TryOpen(), HasCode(absl::StatusCode::kDataLoss));
  EXPECT_LT(absl::Now() - begin, absl::Minutes(1));
}

}  // namespace
}  // namespace varve
