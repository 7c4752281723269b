#include "fs/format/commit_record.h"

#include <sys/stat.h>

#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/test_util.h"
#include "engine/entry/entry.h"
#include "fs/format/wire.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

constexpr uint64_t kOffset = 6400;  // of the payload in the store
constexpr uint64_t kHash = 0x1122334455667788;
constexpr uint32_t kCrc = 0xcafe;

CommitHeader SomeHeader() {
  CommitHeader header;
  header.flags = CommitHeader::kClean;
  header.sequence = 12345;
  header.time = Timestamp::FromPacked(uint64_t{3} << 60);
  header.position = kOffset;
  header.batch_begin = 6300;
  header.durable_tail = 5000;
  header.next_ino = 77;
  header.next_data_id = kMaxId;
  header.checkpoint = 64;
  return header;
}

absl::StatusOr<CommitReader> OpenRecord(absl::string_view payload) {
  return CommitReader::Open(payload, kOffset, kHash, kCrc);
}

// The change after a round trip.
Change RoundTrip(const Change& change, std::string& payload) {
  CommitWriter writer(SomeHeader());
  writer.Add(change);
  payload = writer.payload();
  auto reader = OpenRecord(payload);
  EXPECT_THAT(reader, IsOk());
  auto read = reader->Next();
  EXPECT_THAT(read, IsOk());
  EXPECT_TRUE(read->has_value());
  auto end = reader->Next();
  EXPECT_TRUE(end.ok() && !end->has_value());
  return **read;
}

template <typename T>
T RoundTripAs(const T& change, std::string& payload) {
  const Change read = RoundTrip(change, payload);
  EXPECT_TRUE(std::holds_alternative<T>(read));
  return std::get<T>(read);
}

// A record with one change, given by kind and body.
std::string RecordOf(uint8_t kind, absl::string_view body) {
  std::string payload = CommitWriter(SomeHeader()).payload();
  WireWriter out(&payload);
  out.U8(kind);
  out.SizedBytes(body);
  return payload;
}

std::string Varints(const std::vector<uint64_t>& values) {
  std::string out;
  for (const uint64_t value : values) WireWriter(&out).Varint(value);
  return out;
}

absl::Status ReadToEnd(CommitReader& reader) {
  while (true) {
    auto change = reader.Next();
    if (!change.ok()) return change.status();
    if (!change->has_value()) return absl::OkStatus();
  }
}

absl::Status ReadAll(absl::string_view payload) {
  auto reader = OpenRecord(payload);
  return reader.ok() ? ReadToEnd(*reader) : reader.status();
}

absl::Status ReadAllVerifying(absl::string_view payload, uint32_t crc32) {
  auto reader = CommitReader::Open(payload, kOffset, kHash, crc32);
  if (!reader.ok()) return reader.status();
  reader->VerifyAsRead();
  return ReadToEnd(*reader);
}

Extent SomeExtent() {
  return {.file_offset = 4096,
          .length = 100,
          .store_offset = 1'000'020,
          .key_hash = 42,
          .entry_offset = 20,
          .entry_size = 5000,
          .entry_crc32 = 0xdeadbeef};
}

Extent WholeEntry() {
  return {.file_offset = 0,
          .length = 5000,
          .store_offset = 64,
          .key_hash = ~uint64_t{0},
          .entry_offset = 0,
          .entry_size = 5000,
          .entry_crc32 = 1};
}

// One of every kind.
std::string FullRecord() {
  CommitWriter writer(SomeHeader());
  writer.Add(PutInode{.ino = 5, .attributes = {.mode = S_IFREG | 0644}});
  writer.Add(PutName{.parent = 1, .ino = 5, .name = "name"});
  writer.Add(SetContent{.ino = 5, .extents = {WholeEntry()}});
  writer.Add(
      PatchContent{.ino = 5, .extents = {SomeExtent(), Extent::Hole(10, 20)}});
  writer.AddInline(5, 3, "inline bytes");
  writer.Add(SetXattr{.ino = 5, .name = "user.a", .value = "value"});
  writer.Add(DropXattr{.ino = 5, .name = "user.b"});
  writer.Add(DropName{.parent = 1, .name = "name"});
  writer.Add(DropInode{.ino = 5});
  writer.Add(KeepUnfinished{.begin = 3, .end = 9});
  return writer.payload();
}

