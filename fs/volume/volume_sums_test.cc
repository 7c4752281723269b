// Block sums: of a large file, what is damaged is an error, and all else can be
// read, without reading more than the blocks that are asked for.

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/entry/block_sums.h"
#include "fs/volume/original_test_util.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr uint64_t kBlock = kSumBlockSize;
// More than is compared as a whole while others wait, and no multiple of
// anything.
constexpr uint64_t kLarge = EntryChecks::kMaxQuickSize + 3 * kBlock + 1234;
constexpr uint64_t kMedium = 20 * kBlock + 99;

class VolumeSumsTest : public VolumeTest {
 protected:
  static std::string Content(uint64_t size) {
    std::string text(size, 'x');
    for (uint64_t at = 0; at < size; at += 4096) {
      text[at] = static_cast<char>('a' + at / 4096 % 23);
    }
    return text;
  }
  absl::StatusOr<EntryView> EntryOf(absl::string_view key) {
    return volume().store().Read(key);
  }
  std::optional<BlockSums> SumsOf(absl::string_view key) {
    const auto entry = EntryOf(key);
    if (!entry.ok()) return std::nullopt;
    return volume().store().FindBlockSums(
        entry->location(), volume().identity().SumsKeyHash(entry->key_hash()));
  }
  bool HasSumsUnderKey(absl::string_view key) {
    return volume().store().Exists(
        EntryKey::OfHash(volume().identity().SumsKeyHash(HashKey(key))));
  }
  // In the file of the store, which must be closed or not have been read there.
  void FlipByteAt(uint64_t offset) {
    const auto file =
        RealFileSystem()->Open(path(), OpenMode::kReadWrite, /*permissions=*/0);
    ASSERT_THAT(file, IsOk());
    char byte;
    struct iovec piece = {&byte, 1};
    std::byte read[1];
    ASSERT_THAT((*file)->ReadAt(offset, absl::MakeSpan(read)), IsOk());
    byte = static_cast<char>(static_cast<char>(read[0]) ^ 0x20);
    ASSERT_THAT((*file)->WriteAt(offset, {&piece, 1}), IsOk());
  }
  absl::StatusOr<std::string> ReadAt(absl::string_view path, uint64_t offset,
                                     uint64_t size) {
    const auto handle = OpenFile(path, O_RDONLY);
    if (!handle.ok()) return handle.status();
    const auto reply = volume().Read(**handle, offset, size);
    if (!reply.ok()) return reply.status();
    return reply->ToString();
  }
  // The blocks of the file that cannot be read; all others must be right.
  std::vector<uint64_t> UnreadableBlocks(absl::string_view path,
                                         const std::string& content) {
    std::vector<uint64_t> blocks;
    for (uint64_t block = 0; block < CountBlocks(content.size()); ++block) {
      const BlockRange range = BlockAt(content.size(), block);
      const auto bytes = ReadAt(path, range.begin, range.end - range.begin);
      if (bytes.ok()) {
        EXPECT_TRUE(*bytes == content.substr(range.begin, bytes->size()));
        EXPECT_EQ(bytes->size(), range.end - range.begin);
      } else {
        EXPECT_THAT(bytes, HasErrno(EIO));
        blocks.push_back(block);
      }
    }
    return blocks;
  }
};

TEST_F(VolumeSumsTest, OnlyTheDamagedBlocksOfALargeFileAreLost) {
  const std::string content = Content(kLarge);
  ASSERT_THAT(Write("big", content, 1 << 20), IsOk());
  const uint64_t last = CountBlocks(kLarge) - 1;
  const uint64_t at = EntryOf("big")->location().payload_offset;
  Close();
  FlipByteAt(at);
  FlipByteAt(at + 7 * kBlock + kBlock / 2);
  FlipByteAt(at + 701 * kBlock - 1);
  FlipByteAt(at + kLarge - 1);
  // From the disk, and from the host's memory.
  Open();
  EXPECT_THAT(UnreadableBlocks("big", content), ElementsAre(0, 7, 700, last));
  files().SeeMemory();
  Reopen();
  EXPECT_THAT(UnreadableBlocks("big", content), ElementsAre(0, 7, 700, last));
  // A read over several blocks fails if one of them is damaged.
  EXPECT_THAT(ReadAt("big", 6 * kBlock, 2 * kBlock), HasErrno(EIO));
  EXPECT_THAT(ReadAt("big", 5 * kBlock, 2 * kBlock), IsOk());
  const auto whole = volume().reader().VerifyAll(Ino("big"));
  EXPECT_THAT(
      std::string(whole.message()),
      AllOf(HasSubstr("\"big\""),
            HasSubstr(absl::StrCat("[", 7 * kBlock, ", ", 8 * kBlock, ")"))));
}

