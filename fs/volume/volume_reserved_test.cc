// Attacks by a user who can read the store. Such a user knows the secret from
// which the keys of the tree's own entries are made, and chooses names and
// contents accordingly.

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "engine/entry/entry.h"
#include "engine/store/store.h"
#include "fs/format/commit_record.h"
#include "fs/format/identity.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

uint64_t RotateLeft(uint64_t value, int bits) {
  return value << bits | value >> (64 - bits);
}

uint64_t UndoXorShift(uint64_t value, int bits) {
  uint64_t result = value;
  for (int known = bits; known < 64; known += bits) {
    result = value ^ (result >> bits);
  }
  return result;
}

uint64_t InverseOf(uint64_t odd) {
  uint64_t inverse = odd;
  for (int i = 0; i < 6; ++i) inverse *= 2 - odd * inverse;  // Newton
  return inverse;
}

// x from x ^ rotl(x, 49) ^ rotl(x, 24): that map is linear over bits, and to
// apply it 63 times more undoes it, as its 64th power is the identity.
uint64_t UndoRotations(uint64_t value) {
  for (int i = 0; i < 63; ++i) {
    value = value ^ RotateLeft(value, 49) ^ RotateLeft(value, 24);
  }
  return value;
}

// The only eight bytes whose XXH3-64 is `hash`: every step of
// XXH3_len_4to8_64b, with the default secret, can be undone.
std::string EightBytesOf(uint64_t hash) {
  constexpr uint64_t kMultiplier = 0x9fb21c651e98df25;
  constexpr uint64_t kBitFlip = 0x1cad21f72c81017c ^ 0xdb979083e96dd4de;
  constexpr uint64_t kLength = 8;
  uint64_t h = UndoXorShift(hash, 28);
  h *= InverseOf(kMultiplier);
  h ^= (h >> 35) + kLength;  // reaches no bit that it was made of
  h *= InverseOf(kMultiplier);
  h = UndoRotations(h) ^ kBitFlip;
  h = RotateLeft(h, 32);
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &h, bytes.size());
  return bytes;
}

TEST(EightBytesTest, HaveTheHash) {
  for (const uint64_t hash : {uint64_t{0}, uint64_t{1}, ~uint64_t{0},
                              HashKey("abc"), HashKey("12345678")}) {
    EXPECT_EQ(HashKey(EightBytesOf(hash)), hash);
  }
  EXPECT_EQ(EightBytesOf(HashKey("12345678")), "12345678");
}

class VolumeReservedTest : public testing::Test {
 protected:
  using KeyOf = uint64_t (*)(const Identity&);

  // Opens stores until the key's eight bytes are a name.
  void OpenWithName(KeyOf key) {
    do {
      if (volume_.has_value() && volume_->is_open()) volume_->Close();
      volume_.emplace();
      volume_->Open();
      hash_ = key(identity());
      name_ = EightBytesOf(hash_);
    } while (!IsValidName(name_));
    ASSERT_EQ(HashKey(name_), hash_);
  }
  // As any user who can read the store's file finds it.
  Identity identity() {
    const std::string file = ReadWholeFile(volume_->path());
    const auto identity = Identity::Decode(
        absl::string_view(file).substr(0, Identity::kEncodedSize));
    EXPECT_THAT(identity, IsOk());
    return *identity;
  }
  // A record that makes a set-user-id file owned by root.
  std::string Forged(uint8_t flags, uint64_t sequence, uint64_t position) {
    CommitHeader header;
    header.flags = flags;
    header.sequence = sequence;
    header.position = position;
    header.next_ino = 1000;
    header.next_data_id = 1000;
    header.durable_tail = position;
    CommitWriter writer(header);
    const uint64_t ino = 900;
    writer.Add(PutInode{.ino = ino, .attributes = {.mode = S_IFREG | 04755}});
    writer.Add(PutName{.parent = kRootIno, .ino = ino, .name = "forged"});
    writer.AddDigest();
    return writer.payload();
  }
  static uint64_t LastSequenceOf(const Store& store, const Identity& ours) {
    uint64_t sequence = 0;
    EXPECT_THAT(store.ForEachInChain([&](const EntryView& entry) {
      const auto header = ours.AsCommit(entry);
      if (header.has_value()) sequence = header->sequence;
      return !header.has_value();
    }),
                IsOk());
    return sequence;
  }
  uint64_t LastSequence() {
    return LastSequenceOf(volume_->volume().store(), identity());
  }
  uint64_t NextPosition() { return Align64(volume_->volume().store().tail()); }
  void ExpectNothingForged(absl::string_view content) {
    EXPECT_EQ(volume_->Ino("forged"), 0u);
    EXPECT_EQ(volume_->Read(name_).value_or("none"), content);
    EXPECT_EQ(volume_->Read("bystander").value_or("none"), "was there");
    EXPECT_EQ(volume_->ReadRaw(name_), std::nullopt)
        << "it lies under a key of the tree's";
  }