TEST(CommitRecordTest, HeaderComesBack) {
  const CommitHeader header = SomeHeader();
  const std::string payload = CommitWriter(header).payload();
  const auto reader = OpenRecord(payload);
  ASSERT_THAT(reader, IsOk());
  const CommitHeader& read = reader->header();
  EXPECT_EQ(read.version, kRecordVersion);
  EXPECT_EQ(read.flags, header.flags);
  EXPECT_TRUE(read.clean());
  EXPECT_FALSE(read.is_checkpoint());
  EXPECT_EQ(read.sequence, header.sequence);
  EXPECT_EQ(read.time, header.time);
  EXPECT_EQ(read.position, header.position);
  EXPECT_EQ(read.batch_begin, header.batch_begin);
  EXPECT_EQ(read.durable_tail, header.durable_tail);
  EXPECT_EQ(read.next_ino, header.next_ino);
  EXPECT_EQ(read.next_data_id, header.next_data_id);
  EXPECT_EQ(read.checkpoint, header.checkpoint);
  EXPECT_EQ(CommitReader::ReadHeader(payload)->sequence, header.sequence);
}

TEST(CommitRecordTest, InodeComesBack) {
  std::string payload;
  PutInode put{.ino = kMaxId - 1};
  Attributes& a = put.attributes;
  a.mode = S_IFCHR | 07777;
  a.uid = a.gid = a.rdev = UINT32_MAX;
  a.size = INT64_MAX;
  a.generation = 9;
  a.atime = Timestamp::FromPacked(1);
  a.mtime = Timestamp::FromPacked(~uint64_t{0});
  a.ctime = SomeHeader().time;  // stored as one bit
  a.btime = Timestamp::FromPacked(3);
  const PutInode read = RoundTripAs(put, payload);
  EXPECT_EQ(read.ino, put.ino);
  EXPECT_TRUE(read.attributes == put.attributes);
}

TEST(CommitRecordTest, NamesComeBack) {
  std::string payload;
  for (const std::string& name :
       {std::string("a"), std::string(255, '\xff'), std::string("..."),
        std::string(" "), std::string("\n")}) {
    const PutName put =
        RoundTripAs(PutName{.parent = 1, .ino = 300, .name = name}, payload);
    EXPECT_EQ(put.parent, 1u);
    EXPECT_EQ(put.ino, 300u);
    EXPECT_EQ(put.name, name);
    const DropName drop =
        RoundTripAs(DropName{.parent = 1, .name = name}, payload);
    EXPECT_EQ(drop.name, name);
  }
  EXPECT_EQ(RoundTripAs(DropInode{.ino = 9}, payload).ino, 9u);
}

TEST(CommitRecordTest, ExtentsComeBack) {
  std::string payload;
  Extent shared = WholeEntry();
  shared.shared = true;
  Extent shared_part = SomeExtent();
  shared_part.shared = true;
  const ExtentList lists[] = {{},
                              {WholeEntry()},
                              {shared},
                              {shared_part},
                              {SomeExtent()},
                              {Extent::Hole(0, INT64_MAX)},
                              {SomeExtent(), Extent::Hole(7, 1), WholeEntry()}};
  for (const ExtentList& extents : lists) {
    const auto set =
        RoundTripAs(SetContent{.ino = 3, .extents = extents}, payload);
    EXPECT_EQ(set.ino, 3u);
    EXPECT_EQ(set.extents, extents);
    const auto patch =
        RoundTripAs(PatchContent{.ino = 3, .extents = extents}, payload);
    EXPECT_EQ(patch.extents, extents);
  }
}