TEST_F(VolumeSumsTest, AFirstReadReadsOneBlock) {
  const std::string content = Content(kLarge);
  ASSERT_THAT(Write("big", content, 1 << 20), IsOk());
  Reopen();
  const auto handle = OpenFile("big", O_RDONLY);
  ASSERT_THAT(handle, IsOk());
  const auto reads = [&](uint64_t offset, uint64_t size) {
    const uint64_t before = files().bytes_asked();
    EXPECT_THAT(volume().Read(**handle, offset, size), IsOk());
    return files().bytes_asked() - before;
  };
  EXPECT_EQ(reads(500 * kBlock + 4096, 4096), kBlock);
  EXPECT_EQ(reads(500 * kBlock + 8192, 4096), 0);
  EXPECT_EQ(reads(501 * kBlock - 1, 2), kBlock);
  EXPECT_EQ(reads(500 * kBlock, 4 * kBlock), 2 * kBlock);
  EXPECT_EQ(reads(500 * kBlock, 4 * kBlock), 0);
}

TEST_F(VolumeSumsTest, AClone) {
  const std::string content = Content(kMedium);
  ASSERT_THAT(Write("f", content), IsOk());
  {
    auto from = OpenFile("f", O_RDONLY);
    auto to = CreateFile("clone", O_WRONLY);
    ASSERT_THAT(volume().CopyRange(**from, 0, **to, 0, kMedium), IsOk());
    ASSERT_THAT(CloseFile(*std::move(to)), IsOk());
    ASSERT_THAT(CloseFile(*std::move(from)), IsOk());
  }
  const uint64_t at = EntryOf("f")->location().payload_offset;
  Close();
  FlipByteAt(at + 5 * kBlock);
  Open();
  EXPECT_THAT(UnreadableBlocks("f", content), ElementsAre(5));
  EXPECT_THAT(UnreadableBlocks("clone", content), ElementsAre(5));
  // The entry of a file that is gone, for the clone's sake.
  ASSERT_THAT(Unlink("f"), IsOk());
  EXPECT_FALSE(HasSumsUnderKey("f"));
  Reopen();
  EXPECT_THAT(UnreadableBlocks("clone", content), ElementsAre(5));
}

TEST_F(VolumeSumsTest, APatchedFile) {
  std::string content = Content(kMedium);
  ASSERT_THAT(Write("f", content), IsOk());
  ASSERT_THAT(WriteAt("f", 5 * kBlock + 10, "patch"), IsOk());
  content.replace(5 * kBlock + 10, 5, "patch");
  const uint64_t at = EntryOf("f")->location().payload_offset;
  Close();
  FlipByteAt(at + 5 * kBlock + 20);
  FlipByteAt(at + 9 * kBlock + 20);
  Open();
  EXPECT_THAT(UnreadableBlocks("f", content), ElementsAre(5, 9));
  EXPECT_EQ(*ReadAt("f", 5 * kBlock + 10, 5), "patch");
}

// A stream that is sealed in between becomes several entries.
TEST_F(VolumeSumsTest, FilesThatAreWrittenAtOnce) {
  const std::string content = Content(8 << 20);
  auto a = CreateFile("a", O_WRONLY);
  auto b = CreateFile("b", O_WRONLY);
  for (uint64_t at = 0; at < content.size(); at += 1 << 20) {
    const std::string part = content.substr(at, 1 << 20);
    ASSERT_THAT(volume().Write(**a, at, part), IsOk());
    ASSERT_THAT(volume().Write(**b, at, part), IsOk());
  }
  ASSERT_THAT(CloseFile(*std::move(a)), IsOk());
  ASSERT_THAT(CloseFile(*std::move(b)), IsOk());
  const auto extents =
      volume().reader().CommittedExtents(Ino("a"), 0, content.size());
  ASSERT_THAT(extents, IsOk());
  ASSERT_GT(extents->size(), 1u);
  const Extent& extent = extents->back();
  ASSERT_GE(extent.entry_size, kMinSummedSize);
  Close();
  FlipByteAt(extent.store_offset);
  Open();
  EXPECT_THAT(UnreadableBlocks("a", content),
              ElementsAre(extent.file_offset / kBlock));
  EXPECT_THAT(UnreadableBlocks("b", content), IsEmpty());
  EXPECT_THAT(Unnamed(), IsEmpty());
}

