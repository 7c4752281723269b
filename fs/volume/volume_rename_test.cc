// Renames: what they do to the tree and what they leave in the store.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include <string>

#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::Eq;
using ::testing::IsEmpty;
using ::testing::Optional;

constexpr uint64_t kLarge = 200'000;

class VolumeRenameTest : public VolumeTest {};

TEST_F(VolumeRenameTest, SmallFileTakesItsEntryAlong) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("a", "text"), IsOk());
  ASSERT_THAT(Rename("a", "d/b"), IsOk());
  EXPECT_EQ(ReadRaw("a"), std::nullopt);
  EXPECT_THAT(ReadRaw("d/b"), Optional(Eq("text")));
  EXPECT_EQ(*Read("d/b"), "text");
  Crash();
  EXPECT_EQ(*Read("d/b"), "text");
  EXPECT_THAT(Read("a"), HasErrno(ENOENT));
}

TEST_F(VolumeRenameTest, LargeFileIsRenamedByReference) {
  const std::string text = Pattern(1, kLarge);
  ASSERT_THAT(Write("a", text), IsOk());
  const uint64_t before = FileSize();
  ASSERT_THAT(Rename("a", "b"), IsOk());
  EXPECT_LT(FileSize() - before, 1000u);
  EXPECT_EQ(ReadRaw("a"), std::nullopt);
  EXPECT_TRUE(*Read("b") == text);
  Crash();
  EXPECT_TRUE(*Read("b") == text);
  Reopen();
  EXPECT_TRUE(*Read("b") == text);
  // The old name is free for another file.
  ASSERT_THAT(Write("a", "new"), IsOk());
  EXPECT_TRUE(*Read("b") == text);
  ASSERT_THAT(Unlink("b"), IsOk());
  EXPECT_EQ(*Read("a"), "new");
  EXPECT_THAT(ReadRaw("a"), Optional(Eq("new")));
}

TEST_F(VolumeRenameTest, ThereAndBackAgain) {
  for (const uint64_t size : {10ul, kLarge}) {
    const std::string text = Pattern(size, size);
    ASSERT_THAT(Write("a", text), IsOk());
    for (int i = 0; i < 3; ++i) {
      ASSERT_THAT(Rename("a", "b"), IsOk());
      EXPECT_EQ(ReadRaw("a"), std::nullopt);
      ASSERT_THAT(Rename("b", "a"), IsOk());
      EXPECT_EQ(ReadRaw("b"), std::nullopt);
    }
    EXPECT_TRUE(*Read("a") == text);
    if (size == 10) {
      EXPECT_THAT(ReadRaw("a"), Optional(Eq(text)));
    }
    Crash();
    EXPECT_TRUE(*Read("a") == text);
    Reopen();
    EXPECT_TRUE(*Read("a") == text);
  }
}

TEST_F(VolumeRenameTest, PatchedFileLeavesNothingUnderItsOldName) {
  const std::string text = Pattern(1, kLarge);
  ASSERT_THAT(Write("a", text), IsOk());
  ASSERT_THAT(Append("a", "more"), IsOk());
  ASSERT_THAT(Rename("a", "b"), IsOk());
  EXPECT_EQ(ReadRaw("a"), std::nullopt);
  EXPECT_TRUE(*Read("b") == text + "more");
  Reopen();
  EXPECT_THAT(Unnamed(), IsEmpty());
  ASSERT_THAT(Unlink("b"), IsOk());
  Reopen();
  EXPECT_THAT(Unnamed(), IsEmpty());
}

TEST_F(VolumeRenameTest, ReplacedFileIsGone) {
  for (const uint64_t size : {10ul, kLarge}) {
    const std::string text = Pattern(size, size);
    ASSERT_THAT(Write("a", text), IsOk());
    ASSERT_THAT(Write("b", Pattern(99, kLarge)), IsOk());
    const uint64_t ino = Ino("a");
    ASSERT_THAT(Rename("a", "b"), IsOk());
    EXPECT_EQ(Ino("b"), ino);
    EXPECT_EQ(ReadRaw("a"), std::nullopt);
    EXPECT_NE(ReadRaw("b"), Pattern(99, kLarge));
    Crash();
    EXPECT_TRUE(*Read("b") == text);
    EXPECT_EQ(volume().GetSpace()->live_bytes, size);
    Reopen();
    EXPECT_TRUE(*Read("b") == text);
    ASSERT_THAT(Unlink("b"), IsOk());
  }
}