TEST(CommitRecordTest, InlineBytesAreAnExtentOfTheRecord) {
  CommitWriter writer(SomeHeader());
  writer.Add(DropInode{.ino = 1});
  const size_t at = writer.AddInline(7, 500, "the bytes");
  const std::string& payload = writer.payload();
  EXPECT_EQ(payload.substr(at, 9), "the bytes");
  auto reader = OpenRecord(payload);
  ASSERT_THAT(reader->Next(), IsOk());
  const auto change = reader->Next();
  const auto& patch = std::get<PatchContent>(**change);
  EXPECT_EQ(patch.ino, 7u);
  ASSERT_EQ(patch.extents.size(), 1u);
  const Extent& extent = patch.extents[0];
  EXPECT_EQ(extent.file_offset, 500u);
  EXPECT_EQ(extent.length, 9u);
  EXPECT_EQ(extent.store_offset, kOffset + at);
  EXPECT_EQ(extent.entry_offset, at);
  EXPECT_EQ(extent.entry_size, payload.size());
  EXPECT_EQ(extent.key_hash, kHash);
  EXPECT_EQ(extent.entry_crc32, kCrc);
}

TEST(CommitRecordTest, XattrsComeBack) {
  std::string payload;
  for (const std::string& value :
       {std::string(), std::string("\0x\0", 3), std::string(65536, 'v')}) {
    const SetXattr set = RoundTripAs(
        SetXattr{.ino = 3, .name = "user.a", .value = value}, payload);
    EXPECT_EQ(set.name, "user.a");
    EXPECT_TRUE(set.value == value);
  }
  const DropXattr drop =
      RoundTripAs(DropXattr{.ino = 3, .name = "user.b"}, payload);
  EXPECT_EQ(drop.name, "user.b");
  const KeepUnfinished keep =
      RoundTripAs(KeepUnfinished{.begin = 3, .end = 1 << 20}, payload);
  EXPECT_EQ(keep.begin, 3u);
  EXPECT_EQ(keep.end, 1u << 20);
}

TEST(CommitRecordTest, EveryTruncationIsAnErrorOrAnEarlierEnd) {
  const std::string record = FullRecord();
  const size_t header_size = CommitWriter(SomeHeader()).payload().size();
  ASSERT_THAT(ReadAll(record), IsOk());
  int whole = 0;
  for (size_t size = 0; size < record.size(); ++size) {
    // A copy of its own, so that the sanitizer sees reads behind the end.
    const std::string cut = record.substr(0, size);
    const absl::Status status = ReadAll(cut);
    if (status.ok()) {
      ++whole;
      EXPECT_GE(size, header_size);
    } else {
      EXPECT_THAT(status, HasCode(StatusCode::kDataLoss)) << size;
    }
  }
  EXPECT_EQ(whole, 10);  // between two changes
}

TEST(CommitRecordTest, FlippedBytesNeverDoHarm) {
  const std::string record = FullRecord();
  for (size_t at = 0; at < record.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string flipped = record;
      flipped[at] = static_cast<char>(value);
      ReadAll(flipped).IgnoreError();
    }
  }
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int i = 0; i < 100'000; ++i) {
    std::string flipped = record;
    for (uint64_t n = random() % 8; n > 0; --n) {
      flipped[random() % flipped.size()] = static_cast<char>(random());
    }
    const absl::Status status = ReadAll(flipped);
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kDataLoss ||
                status.code() == StatusCode::kUnimplemented);
  }
}

