// Damaged stores: errors name what is damaged, and everything else works.

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fs/format/commit_record.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class VolumeDamageTest : public VolumeTest {
 protected:
  // The offset in the store of a file's bytes, or of commit `sequence`.
  EntryLocation EntryOf(absl::string_view key) {
    return volume().store().Read(key)->location();
  }
  EntryLocation CommitEntry(uint64_t sequence) {
    return volume()
        .store()
        .Read(EntryKey::OfHash(volume().identity().CommitKeyHash(sequence)))
        ->location();
  }
  void FlipByteAt(uint64_t offset) {
    std::string bytes = ReadWholeFile(path());
    bytes[offset] = static_cast<char>(bytes[offset] ^ 0x20);
    WriteWholeFile(path(), bytes);
  }
  // Appends a record of the tree, as a newer version might write it; a valid
  // one if nothing is changed.
  void AppendRecord(const std::function<void(std::string&)>& change,
                    uint8_t version, uint64_t next = 1000) {
    const Identity identity = volume().identity();
    Close();
    WithForeignStore([&](Store& store) {
      uint64_t last = 0;
      ASSERT_THAT(store.ForEachInChain([&](const EntryView& entry) {
        if (const auto header = identity.AsCommit(entry)) {
          last = std::max(last, header->sequence);
        }
        return true;
      }),
                  IsOk());
      CommitHeader header;
      header.version = version;
      header.sequence = last + 1;
      header.position = Align64(store.tail());
      header.batch_begin = store.tail();
      header.next_ino = header.next_data_id = next;
      CommitWriter writer(header);
      if (!change) writer.AddDigest();
      std::string payload = writer.payload();
      if (change) change(payload);
      ASSERT_THAT(
          store.Write(EntryKey::OfHash(identity.CommitKeyHash(last + 1)),
                      Bytes(payload)),
          IsOk());
    });
  }
};

