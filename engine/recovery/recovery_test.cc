#include "engine/recovery/recovery.h"

#include <sys/stat.h>

#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

using testing::HasSubstr;

class RecoveryTest : public StoreFixture {
 protected:
  // Keys 0, 1, … with payloads of different sizes, some of them tombstones.
  void Fill(int count) {
    for (int i = 0; i < count; ++i) {
      Write(absl::StrCat(i), PayloadOf(i));
      if (i % 10 == 5) {
        ASSERT_THAT(store_->Delete(absl::StrCat(i)), IsOk());
      }
    }
  }
  static std::string PayloadOf(int i) { return Pattern(i, 1 + i % 97); }
  void ExpectFilled(int count) {
    size_t live = 0;
    for (int i = 0; i < count; ++i) {
      const std::string key = absl::StrCat(i);
      if (i % 10 == 5) {
        EXPECT_FALSE(store_->Exists(key)) << i;
      } else {
        ASSERT_TRUE(Read(key) == PayloadOf(i)) << i;
        ++live;
      }
    }
    EXPECT_EQ(store_->size(), live);
  }
  // The bytes of the store, closed.
  std::string Close() {
    store_.reset();
    return File();
  }
  void Append(absl::string_view bytes) {
    WriteWholeFile(Path(), absl::StrCat(Close(), bytes));
  }
  std::string OtherStore(int count, size_t payload_size) const {
    const auto other = OpenOther("other");
    for (int i = 0; i < count; ++i) {
      EXPECT_THAT(other->Write(absl::StrCat("other", i),
                               Bytes(Pattern(1000000 + i, payload_size))),
                  IsOk());
    }
    return ReadWholeFile(Path("other"));
  }
};

TEST_F(RecoveryTest, SoundStoreIsLeftAlone) {
  Fill(100);
  const std::string bytes = Close();
  Open();
  EXPECT_EQ(store_->recovery().file_size, bytes.size());
  EXPECT_EQ(store_->recovery().tail, bytes.size());
  EXPECT_EQ(store_->recovery().torn_bytes, 0);
  EXPECT_EQ(store_->recovery().sidecar, "");
  ExpectFilled(100);
  EXPECT_EQ(Close(), bytes);
  EXPECT_EQ(directory_.Listing(), "store ");
}

TEST_F(RecoveryTest, TwelveZerosBehindAThousandKeysLoseNone) {
  Fill(1000);
  for (const size_t zeros : {1, 12, 20, 21, 64, 4096}) {
    Append(std::string(zeros, '\0'));
    Open();
    ExpectFilled(1000);
    EXPECT_EQ(store_->recovery().torn_bytes, zeros);
  }
}

// Each kind of bytes that a crash may leave at the end.
TEST_F(RecoveryTest, TornBytesAreMovedAside) {
  Fill(300);
  const std::string sound = Close();
  const std::string other = OtherStore(300, 50);
  // Whole pages of it, or from the middle of an entry on.
  const std::vector<std::string> torn = {
      std::string(100000, '\0'),
      Pattern(1, 100000),
      Pattern(1, 5),
      sound,
      sound.substr(0, 9999),
      sound.substr(1234),
      sound.substr(4096, 4096),
      other,
      other.substr(777),
      std::string(64 - sound.size() % 64, '\0') + other,
      std::string(4096, '\0') + Pattern(2, 4096) + std::string(4096, '\0'),
      Pattern(3, 100) + std::string(19, '\0'),
      "text\n",
  };
  for (size_t i = 0; i < torn.size(); ++i) {
    SCOPED_TRACE(i);
    WriteWholeFile(Path(), sound + torn[i]);
    // A reader finds the same and touches nothing.
    Open(OpenMode::kRead);
    ExpectFilled(300);
    EXPECT_EQ(store_->recovery().torn_bytes, torn[i].size());
    EXPECT_EQ(store_->recovery().sidecar, "");
    EXPECT_TRUE(Close() == sound + torn[i]);

    Open();
    ExpectFilled(300);
    const RecoveryReport report = store_->recovery();
    EXPECT_EQ(report.tail, sound.size());
    EXPECT_EQ(report.torn_bytes, torn[i].size());
    EXPECT_TRUE(absl::StartsWith(report.sidecar,
                                 absl::StrCat(Path(), ".torn-", sound.size())));
    EXPECT_TRUE(ReadWholeFile(report.sidecar) == torn[i]);
    EXPECT_TRUE(Close() == sound);
  }
}