TEST_F(VolumeRenameTest, ReplacedOpenFileKeepsItsBytes) {
  ASSERT_THAT(Write("a", "new"), IsOk());
  ASSERT_THAT(Write("b", "old"), IsOk());
  auto handle = OpenFile("b", O_RDONLY);
  ASSERT_THAT(Rename("a", "b"), IsOk());
  EXPECT_EQ(ReadHandle(**handle), "old");
  EXPECT_EQ(*Read("b"), "new");
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
}

TEST_F(VolumeRenameTest, FileRenamedWhileItIsWritten) {
  const std::string text = Pattern(1, 9 << 20);
  auto handle = CreateFile("a", O_RDWR);
  for (size_t at = 0; at < text.size(); at += 1 << 20) {
    ASSERT_THAT(volume().Write(**handle, at, text.substr(at, 1 << 20)), IsOk());
    if (at == 6 << 20) {
      ASSERT_THAT(Rename("a", "b"), IsOk());
    }
  }
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_TRUE(*Read("b") == text);
  EXPECT_EQ(ReadRaw("a"), std::nullopt);
  Reopen();
  EXPECT_TRUE(*Read("b") == text);
}

TEST_F(VolumeRenameTest, RenameKeepsDirtyContentApart) {
  ASSERT_THAT(Write("a", "0123456789"), IsOk());
  auto handle = OpenFile("a", O_RDWR);
  ASSERT_THAT(volume().Write(**handle, 0, "dirty"), IsOk());
  ASSERT_THAT(Rename("a", "b"), IsOk());
  EXPECT_EQ(ReadHandle(**handle), "dirty56789");
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_THAT(ReadRaw("b"), Optional(Eq("dirty56789")));
  EXPECT_EQ(ReadRaw("a"), std::nullopt);
}

TEST_F(VolumeRenameTest, DirectoryTakesItsFilesAlong) {
  const std::string large = Pattern(1, kLarge);
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(MakeDir("d/sub"), IsOk());
  ASSERT_THAT(Write("d/small", "small"), IsOk());
  ASSERT_THAT(Write("d/sub/large", large), IsOk());
  ASSERT_THAT(Rename("d", "e"), IsOk());
  // New files at the old paths.
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(MakeDir("d/sub"), IsOk());
  ASSERT_THAT(Write("d/small", "other"), IsOk());
  ASSERT_THAT(Write("d/sub/large", Pattern(2, kLarge)), IsOk());
  const auto expect_all = [&] {
    EXPECT_EQ(*Read("e/small"), "small");
    EXPECT_TRUE(*Read("e/sub/large") == large);
    EXPECT_EQ(*Read("d/small"), "other");
    EXPECT_TRUE(*Read("d/sub/large") == Pattern(2, kLarge));
  };
  expect_all();
  Crash();
  expect_all();
  Reopen();
  expect_all();
  // Removing the moved files does not affect the new ones, nor the reverse.
  ASSERT_THAT(Unlink("e/small"), IsOk());
  EXPECT_THAT(ReadRaw("d/small"), Optional(Eq("other")));
  ASSERT_THAT(Unlink("d/sub/large"), IsOk());
  EXPECT_TRUE(*Read("e/sub/large") == large);
  ASSERT_THAT(WriteAt("e/sub/large", 5, "patch"), IsOk());
  Reopen();
  EXPECT_EQ(*Read("d/small"), "other");
  EXPECT_EQ(Read("e/sub/large")->substr(5, 5), "patch");
}

TEST_F(VolumeRenameTest, FileOfAMovedDirectoryIsPlainOnceItIsRewritten) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/f", "one"), IsOk());
  ASSERT_THAT(Rename("d", "e"), IsOk());
  ASSERT_THAT(Write("e/f", "two"), IsOk());
  EXPECT_THAT(ReadRaw("e/f"), Optional(Eq("two")));
  EXPECT_EQ(ReadRaw("d/f"), std::nullopt);
}