TEST_F(VolumeDamageTest, DamagedPayloadIsAnErrorOfThatFileAlone) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/bad", Pattern(1, 100'000)), IsOk());
  ASSERT_THAT(Write("d/good", Pattern(2, 100'000)), IsOk());
  const uint64_t at = EntryOf("d/bad").payload_offset + 50'000;
  Close();
  FlipByteAt(at);
  Open();
  const auto read = Read("d/bad");
  EXPECT_THAT(read, HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(read, HasErrno(EIO));
  EXPECT_THAT(std::string(read.status().message()), HasSubstr("\"d/bad\""));
  EXPECT_TRUE(*Read("d/good") == Pattern(2, 100'000));
  EXPECT_THAT(volume().reader().VerifyAll(Ino("d/bad")),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(volume().reader().VerifyAll(Ino("d/good")), IsOk());
  // It can be renamed, removed and replaced all the same.
  ASSERT_THAT(Rename("d/bad", "worse"), IsOk());
  EXPECT_THAT(Read("worse"), HasErrno(EIO));
  ASSERT_THAT(Write("worse", "sound"), IsOk());
  Reopen();
  EXPECT_EQ(*Read("worse"), "sound");
}

TEST_F(VolumeDamageTest, NumbersThatAreUsedUpAreNoDamage) {
  ASSERT_THAT(Write("f", "text"), IsOk());
  ASSERT_THAT(Write("gone", "text"), IsOk());
  AppendRecord(nullptr, kRecordVersion, kMaxId);
  Open();
  EXPECT_THAT(MakeDir("d"), HasErrno(ENOSPC));
  EXPECT_THAT(Symlink("l", "f"), HasErrno(ENOSPC));
  EXPECT_THAT(Write("new", "text"), HasErrno(ENOSPC));
  EXPECT_THAT(Write("f", "new"), HasErrno(ENOSPC));
  EXPECT_THAT(volume().CreateUnnamed(kRootIno, 0600, O_RDWR, {}),
              HasErrno(ENOSPC));
  EXPECT_THAT(Unlink("gone"), IsOk());
  Reopen();
  EXPECT_EQ(*Read("f"), "text");
  EXPECT_THAT(Rename("f", "g"), HasErrno(ENOSPC));  // writes it anew
  EXPECT_THAT(MakeDir("d"), HasErrno(ENOSPC));
  Crash();
  EXPECT_EQ(*Read("f"), "text");
  EXPECT_THAT(Read("gone"), HasErrno(ENOENT));
}

TEST_F(VolumeDamageTest, DamagedSmallFileIsNeverGivenAFreshChecksum) {
  ASSERT_THAT(Write("bad", "0123456789"), IsOk());
  const uint64_t at = EntryOf("bad").payload_offset + 5;
  Close();
  FlipByteAt(at);
  Open();
  ASSERT_THAT(Rename("bad", "moved"), IsOk());
  EXPECT_THAT(Read("moved"), HasErrno(EIO));
  // Writing a part does not repair the rest.
  ASSERT_THAT(WriteAt("moved", 0, "ab"), IsOk());
  EXPECT_THAT(Read("moved"), HasErrno(EIO));
  Reopen();
  EXPECT_THAT(Read("moved"), HasErrno(EIO));
}

// Larger files: volume_sums_test.
TEST_F(VolumeDamageTest, DamageBehindTheFirstReadOfASmallFileIsFoundAtOnce) {
  ASSERT_THAT(Write("small", Pattern(1, 250'000)), IsOk());
  const uint64_t at = EntryOf("small").payload_offset + 249'999;
  Close();
  FlipByteAt(at);
  Open();
  const auto handle = OpenFile("small", O_RDONLY);
  ASSERT_THAT(handle, IsOk());
  EXPECT_THAT(volume().Read(**handle, 0, 1), HasErrno(EIO));
}

TEST_F(VolumeDamageTest, DamagedCommitIsNamedByOpen) {
  ASSERT_THAT(Write("f", "text"), IsOk());
  ASSERT_THAT(volume().SyncAll(), IsOk());
  ASSERT_THAT(Write("g", "text"), IsOk());
  ASSERT_THAT(volume().SyncAll(), IsOk());
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(volume().SyncAll(), IsOk());
  ASSERT_THAT(MakeDir("e"), IsOk());
  const EntryLocation commit = CommitEntry(3);
  TestVolume other;
  std::string bytes = ReadWholeFile(path());
  bytes[commit.metadata_offset() - 1] ^= 1;
  WriteWholeFile(other.path(), bytes);
  const absl::Status status = other.TryOpen();
  EXPECT_THAT(status, HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("commit 3"),
                    HasSubstr(absl::StrCat(commit.payload_offset))));
  // The store stays as it is.
  EXPECT_TRUE(ReadWholeFile(other.path()) == bytes);
}

TEST_F(VolumeDamageTest, MissingCommitIsNamedByOpen) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(MakeDir("e"), IsOk());
  ASSERT_THAT(MakeDir("f"), IsOk());
  const Identity identity = volume().identity();
  TestVolume other;
  WriteWholeFile(other.path(), ReadWholeFile(path()));
  other.WithForeignStore([&](Store& store) {
    // As if the entry had been removed.
    ASSERT_THAT(store.Delete(EntryKey::OfHash(identity.CommitKeyHash(3))),
                IsOk());
    ASSERT_THAT(store.Compact(), IsOk());
  });
  const absl::Status status = other.TryOpen();
  EXPECT_THAT(status, HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(std::string(status.message()), HasSubstr("commit 3"));
}

TEST_F(VolumeDamageTest, RecordOfANewerVersionIsRefused) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  AppendRecord([](std::string&) {}, kRecordVersion + 1);
  const std::string bytes = ReadWholeFile(path());
  EXPECT_THAT(TryOpen(), HasCode(absl::StatusCode::kUnimplemented));
  options().read_only = true;
  EXPECT_THAT(TryOpen(), HasCode(absl::StatusCode::kUnimplemented));
  EXPECT_TRUE(ReadWholeFile(path()) == bytes);
}

TEST_F(VolumeDamageTest, ChangeOfAnUnknownKindIsRefusedByWriters) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  AppendRecord(
      [](std::string& payload) {
        payload += std::string(
            "\xc8\x03"
            "abc",
            5);
      },
      kRecordVersion);
  const std::string bytes = ReadWholeFile(path());
  EXPECT_THAT(TryOpen(), HasCode(absl::StatusCode::kUnimplemented));
  EXPECT_TRUE(ReadWholeFile(path()) == bytes);
  // A reader can do without such a change.
  options().read_only = true;
  options().create = false;
  Open();
  EXPECT_THAT(List(""), testing::ElementsAre("d"));
  EXPECT_THAT(volume().notes(), testing::Contains(HasSubstr("200")));
}

TEST_F(VolumeDamageTest, MalformedChangeIsDamage) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  AppendRecord([](std::string& payload) { payload += "\x03\x05"; },
               kRecordVersion);
  EXPECT_THAT(TryOpen(), HasCode(absl::StatusCode::kDataLoss));
}

TEST_F(VolumeDamageTest, EntryThatOnlyLooksLikeACommitIsNone) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  CommitHeader header;
  header.sequence = 1000;
  CommitWriter forged(header);
  // A user of the mount can write any bytes, but not under the right key.
  ASSERT_THAT(Write("forged", forged.payload()), IsOk());
  ASSERT_THAT(MakeDir("e"), IsOk());
  const std::string before = Dump();
  Crash();
  EXPECT_EQ(Dump(), before);
  Reopen();
  EXPECT_EQ(Dump(), before);
}

// Any single damaged byte is noticed, or makes no difference.
TEST_F(VolumeDamageTest, NoFlippedByteGivesWrongContent) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/f", "the text of f, which is short"), IsOk());
  ASSERT_THAT(Write("g", "the text of g"), IsOk());
  ASSERT_THAT(WriteAt("g", 4, "TEXT"), IsOk());
  ASSERT_THAT(Symlink("s", "target"), IsOk());
  Reopen();
  ASSERT_THAT(MakeDir("after the checkpoint"), IsOk());
  Close();
  const std::string bytes = ReadWholeFile(path());
  for (size_t at = 0; at < bytes.size(); at += 5) {
    TestVolume other;
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    WriteWholeFile(other.path(), damaged);
    other.options().read_only = true;
    if (!other.TryOpen().ok()) continue;
    const auto f = other.Read("d/f");
    EXPECT_TRUE(!f.ok() || *f == "the text of f, which is short") << at;
    const auto g = other.Read("g");
    EXPECT_TRUE(!g.ok() || *g == "the TEXT of g") << at;
  }
}

class VolumeCheckpointTest : public VolumeDamageTest {
 protected:
  static constexpr int kCount = 5000;

  static std::string NameOf(int i) {
    return absl::StrCat("d/", std::string(200, 'n'), i);
  }
  void MakeMany() {
    ASSERT_THAT(MakeDir("d"), IsOk());
    for (int i = 0; i < kCount; ++i) ASSERT_THAT(MakeDir(NameOf(i)), IsOk());
  }
  // All records of ours, from the newest to the oldest.
  std::vector<std::pair<CommitHeader, EntryLocation>> Records() {
    std::vector<std::pair<CommitHeader, EntryLocation>> records;
    EXPECT_THAT(volume().store().ForEachInChain([&](const EntryView& entry) {
      const auto header = volume().identity().AsCommit(entry);
      if (header.has_value()) records.emplace_back(*header, entry.location());
      return true;
    }),
                IsOk());
    return records;
  }
  static void Flip(const EntryLocation& entry, uint64_t tenth,
                   std::string& bytes) {
    char& byte = bytes[entry.payload_offset + entry.payload_size * tenth / 10];
    byte = static_cast<char>(byte ^ 0x20);
  }
};

// A damaged node or checkpoint costs nothing: the tree is read from the
// checkpoint before it, or from the first commit on.
TEST_F(VolumeCheckpointTest, FlippedByteInOneCostsNothing) {
  MakeMany();
  Reopen();
  ASSERT_THAT(MakeDir("later"), IsOk());
  Reopen();
  ASSERT_THAT(MakeDir("after"), IsOk());
  std::vector<EntryLocation> nodes;
  for (const auto& [header, location] : Records()) {
    if (!header.is_commit()) nodes.push_back(location);
  }
  ASSERT_GT(nodes.size(), 4);
  Close();
  const std::string bytes = ReadWholeFile(path());
  for (const EntryLocation& entry : nodes) {
    for (const uint64_t tenth : {1, 5, 9}) {
      SCOPED_TRACE(testing::Message() << entry.payload_offset << "+" << tenth);
      for (const bool read_only : {true, false}) {
        TestVolume other;
        std::string damaged = bytes;
        Flip(entry, tenth, damaged);
        WriteWholeFile(other.path(), damaged);
        other.options().read_only = read_only;
        other.Open();
        for (const int i : {0, 77, kCount - 1}) {
          EXPECT_THAT(other.GetStat(NameOf(i)), IsOk());
        }
        EXPECT_THAT(other.GetStat("later"), IsOk());
        EXPECT_THAT(other.GetStat("after"), IsOk());
        if (read_only) continue;
        ASSERT_THAT(other.MakeDir("new"), IsOk());
        other.Reopen();
        // A damaged checkpoint is not used again.
        EXPECT_THAT(other.volume().notes(), testing::IsEmpty());
        EXPECT_THAT(other.GetStat("new"), IsOk());
      }
    }
  }
}

// A compacted store cannot be read from its commits alone.
TEST_F(VolumeCheckpointTest, WhatACompactionHasWrittenIsThereTwice) {
  MakeMany();
  ASSERT_THAT(volume().compactions().Start({.forget = true}), IsOk());
  ASSERT_THAT(volume().compactions().WaitForEnd(), IsOk());
  std::vector<EntryLocation> roots;
  std::vector<EntryLocation> segments;
  for (const auto& [header, location] : Records()) {
    if (header.has_root()) roots.push_back(location);
    if (header.is_segment()) segments.push_back(location);
  }
  ASSERT_EQ(roots.size(), 2);
  ASSERT_GT(segments.size(), 2);
  Close();
  std::string bytes = ReadWholeFile(path());
  const auto zero = [&bytes](const EntryLocation& entry) {
    std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(entry.payload_offset),
                entry.payload_size, '\0');
  };
  // The whole second checkpoint.
  zero(roots[0]);
  for (const EntryLocation& segment : segments) {
    if (segment.payload_offset > roots[1].payload_offset) zero(segment);
  }
  {
    TestVolume other;
    WriteWholeFile(other.path(), bytes);
    other.Open();
    EXPECT_EQ(other.List("d").size(), kCount);
  }
  zero(roots[1]);
  TestVolume other;
  WriteWholeFile(other.path(), bytes);
  EXPECT_THAT(other.TryOpen(), HasCode(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace varve::fs