TEST_F(RecoveryTest, SidecarsDoNotReplaceEachOther) {
  Fill(10);
  const std::string path = absl::StrCat(Path(), ".torn-", store_->tail());
  for (const char* const suffix : {"", ".1", ".2"}) {
    Append(absl::StrCat("torn", suffix));
    ASSERT_EQ(chmod(Path().c_str(), 0640), 0);
    Open();
    EXPECT_EQ(store_->recovery().sidecar, path + suffix);
    struct stat info;
    ASSERT_EQ(stat((path + suffix).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0640);
  }
  EXPECT_EQ(ReadWholeFile(path), "torn");
  EXPECT_EQ(ReadWholeFile(path + ".1"), "torn.1");
}

TEST_F(RecoveryTest, NothingIsLostWhereTheSidecarCannotBeWritten) {
  Fill(10);
  const std::string sound = Close();
  const std::string all = sound + Pattern(1, 5000);
  WriteWholeFile(Path(), all);
  for (int nth = 1;; ++nth) {
    file_system_.Inject(
        {.ops = kAllOps & ~kOpRemove, .nth = nth, .error_number = EIO});
    const auto store = TryOpen();
    const bool was_hit = file_system_.hits() > 0;
    file_system_.Heal();
    if (store.ok()) {
      // The mapping may be smaller than wanted.
      if (was_hit) break;
      EXPECT_GT(nth, 6);
      break;
    }
    EXPECT_THAT(store, HasErrorNumber(EIO));
    ASSERT_TRUE(File() == all) << nth;
    EXPECT_EQ(directory_.Listing(), "store ");
  }
}

TEST_F(RecoveryTest, FileCutAnywhereKeepsAllEntriesBefore) {
  Fill(40);
  std::map<uint64_t, size_t> ends;  // -> number of entries up to there
  std::vector<uint64_t> chain;
  ASSERT_THAT(store_->ForEachInChain([&](const EntryView& entry) {
    chain.insert(chain.begin(), entry.location().end());
    return true;
  }),
              IsOk());
  for (size_t i = 0; i < chain.size(); ++i) ends[chain[i]] = i + 1;
  const std::string sound = Close();
  for (uint64_t size = chain[chain.size() - 11]; size <= sound.size(); ++size) {
    WriteWholeFile(Path(), sound.substr(0, size));
    Open(OpenMode::kRead);
    const auto expected = std::prev(ends.upper_bound(size));
    ASSERT_EQ(store_->tail(), expected->first) << size;
    size_t count = 0;
    ASSERT_THAT(store_->ForEachInChain([&](const EntryView& entry) {
      EXPECT_TRUE(entry.HasValidChecksum());
      return ++count > 0;
    }),
                IsOk());
    ASSERT_EQ(count, expected->second) << size;
  }
}

// A page of a batch that never reached the disk: what is behind it goes too.
TEST_F(RecoveryTest, HoleInTheLastBatchTearsItOff) {
  Fill(50);
  const uint64_t tail = store_->tail();
  std::vector<std::string> payloads;
  std::vector<BatchItem> items;
  for (int i = 0; i < 100; ++i) payloads.push_back(Pattern(i, 150));
  for (int i = 0; i < 100; ++i) {
    items.push_back({absl::StrCat("new", i), Bytes(payloads[i])});
  }
  ASSERT_THAT(store_->WriteBatch(items), IsOk());
  std::string bytes = Close();
  bytes.replace(Align64(tail) + 10 * 192, 192 * 3, 192 * 3, '\0');
  WriteWholeFile(Path(), bytes);
  Open();
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(store_->Exists(absl::StrCat("new", i)), i < 10) << i;
  }
  EXPECT_TRUE(Close() + ReadWholeFile(absl::StrCat(
                            Path(), ".torn-", Align64(tail) + 9 * 192 + 170)) ==
              bytes);
}

TEST_F(RecoveryTest, WhatIsNoStoreIsRefusedUntouched) {
  store_.reset();
  const std::vector<std::string> files = {
      "#include <stdio.h>\n",
      "x",
      std::string(1, '\0'),
      std::string(20, '\0'),
      std::string(21, '\0'),
      std::string(100000, '\0'),
      Pattern(1, 100000),
      std::string(100, 'x') + std::string(100, '\0') + std::string(100, 'x'),
  };
  for (const std::string& content : files) {
    WriteWholeFile(Path(), content);
    for (const OpenMode mode :
         {OpenMode::kRead, OpenMode::kReadWrite, OpenMode::kCreate}) {
      const auto store = TryOpen(mode);
      EXPECT_THAT(store, HasCode(absl::StatusCode::kDataLoss));
      EXPECT_THAT(std::string(store.status().message()),
                  HasSubstr("is not a store"));
      ASSERT_TRUE(File() == content);
    }
  }
  EXPECT_EQ(directory_.Listing(), "store ");
}