TEST_F(VolumeSumsTest, AfterACompaction) {
  const std::string content = Content(kMedium);
  ASSERT_THAT(Write("f", content), IsOk());
  const std::string large = Content(2 << 20);
  ASSERT_THAT(Write("large", large), IsOk());
  ASSERT_THAT(volume().compactions().Start({.forget = true}), IsOk());
  ASSERT_THAT(volume().compactions().WaitForEnd(), IsOk());
  ASSERT_TRUE(SumsOf("f").has_value());
  EXPECT_TRUE(SumsOf("f")->MatchEntry());
  ASSERT_TRUE(SumsOf("large").has_value());
  EXPECT_THAT(Unnamed(), IsEmpty());
  const uint64_t at = EntryOf("f")->location().payload_offset;
  Close();
  FlipByteAt(at + 3 * kBlock);
  Open();
  EXPECT_THAT(UnreadableBlocks("f", content), ElementsAre(3));
  EXPECT_THAT(UnreadableBlocks("large", large), IsEmpty());
}

TEST_F(VolumeSumsTest, AfterACompactionByAnotherProgram) {
  for (const bool as_original : {false, true}) {
    SCOPED_TRACE(as_original);
    TestVolume& v = *this;
    const std::string content = Content(kMedium);
    ASSERT_THAT(Write("e", Content(kMedium + 1)), IsOk());
    ASSERT_THAT(Write("f", content), IsOk());
    ASSERT_THAT(Write("g", Content(kMedium + 2)), IsOk());
    Close();
    if (as_original) {
      RewriteAsOriginal(path());
    } else {
      v.WithForeignStore(
          [](Store& store) { ASSERT_THAT(store.Compact(), IsOk()); });
    }
    Open();
    ASSERT_TRUE(SumsOf("f").has_value());
    EXPECT_THAT(Unnamed(), IsEmpty());
    const uint64_t at = EntryOf("f")->location().payload_offset;
    Close();
    FlipByteAt(at + 3 * kBlock);
    Open();
    EXPECT_THAT(UnreadableBlocks("f", content), ElementsAre(3));
    EXPECT_THAT(UnreadableBlocks("e", Content(kMedium + 1)), IsEmpty());
  }
}

TEST_F(VolumeSumsTest, WhatAnotherProgramWroteIsComparedAsAWhole) {
  for (const uint64_t size : {kMedium, kLarge}) {
    SCOPED_TRACE(size);
    const std::string content = Content(size);
    ASSERT_THAT(Write("f", "ours"), IsOk());
    Close();
    WithForeignStore([&](Store& store) {
      ASSERT_THAT(store.Write("f", Bytes(content)), IsOk());
      ASSERT_THAT(store.Write("unnamed", Bytes(content)), IsOk());
    });
    Open();
    const uint64_t at = EntryOf("f")->location().payload_offset;
    const uint64_t unnamed = EntryOf("unnamed")->location().payload_offset;
    EXPECT_FALSE(SumsOf("f").has_value());
    EXPECT_TRUE(*ReadAt("f", size - 10, 10) == content.substr(size - 10));
    EXPECT_THAT(volume().ReadUnnamed(HashKey("unnamed"), 0, 10), IsOk());
    Close();
    FlipByteAt(at + size - 1);
    FlipByteAt(unnamed + size - 1);
    Open();
    for (int i = 0; i < 2; ++i) {
      EXPECT_THAT(ReadAt("f", 0, 10), HasErrno(EIO));
      EXPECT_THAT(volume().ReadUnnamed(HashKey("unnamed"), 0, 10),
                  HasErrno(EIO));
    }
    ASSERT_THAT(Unlink("f"), IsOk());
  }
}

TEST_F(VolumeSumsTest, DamagedSumsCostTimeAndNothingElse) {
  const std::string content = Content(kMedium);
  ASSERT_THAT(Write("f", content), IsOk());
  const EntryLocation entry = EntryOf("f")->location();
  const uint64_t sums_at = Align64(entry.end());
  Close();
  for (const uint64_t at : {sums_at, sums_at + 24}) {
    FlipByteAt(at);
    Open();
    EXPECT_TRUE(*ReadAt("f", 0, 10) == content.substr(0, 10));
    EXPECT_THAT(UnreadableBlocks("f", content), IsEmpty());
    Close();
    FlipByteAt(entry.payload_offset + kMedium - 1);
    Open();
    EXPECT_THAT(ReadAt("f", 0, 10), HasErrno(EIO));
    Close();
    FlipByteAt(entry.payload_offset + kMedium - 1);
    FlipByteAt(at);
  }
  Open();
}