  std::optional<TestVolume> volume_;
  uint64_t hash_ = 0;
  std::string name_;
};

TEST_F(VolumeReservedTest, FileInThePlaceOfTheCheckpointIsNone) {
  OpenWithName([](const Identity& i) { return i.CheckpointKeyHash(); });
  EXPECT_THAT(volume_->Write("bystander", "was there"), IsOk());
  // Make the file first, so that only one append is left.
  auto handle = volume_->CreateFile(name_, O_RDWR);
  ASSERT_THAT(handle, IsOk());
  const std::string forged =
      Forged(CommitHeader::kCheckpoint, LastSequence(), NextPosition());
  EXPECT_THAT(volume_->volume().Write(**handle, 0, forged), IsOk());
  EXPECT_THAT(volume_->volume().Flush(**handle), IsOk());
  volume_->Abandon(*std::move(handle));
  volume_->Crash();
  ExpectNothingForged(forged);
}

TEST_F(VolumeReservedTest, FileInThePlaceOfTheNextCommitIsNone) {
  OpenWithName([](const Identity& i) { return i.CommitKeyHash(5); });
  EXPECT_THAT(volume_->Write("bystander", "was there"), IsOk());
  while (LastSequence() < 3) {
    ASSERT_THAT(volume_->Write("bystander", "was there"), IsOk());
  }
  auto handle = volume_->CreateFile(name_, O_RDWR);
  ASSERT_THAT(handle, IsOk());
  ASSERT_EQ(LastSequence(), 4u);
  const std::string forged = Forged(0, 5, NextPosition());
  EXPECT_THAT(volume_->volume().Write(**handle, 0, forged), IsOk());
  EXPECT_THAT(volume_->volume().Flush(**handle), IsOk());
  volume_->Abandon(*std::move(handle));
  volume_->Crash();
  EXPECT_EQ(volume_->Ino("forged"), 0u);
  EXPECT_EQ(volume_->Read(name_).value_or("none"), forged);
  EXPECT_EQ(volume_->Read("bystander").value_or("none"), "was there");
}

TEST_F(VolumeReservedTest, RecordOfALaterCommitIsNone) {
  OpenWithName([](const Identity& i) { return i.CommitKeyHash(1000); });
  EXPECT_THAT(volume_->Write("bystander", "was there"), IsOk());
  const std::string forged = Forged(0, 1000, NextPosition());
  EXPECT_THAT(volume_->Write(name_, forged), IsOk());
  volume_->Crash();
  ExpectNothingForged(forged);
}

TEST_F(VolumeReservedTest, FileThatIsRenamedThereIsNone) {
  OpenWithName([](const Identity& i) { return i.CheckpointKeyHash(); });
  EXPECT_THAT(volume_->Write("bystander", "was there"), IsOk());
  const std::string forged =
      Forged(CommitHeader::kCheckpoint, LastSequence() + 1, NextPosition());
  EXPECT_THAT(volume_->Write("other", forged), IsOk());
  EXPECT_THAT(volume_->Rename("other", name_), IsOk());
  volume_->Crash();
  ExpectNothingForged(forged);
}

