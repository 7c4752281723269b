#include "fs/format/wire.h"

#include <cstdint>
#include <string>

#include "gtest/gtest.h"

namespace varve::fs {
namespace {

std::string Varint(uint64_t value) {
  std::string out;
  WireWriter(&out).Varint(value);
  return out;
}

TEST(WireTest, FieldsComeBackAsTheyWere) {
  std::string out;
  WireWriter writer(&out);
  writer.U8(200);
  writer.U32(0xdeadbeef);
  writer.U64(0x0123456789abcdef);
  writer.Varint(300);
  writer.SizedBytes("sized");
  writer.Bytes("rest");
  EXPECT_EQ(writer.size(), out.size());
  WireReader reader(out);
  EXPECT_EQ(reader.U8(), 200);
  EXPECT_EQ(reader.U32(), 0xdeadbeef);
  EXPECT_EQ(reader.U64(), 0x0123456789abcdefu);
  EXPECT_EQ(reader.Varint(), 300u);
  EXPECT_EQ(reader.SizedBytes(), "sized");
  EXPECT_EQ(reader.rest(), "rest");
  EXPECT_FALSE(reader.at_end());
  EXPECT_EQ(reader.Bytes(4), "rest");
  EXPECT_TRUE(reader.at_end());
  EXPECT_TRUE(reader.ok());
}

TEST(WireTest, IntegersAreLittleEndian) {
  std::string out;
  WireWriter(&out).U32(0x04030201);
  EXPECT_EQ(out, "\x01\x02\x03\x04");
}

TEST(WireTest, VarintsAreLeb128) {
  EXPECT_EQ(Varint(0), std::string(1, '\0'));
  EXPECT_EQ(Varint(127), "\x7f");
  EXPECT_EQ(Varint(128), std::string("\x80\x01"));
  EXPECT_EQ(Varint(300), std::string("\xac\x02"));
  EXPECT_EQ(Varint(~uint64_t{0}), std::string(9, '\xff') + "\x01");
}

TEST(WireTest, EveryVarintComesBack) {
  for (int shift = 0; shift < 64; ++shift) {
    for (const int64_t delta : {-1, 0, 1}) {
      const uint64_t value =
          (uint64_t{1} << shift) + static_cast<uint64_t>(delta);
      const std::string bytes = Varint(value);
      WireReader reader(bytes);
      EXPECT_EQ(reader.Varint(), value);
      EXPECT_TRUE(reader.ok() && reader.at_end());
      // Cut short, it is an error.
      WireReader cut(absl::string_view(bytes).substr(0, bytes.size() - 1));
      EXPECT_EQ(cut.Varint(), 0u);
      EXPECT_FALSE(cut.ok());
    }
  }
}

TEST(WireTest, OverlongVarintsAreErrors) {
  for (const std::string& bytes :
       {std::string(10, '\xff') + "\x01", std::string(9, '\xff') + "\x02",
        std::string(9, '\x80') + "\x7f", std::string(20, '\x80')}) {
    WireReader reader(bytes);
    EXPECT_EQ(reader.Varint(), 0u);
    EXPECT_FALSE(reader.ok());
  }
}

TEST(WireTest, NarrowVarintsHaveALimit) {
  const std::string largest = Varint(UINT32_MAX);
  WireReader fits(largest);
  EXPECT_EQ(fits.Varint32(), UINT32_MAX);
  EXPECT_TRUE(fits.ok());
  const std::string larger = Varint(uint64_t{UINT32_MAX} + 1);
  WireReader reader(larger);
  EXPECT_EQ(reader.Varint32(), 0u);
  EXPECT_FALSE(reader.ok());
}

TEST(WireTest, BytesBeyondTheEndAreAnError) {
  WireReader reader("abc");
  EXPECT_EQ(reader.Bytes(4), "");
  EXPECT_FALSE(reader.ok());
  const std::string huge = Varint(~uint64_t{0}) + "abc";
  WireReader sized(huge);
  EXPECT_EQ(sized.SizedBytes(), "");
  EXPECT_FALSE(sized.ok());
}

TEST(WireTest, NothingIsReadAfterAnError) {
  WireReader reader("abcdefgh");
  EXPECT_EQ(reader.Bytes(9), "");
  EXPECT_EQ(reader.U8(), 0);
  EXPECT_EQ(reader.U64(), 0u);
  EXPECT_EQ(reader.Varint(), 0u);
  EXPECT_EQ(reader.SizedBytes(), "");
  EXPECT_EQ(reader.rest(), "");
  EXPECT_TRUE(reader.at_end());
  EXPECT_FALSE(reader.ok());
}

}  // namespace
}  // namespace varve::fs
