// Torn tails: whatever lies behind a valid store, and wherever the store is cut
// off, no entry is lost that was whole, and no byte either.
//
// VARVE_TEST_ROUNDS says how many random tails there are; VARVE_SEED makes the
// first of them use that seed, which reproduces a failure.

#include <stdlib.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <iostream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/io/io_util.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const text = getenv(name);
  if (text != nullptr) {
    EXPECT_TRUE(absl::SimpleAtoi(text, &otherwise)) << name;
  }
  return otherwise;
}

// An entry whose payload begins so vouches for everything before it.
constexpr absl::string_view kVoucher = "all before this is durable";

uint64_t Vouch(const EntryView& entry) {
  return absl::StartsWith(entry.payload_text(), kVoucher)
             ? entry.location().prev_tail
             : 0;
}

// With and without entries that say what is durable.
class TornTailTest : public StoreFixture,
                     public testing::WithParamInterface<bool> {
 protected:
  bool vouches() const { return GetParam(); }
  DurableTail callback() const {
    return vouches() ? DurableTail(&Vouch) : DurableTail();
  }

  // Entries of many sizes, tombstones, batches, and a stream.
  void Fill(int count) {
    for (int i = 0; i < count; ++i) {
      const std::string key = absl::StrCat(i);
      Write(key, Pattern(i, 1 + i * i % 301));
      if (i % 7 == 3) {
        ASSERT_THAT(store_->Delete(key), IsOk());
      }
      if (i % 10 == 9) {
        ASSERT_THAT(store_->WriteBatch({{key, Bytes("batch")},
                                        {"other", Bytes(Pattern(i, 100))}}),
                    IsOk());
      }
      if (vouches() && i % 20 == 12) Write("voucher", kVoucher);
    }
    std::istringstream source(Pattern(1, 1000));
    ASSERT_THAT(store_->WriteStream("stream", source), IsOk());
    Write("last", "the last one");
  }

  // What an opened store holds: keys, and where their newest entries lie, which
  // have to be sound.
  std::string Content() const {
    std::string content = absl::StrCat(store_->size(), " ");
    store_->ForEach([&](const EntryView& entry) {
      EXPECT_TRUE(entry.HasValidChecksum());
      absl::StrAppend(&content, entry.key_hash(), "@",
                      entry.location().metadata_offset(), " ");
      return true;
    });
    return content;
  }

  // Opens the store with `torn` behind its `sound` bytes.
  void ExpectTornOff(const std::string& sound, const std::string& torn,
                     const std::string& content) {
    const std::string all = sound + torn;
    WriteWholeFile(Path(), all);
    Open(OpenMode::kRead, callback());
    EXPECT_TRUE(Content() == content);
    EXPECT_EQ(store_->recovery().torn_bytes, torn.size());
    store_.reset();
    EXPECT_TRUE(File() == all);

    Open(OpenMode::kReadWrite, callback());
    EXPECT_TRUE(Content() == content);
    const std::string sidecar = store_->recovery().sidecar;
    store_.reset();
    EXPECT_TRUE(File() == sound);
    ASSERT_EQ(sidecar, absl::StrCat(Path(), ".torn-", sound.size()));
    EXPECT_TRUE(ReadWholeFile(sidecar) == torn);
    ASSERT_THAT(RealFileSystem()->Remove(sidecar), IsOk());
  }

  std::string Other() const {
    const auto other = OpenOther("another");
    for (int i = 0; i < 200; ++i) {
      EXPECT_THAT(other->Write(absl::StrCat("other", i),
                               Bytes(Pattern(1000 + i, 1 + i * i % 301))),
                  IsOk());
    }
    std::string bytes = ReadWholeFile(Path("another"));
    EXPECT_THAT(RealFileSystem()->Remove(Path("another")), IsOk());
    return bytes;
  }
};

// `size` bytes of `pattern`, over and over, from `begin` on.
std::string Repeat(const std::string& pattern, size_t begin, size_t size) {
  std::string bytes = pattern.substr(begin % pattern.size());
  while (bytes.size() < size) bytes += pattern;
  bytes.resize(size);
  return bytes;
}