TEST_F(VolumeSumsTest, GoWithTheEntry) {
  ASSERT_THAT(Write("deleted", Content(kMedium)), IsOk());
  ASSERT_THAT(Write("shrunk", Content(kMedium)), IsOk());
  ASSERT_THAT(Write("again", Content(kMedium)), IsOk());
  for (const char* key : {"deleted", "shrunk", "again"}) {
    EXPECT_TRUE(HasSumsUnderKey(key)) << key;
  }
  ASSERT_THAT(Unlink("deleted"), IsOk());
  ASSERT_THAT(Write("shrunk", "small"), IsOk());
  ASSERT_THAT(Write("again", Content(kMedium + kBlock)), IsOk());
  EXPECT_FALSE(HasSumsUnderKey("deleted"));
  EXPECT_FALSE(HasSumsUnderKey("shrunk"));
  ASSERT_TRUE(SumsOf("again").has_value());
  EXPECT_EQ(SumsOf("again")->count(), 21u);
  EXPECT_TRUE(SumsOf("again")->MatchEntry());
}

TEST_F(VolumeSumsTest, GoWithTheEntryInAMountWithoutIndex) {
  ASSERT_THAT(Write("deleted", Content(kMedium)), IsOk());
  ASSERT_THAT(Write("moved", Content(kMedium)), IsOk());
  Reopen();
  ASSERT_THAT(Unlink("deleted"), IsOk());
  ASSERT_THAT(Rename("moved", "here"), IsOk());
  EXPECT_FALSE(HasSumsUnderKey("deleted"));
  EXPECT_FALSE(HasSumsUnderKey("moved"));
  EXPECT_THAT(UnreadableBlocks("here", Content(kMedium)), IsEmpty());
}

// Their keys are reserved, so nobody looks what lies there.
TEST_F(VolumeSumsTest, ThoseOfDataNeedNoIndex) {
  std::string content = Content(kMedium);
  ASSERT_THAT(Write("f", "small"), IsOk());
  Reopen();
  const uint64_t size = content.size() - kBlock;
  ASSERT_THAT(WriteAt("f", kBlock, content.substr(kBlock)), IsOk());
  EXPECT_FALSE(volume().store().has_index());
  const auto extents =
      volume().reader().CommittedExtents(Ino("f"), kBlock, content.size());
  ASSERT_THAT(extents, IsOk());
  ASSERT_EQ(extents->size(), 1u);
  const Extent& extent = extents->front();
  ASSERT_EQ(extent.entry_size, size);
  const uint64_t sums_key = volume().identity().SumsKeyHash(extent.key_hash);
  EXPECT_TRUE(volume().identity().AsReservedKey(sums_key).has_value());
  Close();
  FlipByteAt(extent.store_offset + 3 * kBlock);
  Open();
  EXPECT_THAT(ReadAt("f", 4 * kBlock, 10), HasErrno(EIO));
  EXPECT_EQ(*ReadAt("f", 5 * kBlock, 10), content.substr(5 * kBlock, 10));
  EXPECT_FALSE(volume().store().has_index());
  EXPECT_TRUE(volume().store().Exists(EntryKey::OfHash(sums_key)));
  EXPECT_THAT(Unnamed(), IsEmpty());
}

// What somebody else has put under that key must not be hidden.
TEST_F(VolumeSumsTest, AreNotWrittenOverSomethingElse) {
  const uint64_t sums_key = volume().identity().SumsKeyHash(HashKey("f"));
  Close();
  WithForeignStore([&](Store& store) {
    ASSERT_THAT(store.Write(EntryKey::OfHash(sums_key), Bytes("theirs")),
                IsOk());
  });
  Open();
  const std::string content = Content(kMedium);
  ASSERT_THAT(Write("f", content), IsOk());
  EXPECT_FALSE(SumsOf("f").has_value());
  EXPECT_EQ(volume().store().Read(EntryKey::OfHash(sums_key))->payload_text(),
            "theirs");
  EXPECT_TRUE(*Read("f") == content);
  EXPECT_EQ(Unnamed().size(), 1u);
}

// Bytes of a user that look like sums are never taken for some.
TEST_F(VolumeSumsTest, AFileThatLooksLikeSumsIsNone) {
  ASSERT_THAT(Write("f", Content(kMedium)), IsOk());
  const Identity& identity = volume().identity();
  const auto entry = volume().store().Read(
      EntryKey::OfHash(identity.SumsKeyHash(HashKey("f"))));
  ASSERT_THAT(entry, IsOk());
  const std::string sums(entry->payload_text());
  EXPECT_TRUE(identity.IsBlockSums(*entry));
  EXPECT_TRUE(identity.Reserves(entry->key_hash(), sums));
  EXPECT_FALSE(identity.Reserves(entry->key_hash(), "something else"));
  EXPECT_FALSE(identity.Reserves(HashKey("sums"), sums));
  ASSERT_THAT(Write("sums", sums), IsOk());
  EXPECT_FALSE(identity.IsBlockSums(*EntryOf("sums")));
  EXPECT_EQ(*Read("sums"), sums);
}

}  // namespace
}  // namespace varve::fs
