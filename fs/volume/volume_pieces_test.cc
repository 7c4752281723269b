// Files that are written in very many tiny pieces: that they are correct, and
// how much memory and time they take.

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

constexpr uint64_t kMany = 20'000;
// As OpenInode::kManyPieces, twice.
constexpr uint64_t kFewPieces = 2048;
// As ContentWriter has it for one file.
constexpr uint64_t kMaxMemory = uint64_t{4} << 20;

class VolumePiecesTest : public VolumeTest {
 protected:
  void Create(const std::string& text) {
    ASSERT_THAT(Write("f", text), IsOk());
    text_ = text;
    f_ = *OpenFile("f", O_RDWR);
  }
  void Put(uint64_t offset, absl::string_view bytes) {
    ASSERT_THAT(volume().Write(*f_, offset, bytes), IsOk());
    if (text_.size() < offset + bytes.size()) {
      text_.resize(offset + bytes.size(), '\0');
    }
    text_.replace(offset, bytes.size(), bytes.data(), bytes.size());
  }
  uint64_t DirtyPieces() {
    absl::MutexLock lock(&f_->inode->mu);
    return f_->inode->content.pieces().size();
  }
  uint64_t MemoryCost() {
    absl::MutexLock lock(&f_->inode->mu);
    return f_->inode->content.memory_cost();
  }
  uint64_t Extents() {
    uint64_t count = 1;
    const uint64_t ino = Ino("f");
    volume().WithTree([&](const TreeReader& tree) {
      const auto inode = tree.GetInode(ino);
      if (!inode->whole_entry.has_value()) count = inode->extent_count;
    });
    return count;
  }
  void ExpectEverywhere() {
    EXPECT_TRUE(ReadHandle(*f_) == text_) << "dirty";
    ASSERT_THAT(CloseFile(std::move(f_)), IsOk());
    EXPECT_TRUE(*Read("f") == text_) << "committed";
    EXPECT_LE(Extents(), kFewPieces);
    Crash();
    EXPECT_TRUE(*Read("f") == text_) << "after a crash";
    Reopen();
    EXPECT_TRUE(*Read("f") == text_) << "after a close";
    const auto stat = GetStat("f");
    EXPECT_EQ(stat->attributes.size, text_.size());
  }

  std::string text_;
  HandlePtr f_;
};

TEST_F(VolumePiecesTest, EveryOtherByteOfANewFile) {
  Create("");
  for (uint64_t i = 0; i < kMany; ++i) Put(2 * i, i % 3 == 0 ? "a" : "b");
  EXPECT_LE(DirtyPieces(), kFewPieces);
  ExpectEverywhere();
}

TEST_F(VolumePiecesTest, EveryOtherByteOfAFileWithContentFromItsEnd) {
  Create(Pattern(1, 3 * kMany));
  for (uint64_t i = kMany; i > 0; --i) Put(2 * i, "x");
  EXPECT_LE(DirtyPieces(), kFewPieces);
  ExpectEverywhere();
}

TEST_F(VolumePiecesTest, BytesBetweenThoseThatWereSpilled) {
  Close();
  options().dirty_budget = 8192;
  Open();
  Create("");
  for (uint64_t i = 0; i < kMany / 2; ++i) Put(3 * i, "first");
  for (uint64_t i = 0; i < kMany / 2; ++i) Put(3 * i + 1, "s");
  EXPECT_LE(DirtyPieces(), kFewPieces);
  ExpectEverywhere();
}

TEST_F(VolumePiecesTest, HolesOfOneByte) {
  Create(Pattern(3, 2 * kMany));
  for (uint64_t i = 0; i < kMany; ++i) {
    ASSERT_THAT(volume().Fallocate(
                    *f_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 2 * i, 1),
                IsOk());
    text_[2 * i] = '\0';
  }
  EXPECT_LE(DirtyPieces(), kFewPieces);
  ExpectEverywhere();
}

TEST_F(VolumePiecesTest, EveryPieceCommittedByItself) {
  Create("");
  for (uint64_t i = 0; i < 4000; ++i) {
    Put(2 * i, "c");
    ASSERT_THAT(volume().Flush(*f_), IsOk());
    if (i % 500 != 0) continue;
    EXPECT_LE(Extents(), kFewPieces);
  }
  EXPECT_LE(Extents(), kFewPieces);
  ExpectEverywhere();
}

TEST_F(VolumePiecesTest, LargeHolesStay) {
  Create("");
  constexpr uint64_t kFar = uint64_t{1} << 20;
  for (uint64_t i = 0; i < kMany; ++i) {
    Put((i % 4) * kFar + 2 * (i / 4), "h");
  }
  ExpectEverywhere();
  EXPECT_LT(GetStat("f")->blocks * 512, kFar);
}

TEST_F(VolumePiecesTest, WhatPiecesTakeCountsNotWhatTheyHave) {
  Create("");
  // Too far from each other to be joined.
  for (uint64_t i = 0; i < 2 * kMany; ++i) {
    ASSERT_THAT(volume().Write(*f_, 10'000 * i, "p"), IsOk());
  }
  EXPECT_LE(MemoryCost(), kMaxMemory);
  ASSERT_THAT(CloseFile(std::move(f_)), IsOk());
}

TEST_F(VolumePiecesTest, AWalkByDataAndHolesTakesTimeInProportion) {
  Create("");
  for (uint64_t i = 0; i < kMany; ++i) {
    ASSERT_THAT(volume().Write(*f_, 10'000 * i, "p"), IsOk());
  }
  for (const bool dirty : {true, false}) {
    SCOPED_TRACE(dirty);
    if (!dirty) {
      ASSERT_THAT(volume().Flush(*f_), IsOk());
    }
    const absl::Time begin = absl::Now();
    uint64_t at = 0;
    for (uint64_t i = 0; i < kMany; ++i) {
      const auto data = volume().Seek(*f_, at, SEEK_DATA);
      ASSERT_THAT(data, IsOk());
      ASSERT_EQ(*data, 10'000 * i);
      const auto hole = volume().Seek(*f_, *data, SEEK_HOLE);
      ASSERT_THAT(hole, IsOk());
      ASSERT_EQ(*hole, *data + 1);
      at = *hole;
    }
    EXPECT_THAT(volume().Seek(*f_, at, SEEK_DATA), HasErrno(ENXIO));
    // Takes a hundredth of a second, but would take half a minute if each step
    // walked through all pieces behind it.
    EXPECT_LT(absl::Now() - begin, absl::Seconds(4));
  }
  ASSERT_THAT(CloseFile(std::move(f_)), IsOk());
}

TEST_F(VolumePiecesTest, CopiesStopBeforeTheAnswerHasNoRoomForTheirLength) {
  Create("begin");
  constexpr uint64_t kLarge = uint64_t{5} << 30;
  ASSERT_THAT(Truncate("f", kLarge), IsOk());
  HandlePtr to = *CreateFile("g", O_RDWR);
  const auto copied = volume().CopyRange(*f_, 0, *to, 0, kLarge);
  ASSERT_THAT(copied, IsOk());
  EXPECT_GT(*copied, 0u);
  EXPECT_LE(*copied, uint64_t{INT32_MAX});
  ASSERT_THAT(CloseFile(std::move(to)), IsOk());
  ASSERT_THAT(CloseFile(std::move(f_)), IsOk());
}

}  // namespace
}  // namespace varve::fs
