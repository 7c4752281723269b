// Contents of files: written, read back, and as they lie in the store.

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::Eq;
using ::testing::Optional;

constexpr uint64_t kMebibyte = uint64_t{1} << 20;

class VolumeFilesTest : public VolumeTest {};

// Files written front to back, by size and size of the writes.
struct Shape {
  uint64_t size;
  size_t chunk;
};

class SequentialFileTest : public VolumeTest,
                           public testing::WithParamInterface<Shape> {};

TEST_P(SequentialFileTest, IsOnePlainEntryUnderItsPath) {
  const std::string text = Pattern(GetParam().size, GetParam().size);
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/f", text, GetParam().chunk), IsOk());
  EXPECT_TRUE(*Read("d/f") == text);
  EXPECT_TRUE(ReadRaw("d/f") == text);
  EXPECT_EQ(GetStat("d/f")->attributes.size, text.size());
  Crash();
  EXPECT_TRUE(*Read("d/f") == text);
  Reopen();
  EXPECT_TRUE(*Read("d/f") == text);
  EXPECT_TRUE(ReadRaw("d/f") == text);
}

INSTANTIATE_TEST_SUITE_P(Sizes, SequentialFileTest,
                         testing::Values(Shape{1, 1}, Shape{4095, 100},
                                         Shape{4096, 4096}, Shape{4097, 4096},
                                         Shape{64 << 10, 1000},
                                         Shape{(64 << 10) + 1, 128 << 10},
                                         Shape{4 * kMebibyte, 128 << 10},
                                         Shape{4 * kMebibyte + 1, 128 << 10},
                                         Shape{5 * kMebibyte, 4096},
                                         Shape{5 * kMebibyte, 1 << 20},
                                         Shape{8 * kMebibyte + 4097, 256 << 10},
                                         Shape{20 * kMebibyte, 128 << 10},
                                         Shape{20 * kMebibyte + 100, 128 << 10},
                                         Shape{20 * kMebibyte + 1, 1 << 20},
                                         Shape{12'345'678, 10'000}),
                         [](const auto& param) {
                           return std::to_string(param.param.size) + "By" +
                                  std::to_string(param.param.chunk);
                         });

TEST_F(VolumeFilesTest, BigFileIsWrittenToTheStoreOnce) {
  const std::string text = Pattern(1, 20 * kMebibyte);
  const uint64_t before = FileSize();
  ASSERT_THAT(Write("f", text), IsOk());
  EXPECT_LT(FileSize(), before + text.size() + 10'000);
}

TEST_F(VolumeFilesTest, EmptyFileHasNoEntryAndReadsEmpty) {
  ASSERT_THAT(Write("f", ""), IsOk());
  EXPECT_EQ(*Read("f"), "");
  Reopen();
  EXPECT_EQ(*Read("f"), "");
  EXPECT_EQ(ReadRaw("f"), std::nullopt);
}

TEST_F(VolumeFilesTest, SingleNulIsKept) {
  const std::string nul(1, '\0');
  ASSERT_THAT(Write("f", nul), IsOk());
  EXPECT_EQ(*Read("f"), nul);
  Crash();
  EXPECT_EQ(*Read("f"), nul);
  Reopen();
  EXPECT_EQ(*Read("f"), nul);
  // For another program, the key is not there.
  EXPECT_EQ(ReadRaw("f"), std::nullopt);
}

TEST_F(VolumeFilesTest, FileThatBecomesASingleNulHidesItsOldEntry) {
  ASSERT_THAT(Write("f", "long before"), IsOk());
  ASSERT_THAT(Write("f", std::string(1, '\0')), IsOk());
  EXPECT_EQ(ReadRaw("f"), std::nullopt);
  ASSERT_THAT(Write("f", "and after"), IsOk());
  EXPECT_THAT(ReadRaw("f"), Optional(Eq("and after")));
}

TEST_F(VolumeFilesTest, WhatIsAbandonedWasNeverWritten) {
  ASSERT_THAT(Write("f", "before"), IsOk());
  auto handle = volume().Open(Ino("f"), O_WRONLY | O_TRUNC);
  ASSERT_THAT(handle, IsOk());
  // More than fits in memory.
  ASSERT_THAT(volume().Write(**handle, 0, Pattern(1, 9 * kMebibyte)), IsOk());
  ASSERT_THAT(volume().Abandon(*std::move(handle)), IsOk());
  EXPECT_EQ(*Read("f"), "before");
  Reopen();
  EXPECT_EQ(*Read("f"), "before");
  ASSERT_THAT(Write("f", "after"), IsOk());
  EXPECT_EQ(*Read("f"), "after");
}

TEST_F(VolumeFilesTest, FileThatIsEmptiedHidesItsOldEntry) {
  ASSERT_THAT(Write("f", "bytes"), IsOk());
  ASSERT_THAT(Truncate("f", 0), IsOk());
  EXPECT_EQ(*Read("f"), "");
  EXPECT_EQ(ReadRaw("f"), std::nullopt);
  Crash();
  EXPECT_EQ(*Read("f"), "");
}

TEST_F(VolumeFilesTest, SmallFileIsPlainAgainAfterAnyChange) {
  ASSERT_THAT(Write("f", "0123456789"), IsOk());
  ASSERT_THAT(WriteAt("f", 3, "abc"), IsOk());
  EXPECT_THAT(ReadRaw("f"), Optional(Eq("012abc6789")));
  ASSERT_THAT(Append("f", "+"), IsOk());
  EXPECT_THAT(ReadRaw("f"), Optional(Eq("012abc6789+")));
  ASSERT_THAT(Truncate("f", 4), IsOk());
  EXPECT_EQ(*Read("f"), "012a");
}

TEST_F(VolumeFilesTest, TwoBigFilesWrittenByTurnsAreBothRight) {
  const std::string a = Pattern(1, 20 * kMebibyte);
  const std::string b = Pattern(2, 20 * kMebibyte + 17);
  auto to_a = CreateFile("a", O_RDWR);
  auto to_b = CreateFile("b", O_RDWR);
  ASSERT_THAT(to_a, IsOk());
  ASSERT_THAT(to_b, IsOk());
  for (size_t at = 0; at < b.size(); at += 128 << 10) {
    if (at < a.size()) {
      ASSERT_THAT(volume().Write(**to_a, at, a.substr(at, 128 << 10)), IsOk());
    }
    ASSERT_THAT(volume().Write(**to_b, at, b.substr(at, 128 << 10)), IsOk());
    if (at % (8 * kMebibyte) == 0) {
      EXPECT_TRUE(ReadHandle(**to_b) == b.substr(0, at + (128 << 10)));
    }
  }
  EXPECT_TRUE(ReadHandle(**to_a) == a);
  ASSERT_THAT(CloseFile(*std::move(to_a)), IsOk());
  EXPECT_TRUE(ReadHandle(**to_b) == b);
  ASSERT_THAT(CloseFile(*std::move(to_b)), IsOk());
  for (const bool crash : {true, false}) {
    EXPECT_TRUE(*Read("a") == a);
    EXPECT_TRUE(*Read("b") == b);
    crash ? Crash() : Reopen();
  }
  EXPECT_TRUE(*Read("a") == a);
  EXPECT_TRUE(*Read("b") == b);
}

TEST_F(VolumeFilesTest, BigFileSurvivesNamesComingAndGoingMeanwhile) {
  const std::string text = Pattern(7, 9 * kMebibyte);
  auto handle = CreateFile("f", O_RDWR);
  ASSERT_THAT(handle, IsOk());
  int number = 0;
  for (size_t at = 0; at < text.size(); at += 256 << 10) {
    ASSERT_THAT(volume().Write(**handle, at, text.substr(at, 256 << 10)),
                IsOk());
    ASSERT_THAT(Write("n" + std::to_string(++number), "small"), IsOk());
    ASSERT_THAT(Unlink("n" + std::to_string(number)), IsOk());
  }
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_TRUE(*Read("f") == text);
  Crash();
  EXPECT_TRUE(*Read("f") == text);
}

TEST_F(VolumeFilesTest, BigFileWrittenBackwardsIsRight) {
  const std::string text = Pattern(3, 10 * kMebibyte);
  auto handle = CreateFile("f", O_RDWR);
  ASSERT_THAT(handle, IsOk());
  for (size_t at = text.size(); at > 0;) {
    at -= 64 << 10;
    ASSERT_THAT(volume().Write(**handle, at, text.substr(at, 64 << 10)),
                IsOk());
  }
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  Reopen();
  EXPECT_TRUE(*Read("f") == text);
}

TEST_F(VolumeFilesTest, FileEmptiedInTheMiddleOfWritingKeepsWhatCameAfter) {
  const std::string first = Pattern(1, 9 * kMebibyte);
  const std::string second = Pattern(2, 9 * kMebibyte);
  auto handle = CreateFile("f", O_RDWR);
  ASSERT_THAT(handle, IsOk());
  for (const std::string* text : {&first, &second}) {
    ASSERT_THAT(volume().SetAttributes((*handle)->inode->ino, {.size = 0},
                                       handle->get()),
                IsOk());
    for (size_t at = 0; at < text->size(); at += 128 << 10) {
      ASSERT_THAT(volume().Write(**handle, at, text->substr(at, 128 << 10)),
                  IsOk());
    }
  }
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_TRUE(*Read("f") == second);
  Reopen();
  EXPECT_TRUE(*Read("f") == second);
}

TEST_F(VolumeFilesTest, AppendsByManyOpensDoNotRewriteTheFile) {
  const std::string line(50, 'x');
  ASSERT_THAT(Write("log", ""), IsOk());
  const uint64_t before = FileSize();
  std::string expected;
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_THAT(Append("log", line), IsOk());
    expected += line;
  }
  EXPECT_TRUE(*Read("log") == expected);
  EXPECT_LT(FileSize() - before, 100 * expected.size());
  Reopen();
  EXPECT_TRUE(*Read("log") == expected);
}

TEST_F(VolumeFilesTest, SeveralFlushesOfOneHandleAppendWhatIsNew) {
  auto handle = CreateFile("f", O_WRONLY);
  ASSERT_THAT(handle, IsOk());
  const std::string part(100'000, 'p');
  const uint64_t before = FileSize();
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(volume().Write(**handle, i * part.size(), part), IsOk());
    ASSERT_THAT(volume().Flush(**handle), IsOk());
    ASSERT_THAT(volume().Flush(**handle), IsOk());
  }
  EXPECT_LT(FileSize() - before, 4 * part.size());
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_TRUE(*Read("f") == part + part + part);
  // The last close may write the file once more, to make it plain.
  EXPECT_LT(FileSize() - before, 7 * part.size());
}

TEST_F(VolumeFilesTest, PatchOfABigFileCostsLittle) {
  std::string text = Pattern(1, 5 * kMebibyte);
  ASSERT_THAT(Write("f", text), IsOk());
  const uint64_t before = FileSize();
  for (const uint64_t at : {0, 12'345, 5'000'000}) {
    ASSERT_THAT(WriteAt("f", at, "PATCH"), IsOk());
    text.replace(at, 5, "PATCH");
  }
  EXPECT_LT(FileSize() - before, 2000u);
  EXPECT_TRUE(*Read("f") == text);
  Crash();
  EXPECT_TRUE(*Read("f") == text);
  Reopen();
  EXPECT_TRUE(*Read("f") == text);
}

TEST_F(VolumeFilesTest, FileMostlyOverwrittenInPlaceBecomesPlainAgain) {
  std::string text = Pattern(1, 200'000);
  ASSERT_THAT(Write("f", text), IsOk());
  for (int i = 0; i < 12; ++i) {
    const std::string patch = Pattern(i, 10'000);
    ASSERT_THAT(WriteAt("f", i * 10'000, patch), IsOk());
    text.replace(i * 10'000, patch.size(), patch);
  }
  EXPECT_TRUE(*Read("f") == text);
  EXPECT_NE(ReadRaw("f"), Pattern(1, 200'000));
  Reopen();
  EXPECT_TRUE(*Read("f") == text);
}

TEST_F(VolumeFilesTest, RandomReadsOfAnyRangeAreRight) {
  const std::string text = Pattern(5, 3 * kMebibyte);
  ASSERT_THAT(Write("f", text), IsOk());
  auto handle = OpenFile("f", O_RDONLY);
  ASSERT_THAT(handle, IsOk());
  for (const uint64_t offset : {0ul, 1ul, 4095ul, 1ul << 20, text.size() - 1,
                                text.size(), text.size() + 1, ~0ul}) {
    for (const uint64_t size : {0ul, 1ul, 4096ul, 1ul << 20, ~0ul}) {
      const auto reply = volume().Read(**handle, offset, size);
      ASSERT_THAT(reply, IsOk());
      EXPECT_TRUE(reply->ToString() ==
                  (offset < text.size() ? text.substr(offset, size) : ""))
          << offset << " " << size;
    }
  }
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
}

TEST_F(VolumeFilesTest, ReaderKeepsItsBytesWhileTheFileIsOverwritten) {
  const std::string text = Pattern(1, 100'000);
  ASSERT_THAT(Write("f", text), IsOk());
  auto handle = OpenFile("f", O_RDONLY);
  ASSERT_THAT(handle, IsOk());
  const auto reply = volume().Read(**handle, 0, text.size());
  ASSERT_THAT(reply, IsOk());
  ASSERT_THAT(Write("f", Pattern(2, 100'000)), IsOk());
  EXPECT_TRUE(reply->ToString() == text);
  EXPECT_TRUE(ReadHandle(**handle) == Pattern(2, 100'000));
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
}

TEST_F(VolumeFilesTest, WritersAndReadersOfOneFileSeeTheNewestBytes) {
  ASSERT_THAT(Write("f", "0123456789"), IsOk());
  auto writer = OpenFile("f", O_RDWR);
  auto reader = OpenFile("f", O_RDONLY);
  ASSERT_THAT(volume().Write(**writer, 2, "ab"), IsOk());
  EXPECT_EQ(ReadHandle(**reader), "01ab456789");
  EXPECT_EQ(*Read("f"), "01ab456789");
  ASSERT_THAT(volume().Write(**writer, 12, "z"), IsOk());
  EXPECT_EQ(ReadHandle(**reader), std::string("01ab456789\0\0z", 13));
  EXPECT_EQ(GetStat("f")->attributes.size, 13u);
  ASSERT_THAT(CloseFile(*std::move(reader)), IsOk());
  ASSERT_THAT(CloseFile(*std::move(writer)), IsOk());
  EXPECT_EQ(*Read("f"), std::string("01ab456789\0\0z", 13));
}

TEST_F(VolumeFilesTest, UnlinkedOpenFileKeepsItsBytesAndTakesNewOnes) {
  ASSERT_THAT(Write("f", "before"), IsOk());
  auto handle = OpenFile("f", O_RDWR);
  ASSERT_THAT(Unlink("f"), IsOk());
  EXPECT_THAT(Read("f"), HasErrno(ENOENT));
  EXPECT_EQ(ReadHandle(**handle), "before");
  EXPECT_EQ(ReadRaw("f"), std::nullopt);
  ASSERT_THAT(volume().Write(**handle, 6, " and after"), IsOk());
  ASSERT_THAT(volume().Fsync(**handle), IsOk());
  EXPECT_EQ(ReadHandle(**handle), "before and after");
  EXPECT_EQ(volume().GetAttributes((*handle)->inode->ino)->nlink, 0u);
  // A new file under the old name is another one.
  ASSERT_THAT(Write("f", "new"), IsOk());
  EXPECT_EQ(ReadHandle(**handle), "before and after");
  EXPECT_EQ(*Read("f"), "new");
  const uint64_t ino = (*handle)->inode->ino;
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_THAT(volume().GetAttributes(ino), HasErrno(ENOENT));
  Reopen();
  EXPECT_EQ(*Read("f"), "new");
}

TEST_F(VolumeFilesTest, UnlinkedBigFileIsGoneAfterItsLastClose) {
  auto handle = CreateFile("f", O_RDWR);
  const std::string text = Pattern(1, 9 * kMebibyte);
  ASSERT_THAT(volume().Write(**handle, 0, text.substr(0, 5 * kMebibyte)),
              IsOk());
  ASSERT_THAT(
      volume().Write(**handle, 5 * kMebibyte, text.substr(5 * kMebibyte)),
      IsOk());
  ASSERT_THAT(Unlink("f"), IsOk());
  EXPECT_TRUE(ReadHandle(**handle) == text);
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  Reopen();
  EXPECT_THAT(List(""), testing::IsEmpty());
  EXPECT_EQ(volume().GetSpace()->live_bytes, 0u);
}

TEST_F(VolumeFilesTest, SmallBudgetSpillsWithoutLoss) {
  Close();
  options().dirty_budget = 1000;
  Open();
  std::vector<HandlePtr> handles;
  std::vector<std::string> texts(5);
  for (int i = 0; i < 5; ++i) {
    auto handle = CreateFile("f" + std::to_string(i), O_RDWR);
    ASSERT_THAT(handle, IsOk());
    handles.push_back(*std::move(handle));
  }
  for (int round = 0; round < 40; ++round) {
    for (int i = 0; i < 5; ++i) {
      // A single NUL cannot be written to a stream by itself.
      const std::string piece =
          round % 3 == 0 ? std::string(1, '\0') : Pattern(round, 300);
      ASSERT_THAT(volume().Write(*handles[i], texts[i].size(), piece), IsOk());
      texts[i] += piece;
    }
  }
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(ReadHandle(*handles[i]) == texts[i]);
    ASSERT_THAT(CloseFile(std::move(handles[i])), IsOk());
  }
  Crash();
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(*Read("f" + std::to_string(i)) == texts[i]);
  }
}

TEST_F(VolumeFilesTest, OpensOfWhatIsNoFileFail) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Symlink("s", "target"), IsOk());
  EXPECT_THAT(OpenFile("d", O_RDONLY), HasErrno(EISDIR));
  EXPECT_THAT(OpenFile("s", O_RDONLY), HasErrno(EINVAL));
  EXPECT_THAT(volume().Open(999, O_RDONLY), HasErrno(ENOENT));
}

TEST_F(VolumeFilesTest, TooLargeOffsetsAreRefused) {
  ASSERT_THAT(Write("f", "x"), IsOk());
  auto handle = OpenFile("f", O_RDWR);
  EXPECT_THAT(volume().Write(**handle, INT64_MAX, "x"), HasErrno(EFBIG));
  EXPECT_THAT(volume().Write(**handle, ~uint64_t{0}, "x"), HasErrno(EFBIG));
  EXPECT_THAT(Truncate("f", uint64_t{INT64_MAX} + 1), HasErrno(EFBIG));
  ASSERT_THAT(volume().Write(**handle, INT64_MAX - 1, "e"), IsOk());
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_EQ(GetStat("f")->attributes.size, uint64_t{INT64_MAX});
  Crash();
  EXPECT_EQ(GetStat("f")->attributes.size, uint64_t{INT64_MAX});
  ASSERT_THAT(Truncate("f", 1), IsOk());
  EXPECT_EQ(*Read("f"), "x");
}

}  // namespace
}  // namespace varve::fs