TEST_F(RecoveryTest, ReadOnlyOpenNeverWrites) {
  Fill(20);
  Append(Pattern(1, 1000));
  file_system_.Inject({.ops = kOpWrite | kOpTruncate | kOpSync | kOpRename |
                              kOpRemove | kOpLock | kOpSetOwner,
                       .times = 1 << 30,
                       .error_number = EIO});
  Open(OpenMode::kRead);
  EXPECT_EQ(file_system_.hits(), 0);
  ExpectFilled(20);
}

// Whatever byte is damaged, what is cut off is kept beside the store.
TEST_F(RecoveryTest, AnyFlippedByteLosesNothing) {
  Fill(12);
  const std::string sound = Close();
  for (size_t at = 0; at < sound.size(); ++at) {
    std::string bytes = sound;
    bytes[at] ^= 0x40;
    WriteWholeFile(Path(), bytes);
    const auto store = TryOpen();
    if (!store.ok()) {
      // Only where even the first entry is not whole.
      EXPECT_THAT(store, HasCode(absl::StatusCode::kDataLoss)) << at;
      ASSERT_TRUE(File() == bytes) << at;
      continue;
    }
    const std::string sidecar = (*store)->recovery().sidecar;
    std::string kept = File();
    if (!sidecar.empty()) {
      kept += ReadWholeFile(sidecar);
      ASSERT_THAT(RealFileSystem()->Remove(sidecar), IsOk());
    }
    ASSERT_TRUE(kept == bytes) << at;
  }
}

// Bytes inside a large last entry that look like the end of a small one.
TEST_F(RecoveryTest, EntryWithinAnEntryIsNotTakenForTheLast) {
  Write("a", "x");
  const uint64_t tail = store_->tail();
  std::string payload = Pattern(1, 150 << 20);
  const size_t inner = 1000;
  std::byte metadata[kMetadataSize];
  EncodeMetadata({.key_hash = 5,
                  .prev_tail = tail,
                  .crc32 = Crc32(0, Bytes(payload.substr(0, inner)))},
                 metadata);
  payload.replace(inner, kMetadataSize, reinterpret_cast<char*>(metadata),
                  kMetadataSize);
  const EntryLocation large = Write("large", payload);
  Append("torn");
  Open();
  EXPECT_EQ(store_->tail(), large.end());
  EXPECT_TRUE(Read("large") == payload);
}

// --- durable_tail
// --------------------------------------------------------------

// Payloads "durable N ..." vouch for N bytes, but where "tail" stands for N,
// for all before them.
uint64_t Vouch(const EntryView& entry) {
  const std::string text(entry.payload_text().substr(0, 40));
  uint64_t length = 0;
  if (absl::StartsWith(text, "durable tail")) return entry.location().prev_tail;
  return sscanf(text.c_str(), "durable %lu", &length) == 1 ? length : 0;
}

class DurableTailTest : public RecoveryTest {
 protected:
  void Damage(const EntryLocation& entry) {
    std::string bytes = Close();
    bytes[entry.payload_offset] ^= 1;
    WriteWholeFile(Path(), bytes);
  }
  void DamageMetadata(const EntryLocation& entry) {
    std::string bytes = Close();
    bytes[entry.metadata_offset() + 8] ^= 1;  // prev_tail
    WriteWholeFile(Path(), bytes);
  }
};

TEST_F(DurableTailTest, BadEntryAboveItIsTorn) {
  Write("a", "1");
  const EntryLocation commit = Write("commit", "durable tail");
  Write("b", "2");
  const EntryLocation bad = Write("c", "3");
  Write("d", "4");
  Damage(bad);
  Open();  // without the callback, only the last entry is verified
  EXPECT_TRUE(store_->Exists("d"));
  Open(OpenMode::kReadWrite, Vouch);
  EXPECT_EQ(store_->tail(), bad.prev_tail);
  EXPECT_EQ(store_->recovery().durable_tail, commit.prev_tail);
  EXPECT_EQ(Read("b"), "2");
  EXPECT_FALSE(store_->Exists("c"));
  EXPECT_FALSE(store_->Exists("d"));
  EXPECT_EQ(File().size(), bad.prev_tail);
  EXPECT_NE(store_->recovery().sidecar, "");
  EXPECT_EQ(store_->durable_tail(), commit.prev_tail);
}

