// Stores that somebody has made up: numbers of all sizes where offsets belong,
// under checksums that are right.

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/entry/byte_source.h"
#include "engine/entry/checked_offset.h"
#include "engine/entry/entry.h"
#include "engine/entry/layout.h"
#include "engine/io/file.h"
#include "engine/mend/link_mend.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

constexpr uint64_t kMax = std::numeric_limits<uint64_t>::max();
constexpr size_t kPayloadSize = 100;

std::string EntryBytes(uint64_t prev_tail) {
  const std::string payload(kPayloadSize, 'p');
  std::byte metadata[kMetadataSize];
  EncodeMetadata({.key_hash = HashKey("key"),
                  .prev_tail = prev_tail,
                  .crc32 = Crc32(0, Bytes(payload))},
                 metadata);
  return payload +
         std::string(reinterpret_cast<const char*>(metadata), kMetadataSize);
}

// Numbers that wrap, or nearly do, when something is added to them, and those
// next to an offset of a file of `size` bytes.
std::vector<uint64_t> OddNumbers(uint64_t size) {
  std::vector<uint64_t> numbers;
  for (const uint64_t middle :
       {uint64_t{0}, uint64_t{kTombstoneSize}, uint64_t{64}, size,
        uint64_t{1} << 32, uint64_t{1} << 62, kMaxFileOffset, kMax - 63,
        kMax - kTombstoneSize, kMax}) {
    for (uint64_t offset = 0; offset < 3; ++offset) {
      numbers.push_back(middle + offset);  // wraps, on purpose
      numbers.push_back(middle - offset);
    }
  }
  return numbers;
}

class HostileStoreTest : public StoreFixture {
 protected:
  // What happens to a store of these bytes, whose link is no link.
  void ExpectIsSurvived(const std::string& bytes) {
    WriteWholeFile(Path(), bytes);
    const auto reader = TryOpen(OpenMode::kRead);
    if (reader.ok()) {
      (*reader)->ForEach([](const EntryView& entry) {
        EXPECT_LE(entry.size(), kPayloadSize);
        return true;
      });
    } else {
      EXPECT_THAT(reader, HasCode(absl::StatusCode::kDataLoss));
    }
    const auto writer = TryOpen(OpenMode::kCreate);
    if (writer.ok()) {
      EXPECT_THAT((*writer)->Write("new", Bytes("value")), IsOk());
      return;
    }
    EXPECT_THAT(writer, HasCode(absl::StatusCode::kDataLoss));
    EXPECT_TRUE(ReadWholeFile(Path()) == bytes);
  }
};

// Its link plus one is 0, so that it seemed to be aligned, and what ends there
// was looked for in front of the file.
TEST_F(HostileStoreTest, LinkToTheEndOfAllNumbersIsRefused) {
  const std::string bytes = EntryBytes(kMax);
  ASSERT_EQ(bytes.size(), 120u);
  WriteWholeFile(Path(), bytes);
  EXPECT_THAT(TryOpen(OpenMode::kRead), HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(TryOpen(), HasCode(absl::StatusCode::kDataLoss));
  EXPECT_TRUE(ReadWholeFile(Path()) == bytes);
}

TEST_F(HostileStoreTest, AnyLinkOfTheOnlyEntryIsSurvived) {
  for (const uint64_t link : OddNumbers(kPayloadSize + kMetadataSize)) {
    SCOPED_TRACE(link);
    ExpectIsSurvived(EntryBytes(link));
  }
}

TEST_F(HostileStoreTest, AnyLinkAfterASoundEntryIsSurvived) {
  const std::string sound = EntryBytes(0);
  for (const uint64_t link : OddNumbers(2 * sound.size() + 8)) {
    SCOPED_TRACE(link);
    ExpectIsSurvived(sound + std::string(8, '\0') + EntryBytes(link));
  }
}

TEST_F(HostileStoreTest, NoEntryIsFoundOutsideOfAFile) {
  const std::string bytes = EntryBytes(0);
  WriteWholeFile(Path(), bytes);
  const auto file = RealFileSystem()->Open(Path(), OpenMode::kRead, 0);
  ASSERT_THAT(file, IsOk());
  const auto mapping = (*file)->Map(bytes.size());
  ASSERT_THAT(mapping, IsOk());
  const auto mapped = ByteSource::FromMapping(**mapping, bytes.size());
  const auto read = ByteSource::FromFile(**file, bytes.size());
  for (const uint64_t number : OddNumbers(bytes.size())) {
    SCOPED_TRACE(number);
    const bool is_end = number == bytes.size();
    EXPECT_EQ(LocateEntryEndingAt(Bytes(bytes), number).has_value(), is_end);
    EXPECT_EQ(LocateEntryAt(Bytes(bytes), number).has_value(),
              number == kPayloadSize);
    for (ByteSource* const source : {mapped.get(), read.get()}) {
      const auto offset = source->Check(number);
      EXPECT_EQ(offset.has_value(), number <= bytes.size());
      EXPECT_FALSE(source->HasValidChecksum({.payload_offset = number,
                                             .payload_size = kMax - 10,
                                             .crc32 = Crc32(0, {})}));
      if (!offset.has_value()) continue;
      EXPECT_EQ(source->EntryEndingAt(*offset).has_value(), is_end);
      EXPECT_EQ(source->At(*offset, bytes.size() - number + 1), nullptr);
      EXPECT_EQ(FindFlippedLink(*source, *offset), std::nullopt);
      EXPECT_NE(source->Crc32Of(7, *offset, kMax), 7u);
    }
  }
}

TEST_F(HostileStoreTest, NoViewIsGivenOfWhatIsOutside) {
  Write("key", "value");
  for (const uint64_t number : OddNumbers(store_->tail())) {
    SCOPED_TRACE(number);
    const bool is_end = number == store_->tail();
    EXPECT_EQ(store_->EntryEndingAt(number).ok(), is_end);
    EXPECT_EQ(store_->View(number, 1).ok(), number < store_->tail());
    EXPECT_FALSE(store_->View(1, number - 1).ok() && number > store_->tail());
    EXPECT_FALSE(
        store_
            ->Verify({.payload_offset = number, .payload_size = kMax - number})
            .ok());
  }
}

TEST(CheckedOffsetTest, IsWithinItsFile) {
  EXPECT_EQ(CheckedOffset::In(10, 10)->value(), 10u);
  EXPECT_EQ(CheckedOffset::In(10, 11), std::nullopt);
  EXPECT_EQ(CheckedOffset::In(kMax, kMaxFileOffset)->value(), kMaxFileOffset);
  EXPECT_EQ(CheckedOffset::In(kMax, kMaxFileOffset + 1), std::nullopt);
  EXPECT_EQ(CheckedOffset::In(10, 5)->Before(5)->value(), 0u);
  EXPECT_EQ(CheckedOffset::In(10, 5)->Before(6), std::nullopt);
}

}  // namespace
}  // namespace varve