TEST_F(VolumeReservedTest, LargeFileThatIsStreamedThereIsNone) {
  OpenWithName([](const Identity& i) { return i.CheckpointKeyHash(); });
  EXPECT_THAT(volume_->Write("bystander", "was there"), IsOk());
  const std::string large =
      Forged(CommitHeader::kCheckpoint, LastSequence() + 1, NextPosition()) +
      std::string(6 << 20, 'x');
  EXPECT_THAT(volume_->Write(name_, large), IsOk());
  volume_->Crash();
  EXPECT_EQ(volume_->Ino("forged"), 0u);
  EXPECT_TRUE(volume_->Read(name_).value_or("none") == large);
  EXPECT_EQ(volume_->ReadRaw(name_), std::nullopt);
}

TEST_F(VolumeReservedTest, PiecesThatAreMadePlainAreNot) {
  OpenWithName([](const Identity& i) { return i.CheckpointKeyHash(); });
  EXPECT_THAT(volume_->Write("bystander", "was there"), IsOk());
  const std::string forged =
      Forged(CommitHeader::kCheckpoint, LastSequence() + 1, NextPosition());
  EXPECT_THAT(volume_->Write(name_, std::string(forged.size(), '-')), IsOk());
  for (size_t at = 0; at < forged.size(); at += 16) {
    EXPECT_THAT(volume_->WriteAt(name_, at, forged.substr(at, 16)), IsOk());
  }
  volume_->Crash();
  ExpectNothingForged(forged);
}

TEST_F(VolumeReservedTest, CompactionLeavesItWhereItIsNone) {
  OpenWithName([](const Identity& i) { return i.CheckpointKeyHash(); });
  EXPECT_THAT(volume_->Write("bystander", "was there"), IsOk());
  const std::string forged =
      Forged(CommitHeader::kCheckpoint, LastSequence() + 1, NextPosition());
  EXPECT_THAT(volume_->MakeDir("d"), IsOk());
  EXPECT_THAT(volume_->Write(name_, forged), IsOk());
  EXPECT_THAT(volume_->volume().compactions().Start({.forget = true}), IsOk());
  EXPECT_THAT(volume_->volume().compactions().WaitForEnd(), IsOk());
  volume_->Crash();
  EXPECT_EQ(volume_->Ino("forged"), 0u);
  EXPECT_EQ(volume_->Read(name_).value_or("none"), forged);
  EXPECT_EQ(volume_->Read("bystander").value_or("none"), "was there");
  volume_->Reopen();
  EXPECT_EQ(volume_->Read(name_).value_or("none"), forged);
}

TEST_F(VolumeReservedTest, FileInThePlaceOfTheIndexImageIsNone) {
  OpenWithName([](const Identity& i) { return i.IndexImageKeyHash(); });
  EXPECT_THAT(volume_->Write("bystander", "was there"), IsOk());
  EXPECT_THAT(volume_->Write(name_, "VREIDX01"), IsOk());
  volume_->Crash();
  ExpectNothingForged("VREIDX01");
}

// Content that mending would take for a record with a flipped bit.
TEST_F(VolumeReservedTest, KeyThatDiffersInOneBitIsReservedToo) {
  OpenWithName(
      [](const Identity& i) { return i.CheckpointKeyHash() ^ (1u << 20); });
  EXPECT_THAT(volume_->Write("bystander", "was there"), IsOk());
  EXPECT_THAT(volume_->Write(name_, "anything"), IsOk());
  ExpectNothingForged("anything");
}