TEST(CommitRecordTest, WhatIsVerifiedAsItIsReadIsWhole) {
  // Several times what is summed up at once, with a digest and without.
  CommitWriter writer(SomeHeader());
  const std::string value(60'000, 'v');
  for (uint64_t ino = 1; ino <= 20; ++ino) {
    writer.Add(SetXattr{.ino = ino, .name = "user.a", .value = value});
  }
  const std::string bare = writer.payload();
  writer.AddDigest();
  for (const std::string& record : {bare, writer.payload(), FullRecord()}) {
    const uint32_t crc = Crc32(0, AsBytes(record));
    EXPECT_THAT(ReadAllVerifying(record, crc), IsOk());
    EXPECT_THAT(ReadAllVerifying(record, crc ^ 1),
                HasCode(StatusCode::kDataLoss));
    for (size_t at = 0; at < record.size(); at += 1 + record.size() / 200) {
      std::string flipped = record;
      flipped[at] = static_cast<char>(flipped[at] ^ 0x10);
      EXPECT_FALSE(ReadAllVerifying(flipped, crc).ok()) << at;
    }
    std::string end = record;
    end.back() = static_cast<char>(end.back() ^ 1);
    EXPECT_THAT(ReadAllVerifying(end, crc), HasCode(StatusCode::kDataLoss));
  }
  // The checksum alone does not make up for a digest.
  std::string forged = writer.payload();
  forged.back() = static_cast<char>(forged.back() ^ 1);
  const absl::Status status =
      ReadAllVerifying(forged, Crc32(0, AsBytes(forged)));
  EXPECT_THAT(status, HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(status.message(), HasSubstr("digest"));
}

TEST(CommitRecordTest, BadNamesAreErrors) {
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("a/b"),
        std::string("/"), std::string("a\0b", 3), std::string(1, '\0'),
        std::string(256, 'n')}) {
    EXPECT_FALSE(IsValidName(name));
    EXPECT_THAT(ReadAll(RecordOf(3, Varints({1, 2}) + name)),
                HasCode(StatusCode::kDataLoss));
    EXPECT_THAT(ReadAll(RecordOf(4, Varints({1}) + name)),
                HasCode(StatusCode::kDataLoss));
  }
}