TEST_F(DurableTailTest, BadEntryBelowItIsDamageAndStays) {
  Write("a", "1");
  const EntryLocation bad = Write("b", "2");
  Write("c", "3");
  Write("commit", "durable tail");
  Write("d", "4");
  Damage(bad);
  const std::string bytes = File();
  Open(OpenMode::kReadWrite, Vouch);
  EXPECT_EQ(store_->recovery().torn_bytes, 0);
  EXPECT_EQ(Read("a"), "1");
  EXPECT_EQ(Read("c"), "3");
  EXPECT_EQ(Read("d"), "4");
  EXPECT_THAT(store_->Verify(store_->Read("b")->location()),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_EQ(File(), bytes);
}

TEST_F(DurableTailTest, BadEntryAboveItTakesTheOneThatVouchesAlong) {
  Write("a", "1");
  const EntryLocation bad = Write("b", "2");
  Write("commit", absl::StrCat("durable ", bad.prev_tail));
  Write("c", "3");
  Damage(bad);
  Open(OpenMode::kReadWrite, Vouch);
  EXPECT_EQ(store_->tail(), bad.prev_tail);
  EXPECT_EQ(store_->recovery().durable_tail, bad.prev_tail);
  EXPECT_EQ(store_->size(), 1);
}

TEST_F(DurableTailTest, NewestThatVouchesCounts) {
  Write("a", "1");
  Write("old", "durable tail");
  const EntryLocation bad = Write("b", "2");
  Write("new", "durable tail");
  Damage(bad);
  Open(OpenMode::kReadWrite, Vouch);
  EXPECT_TRUE(store_->Exists("new"));
  EXPECT_EQ(store_->recovery().torn_bytes, 0);
}

TEST_F(DurableTailTest, DamagedEntryDoesNotVouch) {
  Write("a", "1");
  const EntryLocation good = Write("old", "durable tail");
  const EntryLocation bad = Write("b", "2");
  const EntryLocation voucher = Write("new", "durable tail, and more text");
  Write("c", "3");
  std::string bytes = Close();
  bytes[bad.payload_offset] ^= 1;
  bytes[voucher.payload_offset + 20] ^= 1;
  WriteWholeFile(Path(), bytes);
  Open(OpenMode::kReadWrite, Vouch);
  EXPECT_EQ(store_->tail(), bad.prev_tail);
  EXPECT_EQ(store_->recovery().durable_tail, good.prev_tail);
}

TEST_F(DurableTailTest, WithoutAnyAllIsVerified) {
  Write("a", "1");
  const EntryLocation bad = Write("b", "2");
  Write("c", "3");
  Damage(bad);
  Open(OpenMode::kReadWrite, Vouch);
  EXPECT_EQ(store_->tail(), bad.prev_tail);
  EXPECT_EQ(store_->recovery().durable_tail, 0);
}

TEST_F(DurableTailTest, ChainBrokenBelowItIsNeverCut) {
  for (int i = 0; i < 20; ++i) Write(absl::StrCat(i), PayloadOf(i));
  const EntryLocation bad = Write("bad", "x");
  for (int i = 20; i < 40; ++i) Write(absl::StrCat(i), PayloadOf(i));
  Write("commit", "durable tail");
  Write("last", "y");
  DamageMetadata(bad);
  const std::string bytes = File();
  for (const char* const torn : {"", "torn"}) {
    WriteWholeFile(Path(), bytes + torn);
    const auto store = TryOpen(OpenMode::kReadWrite, Vouch);
    EXPECT_THAT(store, HasCode(absl::StatusCode::kDataLoss));
    EXPECT_THAT(std::string(store.status().message()),
                HasSubstr(absl::StrCat("leads to ", bad.prev_tail)));
    EXPECT_EQ(File(), bytes + torn);
    EXPECT_EQ(directory_.Listing(), "store ");
  }
  // If the damage lies above what was synced, it is a torn end.
  Open(OpenMode::kReadWrite, [&](const EntryView& entry) {
    return entry.key_hash() == HashKey("commit") ? bad.prev_tail : 0;
  });
  EXPECT_EQ(store_->tail(), bad.prev_tail);
}

TEST_F(DurableTailTest, DamagedFirstEntryIsNeverCut) {
  const EntryLocation bad = Write("bad", "xx");
  Write("commit", "durable tail");
  Write("last", "y");
  DamageMetadata(bad);
  const std::string bytes = File();
  EXPECT_THAT(TryOpen(OpenMode::kReadWrite, Vouch),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_EQ(File(), bytes);
}

}  // namespace
}  // namespace varve