// A commit record is live as long as no newer entry has its key: without it,
// a compaction by another program would lose it.
TEST_F(VolumeReservedTest, FileDoesNotHideACommit) {
  OpenWithName([](const Identity& i) { return i.CommitKeyHash(2); });
  EXPECT_THAT(volume_->Write("bystander", "was there"), IsOk());
  ASSERT_GE(LastSequence(), 2u);
  EXPECT_THAT(volume_->Write(name_, "no record"), IsOk());
  EXPECT_TRUE(absl::StartsWith(volume_->ReadRaw(name_).value_or(""), "VRC1"));
  EXPECT_EQ(volume_->Read(name_).value_or("none"), "no record");
  EXPECT_THAT(volume_->Unlink(name_), IsOk());
  EXPECT_TRUE(absl::StartsWith(volume_->ReadRaw(name_).value_or(""), "VRC1"));
}

TEST_F(VolumeReservedTest, FileDoesNotHideDataOfAnother) {
  OpenWithName([](const Identity& i) { return i.DataKeyHash(1); });
  // In pieces, as it is written while another one is.
  auto bystander = volume_->CreateFile("bystander", O_RDWR);
  ASSERT_THAT(bystander, IsOk());
  const std::string text(5000, 'b');
  EXPECT_THAT(volume_->volume().Write(**bystander, 5000, text), IsOk());
  EXPECT_THAT(volume_->volume().Flush(**bystander), IsOk());
  ASSERT_EQ(volume_->ReadRaw(name_), text);
  EXPECT_THAT(volume_->Write(name_, "in the way"), IsOk());
  EXPECT_EQ(volume_->ReadRaw(name_), text);
  EXPECT_THAT(volume_->Write(name_, "again"), IsOk());
  EXPECT_THAT(volume_->Unlink(name_), IsOk());
  EXPECT_EQ(volume_->ReadRaw(name_), text);
  EXPECT_THAT(volume_->CloseFile(*std::move(bystander)), IsOk());
}

TEST_F(VolumeReservedTest, DataIsNotPutUnderTheKeyOfAFile) {
  OpenWithName([](const Identity& i) { return i.DataKeyHash(1); });
  EXPECT_THAT(volume_->Write(name_, "first here"), IsOk());
  EXPECT_EQ(volume_->ReadRaw(name_), "first here");
  EXPECT_THAT(volume_->Write("bystander", ""), IsOk());
  EXPECT_THAT(volume_->WriteAt("bystander", 5000, std::string(5000, 'b')),
              IsOk());
  EXPECT_EQ(volume_->ReadRaw(name_), "first here");
  volume_->Crash();
  EXPECT_EQ(volume_->Read(name_).value_or("none"), "first here");
}

// Stores that have such a file already. A real record says where its batch
// begins, so an entry inside that batch is not another record.
TEST_F(VolumeReservedTest, RecordWithinTheAppendOfAnotherIsNone) {
  OpenWithName([](const Identity& i) { return i.CheckpointKeyHash(); });
  EXPECT_THAT(volume_->Write("bystander", "was there"), IsOk());
  const Identity ours = identity();
  volume_->Close();
  volume_->WithForeignStore([&](Store& store) {
    const uint64_t last = LastSequenceOf(store, ours);
    Batch batch = store.BeginBatch();
    const uint64_t begin = batch.begin();
    const std::string forged =
        Forged(CommitHeader::kCheckpoint, last, Align64(begin));
    const EntryLocation entry =
        batch.Add(ours.CheckpointKeyHash(), AsBytes(forged));
    CommitHeader header;
    header.sequence = last + 1;
    header.position = Align64(entry.end());
    header.batch_begin = begin;
    header.next_ino = 1000;
    header.next_data_id = 1000;
    CommitWriter writer(header);
    writer.AddDigest();
    batch.Add(ours.CommitKeyHash(header.sequence), AsBytes(writer.payload()));
    ASSERT_THAT(batch.Commit(), IsOk());
  });
  volume_->Open();
  EXPECT_EQ(volume_->Ino("forged"), 0u);
  EXPECT_EQ(volume_->Read("bystander").value_or("none"), "was there");
}

}  // namespace
}  // namespace varve::fs
