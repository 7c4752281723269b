#include "fs/format/identity.h"

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "engine/base/test_util.h"
#include "engine/entry/block_sums.h"
#include "engine/store/store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

TEST(IdentityTest, ComesBackAsItWas) {
  const Identity identity = Identity::Make(Timestamp::FromPacked(77));
  const std::string payload = identity.Encode();
  EXPECT_EQ(payload.size(), Identity::kEncodedSize);
  const auto read = Identity::Decode(payload);
  ASSERT_THAT(read, IsOk());
  EXPECT_EQ(read->uuid, identity.uuid);
  EXPECT_EQ(read->secret, identity.secret);
  EXPECT_EQ(read->created, Timestamp::FromPacked(77));
  EXPECT_EQ(read->features, 0u);
  EXPECT_EQ(read->CommitKeyHash(5), identity.CommitKeyHash(5));
}

TEST(IdentityTest, MaySayHowLongTheStoreIsAtLeast) {
  Identity identity = Identity::Make(Timestamp::FromPacked(77));
  EXPECT_FALSE(Identity::Decode(identity.Encode())->least_length.has_value());
  identity.least_length = 123'456;
  const std::string payload = identity.Encode();
  EXPECT_EQ(payload.size(), Identity::kLongSize);
  EXPECT_TRUE(Identity::LooksLikeOne(payload));
  EXPECT_EQ(Identity::Decode(payload)->least_length, 123'456u);
  EXPECT_EQ(Identity::Decode(payload + "later")->least_length, 123'456u);
}

TEST(IdentityTest, EachOneIsNew) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const Identity identity = Identity::Make(Timestamp());
    EXPECT_TRUE(seen.insert(identity.UuidText()).second);
    EXPECT_TRUE(
        seen.insert(std::string(identity.secret.begin(), identity.secret.end()))
            .second);
  }
}

TEST(IdentityTest, UuidHasTheUsualForm) {
  EXPECT_THAT(
      Identity::Make(Timestamp()).UuidText(),
      MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}"
                   "-[0-9a-f]{12}"));
}

TEST(IdentityTest, MalformedOnesAreDamage) {
  const std::string payload = Identity::Make(Timestamp()).Encode();
  for (size_t size = 0; size < payload.size(); ++size) {
    EXPECT_THAT(Identity::Decode(payload.substr(0, size)),
                HasCode(StatusCode::kDataLoss));
  }
  std::string wrong = payload;
  wrong[0] ^= 1;
  EXPECT_THAT(Identity::Decode(wrong), HasCode(StatusCode::kDataLoss));
}

TEST(IdentityTest, NewerOnesAreUnimplemented) {
  Identity identity = Identity::Make(Timestamp());
  identity.features = 1;
  EXPECT_THAT(Identity::Decode(identity.Encode()),
              HasCode(StatusCode::kUnimplemented));
  identity.features = 0;
  std::string payload = identity.Encode();
  payload[4] = 3;  // the version
  EXPECT_THAT(Identity::Decode(payload), HasCode(StatusCode::kUnimplemented));
}

TEST(IdentityTest, EarlyOnesAreRefusedAsSuch) {
  std::string payload = Identity::Make(Timestamp()).Encode();
  payload[4] = 1;  // the version
  const auto identity = Identity::Decode(payload);
  EXPECT_THAT(identity, HasCode(StatusCode::kUnimplemented));
  EXPECT_THAT(identity.status().message(), HasSubstr("early version"));
}

TEST(IdentityTest, ReservedKeysAreAllDifferent) {
  const Identity identity = Identity::Make(Timestamp());
  const Identity other = Identity::Make(Timestamp());
  std::set<uint64_t> seen = {HashKey(Identity::Key())};
  for (const Identity* i : {&identity, &other}) {
    EXPECT_TRUE(seen.insert(i->CheckpointKeyHash()).second);
    for (uint64_t number = 0; number < 1000; ++number) {
      EXPECT_TRUE(seen.insert(i->CommitKeyHash(number)).second);
      EXPECT_TRUE(seen.insert(i->DataKeyHash(number)).second);
    }
  }
}

