// Compaction of a volume in use.

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

constexpr size_t kLarge = 3u << 20;

class VolumeCompactionTest : public VolumeTest {
 protected:
  absl::Status Compact(CompactionOptions options = {}) {
    options.forget = true;  // the tests of history have the rest
    VARVE_RETURN_IF_ERROR(volume().compactions().Start(options));
    return volume().compactions().WaitForEnd();
  }
  std::string LeftoverPath() { return path() + ".compact"; }
  bool HasLeftover() { return RealFileSystem()->Info(LeftoverPath()).ok(); }

  // Files of every kind and layout, and many dead entries.
  void MakeTree() {
    ASSERT_THAT(MakeDir("d"), IsOk());
    ASSERT_THAT(MakeDir("d/e"), IsOk());
    ASSERT_THAT(Write("empty", ""), IsOk());
    ASSERT_THAT(Write("nul", std::string(1, '\0')), IsOk());
    ASSERT_THAT(Write("one", "x"), IsOk());
    ASSERT_THAT(Write("d/small", "small text"), IsOk());
    ASSERT_THAT(Write("d/large", Pattern(1, kLarge)), IsOk());
    ASSERT_THAT(Write("pieces", Pattern(2, 100'000)), IsOk());
    for (int i = 0; i < 5; ++i) {
      ASSERT_THAT(WriteAt("pieces", 7'000 * i, "patch"), IsOk());
    }
    ASSERT_THAT(Write("sparse", Pattern(3, 20'000)), IsOk());
    ASSERT_THAT(Truncate("sparse", 100'000), IsOk());
    ASSERT_THAT(WriteAt("sparse", 90'000, "end"), IsOk());
    ASSERT_THAT(Symlink("link", "d/small"), IsOk());
    ASSERT_THAT(Link("d/large", "hard"), IsOk());
    ASSERT_THAT(Rename("d", "renamed"), IsOk());
    ASSERT_THAT(volume().SetXattr(Ino("one"), "user.a", "v", 0), IsOk());
    ASSERT_THAT(Write("gone", Pattern(4, kLarge)), IsOk());
    ASSERT_THAT(Unlink("gone"), IsOk());
    for (int i = 0; i < 5; ++i) {
      ASSERT_THAT(Write("often", Pattern(i, 50'000)), IsOk());
    }
  }

  // The value of each plain file for programs that know only entries.
  void ExpectPlain() {
    EXPECT_EQ(ReadRaw("one"), "x");
    EXPECT_EQ(ReadRaw("renamed/small"), "small text");
    EXPECT_TRUE(ReadRaw("renamed/large") == Pattern(1, kLarge));
    EXPECT_TRUE(ReadRaw("pieces") == *Read("pieces"));
    EXPECT_TRUE(ReadRaw("often") == Pattern(4, 50'000));
    EXPECT_EQ(ReadRaw("gone"), std::nullopt);
    EXPECT_EQ(ReadRaw("d/small"), std::nullopt);
  }
};

TEST_F(VolumeCompactionTest, TheTreeIsTheSameAndEveryFileIsPlain) {
  MakeTree();
  const std::string before = Dump();
  const uint64_t size = FileSize();
  ASSERT_THAT(Compact(), IsOk());
  EXPECT_EQ(Dump(), before);
  EXPECT_LT(FileSize(), size - kLarge);
  ExpectPlain();
  EXPECT_TRUE(Unnamed().empty());
  EXPECT_FALSE(HasLeftover());
  EXPECT_EQ(volume().compactions().progress().phase, CompactionPhase::kEnded);
  EXPECT_GT(volume().compactions().progress().bytes_reclaimed, kLarge);
  Crash();
  EXPECT_EQ(Dump(), before);
  ExpectPlain();
  Reopen();
  EXPECT_EQ(Dump(), before);
  EXPECT_TRUE(Unnamed().empty());
  // A second compaction gains nothing, and loses nothing.
  ASSERT_THAT(Compact(), IsOk());
  Reopen();
  EXPECT_EQ(Dump(), before);
  ExpectPlain();
}

TEST_F(VolumeCompactionTest, LifeGoesOnAfterwards) {
  MakeTree();
  ASSERT_THAT(Compact(), IsOk());
  ASSERT_THAT(Append("pieces", "more"), IsOk());
  ASSERT_THAT(Rename("one", "two"), IsOk());
  ASSERT_THAT(Unlink("renamed/small"), IsOk());
  ASSERT_THAT(Write("often", "new"), IsOk());
  EXPECT_EQ(ReadRaw("one"), std::nullopt);
  EXPECT_EQ(ReadRaw("renamed/small"), std::nullopt);
  const std::string before = Dump();
  Crash();
  EXPECT_EQ(Dump(), before);
  ASSERT_THAT(Compact(), IsOk());
  Reopen();
  EXPECT_EQ(Dump(), before);
  EXPECT_TRUE(Unnamed().empty());
}

TEST_F(VolumeCompactionTest, WhatIsOpenGoesOn) {
  MakeTree();
  auto dirty = OpenFile("pieces", O_RDWR);
  ASSERT_THAT(volume().Write(**dirty, 50, "dirty"), IsOk());
  auto deleted = OpenFile("often", O_RDWR);
  ASSERT_THAT(Unlink("often"), IsOk());
  auto stream = CreateFile("stream", O_RDWR);
  const std::string text = Pattern(5, 6 << 20);
  for (size_t at = 0; at < text.size(); at += 256 << 10) {
    ASSERT_THAT(volume().Write(**stream, at,
                               absl::string_view(text).substr(at, 256 << 10)),
                IsOk());
  }
  auto clone = CreateFile("clone", O_RDWR);
  auto large = OpenFile("hard", O_RDONLY);
  ASSERT_EQ(*volume().CopyRange(**large, 10, **clone, 0, 1 << 20), 1u << 20);
  std::string pieces = ReadHandle(**dirty);
  for (int i = 0; i < 2; ++i) {
    ASSERT_THAT(Compact(), IsOk());
    EXPECT_TRUE(ReadHandle(**dirty) == pieces);
    EXPECT_TRUE(ReadHandle(**deleted) == Pattern(4, 50'000));
    EXPECT_TRUE(ReadHandle(**stream) == text);
    EXPECT_TRUE(ReadHandle(**clone) == Pattern(1, kLarge).substr(10, 1 << 20));
    ASSERT_THAT(volume().Write(**stream, i, "x"), IsOk());
    ASSERT_THAT(volume().Write(**stream, i, text.substr(i, 1)), IsOk());
  }
  for (auto* handle : {&dirty, &deleted, &stream, &clone, &large}) {
    ASSERT_THAT(CloseFile(*std::move(*handle)), IsOk());
  }
  Crash();
  EXPECT_TRUE(*Read("pieces") == pieces);
  EXPECT_TRUE(*Read("stream") == text);
  EXPECT_TRUE(*Read("clone") == Pattern(1, kLarge).substr(10, 1 << 20));
  EXPECT_TRUE(Unnamed().empty());
}

TEST_F(VolumeCompactionTest, UnnamedEntriesAreKept) {
  MakeTree();
  Close();
  WithForeignStore([](Store& store) {
    const std::string text = "of another program";
    ASSERT_THAT(store.Write("foreign",
                            absl::MakeConstSpan(
                                reinterpret_cast<const std::byte*>(text.data()),
                                text.size())),
                IsOk());
  });
  Open();
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(Compact(), IsOk());
    ASSERT_EQ(Unnamed().size(), 1u);
    EXPECT_EQ(volume().ReadUnnamed(HashKey("foreign"), 0, 100)->ToString(),
              "of another program");
    Reopen();
  }
  ASSERT_THAT(volume().AdoptAs(HashKey("foreign"), kRootIno, "foreign", {}),
              IsOk());
  ASSERT_THAT(Compact(), IsOk());
  Crash();
  EXPECT_EQ(*Read("foreign"), "of another program");
}

TEST_F(VolumeCompactionTest, SpoiltIndexImageLetsNothingBeTakenForDead) {
  options().min_entries_for_image = 1;
  MakeTree();
  Close();
  WithForeignStore([](Store& store) {
    ASSERT_THAT(store.Write("foreign", Bytes(Pattern(9, 20'000))), IsOk());
  });
  Open();
  volume().store().BuildIndex();
  ASSERT_THAT(Write("more", "text"), IsOk());
  Reopen();
  volume().store().BuildIndex();
  const auto image = volume().store().index_image_in_use();
  ASSERT_TRUE(image.has_value());
  std::fstream(path())
      .seekp(static_cast<std::streamoff>(image->metadata_offset() - 100))
      .put('\xa5');
  for (const bool punch : {false, true}) {
    EXPECT_EQ(Compact({.punch = punch}).code(), absl::StatusCode::kDataLoss);
  }
  Reopen();
  for (const bool punch : {true, false}) {
    ASSERT_THAT(Compact({.punch = punch}), IsOk());
    ASSERT_EQ(Unnamed().size(), 1u);
    EXPECT_TRUE(
        volume().ReadUnnamed(HashKey("foreign"), 0, 20'000)->ToString() ==
        Pattern(9, 20'000));
  }
}

TEST_F(VolumeCompactionTest, EveryoneGoesOnMeanwhile) {
  MakeTree();
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  // Each thread writes files of its own again and again, reads them back, and
  // renames and removes some.
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([this, t, &stop] {
      for (int i = 0; !stop.load(); ++i) {
        const std::string name = absl::StrCat("t", t, "-", i % 7);
        const std::string text = Pattern(t * 1000 + i, (i * 977) % 90'000);
        ASSERT_THAT(Write(name, text), IsOk());
        ASSERT_TRUE(*Read(name) == text);
        if (i % 3 == 0) {
          ASSERT_THAT(Append(name, "end"), IsOk());
          ASSERT_TRUE(*Read(name) == text + "end");
        }
        if (i % 5 == 0) {
          ASSERT_THAT(Rename(name, name + "r"), IsOk());
        }
        if (i % 5 == 1) Unlink(absl::StrCat(name, "r")).IgnoreError();
        ASSERT_TRUE(*Read("renamed/large") == Pattern(1, kLarge));
      }
    });
  }
  for (int i = 0; i < 12; ++i) {
    EXPECT_THAT(Compact({.punch = i % 3 == 2}), IsOk());
  }
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  const std::string before = Dump();
  Crash();
  EXPECT_EQ(Dump(), before);
  EXPECT_TRUE(Unnamed().empty());
}

// Fails every call of the seam in turn: the store is the old or the new file,
// and both hold the same tree.
TEST_F(VolumeCompactionTest, AnyCallMayFail) {
  MakeTree();
  std::string before = Dump();
  for (const bool punch : {false, true}) {
    bool done = false;
    for (int nth = 1; !done && nth < 2000; ++nth) {
      SCOPED_TRACE(absl::StrCat(punch ? "punch" : "copy", ", call ", nth));
      files().Inject({.ops = kAllOps, .nth = nth, .error_number = EIO});
      const absl::Status status = Compact({.punch = punch});
      done = files().hits() == 0;
      files().Heal();
      if (done) {
        EXPECT_THAT(status, IsOk());
      }
      ASSERT_EQ(Dump(), before);
      ASSERT_FALSE(HasLeftover());
      // Check only sometimes whether the store can still be used, because each
      // commit makes more calls.
      if (nth % 32 == 0 || volume().read_only()) {
        if (!volume().read_only()) {
          ASSERT_THAT(Write("often", Pattern(4, 50'000)), IsOk());
        }
        before = Dump();
        Crash();
        ASSERT_EQ(Dump(), before);
      }
    }
    EXPECT_TRUE(done);
  }
  ExpectPlain();
}

TEST_F(VolumeCompactionTest, PunchedStoreIsSmallerAndAllIsThere) {
  MakeTree();
  const std::string before = Dump();
  const uint64_t length = FileSize();
  const uint64_t allocated = volume().store().Info()->allocated;
  const absl::Status status = Compact({.punch = true});
  if (ErrnoOf(status) == EOPNOTSUPP) GTEST_SKIP() << "no holes on this host";
  ASSERT_THAT(status, IsOk());
  EXPECT_GE(FileSize(), length);
  EXPECT_LT(volume().store().Info()->allocated, allocated - kLarge + 65536);
  EXPECT_EQ(Dump(), before);
  EXPECT_TRUE(Unnamed().empty());
  for (int i = 0; i < 2; ++i) {
    Crash();
    EXPECT_EQ(Dump(), before);
    EXPECT_TRUE(Unnamed().empty());
    Reopen();
    EXPECT_EQ(Dump(), before);
  }
  // And it can be compacted.
  ASSERT_THAT(Compact(), IsOk());
  EXPECT_EQ(Dump(), before);
}

TEST_F(VolumeCompactionTest, WhatOthersMayReadIsNotPunched) {
  MakeTree();
  ASSERT_THAT(volume().SyncAll(), IsOk());
  VolumeOptions read_only;
  read_only.read_only = true;
  auto reader = Volume::Open(path(), read_only);
  ASSERT_THAT(reader, IsOk());
  const auto handle = (*reader)->Open(Ino("renamed/large"), O_RDONLY);
  ASSERT_THAT(handle, IsOk());
  ASSERT_THAT(Unlink("renamed/large"), IsOk());
  ASSERT_THAT(Unlink("hard"), IsOk());
  EXPECT_THAT(Compact({.punch = true}), HasErrno(EBUSY));
  const auto read_all = [&] {
    std::string text;
    while (text.size() < kLarge) {
      const auto part = (*reader)->Read(**handle, text.size(), 1 << 20);
      if (!part.ok() || part->size() == 0) break;
      text += part->ToString();
    }
    return text;
  };
  EXPECT_TRUE(read_all() == Pattern(1, kLarge));
  // A copy leaves it its file.
  ASSERT_THAT(Compact(), IsOk());
  EXPECT_TRUE(read_all() == Pattern(1, kLarge));
}

TEST_F(VolumeCompactionTest, WhatIsPunchedIsFoundByNobody) {
  ASSERT_THAT(Write("f", Pattern(1, 50'000)), IsOk());
  // Large commit records, and a checkpoint behind them.
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(volume().SetXattr(Ino("f"), "user.a", Pattern(i, 60'000), 0),
                IsOk());
  }
  Reopen();
  const absl::Status status = Compact({.punch = true});
  if (ErrnoOf(status) == EOPNOTSUPP) GTEST_SKIP() << "no holes on this host";
  ASSERT_THAT(status, IsOk());
  volume().store().ForEach([this](const EntryView& entry) {
    EXPECT_THAT(volume().store().Verify(entry.location()), IsOk());
    return true;
  });
}

TEST_F(VolumeCompactionTest, CanBeCancelled) {
  MakeTree();
  const std::string before = Dump();
  ASSERT_THAT(
      volume().compactions().Start({.forget = true, .bytes_per_second = 1000}),
      IsOk());
  // The running compaction goes on instead.
  ASSERT_THAT(volume().compactions().Start({.forget = true}), IsOk());
  volume().compactions().Cancel();
  EXPECT_EQ(volume().compactions().WaitForEnd().code(),
            absl::StatusCode::kCancelled);
  EXPECT_FALSE(HasLeftover());
  EXPECT_EQ(Dump(), before);
  // Closing cancels, too.
  ASSERT_THAT(
      volume().compactions().Start({.forget = true, .bytes_per_second = 1000}),
      IsOk());
  Reopen();
  EXPECT_FALSE(HasLeftover());
  EXPECT_EQ(Dump(), before);
}

TEST_F(VolumeCompactionTest, LeftoversAreRemovedAndOtherFilesAreNot) {
  MakeTree();
  WriteWholeFile(LeftoverPath(), "not ours");
  EXPECT_THAT(Compact(), HasErrno(EEXIST));
  Reopen();
  EXPECT_EQ(ReadWholeFile(LeftoverPath()), "not ours");
  // A copy of the store has its identity.
  WriteWholeFile(LeftoverPath(), ReadWholeFile(path()));
  Reopen();
  EXPECT_FALSE(HasLeftover());
  WriteWholeFile(LeftoverPath(), "");
  ASSERT_THAT(Compact(), IsOk());
  EXPECT_FALSE(HasLeftover());
}

// A compaction makes none of these.
TEST_F(VolumeCompactionTest, LinksAndPipesInTheWayAreNotRemoved) {
  MakeTree();
  const std::string place = LeftoverPath();
  const std::string empty = directory().File("empty");
  WriteWholeFile(empty, "");
  for (const char* target : {"", "empty", "nowhere", "store"}) {
    SCOPED_TRACE(target);
    if (*target == '\0') {
      ASSERT_EQ(mkfifo(place.c_str(), 0600), 0);
    } else {
      ASSERT_EQ(symlink(target, place.c_str()), 0);
    }
    Reopen();
    EXPECT_THAT(Compact(), HasErrno(EEXIST));
    struct stat info;
    ASSERT_EQ(lstat(place.c_str(), &info), 0);
    EXPECT_EQ(S_ISLNK(info.st_mode), *target != '\0');
    ASSERT_EQ(unlink(place.c_str()), 0);
  }
  EXPECT_TRUE(RealFileSystem()->Info(empty).ok());
  ASSERT_THAT(Compact(), IsOk());
}

TEST_F(VolumeCompactionTest, DamageIsNotMadeSound) {
  ASSERT_THAT(Write("f", Pattern(1, 5000)), IsOk());
  ASSERT_THAT(Write("g", "sound"), IsOk());
  Close();
  std::string bytes = ReadWholeFile(path());
  const size_t at = bytes.find(Pattern(1, 5000));
  ASSERT_NE(at, std::string::npos);
  bytes[at + 100] ^= 1;
  WriteWholeFile(path(), bytes);
  Open();
  const absl::Status status = Compact();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_NE(status.message().find("\"f\""), absl::string_view::npos) << status;
  EXPECT_EQ(*Read("g"), "sound");
  EXPECT_FALSE(Read("f").ok());
  EXPECT_FALSE(HasLeftover());
}

TEST_F(VolumeCompactionTest, AReadOnlyVolumeIsNotCompacted) {
  Close();
  options().read_only = true;
  Open();
  EXPECT_THAT(volume().compactions().Start({.forget = true}), HasErrno(EROFS));
}

}  // namespace
}  // namespace varve::fs
