#include "engine/entry/entry.h"

#include <array>
#include <string>

#include "engine/base/test_util.h"
#include "engine/entry/crc32_combine.h"
#include "engine/entry/layout.h"

namespace varve {
namespace {

TEST(EntryTest, ChecksumIsThatOfZlib) {
  EXPECT_EQ(Crc32(0, Bytes("123456789")), 0xcbf43926);
  EXPECT_EQ(Crc32(0, {}), 0);
  EXPECT_EQ(Crc32(0, Bytes(std::string(1, '\0'))), kTombstoneCrc32);
}

TEST(EntryTest, ChecksumCanBeContinued) {
  const std::string text = Pattern(1, 10000);
  for (const size_t split : {0, 1, 63, 64, 5000, 9999, 10000}) {
    const uint32_t first = Crc32(0, Bytes(text.substr(0, split)));
    const uint32_t second = Crc32(0, Bytes(text.substr(split)));
    EXPECT_EQ(Crc32(first, Bytes(text.substr(split))), Crc32(0, Bytes(text)));
    EXPECT_EQ(Crc32Combine(first, second, text.size() - split),
              Crc32(0, Bytes(text)));
  }
}

TEST(EntryTest, KeyHashIsXxh3) {
  EXPECT_EQ(HashKey(""), 0x2d06800538d394c2);
  EXPECT_EQ(HashKey("a"), 0xe6c632b61e964e1f);  // from a golden store
}

TEST(EntryTest, HashOfPiecesIsThatOfTheWhole) {
  EXPECT_EQ(PiecewiseHash().value(), HashKey(""));
  std::string text;
  for (int i = 0; i < 3000; ++i) text += static_cast<char>(i * 7);
  for (const size_t piece : {1, 13, 256, 1000, 5000}) {
    PiecewiseHash hash;
    for (size_t at = 0; at < text.size(); at += piece) {
      EXPECT_EQ(hash.value(), HashKey(text.substr(0, at)));
      hash.Add(absl::string_view(text).substr(at, piece));
    }
    EXPECT_EQ(hash.value(), HashKey(text));
  }
}

TEST(EntryTest, KeysAreTheSameWhereverTheirHashComesFrom) {
  EXPECT_EQ(EntryKey("key").hash(), HashKey("key"));
  EXPECT_EQ(EntryKey(std::string("key")).hash(), HashKey("key"));
  EXPECT_EQ(EntryKey(absl::string_view("key")).hash(), HashKey("key"));
  EXPECT_EQ(EntryKey::OfHash(7).hash(), 7u);
  EXPECT_EQ(EntryKey::InNamespace("a", "key").hash(),
            HashNamespacedKey("a", "key"));
}

TEST(EntryTest, NamespacedKeyIsTheHashOfBothHashes) {
  // HashKey("") and HashKey("a"), little-endian.
  const std::string name(
      "\xc2\x94\xd3\x38\x05\x80\x06\x2d\x1f\x4e\x96\x1e\xb6\x32\xc6\xe6", 16);
  EXPECT_EQ(HashNamespacedKey("", "a"), HashKey(name));
  EXPECT_NE(HashNamespacedKey("a", ""), HashKey(name));
}

TEST(EntryTest, MetadataIsLittleEndian) {
  std::array<std::byte, kMetadataSize> bytes;
  EncodeMetadata({.key_hash = 0x0807060504030201,
                  .prev_tail = 0x100f0e0d0c0b0a09,
                  .crc32 = 0x14131211},
                 bytes.data());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(bytes[i], std::byte(i + 1));
  const Metadata metadata = DecodeMetadata(bytes.data());
  EXPECT_EQ(metadata.key_hash, 0x0807060504030201);
  EXPECT_EQ(metadata.prev_tail, 0x100f0e0d0c0b0a09);
  EXPECT_EQ(metadata.crc32, 0x14131211);
}

TEST(EntryTest, AlignsTo64) {
  EXPECT_EQ(Align64(0), 0);
  EXPECT_EQ(Align64(1), 64);
  EXPECT_EQ(Align64(64), 64);
  EXPECT_EQ(Align64(65), 128);
  EXPECT_EQ(Align64(~uint64_t{63}), ~uint64_t{63});
  EXPECT_EQ(Align64(~uint64_t{62}), ~uint64_t{0});
  EXPECT_EQ(Align64(~uint64_t{0}), ~uint64_t{0});
}

TEST(EntryTest, ShapesAreToldApart) {
  constexpr std::byte kNul{0};
  constexpr std::byte kOther{1};
  struct Case {
    uint64_t prev_tail;
    uint64_t metadata_offset;
    std::byte byte_before;
    EntryShape shape;
  };
  const Case cases[] = {
      {0, 1, kOther, EntryShape::kValue},
      {0, 1, kNul, EntryShape::kTombstone},
      {0, 2, kNul, EntryShape::kValue},
      {64, 65, kNul, EntryShape::kTombstone},
      {64, 65, kOther, EntryShape::kValue},
      {30, 31, kNul, EntryShape::kTombstone},
      // Neither the tail's byte nor the pad behind it can be a payload.
      {30, 31, kOther, EntryShape::kInvalid},
      {30, 40, kNul, EntryShape::kInvalid},
      {30, 64, kNul, EntryShape::kInvalid},
      {30, 65, kNul, EntryShape::kValue},
      {30, 30, kNul, EntryShape::kInvalid},
      {31, 30, kNul, EntryShape::kInvalid},
      {~uint64_t{0}, 30, kNul, EntryShape::kInvalid},
      {~uint64_t{1}, ~uint64_t{0}, kNul, EntryShape::kInvalid},
      {0, ~uint64_t{0}, kNul, EntryShape::kInvalid},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(ShapeOf(c.prev_tail, c.metadata_offset, c.byte_before), c.shape)
        << c.prev_tail << " " << c.metadata_offset;
  }
}

TEST(EntryTest, LocationAddsUp) {
  const EntryLocation entry = {
      .payload_offset = 64, .payload_size = 10, .prev_tail = 30};
  EXPECT_EQ(entry.metadata_offset(), 74);
  EXPECT_EQ(entry.end(), 94);
  EXPECT_EQ(entry.size_on_disk(), 64);
}

}  // namespace
}  // namespace varve