TEST_P(TornTailTest, NothingBehindAStoreLosesAnyOfIt) {
  Fill(200);
  const std::string content = Content();
  store_.reset();
  const std::string sound = File();
  const std::string other = Other();
  const std::vector<size_t> sizes = {
      1,  2,  8,   12,  19,   20,   21,   22,     41,   63,
      64, 65, 100, 511, 4095, 4096, 4097, 70'000, kMiB, 10 * kMiB};
  for (const size_t size : sizes) {
    SCOPED_TRACE(absl::StrCat(size, " bytes"));
    for (const std::string& torn :
         {std::string(size, '\0'), std::string(size, '\xff'),
          Pattern(size, size), Repeat(other, 0, size),
          Repeat(other, other.size() - size % other.size(), size),
          // Its own entries, at their old distance from a block's start, from
          // the middle of one, and those that were the last.
          Repeat(sound, sound.size() % 4096, size), Repeat(sound, 1, size),
          Repeat(sound, sound.size() - size % sound.size(), size)}) {
      ExpectTornOff(sound, torn, content);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(TornTailTest, RandomTailsLoseNothing) {
  uint64_t seed = FromEnvironment("VARVE_SEED", std::random_device()());
  const uint64_t rounds = FromEnvironment("VARVE_TEST_ROUNDS", 100);
  Fill(200);
  const std::string content = Content();
  store_.reset();
  const std::string sound = File();
  const std::string other = Other();
  for (uint64_t round = 0; round < rounds; ++round, ++seed) {
    SCOPED_TRACE(absl::StrCat("VARVE_SEED=", seed));
    std::mt19937_64 random(seed);
    std::string torn;
    const uint64_t parts = 1 + random() % 4;
    for (uint64_t i = 0; i < parts; ++i) {
      const size_t size = 1 + random() % (size_t{1} << random() % 17);
      switch (random() % 4) {
        case 0:
          torn += std::string(size, '\0');
          break;
        case 1:
          torn += Pattern(random(), size);
          break;
        case 2:
          torn += Repeat(other, random(), size);
          break;
        default:
          torn += Repeat(sound, random(), size);
      }
    }
    ExpectTornOff(sound, torn, content);
    ASSERT_FALSE(HasFailure());
  }
  std::cout << rounds << " tails, up to VARVE_SEED=" << seed - 1 << "\n";
}

TEST_P(TornTailTest, CutAnywhereInTheLastFiftyEntriesKeepsAllBefore) {
  Fill(200);
  std::vector<uint64_t> ends;  // newest first
  ASSERT_THAT(store_->ForEachInChain([&](const EntryView& entry) {
    ends.push_back(entry.location().end());
    return ends.size() <= 50;
  }),
              IsOk());
  store_.reset();
  const std::string sound = File();
  size_t next = 0;
  for (uint64_t size = sound.size(); size >= ends.back(); --size) {
    while (ends[next] > size) ++next;
    std::filesystem::resize_file(Path(), size);
    Open(OpenMode::kRead, callback());
    ASSERT_EQ(store_->tail(), ends[next]) << size;
    // A writer cuts off what is torn, and costs much more.
    if (size % 64 != 0) continue;
    Content();
    Open(OpenMode::kReadWrite, callback());
    const std::string sidecar = store_->recovery().sidecar;
    store_.reset();
    ASSERT_TRUE(File() == sound.substr(0, ends[next])) << size;
    if (size == ends[next]) continue;
    WriteWholeFile(Path(), sound.substr(0, size));
    ASSERT_TRUE(ReadWholeFile(sidecar) ==
                sound.substr(ends[next], size - ends[next]));
    ASSERT_THAT(RealFileSystem()->Remove(sidecar), IsOk());
  }
}

INSTANTIATE_TEST_SUITE_P(Stores, TornTailTest, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& durable) {
                           return durable.param ? "WithDurableTail"
                                                : "WithoutDurableTail";
                         });

// --- What the original loses ---

class LostByTheOriginalTest : public StoreFixture {
 protected:
  static constexpr int kKeys = 1000;

  void Fill() {
    for (int i = 0; i < kKeys; ++i) Write(absl::StrCat(i), TextOf(i));
    content_end_ = store_->tail();
  }
  static std::string TextOf(int i) { return absl::StrCat("text of ", i); }
  void ExpectFilled(int count = kKeys) {
    EXPECT_EQ(store_->size(), count);
    for (int i = 0; i < count; ++i) {
      ASSERT_EQ(Read(absl::StrCat(i)), TextOf(i));
    }
  }

  uint64_t content_end_ = 0;
};

TEST_F(LostByTheOriginalTest, CutInsideTheLastThreeEntriesLosesOnlyThose) {
  Fill();
  uint64_t ends[4] = {};  // newest first
  size_t count = 0;
  ASSERT_THAT(store_->ForEachInChain([&](const EntryView& entry) {
    ends[count++] = entry.location().end();
    return count < 4;
  }),
              IsOk());
  store_.reset();
  const std::string sound = File();
  for (uint64_t size = ends[3]; size <= ends[0]; ++size) {
    WriteWholeFile(Path(), sound.substr(0, size));
    Open(OpenMode::kRead);
    int kept = kKeys - 3;
    for (int i = 0; i < 3; ++i) kept += ends[i] <= size ? 1 : 0;
    ExpectFilled(kept);
    ASSERT_FALSE(HasFailure()) << size;
  }
}

TEST_F(LostByTheOriginalTest, FullDiskDuringOneWriteLosesNothing) {
  Fill();
  for (const size_t partial : {0, 1, 20, 50, 64, 100, 140}) {
    file_system_.Inject(
        {.ops = kOpWrite, .error_number = ENOSPC, .partial_bytes = partial});
    EXPECT_THAT(store_->Write("too much", Bytes(Pattern(1, 100))),
                HasErrorNumber(ENOSPC));
    file_system_.Heal();
    ExpectFilled();
    Open();
    ExpectFilled();
    EXPECT_EQ(store_->recovery().torn_bytes, 0);
  }
}

TEST_F(LostByTheOriginalTest, RejectedStreamLosesNothing) {
  Fill();
  std::istringstream empty("");
  EXPECT_FALSE(store_->WriteStream("empty", empty).ok());
  std::istringstream nul(std::string(1, '\0'));
  EXPECT_FALSE(store_->WriteStream("nul", nul).ok());
  std::istringstream broken("text");
  broken.setstate(std::ios::badbit);
  EXPECT_FALSE(store_->WriteStream("broken", broken).ok());
  EXPECT_EQ(File().size(), content_end_);
  Open();
  ExpectFilled();
}

TEST_F(LostByTheOriginalTest, WriteAfterCompactionIsKept) {
  for (int i = 0; i < 10; ++i) Write("churn", absl::StrCat(i));
  Fill();
  ASSERT_THAT(store_->Delete("churn"), IsOk());
  ASSERT_THAT(store_->Compact(), IsOk());
  Write("1000", TextOf(1000));
  Open();
  ExpectFilled(1001);
}

TEST_F(LostByTheOriginalTest, LeftoverCompactionFileBringsNothingBack) {
  Fill();
  for (int i = 0; i < 10; ++i) Write(absl::StrCat("deleted", i), "x");
  // As a compaction that was killed leaves it: a store of its own.
  WriteWholeFile(store_->replacement_path(), File());
  for (int i = 0; i < 10; ++i) {
    ASSERT_THAT(store_->Delete(absl::StrCat("deleted", i)), IsOk());
  }
  Open();
  ExpectFilled();
  // Whose file it is cannot be told, so it is not taken out of the way.
  EXPECT_THAT(store_->Compact(), HasCode(absl::StatusCode::kAlreadyExists));
  ExpectFilled();
  ASSERT_EQ(std::remove(store_->replacement_path().c_str()), 0);
  ASSERT_THAT(store_->Compact(), IsOk());
  ExpectFilled();
  Open();
  ExpectFilled();
}

// --- Where there is no room for a sidecar ---

class FullDiskTornTest : public StoreFixture {
 protected:
  FullDiskTornTest() {
    Write("key", "payload");
    store_.reset();
    sound_ = File();
    WriteWholeFile(Path(), sound_ + torn_);
  }
  // Calls that write find the disk full, so many times.
  void FillDisk(FileOps ops, int times) {
    file_system_.Inject({.ops = ops, .times = times, .error_number = ENOSPC});
  }
  void ExpectMoved() {
    Open();
    EXPECT_GE(file_system_.hits(), 1);
    EXPECT_EQ(Read("key"), "payload");
    EXPECT_TRUE(ReadWholeFile(store_->recovery().sidecar) == torn_);
    store_.reset();
    EXPECT_TRUE(File() == sound_);
  }

  const std::string torn_ = std::string(70'000, '\0') + Pattern(7, 3 * kMiB);
  std::string sound_;
};

TEST_F(FullDiskTornTest, BytesAreMovedInPieces) {
  FillDisk(kOpWrite, 1);
  ExpectMoved();
  // The blocks behind the end, and then piece by piece.
  EXPECT_GE(file_system_.Count(kOpTruncate), 5);
}

TEST_F(FullDiskTornTest, PiecesAreAsSmallAsTheyHaveToBe) {
  FillDisk(kOpWrite, 6);
  ExpectMoved();
  EXPECT_GE(file_system_.Count(kOpTruncate), 100);
}

TEST_F(FullDiskTornTest, SyncMayBeWhatFindsItFull) {
  FillDisk(kOpSync, 2);
  ExpectMoved();
}

TEST_F(FullDiskTornTest, ThereMayBeNoRoomForItsName) {
  // The first call opens the store itself.
  file_system_.Inject({.ops = kOpOpen, .nth = 2, .error_number = ENOSPC});
  ExpectMoved();
}

TEST_F(FullDiskTornTest, NothingIsLostWhereThatIsNoHelp) {
  FillDisk(kOpWrite, 1000);
  const auto store = TryOpen();
  EXPECT_EQ(SystemErrorNumber(store.status()), ENOSPC) << store.status();
  EXPECT_TRUE(File() == sound_ + torn_);
  const std::string sidecar = absl::StrCat(Path(), ".torn-", sound_.size());
  EXPECT_TRUE(absl::IsNotFound(RealFileSystem()->Info(sidecar).status()));
}

// From the end on, bytes are in one place at least, wherever it fails.
TEST_F(FullDiskTornTest, WhatWasMovedBeforeAFailureStays) {
  bool moved_some = false;
  for (int nth = 2; !moved_some; ++nth) {
    SCOPED_TRACE(nth);
    ASSERT_LT(nth, 40);
    // A write fails, and then a few are well; then all fail for good.
    file_system_.Inject({.ops = kOpWrite,
                         .times = 1,
                         .error_number = ENOSPC,
                         .before = [this, nth] {
                           file_system_.Inject({.ops = kOpWrite,
                                                .nth = nth,
                                                .times = 1000,
                                                .error_number = EIO});
                         }});
    EXPECT_FALSE(TryOpen().ok());
    const std::string left = File();
    ASSERT_LE(left.size(), sound_.size() + torn_.size());
    moved_some = left.size() < sound_.size() + torn_.size();
    EXPECT_TRUE(left == (sound_ + torn_).substr(0, left.size()));
    if (!moved_some) continue;
    const std::string sidecar = absl::StrCat(Path(), ".torn-", sound_.size());
    const size_t kept = left.size() - sound_.size();
    EXPECT_TRUE(ReadWholeFile(sidecar).substr(kept) == torn_.substr(kept));
    // The next one moves the rest, into another.
    file_system_.Heal();
    Open();
    EXPECT_EQ(store_->recovery().sidecar, sidecar + ".1");
    EXPECT_TRUE(ReadWholeFile(sidecar + ".1") == torn_.substr(0, kept));
    EXPECT_EQ(Read("key"), "payload");
  }
}

// --- What it costs ---

TEST(TornTailCostTest, GarbageCostsAtMostFiveSecondsPerGibibyte) {
  const uint64_t mebibytes = FromEnvironment("VARVE_GARBAGE_MIB", 256);
  const TemporaryDirectory directory;
  const std::string path = directory.File("store");
  {
    auto store = Store::Open(path, {.mode = OpenMode::kCreate});
    ASSERT_THAT(store, IsOk());
    for (int i = 0; i < 1000; ++i) {
      ASSERT_THAT((*store)->Write(absl::StrCat(i), Bytes(Pattern(i, 100))),
                  IsOk());
    }
  }
  const std::string garbage = Pattern(1, 16 * kMiB);
  auto file = RealFileSystem()->Open(path, OpenMode::kReadWrite, 0);
  ASSERT_THAT(file, IsOk());
  for (uint64_t done = 0; done < mebibytes; done += 16) {
    ASSERT_THAT(WriteFully(**file, (*file)->Info()->size, Bytes(garbage)),
                IsOk());
  }
  // Of the processor, as others may use it, too.
  const clock_t begin = clock();
  const auto store = Store::Open(path, {.mode = OpenMode::kRead});
  const double seconds = static_cast<double>(clock() - begin) / CLOCKS_PER_SEC;
  ASSERT_THAT(store, IsOk());
  EXPECT_EQ((*store)->size(), 1000);
  std::cout << seconds << " s for " << mebibytes << " MiB\n";
#ifdef __OPTIMIZE__
  constexpr uint64_t kSecondsPerGibibyte = 5;
#else
  constexpr uint64_t kSecondsPerGibibyte = 10;
#endif
  const uint64_t most =
      FromEnvironment("VARVE_GARBAGE_SECONDS", kSecondsPerGibibyte);
  EXPECT_LT(seconds, static_cast<double>(most * mebibytes) / 1024);
}

}  // namespace
}  // namespace varve
