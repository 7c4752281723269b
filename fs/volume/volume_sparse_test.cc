// Holes, truncation, fallocate, seeking for data, and shared ranges.

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

constexpr uint64_t kMebibyte = uint64_t{1} << 20;
constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

std::string Zeros(size_t count) { return std::string(count, '\0'); }

class VolumeSparseTest : public VolumeTest {
 protected:
  void SetUp() override {
    Open();
    text_ = Pattern(42, 100'000);
    ASSERT_THAT(Write("f", text_), IsOk());
    auto handle = OpenFile("f", O_RDWR);
    ASSERT_THAT(handle, IsOk());
    f_ = *std::move(handle);
  }
  void TearDown() override {
    if (f_ != nullptr) {
      EXPECT_THAT(CloseFile(std::move(f_)), IsOk());
    }
  }
  // The file must be `text`: before its commit, after, after a crash, and
  // after a proper close.
  void ExpectEverywhere(const std::string& text) {
    EXPECT_TRUE(ReadHandle(*f_) == text) << "dirty";
    ASSERT_THAT(CloseFile(std::move(f_)), IsOk());
    EXPECT_TRUE(*Read("f") == text) << "committed";
    EXPECT_EQ(GetStat("f")->attributes.size, text.size());
    Crash();
    EXPECT_TRUE(*Read("f") == text) << "after a crash";
    Reopen();
    EXPECT_TRUE(*Read("f") == text) << "after a close";
    EXPECT_EQ(GetStat("f")->attributes.size, text.size());
    f_ = *OpenFile("f", O_RDWR);
  }

  std::string text_;
  HandlePtr f_;
};

TEST_F(VolumeSparseTest, WriteBehindTheEndLeavesZeros) {
  ASSERT_THAT(volume().Write(*f_, 150'000, "end"), IsOk());
  ExpectEverywhere(text_ + Zeros(50'000) + "end");
}

TEST_F(VolumeSparseTest, NewFileCanBeginWithAHole) {
  ASSERT_THAT(Write("g", ""), IsOk());
  ASSERT_THAT(WriteAt("g", uint64_t{1} << 40, "far"), IsOk());
  Reopen();
  EXPECT_EQ(GetStat("g")->attributes.size, (uint64_t{1} << 40) + 3);
  EXPECT_EQ(GetStat("g")->blocks, 1u);
  auto handle = OpenFile("g", O_RDONLY);
  EXPECT_EQ(volume().Read(**handle, (uint64_t{1} << 40) - 2, 9)->ToString(),
            Zeros(2) + "far");
  EXPECT_EQ(*volume().Seek(**handle, 0, SEEK_DATA), uint64_t{1} << 40);
  EXPECT_LT(FileSize(), 400'000u);
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  f_.reset();
}

TEST_F(VolumeSparseTest, CutAndGrownAgainIsZeroBehindTheCut) {
  const uint64_t ino = Ino("f");
  for (const uint64_t size : {50'000ul, 80'000ul}) {
    ASSERT_THAT(volume().SetAttributes(ino, {.size = size}, f_.get()), IsOk());
  }
  ExpectEverywhere(text_.substr(0, 50'000) + Zeros(30'000));
}

// Truncations up and down in every order, each committed or not before the
// next.
TEST_F(VolumeSparseTest, TruncationsInAllOrdersWithCommitsBetween) {
  std::vector<uint64_t> sizes = {0, 1, 70'000, 100'000, 130'000};
  int number = 0;
  do {
    for (int commits = 0; commits < 4; ++commits) {
      const std::string name = "t" + std::to_string(number % 7);
      ASSERT_THAT(Write(name, text_), IsOk());
      std::string expected = text_;
      auto handle = OpenFile(name, O_RDWR);
      ASSERT_THAT(handle, IsOk());
      for (size_t i = 0; i < 3; ++i) {
        ASSERT_THAT(volume().SetAttributes(Ino(name), {.size = sizes[i]},
                                           handle->get()),
                    IsOk());
        expected.resize(sizes[i]);
        if ((commits >> i & 1) != 0) {
          ASSERT_THAT(volume().Fsync(**handle), IsOk());
        }
        ASSERT_THAT(volume().Write(**handle, sizes[i], "+"), IsOk());
        expected += '+';
      }
      ASSERT_TRUE(ReadHandle(**handle) == expected);
      ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
      ASSERT_TRUE(*Read(name) == expected);
      if (++number % 7 == 0) {
        f_.reset();
        const std::string before = Dump();
        Reopen();
        ASSERT_EQ(Dump(), before);
      }
    }
  } while (std::next_permutation(sizes.begin(), sizes.end()) && number < 240);
  f_.reset();
}

TEST_F(VolumeSparseTest, PunchedHolesAreZeros) {
  const uint64_t blocks = GetStat("f")->blocks;
  ASSERT_THAT(volume().Fallocate(*f_, kPunch, 10'000, 60'000), IsOk());
  text_.replace(10'000, 60'000, Zeros(60'000));
  ExpectEverywhere(text_);
  EXPECT_LT(GetStat("f")->blocks, blocks / 2);
}

TEST_F(VolumeSparseTest, PunchedHolesCanBeWrittenTo) {
  ASSERT_THAT(volume().Fallocate(*f_, kPunch, 10'000, 60'000), IsOk());
  ASSERT_THAT(volume().Write(*f_, 20'000, "island"), IsOk());
  text_.replace(10'000, 60'000, Zeros(60'000));
  text_.replace(20'000, 6, "island");
  ExpectEverywhere(text_);
}

TEST_F(VolumeSparseTest, PunchBehindTheEndDoesNothing) {
  ASSERT_THAT(volume().Fallocate(*f_, kPunch, 200'000, 10), IsOk());
  ASSERT_THAT(volume().Fallocate(*f_, kPunch, 99'990, 1'000), IsOk());
  text_.replace(99'990, 10, Zeros(10));
  ExpectEverywhere(text_);
}

TEST_F(VolumeSparseTest, AllOfAFileCanBePunched) {
  ASSERT_THAT(volume().Fallocate(*f_, kPunch, 0, INT64_MAX), IsOk());
  ExpectEverywhere(Zeros(text_.size()));
  EXPECT_EQ(GetStat("f")->blocks, 0u);
}

TEST_F(VolumeSparseTest, ZeroRangeMayGrowTheFile) {
  ASSERT_THAT(volume().Fallocate(*f_, FALLOC_FL_ZERO_RANGE, 90'000, 20'000),
              IsOk());
  ExpectEverywhere(text_.substr(0, 90'000) + Zeros(20'000));
}

TEST_F(VolumeSparseTest, ZeroRangeMayKeepTheSize) {
  ASSERT_THAT(
      volume().Fallocate(*f_, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                         90'000, 20'000),
      IsOk());
  ExpectEverywhere(text_.substr(0, 90'000) + Zeros(10'000));
}

TEST_F(VolumeSparseTest, PlainFallocateOnlyGrows) {
  ASSERT_THAT(volume().Fallocate(*f_, 0, 10, 20), IsOk());
  ASSERT_THAT(volume().Fallocate(*f_, FALLOC_FL_KEEP_SIZE, 0, 200'000), IsOk());
  EXPECT_TRUE(ReadHandle(*f_) == text_);
  ASSERT_THAT(volume().Fallocate(*f_, 0, 99'000, 2'000), IsOk());
  ExpectEverywhere(text_ + Zeros(1'000));
}

TEST_F(VolumeSparseTest, OtherKindsOfFallocateAreRefused) {
  EXPECT_THAT(volume().Fallocate(*f_, FALLOC_FL_COLLAPSE_RANGE, 0, 4096),
              HasErrno(EOPNOTSUPP));
  EXPECT_THAT(volume().Fallocate(*f_, FALLOC_FL_INSERT_RANGE, 0, 4096),
              HasErrno(EOPNOTSUPP));
  EXPECT_THAT(volume().Fallocate(*f_, FALLOC_FL_PUNCH_HOLE, 0, 4096),
              HasErrno(EOPNOTSUPP));
  EXPECT_THAT(volume().Fallocate(*f_, 0, 0, 0), HasErrno(EINVAL));
  EXPECT_THAT(volume().Fallocate(*f_, 0, INT64_MAX, 1), HasErrno(EFBIG));
  EXPECT_THAT(volume().Fallocate(*f_, 0, 1, ~uint64_t{0}), HasErrno(EFBIG));
  EXPECT_TRUE(ReadHandle(*f_) == text_);
}

TEST_F(VolumeSparseTest, SeekFindsDataAndHoles) {
  ASSERT_THAT(volume().Fallocate(*f_, kPunch, 20'000, 10'000), IsOk());
  ASSERT_THAT(volume().SetAttributes(Ino("f"), {.size = 120'000}, f_.get()),
              IsOk());
  for (const bool committed : {false, true}) {
    if (committed) {
      ASSERT_THAT(volume().Fsync(*f_), IsOk());
    }
    EXPECT_EQ(*volume().Seek(*f_, 0, SEEK_DATA), 0u);
    EXPECT_EQ(*volume().Seek(*f_, 0, SEEK_HOLE), 20'000u);
    EXPECT_EQ(*volume().Seek(*f_, 19'999, SEEK_HOLE), 20'000u);
    EXPECT_EQ(*volume().Seek(*f_, 20'000, SEEK_HOLE), 20'000u);
    EXPECT_EQ(*volume().Seek(*f_, 20'000, SEEK_DATA), 30'000u);
    EXPECT_EQ(*volume().Seek(*f_, 29'999, SEEK_HOLE), 29'999u);
    EXPECT_EQ(*volume().Seek(*f_, 30'000, SEEK_HOLE), 100'000u);
    EXPECT_EQ(*volume().Seek(*f_, 110'000, SEEK_HOLE), 110'000u);
    EXPECT_THAT(volume().Seek(*f_, 100'000, SEEK_DATA), HasErrno(ENXIO));
    EXPECT_THAT(volume().Seek(*f_, 120'000, SEEK_HOLE), HasErrno(ENXIO));
    EXPECT_THAT(volume().Seek(*f_, ~uint64_t{0}, SEEK_DATA), HasErrno(ENXIO));
    EXPECT_THAT(volume().Seek(*f_, 0, SEEK_CUR), HasErrno(EINVAL));
  }
}

TEST_F(VolumeSparseTest, SeekInAFullFileFindsTheHoleAtItsEnd) {
  EXPECT_EQ(*volume().Seek(*f_, 5, SEEK_DATA), 5u);
  EXPECT_EQ(*volume().Seek(*f_, 5, SEEK_HOLE), 100'000u);
}

TEST_F(VolumeSparseTest, CopiedRangeSharesTheBytes) {
  ASSERT_THAT(Write("g", "head"), IsOk());
  auto g = OpenFile("g", O_RDWR);
  const uint64_t before = FileSize();
  EXPECT_EQ(*volume().CopyRange(*f_, 10, **g, 4, 90'000), 90'000u);
  EXPECT_TRUE(ReadHandle(**g) == "head" + text_.substr(10, 90'000));
  ASSERT_THAT(CloseFile(*std::move(g)), IsOk());
  EXPECT_LT(FileSize() - before, 1'000u);
  // The copy does not change when the source does.
  ASSERT_THAT(volume().Write(*f_, 0, Zeros(100'000)), IsOk());
  ASSERT_THAT(CloseFile(std::move(f_)), IsOk());
  ASSERT_THAT(Unlink("f"), IsOk());
  Crash();
  EXPECT_TRUE(*Read("g") == "head" + text_.substr(10, 90'000));
  Reopen();
  EXPECT_TRUE(*Read("g") == "head" + text_.substr(10, 90'000));
}

TEST_F(VolumeSparseTest, CopyOfAWholeFileIsAFileOfItsOwn) {
  auto g = CreateFile("g", O_RDWR);
  EXPECT_EQ(*volume().CopyRange(*f_, 0, **g, 0, INT64_MAX), 100'000u);
  ASSERT_THAT(CloseFile(*std::move(g)), IsOk());
  EXPECT_TRUE(*Read("g") == text_);
  // The source stays plain when the copy changes.
  ASSERT_THAT(Unlink("g"), IsOk());
  EXPECT_TRUE(ReadRaw("f") == text_);
  EXPECT_TRUE(*Read("f") == text_);
}

TEST_F(VolumeSparseTest, CopyIncludesHolesAndStopsAtTheEnd) {
  ASSERT_THAT(volume().Fallocate(*f_, kPunch, 1'000, 98'000), IsOk());
  ASSERT_THAT(volume().Fsync(*f_), IsOk());
  auto g = CreateFile("g", O_RDWR);
  EXPECT_EQ(*volume().CopyRange(*f_, 500, **g, 0, INT64_MAX), 99'500u);
  EXPECT_EQ(*volume().CopyRange(*f_, 100'000, **g, 0, 10), 0u);
  EXPECT_EQ(*volume().CopyRange(*f_, 200'000, **g, 0, 10), 0u);
  EXPECT_EQ(*volume().CopyRange(*f_, 0, **g, 0, 0), 0u);
  EXPECT_THAT(volume().CopyRange(*f_, 0, **g, INT64_MAX, 10), HasErrno(EFBIG));
  EXPECT_EQ(*volume().Seek(**g, 500, SEEK_DATA), 98'500u);
  ASSERT_THAT(CloseFile(*std::move(g)), IsOk());
  text_.replace(1'000, 98'000, Zeros(98'000));
  EXPECT_TRUE(*Read("g") == text_.substr(500));
  Reopen();
  EXPECT_TRUE(*Read("g") == text_.substr(500));
}

TEST_F(VolumeSparseTest, CopyTakesWhatIsStillDirty) {
  ASSERT_THAT(volume().Write(*f_, 50, "dirty"), IsOk());
  auto g = CreateFile("g", O_RDWR);
  ASSERT_THAT(volume().Write(**g, 0, "0123456789"), IsOk());
  EXPECT_EQ(*volume().CopyRange(*f_, 50, **g, 3, 5), 5u);
  EXPECT_EQ(ReadHandle(**g), "012dirty89");
  ASSERT_THAT(CloseFile(*std::move(g)), IsOk());
  Abandon(std::move(f_));
  Crash();
  EXPECT_EQ(*Read("g"), "012dirty89");
  // Copying from the file did not commit it.
  EXPECT_TRUE(*Read("f") == text_);
}

TEST_F(VolumeSparseTest, CopyWithinAFile) {
  EXPECT_EQ(*volume().CopyRange(*f_, 0, *f_, 100'000, 50'000), 50'000u);
  EXPECT_EQ(*volume().CopyRange(*f_, 20'000, *f_, 0, 10'000), 10'000u);
  std::string expected = text_ + text_.substr(0, 50'000);
  expected.replace(0, 10'000, text_.substr(20'000, 10'000));
  ExpectEverywhere(expected);
}

TEST_F(VolumeSparseTest, CopyFromAnUnlinkedFile) {
  ASSERT_THAT(Unlink("f"), IsOk());
  ASSERT_THAT(volume().Write(*f_, 0, "dirty"), IsOk());
  text_.replace(0, 5, "dirty");
  auto g = CreateFile("g", O_RDWR);
  uint64_t copied = 0;
  while (copied < text_.size()) {
    const auto part = volume().CopyRange(*f_, copied, **g, copied, 100'000);
    ASSERT_THAT(part, IsOk());
    ASSERT_GT(*part, 0u);
    copied += *part;
  }
  ASSERT_THAT(CloseFile(*std::move(g)), IsOk());
  ASSERT_THAT(CloseFile(std::move(f_)), IsOk());
  Reopen();
  EXPECT_TRUE(*Read("g") == text_);
}

TEST_F(VolumeSparseTest, ManyRandomPatchesAreRight) {
  std::mt19937_64 random(7);
  std::string text = Pattern(1, 2 * kMebibyte);
  ASSERT_THAT(Write("p", text), IsOk());
  for (int round = 0; round < 30; ++round) {
    auto handle = OpenFile("p", O_RDWR);
    for (int i = 0; i < 100; ++i) {
      const uint64_t size = 1 + random() % (i % 10 == 0 ? 9'000 : 60);
      const uint64_t at = random() % (text.size() - size);
      const std::string bytes = Pattern(random(), size);
      ASSERT_THAT(volume().Write(**handle, at, bytes), IsOk());
      text.replace(at, size, bytes);
    }
    ASSERT_TRUE(ReadHandle(**handle) == text);
    ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
    ASSERT_TRUE(*Read("p") == text);
  }
  f_.reset();
  Crash();
  EXPECT_TRUE(*Read("p") == text);
  Reopen();
  EXPECT_TRUE(*Read("p") == text);
}

}  // namespace
}  // namespace varve::fs
