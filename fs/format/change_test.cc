#include "fs/format/change.h"

#include <sys/stat.h>

#include <map>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/string_view.h"
#include "fs/format/wire.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

const Timestamp kTime = Timestamp::FromPacked(uint64_t{3} << 60);

// A change, and what stands for its kind in a record, for ever.
struct Sample {
  uint8_t kind;
  Change change;
};

Extent SomeExtent() {
  return {.file_offset = 4096,
          .length = 100,
          .store_offset = 1'000'020,
          .key_hash = 42,
          .entry_offset = 20,
          .entry_size = 5000,
          .entry_crc32 = 0xdeadbeef,
          .shared = true};
}

// One of each kind, in which no member has its default.
std::vector<Sample> Samples() {
  const Attributes attributes = {.mode = S_IFREG | 0644,
                                 .uid = 1,
                                 .gid = 2,
                                 .rdev = 3,
                                 .size = 4,
                                 .generation = 5,
                                 .atime = kTime,
                                 .mtime = Timestamp::FromPacked(6),
                                 .ctime = kTime,
                                 .btime = Timestamp::FromPacked(7)};
  const ExtentList extents = {SomeExtent(), Extent::Hole(10, 20)};
  return {
      {1, PutInode{.ino = 300, .attributes = attributes}},
      {2, DropInode{.ino = 301}},
      {3, PutName{.parent = 302, .ino = 303, .name = "a"}},
      {4, DropName{.parent = 304, .name = "b"}},
      {5, SetContent{.ino = 305, .extents = extents}},
      {6, PatchContent{.ino = 306, .extents = extents}},
      {7, SetXattr{.ino = 307, .name = "user.a", .value = "value"}},
      {8, DropXattr{.ino = 308, .name = "user.b"}},
      {9, KeepUnfinished{.begin = 309, .end = 310}},
      {12,
       PutSnapshot{.sequence = 311, .time = kTime, .flags = 3, .name = "c"}},
      {13, DropSnapshot{.name = "d"}},
      {14, ForgetBefore{.sequence = 312}},
      {15, SetPolicy{.policy = "within=1h"}},
      {16, NoteAuthor{.uid = 313}},
      {16, NoteAuthor{.uid = 314, .pid = 315, .process = "rm"}},
      {17, PurgePath{.before = 316, .path = "a/b"}},
  };
}

TEST(ChangeTest, EveryKindHasASample) {
  std::set<size_t> alternatives;
  for (const Sample& sample : Samples()) {
    alternatives.insert(sample.change.index());
  }
  EXPECT_EQ(alternatives.size(), std::variant_size_v<Change>);
}

TEST(ChangeTest, EveryKindHasItsOwnNumber) {
  std::map<uint8_t, size_t> numbers = {{kDigestKind, SIZE_MAX},
                                       {kRootKind, SIZE_MAX}};
  for (const Sample& sample : Samples()) {
    std::string body;
    const uint8_t kind = EncodeChange(sample.change, kTime, WireWriter(&body));
    EXPECT_EQ(kind, sample.kind);
    // Some kinds have several samples.
    const size_t index = sample.change.index();
    EXPECT_EQ(numbers.emplace(kind, index).first->second, index) << int{kind};
  }
}

TEST(ChangeTest, EveryKindComesBack) {
  for (const Sample& sample : Samples()) {
    SCOPED_TRACE(int{sample.kind});
    std::string body;
    EncodeChange(sample.change, kTime, WireWriter(&body));
    const RecordContext record = {.payload = body, .time = kTime};
    // Whatever was there before.
    for (const Sample& before : Samples()) {
      Change change = before.change;
      WireReader in(body);
      EXPECT_TRUE(DecodeChange(sample.kind, record, in, change));
      EXPECT_TRUE(in.ok());
      EXPECT_TRUE(change == sample.change);
    }
  }
}

TEST(ChangeTest, OtherNumbersAreNoKinds) {
  std::set<uint8_t> known;
  for (const Sample& sample : Samples()) known.insert(sample.kind);
  const Change before = DropInode{.ino = 7};
  for (int kind = 0; kind < 256; ++kind) {
    if (known.contains(static_cast<uint8_t>(kind))) continue;
    const std::string body = "some bytes";
    WireReader in(body);
    Change change = before;
    EXPECT_FALSE(DecodeChange(static_cast<uint8_t>(kind), {}, in, change))
        << kind;
    EXPECT_TRUE(in.ok());
    EXPECT_EQ(in.rest(), body);
    EXPECT_TRUE(change == before);
  }
}

TEST(ChangeTest, ExtentsAreThoseOfContent) {
  for (Sample& sample : Samples()) {
    SCOPED_TRACE(int{sample.kind});
    const bool is_content = std::holds_alternative<SetContent>(sample.change) ||
                            std::holds_alternative<PatchContent>(sample.change);
    const Change& constant = sample.change;
    const ExtentList* extents = ExtentsOf(constant);
    ASSERT_EQ(extents != nullptr, is_content);
    EXPECT_EQ(ExtentsOf(sample.change), extents);
    if (!is_content) continue;
    EXPECT_EQ(extents->size(), 2u);
    const Change before = sample.change;
    ExtentsOf(sample.change)->clear();
    EXPECT_TRUE(extents->empty());
    EXPECT_FALSE(sample.change == before);
  }
}

TEST(ChangeTest, InlinePatchIsAnExtentOfTheRecord) {
  std::string payload = "what comes before";
  const size_t begin = payload.size();
  EncodeInlinePatch(7, 500, "the bytes", WireWriter(&payload));
  const RecordContext record = {.payload = payload,
                                .payload_offset = 6400,
                                .key_hash = 1,
                                .crc32 = 2,
                                .time = kTime};
  WireReader in(absl::string_view(payload).substr(begin));
  Change change;
  ASSERT_TRUE(DecodeChange(PatchContent::kKind, record, in, change));
  ASSERT_TRUE(in.ok());
  const size_t at = payload.size() - 9;
  const Change expected =
      PatchContent{.ino = 7,
                   .extents = {Extent{.file_offset = 500,
                                      .length = 9,
                                      .store_offset = 6400 + at,
                                      .key_hash = 1,
                                      .entry_offset = at,
                                      .entry_size = payload.size(),
                                      .entry_crc32 = 2}}};
  EXPECT_TRUE(change == expected);
}

}  // namespace
}  // namespace varve::fs
