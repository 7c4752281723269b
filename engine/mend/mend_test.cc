// Mending: single flipped bits and broken links.

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/entry/byte_source.h"
#include "engine/entry/entry.h"
#include "engine/mend/link_mend.h"
#include "engine/mend/mended_file.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(FindFlippedBitTest, FindsEachBit) {
  std::string text = "The quick brown fox jumps over the lazy dog";
  const uint32_t sound = Crc32(0, AsBytes(text));
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string flipped = text;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const uint32_t crc = Crc32(0, AsBytes(flipped));
    EXPECT_EQ(FindFlippedBit(crc ^ sound, text.size()), bit);
  }
}

TEST(FindFlippedBitTest, FindsNoneWhereSeveralDiffer) {
  std::string text(1000, 'a');
  const uint32_t sound = Crc32(0, AsBytes(text));
  text[3] = 'b';
  text[700] = 'x';
  EXPECT_EQ(FindFlippedBit(Crc32(0, AsBytes(text)) ^ sound, text.size()),
            std::nullopt);
  EXPECT_EQ(FindFlippedBit(1, 0), std::nullopt);
}

class MendTest : public StoreFixture {
 protected:
  // Five values and a tombstone.
  void SetUp() override {
    for (int i = 0; i < 4; ++i) {
      entries_.push_back(Write(absl::StrCat("key", i), Payload(i)));
    }
    ASSERT_THAT(store_->Delete("key0"), IsOk());
    entries_.push_back(store_->ReadLastEntry()->location());
    entries_.push_back(Write("key4", Payload(4)));
    store_.reset();
    bytes_ = ReadWholeFile(Path());
  }
  static std::string Payload(int i) {
    return std::string(10 + 100 * i, static_cast<char>('a' + i));
  }
  void Flip(uint64_t offset, int bit) {
    std::string damaged = bytes_;
    damaged[offset] = static_cast<char>(damaged[offset] ^ (1 << bit));
    WriteWholeFile(Path(), damaged);
  }
  void ExpectAllIsThere() {
    EXPECT_EQ(Read("key0"), "(NOT_FOUND)");
    for (int i = 1; i <= 4; ++i) {
      EXPECT_EQ(Read(absl::StrCat("key", i)), Payload(i));
    }
  }

  std::vector<EntryLocation> entries_;
  std::string bytes_;
};

TEST_F(MendTest, ReadersSeePastAnyFlippedBitOfALink) {
  // That of the last entry makes it look like a torn one; see the next test.
  for (size_t i = 0; i + 1 < entries_.size(); ++i) {
    for (int bit = 0; bit < 64; ++bit) {
      SCOPED_TRACE(absl::StrCat("entry ", i, ", bit ", bit));
      const uint64_t link = entries_[i].metadata_offset() + 8;
      Flip(link + bit / 8, bit % 8);
      const std::string damaged = ReadWholeFile(Path());
      Open(OpenMode::kRead);
      ASSERT_THAT(store_->recovery().mends, SizeIs(1));
      EXPECT_EQ(store_->recovery().mends[0].offset, link);
      EXPECT_EQ(store_->recovery().torn_bytes, 0u);
      ExpectAllIsThere();
      store_.reset();
      // A writer would build on it: it is told, and nothing is cut.
      const auto writer = TryOpen();
      EXPECT_THAT(writer, HasCode(absl::StatusCode::kDataLoss));
      EXPECT_THAT(std::string(writer.status().message()), HasSubstr("link"));
      EXPECT_TRUE(ReadWholeFile(Path()) == damaged);
    }
  }
}

TEST_F(MendTest, FlippedLinkOfTheLastEntryIsNoTornWrite) {
  for (int bit = 0; bit < 64; ++bit) {
    SCOPED_TRACE(bit);
    Flip(entries_.back().metadata_offset() + 8 + bit / 8, bit % 8);
    Open(OpenMode::kRead);
    EXPECT_THAT(store_->recovery().mends, SizeIs(1));
    ExpectAllIsThere();
    EXPECT_THAT(TryOpen(), HasCode(absl::StatusCode::kDataLoss));
  }
}

TEST_F(MendTest, FlippedTombstoneStaysOne) {
  for (int bit = 0; bit < 8; ++bit) {
    Flip(entries_[4].payload_offset, bit);
    Open(OpenMode::kRead);
    EXPECT_THAT(store_->recovery().mends, SizeIs(1));
    ExpectAllIsThere();
  }
}

TEST_F(MendTest, SeveralBrokenLinksAreBridged) {
  std::string damaged = bytes_;
  for (const size_t i : {1, 3}) {
    damaged[entries_[i].metadata_offset() + 8] ^= 0x40;
  }
  WriteWholeFile(Path(), damaged);
  Open(OpenMode::kRead);
  EXPECT_THAT(store_->recovery().mends, SizeIs(2));
  ExpectAllIsThere();
}

// With proof that the store was whole, damage of any size is bridged: what lies
// in it is lost, and only that.
TEST_F(MendTest, WiderDamageBelowTheDurableTailIsBridged) {
  std::string damaged = bytes_;
  const uint64_t begin = entries_[1].metadata_offset() - 10;
  const uint64_t end = entries_[2].payload_offset + 30;
  damaged.replace(begin, end - begin, end - begin, '\x5a');
  WriteWholeFile(Path(), damaged);
  const DurableTail durable = [&](const EntryView& entry) -> uint64_t {
    return entry.key_hash() == HashKey("key4") ? entry.location().end() : 0;
  };
  EXPECT_THAT(TryOpen(OpenMode::kReadWrite, durable),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_TRUE(ReadWholeFile(Path()) == damaged);
  Open(OpenMode::kRead, durable);
  EXPECT_THAT(store_->recovery().mends, SizeIs(1));
  EXPECT_EQ(Read("key3"), Payload(3));
  EXPECT_EQ(Read("key4"), Payload(4));
  EXPECT_FALSE(store_->Read("key2")->HasValidChecksum());
}

TEST_F(MendTest, GivenMendsAreSeenByReadsAndThroughTheMap) {
  Flip(entries_[2].payload_offset + 50, 3);
  const auto store = Store::Open(
      Path(),
      {.mode = OpenMode::kRead,
       .mends = {{.offset = entries_[2].payload_offset + 50, .bytes = "c"}}});
  ASSERT_THAT(store, IsOk());
  const auto entry = (*store)->Read("key2");
  EXPECT_TRUE(entry->HasValidChecksum());
  EXPECT_THAT((*store)->Verify(entry->location()), IsOk());
}

TEST_F(MendTest, MendedFileRefusesChanges) {
  auto file = RealFileSystem()->Open(Path(), OpenMode::kReadWrite, 0);
  ASSERT_THAT(file, IsOk());
  const auto mended = MakeMendedFile(*std::move(file), {});
  EXPECT_THAT(mended->Truncate(0), HasErrorNumber(EROFS));
  EXPECT_THAT(mended->PunchHole(0, 4096), HasErrorNumber(EROFS));
  EXPECT_THAT(mended->WriteAt(0, {}), HasErrorNumber(EROFS));
}

}  // namespace
}  // namespace varve