TEST(CommitRecordTest, BadInodesAreErrors) {
  const std::string bits(1, '\x0f');  // all times are the commit's
  const auto inode = [&](uint64_t ino, uint64_t mode, uint64_t size) {
    return ReadAll(RecordOf(1, Varints({ino, mode, 0, 0, 0, size, 0}) + bits));
  };
  EXPECT_THAT(inode(5, 0100644, 10), IsOk());
  EXPECT_THAT(inode(0, 0100644, 10), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(inode(5, uint64_t{1} << 32, 10), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(inode(5, 0100644, uint64_t{1} << 63),
              HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(inode(5, 0100644, ~uint64_t{0}), HasCode(StatusCode::kDataLoss));
}

TEST(CommitRecordTest, BadExtentsAreErrors) {
  const auto extent = [](uint8_t kind, const std::string& rest) {
    return ReadAll(RecordOf(5, Varints({7}) + static_cast<char>(kind) + rest));
  };
  const std::string hash(8, 'h');
  const std::string crc(4, 'c');
  const auto data = [&](uint64_t at, uint64_t length, uint64_t store,
                        uint64_t entry_offset, uint64_t entry_size) {
    return extent(0, Varints({at, length, store}) + hash + crc +
                         Varints({entry_offset, entry_size}));
  };
  const uint64_t max = INT64_MAX;
  EXPECT_THAT(data(0, 10, 164, 100, 110), IsOk());
  EXPECT_THAT(data(0, 0, 164, 100, 110), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(data(max, 1, 164, 100, 110), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(data(~uint64_t{0}, 10, 164, 100, 110),
              HasCode(StatusCode::kDataLoss));
  // The entry would begin before the store does, or end before the bytes do.
  EXPECT_THAT(data(0, 10, 99, 100, 110), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(data(0, 10, 164, 100, 109), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(data(0, 10, 164, 100, 9), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(data(0, 10, ~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0}),
              HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(extent(1, Varints({0, uint64_t{1} << 63})),
              HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(extent(1, Varints({0, 0})), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(extent(2, Varints({0, 4}) + "abc"),
              HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(extent(2, Varints({0, ~uint64_t{0}}) + "abc"),
              HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(extent(99, Varints({0, 4})), HasCode(StatusCode::kDataLoss));
}

TEST(CommitRecordTest, BadXattrsAreErrors) {
  const auto set = [](const std::string& name, size_t value_size) {
    std::string body = Varints({7});
    WireWriter(&body).SizedBytes(name);
    return ReadAll(RecordOf(7, body + std::string(value_size, 'v')));
  };
  EXPECT_THAT(set("user.a", 65536), IsOk());
  EXPECT_THAT(set("user.a", 65537), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(set("", 1), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(set(std::string(256, 'n'), 1), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(set(std::string("a\0b", 3), 1), HasCode(StatusCode::kDataLoss));
}

TEST(CommitRecordTest, OverlongVarintsAreErrors) {
  EXPECT_THAT(ReadAll(RecordOf(2, std::string(10, '\xff') + "\x01")),
              HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(ReadAll(RecordOf(9, std::string(9, '\xff') + "\x02\x01")),
              HasCode(StatusCode::kDataLoss));
}

TEST(CommitRecordTest, UnknownKindIsUnimplementedAndCanBePassedOver) {
  std::string payload = RecordOf(200, "whatever it says");
  CommitWriter rest(SomeHeader());
  const size_t header_size = rest.payload().size();
  rest.Add(DropInode{.ino = 4});
  payload += rest.payload().substr(header_size);
  auto reader = OpenRecord(payload);
  const auto unknown = reader->Next();
  EXPECT_THAT(unknown, HasCode(StatusCode::kUnimplemented));
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("200"));
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("12345"));
  const auto next = reader->Next();
  EXPECT_EQ(std::get<DropInode>(**next).ino, 4u);
}

TEST(CommitRecordTest, NewerVersionIsUnimplemented) {
  CommitHeader header = SomeHeader();
  header.version = kRecordVersion + 1;
  const std::string payload = CommitWriter(header).payload();
  EXPECT_THAT(OpenRecord(payload), HasCode(StatusCode::kUnimplemented));
  // Its number can still be read.
  const auto read = CommitReader::ReadHeader(payload);
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(read->sequence, header.sequence);
}

TEST(CommitRecordTest, OtherBytesAreNoRecord) {
  EXPECT_THAT(OpenRecord(""), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(OpenRecord("VRC"), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(OpenRecord("VRC1"), HasCode(StatusCode::kDataLoss));
  EXPECT_THAT(OpenRecord(std::string(100, '\0')),
              HasCode(StatusCode::kDataLoss));
}

TEST(CommitRecordTest, ExtentBeyondTheLargestStoreIsDamage) {
  std::string body = Varints({5});
  WireWriter out(&body);
  out.U8(0);
  body += Varints({0, 1, Extent::kHole});  // where it would pass for a hole
  out.U64(7);
  out.U32(9);
  body += Varints({0, 1});
  EXPECT_THAT(ReadAll(RecordOf(5, body)), HasCode(absl::StatusCode::kDataLoss));
}

TEST(CommitRecordTest, MoreHolesThanAnybodyMakesAreDamage) {
  std::string body = Varints({5});
  for (uint64_t i = 0; i <= 1 << 22; ++i) body += Varints({1, 0, 1});
  EXPECT_THAT(ReadAll(RecordOf(6, body)), HasCode(absl::StatusCode::kDataLoss));
  body.resize(body.size() - 3);
  EXPECT_THAT(ReadAll(RecordOf(6, body)), IsOk());
}

TEST(CommitRecordTest, NumbersThatAreUsedUpAreDamage) {
  CommitHeader header = SomeHeader();
  header.next_ino = kMaxId + 1;
  EXPECT_THAT(ReadAll(CommitWriter(header).payload()),
              HasCode(absl::StatusCode::kDataLoss));
  header.next_ino = 2;
  header.next_data_id = kMaxId + 1;
  EXPECT_THAT(ReadAll(CommitWriter(header).payload()),
              HasCode(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace varve::fs