// The example of docs/format.md, section 4.
TEST(IdentityTest, ReservedKeysAreAsSpecified) {
  Identity identity;
  for (uint8_t i = 0; i < 16; ++i) identity.secret[i] = i;
  EXPECT_EQ(identity.CommitKeyHash(1), 0xc10d6ba84b775073);
  EXPECT_EQ(identity.CheckpointKeyHash(), 0xd4403e3951a91a80);
  EXPECT_EQ(identity.DataKeyHash(1000), 0xfceb9332c447180d);
  EXPECT_EQ(identity.SumsKeyHash(identity.DataKeyHash(1000)),
            0xfd9bda974615d5ac);
  EXPECT_EQ(Identity::Key(), absl::string_view("\0varve", 6));
}

TEST(IdentityTest, HashesOfReservedKeysCanBeUndone) {
  const Identity identity = Identity::Make(Timestamp());
  using Key = ReservedKey;
  EXPECT_EQ(identity.AsReservedKey(identity.CheckpointKeyHash()),
            (Key{.kind = KeyKind::kCheckpoint}));
  EXPECT_EQ(identity.AsReservedKey(identity.IndexImageKeyHash()),
            (Key{.kind = KeyKind::kIndexImage}));
  for (const uint64_t number :
       {uint64_t{0}, uint64_t{1}, uint64_t{77}, Identity::kMostNumbers - 1}) {
    EXPECT_EQ(identity.AsReservedKey(identity.CommitKeyHash(number)),
              (Key{.kind = KeyKind::kCommit, .number = number}));
    EXPECT_EQ(identity.AsReservedKey(identity.SegmentKeyHash(number)),
              (Key{.kind = KeyKind::kSegment, .number = number}));
    EXPECT_EQ(identity.AsReservedKey(identity.DataKeyHash(number)),
              (Key{.kind = KeyKind::kData, .number = number}));
  }
  EXPECT_FALSE(
      identity.AsReservedKey(identity.DataKeyHash(Identity::kMostNumbers)));
  EXPECT_TRUE(identity.IsDataKey(identity.DataKeyHash(9), 10));
  EXPECT_FALSE(identity.IsDataKey(identity.DataKeyHash(10), 10));
  EXPECT_FALSE(identity.IsDataKey(identity.CommitKeyHash(9), 10));
}

TEST(IdentityTest, KeysOfBlockSumsAreReservedForDataOnly) {
  const Identity identity = Identity::Make(Timestamp());
  const uint64_t data = identity.DataKeyHash(77);
  const EntryKeys of_data = identity.ContentKeys(data);
  EXPECT_EQ(of_data.key_hash, data);
  ASSERT_TRUE(of_data.sums_key_hash.has_value());
  EXPECT_TRUE(of_data.sums_key_is_reserved);
  EXPECT_EQ(identity.SumsKeyHash(data), *of_data.sums_key_hash);
  EXPECT_EQ(identity.AsReservedKey(*of_data.sums_key_hash),
            (ReservedKey{.kind = KeyKind::kBlockSums, .number = 77}));
  EXPECT_TRUE(identity.Reserves(*of_data.sums_key_hash, "x"));
  EXPECT_FALSE(identity.IsDataKey(*of_data.sums_key_hash, 100));

  for (const uint64_t other : {HashKey("path"), identity.CommitKeyHash(77)}) {
    const EntryKeys keys = identity.ContentKeys(other);
    ASSERT_TRUE(keys.sums_key_hash.has_value());
    EXPECT_FALSE(keys.sums_key_is_reserved);
    EXPECT_NE(*keys.sums_key_hash, *of_data.sums_key_hash);
  }
  EXPECT_NE(identity.SumsKeyHash(HashKey("path")),
            identity.SumsKeyHash(HashKey("other")));
  EXPECT_NE(identity.SumsKeyHash(HashKey("path")),
            Identity::Make(Timestamp()).SumsKeyHash(HashKey("path")));

  EXPECT_FALSE(identity.KeysToHide(data, kMinSummedSize - 1).sums_key_hash);
  EXPECT_EQ(identity.KeysToHide(data, kMinSummedSize).sums_key_hash,
            of_data.sums_key_hash);
}