TEST_F(VolumeRenameTest, ExchangeOfFiles) {
  for (const uint64_t size : {10ul, kLarge}) {
    ASSERT_THAT(Write("a", Pattern(1, size)), IsOk());
    ASSERT_THAT(Write("b", Pattern(2, size + 1)), IsOk());
    const uint64_t ino = Ino("a");
    ASSERT_THAT(Rename("a", "b", RENAME_EXCHANGE), IsOk());
    EXPECT_EQ(Ino("b"), ino);
    for (int i = 0; i < 2; ++i) {
      EXPECT_TRUE(*Read("b") == Pattern(1, size));
      EXPECT_TRUE(*Read("a") == Pattern(2, size + 1));
      i == 0 ? Crash() : Reopen();
    }
    // A raw reader finds the right bytes or none.
    EXPECT_NE(ReadRaw("a"), Pattern(1, size));
    EXPECT_NE(ReadRaw("b"), Pattern(2, size + 1));
  }
}

TEST_F(VolumeRenameTest, ExchangeOfAFileAndADirectory) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(MakeDir("e"), IsOk());
  ASSERT_THAT(Write("d/f", "f"), IsOk());
  ASSERT_THAT(Write("e/g", "g"), IsOk());
  ASSERT_THAT(Rename("d/f", "e", RENAME_EXCHANGE), IsOk());
  EXPECT_EQ(*Read("e"), "f");
  EXPECT_EQ(*Read("d/f/g"), "g");
  EXPECT_EQ(GetStat("")->nlink, 3u);
  EXPECT_EQ(GetStat("d")->nlink, 3u);
  const std::string before = Dump();
  Crash();
  EXPECT_EQ(Dump(), before);
}

TEST_F(VolumeRenameTest, RenameFailsWithTheRightNumber) {
  ASSERT_THAT(Write("f", "x"), IsOk());
  ASSERT_THAT(Write("g", "y"), IsOk());
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(MakeDir("d/e"), IsOk());
  ASSERT_THAT(MakeDir("empty"), IsOk());
  const std::string before = Dump();
  EXPECT_THAT(Rename("gone", "x"), HasErrno(ENOENT));
  EXPECT_THAT(Rename("f", "gone/x"), HasErrno(ENOENT));
  EXPECT_THAT(Rename("f", "g/x"), HasErrno(ENOTDIR));
  EXPECT_THAT(Rename("f", "d"), HasErrno(EISDIR));
  EXPECT_THAT(Rename("d", "f"), HasErrno(ENOTDIR));
  EXPECT_THAT(Rename("empty", "d"), HasErrno(ENOTEMPTY));
  EXPECT_THAT(Rename("d", "d/x"), HasErrno(EINVAL));
  EXPECT_THAT(Rename("d", "d/e/x"), HasErrno(EINVAL));
  EXPECT_THAT(Rename("d/e", "d"), HasErrno(ENOTEMPTY));
  EXPECT_THAT(Rename("f", std::string(256, 'n')), HasErrno(ENAMETOOLONG));
  EXPECT_THAT(Rename("f", ".varve"), HasErrno(EPERM));
  EXPECT_THAT(Rename("f", "."), HasErrno(EBUSY));
  EXPECT_THAT(Rename("d/..", "x"), HasErrno(EBUSY));
  EXPECT_THAT(Rename("f", "g", RENAME_NOREPLACE), HasErrno(EEXIST));
  EXPECT_THAT(Rename("f", "gone", RENAME_EXCHANGE), HasErrno(ENOENT));
  EXPECT_THAT(Rename("d", "d/e", RENAME_EXCHANGE), HasErrno(EINVAL));
  EXPECT_THAT(Rename("d/e", "d", RENAME_EXCHANGE), HasErrno(EINVAL));
  EXPECT_THAT(Rename("f", "g", 8), HasErrno(EINVAL));
  EXPECT_THAT(Rename("f", "g", RENAME_WHITEOUT | RENAME_EXCHANGE),
              HasErrno(EINVAL));
  EXPECT_THAT(Rename("f", "g", RENAME_WHITEOUT | RENAME_NOREPLACE),
              HasErrno(EEXIST));
  EXPECT_THAT(Rename("f", "g", RENAME_NOREPLACE | RENAME_EXCHANGE),
              HasErrno(EINVAL));
  EXPECT_EQ(Dump(), before);
  EXPECT_THAT(Rename("empty", "d/e"), IsOk());
  EXPECT_THAT(Rename("f", "f"), IsOk());
  EXPECT_THAT(Rename("f", "x", RENAME_NOREPLACE), IsOk());
}