// What users write must not pass for sums, under whatever key.
TEST(IdentityTest, EntriesThatWouldBeBlockSumsAreReserved) {
  const Identity identity = Identity::Make(Timestamp());
  BlockSummer summer;
  summer.Add(AsBytes(std::string(kMinSummedSize, 'x')));
  for (const uint64_t key : {HashKey("path"), identity.DataKeyHash(5)}) {
    const std::string sums = summer.Encode(key);
    const uint64_t sums_key = identity.SumsKeyHash(key);
    EXPECT_TRUE(identity.WouldBeRecord(sums_key, sums));
    EXPECT_TRUE(identity.Reserves(sums_key, sums));
    EXPECT_FALSE(identity.WouldBeRecord(sums_key, "something else"));
    EXPECT_FALSE(identity.WouldBeRecord(HashKey("elsewhere"), sums));
    EXPECT_FALSE(identity.Reserves(HashKey("elsewhere"), sums));
  }
}

TEST(IdentityTest, HardlyAnyPathHasTheHashOfAReservedKey) {
  const Identity identity = Identity::Make(Timestamp());
  int reserved = 0;
  for (int i = 0; i < 100000; ++i) {
    reserved += identity.Reserves(KeyHashOfPath(absl::StrCat("p", i)), "x");
  }
  // Four of them have a chance of one in many millions.
  EXPECT_LE(reserved, 3);
  const Identity other = Identity::Make(Timestamp());
  EXPECT_FALSE(identity.Reserves(other.DataKeyHash(1), "x"));
  EXPECT_TRUE(identity.Reserves(identity.DataKeyHash(1), "x"));
  EXPECT_TRUE(identity.Reserves(identity.CommitKeyHash(1), "x"));
  EXPECT_TRUE(identity.Reserves(HashKey(Identity::Key()), "x"));
}

class AsCommitTest : public testing::Test {
 protected:
  AsCommitTest()
      : store_(*Store::Open(directory_.File("store"),
                            {.mode = OpenMode::kCreate})) {}

  std::optional<CommitHeader> Ask(uint64_t key_hash, const std::string& bytes) {
    EXPECT_THAT(store_->Write(EntryKey::OfHash(key_hash), Bytes(bytes)),
                IsOk());
    return identity_.AsCommit(*store_->ReadLastEntry());
  }
  static std::string Record(uint64_t sequence, uint8_t flags) {
    CommitHeader header;
    header.sequence = sequence;
    header.flags = flags;
    return CommitWriter(header).payload();
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Store> store_;
  Identity identity_ = Identity::Make(Timestamp());
};

TEST_F(AsCommitTest, CommitsAndCheckpointsAreRecognised) {
  const auto commit = Ask(identity_.CommitKeyHash(7), Record(7, 0));
  ASSERT_TRUE(commit.has_value());
  EXPECT_EQ(commit->sequence, 7u);
  const auto checkpoint =
      Ask(identity_.CheckpointKeyHash(), Record(7, CommitHeader::kCheckpoint));
  ASSERT_TRUE(checkpoint.has_value());
  EXPECT_TRUE(checkpoint->is_checkpoint());
}

TEST_F(AsCommitTest, NothingElseIs) {
  EXPECT_FALSE(Ask(identity_.CommitKeyHash(8), Record(7, 0)).has_value());
  EXPECT_FALSE(Ask(HashKey("a/path"), Record(7, 0)).has_value());
  EXPECT_FALSE(Ask(identity_.CheckpointKeyHash(), Record(7, 0)).has_value());
  EXPECT_FALSE(
      Ask(identity_.CommitKeyHash(7), Record(7, CommitHeader::kCheckpoint))
          .has_value());
  EXPECT_FALSE(Ask(identity_.CommitKeyHash(7), "no record").has_value());
  EXPECT_FALSE(Ask(identity_.CommitKeyHash(7), "V").has_value());
  const Identity other = Identity::Make(Timestamp());
  EXPECT_FALSE(Ask(other.CommitKeyHash(7), Record(7, 0)).has_value());
  ASSERT_THAT(store_->Delete(EntryKey::OfHash(other.CommitKeyHash(7))), IsOk());
  EXPECT_FALSE(identity_.AsCommit(*store_->ReadLastEntry()).has_value());
}

}  // namespace
}  // namespace varve::fs