TEST_F(VolumeRenameTest, UnlinkLeavesNothingBehindWhateverTheLayout) {
  const auto expect_gone = [&](const std::string& name) {
    ASSERT_THAT(Unlink(name), IsOk());
    EXPECT_EQ(ReadRaw(name), std::nullopt) << name;
  };
  ASSERT_THAT(Write("plain", Pattern(1, kLarge)), IsOk());
  expect_gone("plain");
  ASSERT_THAT(Write("appended", Pattern(1, kLarge)), IsOk());
  ASSERT_THAT(Append("appended", "more"), IsOk());
  expect_gone("appended");
  ASSERT_THAT(Write("cut", Pattern(1, kLarge)), IsOk());
  ASSERT_THAT(Truncate("cut", 100'000), IsOk());
  expect_gone("cut");
  ASSERT_THAT(Write("linked", Pattern(1, kLarge)), IsOk());
  ASSERT_THAT(Link("linked", "other"), IsOk());
  ASSERT_THAT(Unlink("other"), IsOk());
  expect_gone("linked");
  ASSERT_THAT(Write("patched", Pattern(1, kLarge)), IsOk());
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(WriteAt("patched", i * 60'000, Pattern(i, 60'000)), IsOk());
  }
  expect_gone("patched");
  Reopen();
  EXPECT_THAT(List(""), IsEmpty());
  EXPECT_THAT(Unnamed(), IsEmpty());
}

// Former entries of a file, under whatever key, are hidden when it gets new
// content, or else they would come back as unnamed entries. Disabled until this
// is implemented.
TEST_F(VolumeRenameTest, DISABLED_ReplacedContentIsHiddenWhateverTheLayout) {
  const auto make_pieces = [&](const std::string& name) {
    ASSERT_THAT(Write(name, Pattern(1, kLarge)), IsOk());
    ASSERT_THAT(Append(name, "more"), IsOk());
  };
  make_pieces("emptied");
  ASSERT_THAT(Truncate("emptied", 0), IsOk());
  make_pieces("one NUL");
  ASSERT_THAT(Write("one NUL", std::string(1, '\0')), IsOk());
  make_pieces("rewritten");
  ASSERT_THAT(Write("rewritten", Pattern(2, 6 << 20)), IsOk());
  ASSERT_THAT(MakeDir("d"), IsOk());
  make_pieces("d/moved and rewritten");
  make_pieces("d/moved and patched");
  make_pieces("d/moved and removed");
  ASSERT_THAT(Rename("d", "e"), IsOk());
  ASSERT_THAT(Write("e/moved and rewritten", "short"), IsOk());
  for (int i = 0; i < 4; ++i) {
    ASSERT_THAT(WriteAt("e/moved and patched", i * 50'000, Pattern(i, 50'000)),
                IsOk());
  }
  ASSERT_THAT(Unlink("e/moved and removed"), IsOk());
  make_pieces("renamed and removed");
  ASSERT_THAT(Rename("renamed and removed", "again"), IsOk());
  ASSERT_THAT(Unlink("again"), IsOk());
  make_pieces("cut");
  ASSERT_THAT(Truncate("cut", 10), IsOk());
  ASSERT_THAT(Unlink("cut"), IsOk());
  Reopen();
  for (const EntryLocation& entry : Unnamed()) {
    for (const char* key :
         {"emptied", "one NUL", "rewritten", "d/moved and rewritten",
          "d/moved and patched", "d/moved and removed", "renamed and removed",
          "cut"}) {
      EXPECT_NE(entry.key_hash, HashKey(key)) << key;
    }
    ADD_FAILURE() << entry.payload_size << " bytes";
  }
}

TEST_F(VolumeRenameTest, WhiteoutTakesTheOldName) {
  ASSERT_THAT(Write("f", "f"), IsOk());
  ASSERT_THAT(Write("g", "g"), IsOk());
  ASSERT_THAT(Rename("f", "g", RENAME_WHITEOUT), IsOk());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(*Read("g"), "f");
    const auto stat = GetStat("f");
    EXPECT_EQ(stat->attributes.mode, static_cast<uint32_t>(S_IFCHR));
    EXPECT_EQ(stat->attributes.rdev, 0u);
    i == 0 ? Crash() : Reopen();
  }
}

}  // namespace
}  // namespace varve::fs
