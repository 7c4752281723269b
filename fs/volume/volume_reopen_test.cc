// What a volume holds after a crash, and after a proper close.

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class VolumeReopenTest : public VolumeTest {
 protected:
  // Some of everything.
  void MakeSomeTree() {
    for (int i = 0; i < 20; ++i) {
      const std::string dir = absl::StrCat("d", i % 5);
      MakeDir(dir).IgnoreError();
      ASSERT_THAT(Write(absl::StrCat(dir, "/f", i), Pattern(i, i * 1000)),
                  IsOk());
    }
    ASSERT_THAT(Write("big", Pattern(1, 5 << 20)), IsOk());
    ASSERT_THAT(WriteAt("big", 1 << 20, "patch"), IsOk());
    ASSERT_THAT(Write("nul", std::string(1, '\0')), IsOk());
    ASSERT_THAT(Write("empty", ""), IsOk());
    ASSERT_THAT(Write("sparse", ""), IsOk());
    ASSERT_THAT(WriteAt("sparse", 1 << 20, "end"), IsOk());
    ASSERT_THAT(Symlink("s", "big"), IsOk());
    ASSERT_THAT(Link("d0/f5", "d1/link"), IsOk());
    ASSERT_THAT(Link("d0/f5", "another"), IsOk());
    ASSERT_THAT(Rename("d2", "d3/moved"), IsOk());
    ASSERT_THAT(volume().SetXattr(Ino("big"), "user.a", "v", 0), IsOk());
    ASSERT_THAT(volume().SetXattr(Ino("d1"), "user.d", "w", 0), IsOk());
    ASSERT_THAT(
        volume().SetAttributes(Ino("d1/f1"),
                               {.mode = 0600, .mtime = Timestamp()}, nullptr),
        IsOk());
    ASSERT_THAT(volume().MakeNode(kRootIno, "fifo", S_IFIFO | 0600, 0, {}),
                IsOk());
    ASSERT_THAT(Unlink("d4/f9"), IsOk());
  }
};

TEST_F(VolumeReopenTest, EverythingIsTheSameAfterACrash) {
  MakeSomeTree();
  const std::string before = Dump();
  Crash();
  EXPECT_EQ(Dump(), before);
}

TEST_F(VolumeReopenTest, EverythingIsTheSameAfterAClose) {
  MakeSomeTree();
  const std::string before = Dump();
  Reopen();
  EXPECT_EQ(Dump(), before);
  Reopen();
  EXPECT_EQ(Dump(), before);
  EXPECT_THAT(volume().notes(), IsEmpty());
}

TEST_F(VolumeReopenTest, CheckpointAndLogGiveWhatTheLogAloneGives) {
  MakeSomeTree();
  // Only the log.
  const std::string dump = Dump();
  // A checkpoint, and a log on top of it.
  Reopen();
  ASSERT_THAT(Rename("d0", "renamed"), IsOk());
  ASSERT_THAT(Append("big", "more"), IsOk());
  ASSERT_THAT(Unlink("another"), IsOk());
  const std::string changed = Dump();
  EXPECT_NE(changed, dump);
  Crash();
  EXPECT_EQ(Dump(), changed);
  // And once more, because everything goes into another checkpoint.
  ASSERT_THAT(Write("x", "y"), IsOk());
  const std::string again = Dump();
  Reopen();
  EXPECT_EQ(Dump(), again);
}

TEST_F(VolumeReopenTest, FirstNameOfAnInodeStaysTheFirst) {
  ASSERT_THAT(MakeDir("a"), IsOk());
  ASSERT_THAT(MakeDir("z"), IsOk());
  ASSERT_THAT(Write("z/f", "text"), IsOk());
  ASSERT_THAT(Link("z/f", "a/f"), IsOk());
  const auto first_path = [&] {
    std::string path;
    volume().WithTree([&](const TreeReader& tree) {
      path = *tree.PathOf(**tree.Resolve("z/f"));
    });
    return path;
  };
  EXPECT_EQ(first_path(), "z/f");
  Crash();
  EXPECT_EQ(first_path(), "z/f");
  Reopen();
  EXPECT_EQ(first_path(), "z/f");
}

TEST_F(VolumeReopenTest, InodeNumbersAreNeverUsedAgain) {
  ASSERT_THAT(Write("a", "x"), IsOk());
  const uint64_t a = Ino("a");
  ASSERT_THAT(Unlink("a"), IsOk());
  Reopen();
  ASSERT_THAT(Write("b", "x"), IsOk());
  EXPECT_GT(Ino("b"), a);
  const uint64_t b = Ino("b");
  Crash();
  EXPECT_EQ(Ino("b"), b);
  ASSERT_THAT(Write("c", "x"), IsOk());
  EXPECT_GT(Ino("c"), b);
}

TEST_F(VolumeReopenTest, CleanCloseWithNothingChangedAppendsNothing) {
  ASSERT_THAT(Write("a", "x"), IsOk());
  Reopen();
  const uint64_t size = FileSize();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(*Read("a"), "x");
    ASSERT_THAT(volume().SyncAll(), IsOk());
    Reopen();
    EXPECT_EQ(FileSize(), size);
  }
}

TEST_F(VolumeReopenTest, OpenHandlesAreCommittedByClose) {
  auto handle = CreateFile("f", O_RDWR);
  ASSERT_THAT(volume().Write(**handle, 0, "text"), IsOk());
  Abandon(*std::move(handle));
  auto unlinked = CreateFile("u", O_RDWR);
  ASSERT_THAT(volume().Write(**unlinked, 0, "gone"), IsOk());
  Abandon(*std::move(unlinked));
  ASSERT_THAT(Unlink("u"), IsOk());
  Reopen();
  EXPECT_EQ(*Read("f"), "text");
  EXPECT_THAT(List(""), ElementsAre("f"));
}

TEST_F(VolumeReopenTest, CrashIsSaidInTheNotes) {
  ASSERT_THAT(Write("a", "x"), IsOk());
  Crash();
  EXPECT_THAT(volume().notes(), ElementsAre(HasSubstr("not closed properly")));
  Reopen();
  EXPECT_THAT(volume().notes(), IsEmpty());
}

// `cp new old`, stopped after each step. The file is the old or the new one.
TEST_F(VolumeReopenTest, OverwriteIsOldOrNewAtEveryStage) {
  for (const uint64_t size : {3ul, 5'000ul, 9ul << 20}) {
    const std::string old_text = Pattern(1, size);
    const std::string new_text = Pattern(2, size + 5);
    const size_t chunk = size / 3 + 1;
    for (int stop = 0; stop < 6; ++stop) {
      ASSERT_THAT(Write("f", old_text), IsOk());
      auto handle = OpenFile("f", O_WRONLY | O_TRUNC);
      if (stop == 0) {
        ASSERT_THAT(volume().Flush(**handle), IsOk());
      }
      // Another program opens, reads and closes the file meanwhile.
      if (stop > 0) {
        ASSERT_THAT(Read("f"), IsOk());
      }
      for (size_t at = 0; at < new_text.size() && stop > int(at / chunk) + 1;
           at += chunk) {
        ASSERT_THAT(volume().Write(**handle, at, new_text.substr(at, chunk)),
                    IsOk());
        ASSERT_THAT(Read("f"), IsOk());
      }
      if (stop == 5) {
        ASSERT_THAT(volume().Flush(**handle), IsOk());
      }
      Abandon(*std::move(handle));
      Crash();
      EXPECT_TRUE(*Read("f") == (stop == 5 ? new_text : old_text))
          << "size " << size << " stopped at " << stop;
    }
  }
}

TEST_F(VolumeReopenTest, EmptiedFileIsEmptyOnceItIsClosed) {
  ASSERT_THAT(Write("f", "old"), IsOk());
  ASSERT_THAT(Write("f", ""), IsOk());
  Crash();
  EXPECT_EQ(*Read("f"), "");
  // Even if another handle is open.
  ASSERT_THAT(Write("f", "old"), IsOk());
  auto reader = OpenFile("f", O_RDONLY);
  ASSERT_THAT(Write("f", ""), IsOk());
  Abandon(*std::move(reader));
  Crash();
  EXPECT_EQ(*Read("f"), "");
}

TEST_F(VolumeReopenTest, StoreCutAtAnyPointIsAnEarlierState) {
  // Every operation appends; each state is noted with the size it was made at.
  std::vector<std::pair<uint64_t, std::string>> states;
  const auto note = [&] { states.emplace_back(FileSize(), Dump()); };
  note();
  ASSERT_THAT(Write("a", "first"), IsOk());
  states.clear();  // Write() is several operations
  note();
  const auto step = [&](const absl::Status& status) {
    ASSERT_THAT(status, IsOk());
    note();
  };
  step(MakeDir("d"));
  step(Rename("a", "d/a"));
  step(WriteAt("d/a", 2, "RST"));
  step(Link("d/a", "b"));
  step(Unlink("d/a"));
  step(Truncate("b", 9000));
  step(volume().SetXattr(Ino("b"), "user.x", "y", 0));
  step(RemoveDir("d"));
  const std::string whole = ReadWholeFile(path());
  size_t state = 0;
  for (uint64_t size = states[0].first; size <= whole.size(); size += 3) {
    while (state + 1 < states.size() && states[state + 1].first <= size) {
      ++state;
    }
    TestVolume cut;
    WriteWholeFile(cut.path(), whole.substr(0, size));
    cut.Open();
    ASSERT_TRUE(cut.is_open()) << size;
    ASSERT_EQ(cut.Dump(), states[state].second) << size;
  }
}

TEST_F(VolumeReopenTest, WritesGoOnAfterATornTail) {
  ASSERT_THAT(Write("a", "first"), IsOk());
  const std::string whole = ReadWholeFile(path());
  TestVolume torn;
  WriteWholeFile(torn.path(), whole + std::string(100, 'T'));
  torn.Open();
  EXPECT_THAT(torn.volume().notes(),
              testing::Contains(HasSubstr("unfinished write")));
  EXPECT_EQ(*torn.Read("a"), "first");
  ASSERT_THAT(torn.Write("b", "second"), IsOk());
  torn.Crash();
  EXPECT_EQ(*torn.Read("b"), "second");
}

TEST_F(VolumeReopenTest, UnfinishedStreamIsKeptAsUnnamedEntries) {
  const std::string text = Pattern(1, 9 << 20);
  auto handle = CreateFile("f", O_RDWR);
  for (size_t at = 0; at < text.size(); at += 1 << 20) {
    ASSERT_THAT(volume().Write(**handle, at, text.substr(at, 1 << 20)), IsOk());
    ASSERT_THAT(MakeDir(absl::StrCat("d", at >> 20)), IsOk());  // seals it
  }
  Abandon(*std::move(handle));
  Crash();
  EXPECT_EQ(*Read("f"), "");
  const auto count_bytes = [&] {
    uint64_t bytes = 0;
    for (const EntryLocation& entry : Unnamed()) {
      bytes += entry.payload_size;
    }
    return bytes;
  };
  const uint64_t kept = count_bytes();
  EXPECT_GE(kept, 8u << 20);
  Reopen();
  EXPECT_EQ(count_bytes(), kept);
  // Later entries do not get the same numbers.
  ASSERT_THAT(Write("f", text), IsOk());
  ASSERT_THAT(WriteAt("f", 10, Pattern(3, 10'000)), IsOk());
  Reopen();
  EXPECT_EQ(count_bytes(), kept);
}

TEST_F(VolumeReopenTest, ReadOnlyVolumeServesReadsAndRefusesTheRest) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("f", "text"), IsOk());
  const std::string dump = Dump();
  Close();
  const std::string bytes = ReadWholeFile(path());
  options().read_only = true;
  options().create = false;
  Open();
  EXPECT_EQ(Dump(), dump);
  Volume& v = volume();
  const uint64_t f = Ino("f");
  EXPECT_TRUE(v.read_only());
  EXPECT_THAT(MakeDir("x"), HasErrno(EROFS));
  EXPECT_THAT(CreateFile("x", O_RDWR), HasErrno(EROFS));
  EXPECT_THAT(Symlink("x", "y"), HasErrno(EROFS));
  EXPECT_THAT(Link("f", "x"), HasErrno(EROFS));
  EXPECT_THAT(Rename("f", "x"), HasErrno(EROFS));
  EXPECT_THAT(Unlink("f"), HasErrno(EROFS));
  EXPECT_THAT(RemoveDir("d"), HasErrno(EROFS));
  EXPECT_THAT(OpenFile("f", O_RDWR), HasErrno(EROFS));
  EXPECT_THAT(OpenFile("f", O_RDONLY | O_TRUNC), HasErrno(EROFS));
  EXPECT_THAT(Truncate("f", 0), HasErrno(EROFS));
  EXPECT_THAT(v.SetAttributes(f, {.mode = 0}, nullptr), HasErrno(EROFS));
  EXPECT_THAT(v.SetXattr(f, "user.a", "b", 0), HasErrno(EROFS));
  EXPECT_THAT(v.RemoveXattr(f, "user.a"), HasErrno(EROFS));
  EXPECT_THAT(v.AdoptAs(1, kRootIno, "x", {}), HasErrno(EROFS));
  Close();
  EXPECT_TRUE(ReadWholeFile(path()) == bytes);
}

TEST_F(VolumeReopenTest, ReadOnlyVolumeOfACrashedStoreWritesNothing) {
  ASSERT_THAT(Write("f", "text"), IsOk());
  TestVolume other;
  const std::string bytes = ReadWholeFile(path()) + "torn";
  WriteWholeFile(other.path(), bytes);
  other.options().read_only = true;
  other.Open();
  EXPECT_EQ(*other.Read("f"), "text");
  other.Close();
  EXPECT_TRUE(ReadWholeFile(other.path()) == bytes);
}

TEST_F(VolumeReopenTest, SecondWriterIsRefusedButReadersAreNot) {
  ASSERT_THAT(Write("f", "text"), IsOk());
  EXPECT_THAT(Volume::Open(path(), {}), HasErrno(EWOULDBLOCK));
  const auto reader = Volume::Open(path(), {.read_only = true});
  ASSERT_THAT(reader, IsOk());
  const uint64_t ino = (*reader)->Lookup(kRootIno, "f")->ino;
  const auto handle = (*reader)->Open(ino, O_RDONLY);
  EXPECT_EQ((*reader)->Read(**handle, 0, 10)->ToString(), "text");
}

TEST_F(VolumeReopenTest, MissingOrForeignFilesAreRefused) {
  EXPECT_THAT(Volume::Open(directory().File("none"), {}), HasErrno(ENOENT));
  WriteWholeFile(directory().File("text"), "This is no store at all.\n");
  EXPECT_THAT(Volume::Open(directory().File("text"), {}),
              HasCode(absl::StatusCode::kDataLoss));
}

TEST_F(VolumeReopenTest, LongLogGetsACheckpointByItself) {
  Close();
  options().sync_interval = absl::Milliseconds(20);
  Open();
  for (int i = 0; i < 4000; ++i) {
    ASSERT_THAT(volume().SetXattr(kRootIno, "user.a", std::string(400, 'x'), 0),
                IsOk());
  }
  const std::string dump = Dump();
  EXPECT_TRUE(AwaitCheckpoint());
  Crash();
  EXPECT_EQ(Dump(), dump);
}

class VolumeImageTest : public VolumeTest {
 protected:
  void SetUp() override {
    options().min_entries_for_image = 1;
    Open();
    // Only an index that is in use gets an image.
    volume().store().BuildIndex();
  }
  bool OpensByImage() {
    volume().store().BuildIndex();
    return volume().store().index_image_in_use().has_value();
  }
};

TEST_F(VolumeImageTest, TreeIsTheSameWithAndWithoutTheImage) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  for (int i = 0; i < 50; ++i) {
    const std::string path = absl::StrCat("d/", i);
    ASSERT_THAT(Write(path, Pattern(i, 100 + i)), IsOk());
  }
  for (int round = 0; round < 5; ++round) {
    Reopen();
    EXPECT_TRUE(OpensByImage());
    ASSERT_THAT(Unlink(absl::StrCat("d/", round)), IsOk());
    ASSERT_THAT(
        Rename(absl::StrCat("d/", 10 + round), absl::StrCat("moved", round)),
        IsOk());
    ASSERT_THAT(Write(absl::StrCat("d/", 20 + round), "new"), IsOk());
    if (round % 2 == 1) Crash();
    const std::string dump = Dump();
    const size_t keys = volume().store().size();
    Close();
    options().whole_chain = true;
    options().read_only = true;
    Open();
    EXPECT_FALSE(OpensByImage());
    EXPECT_EQ(Dump(), dump);
    EXPECT_GE(volume().store().size(), keys);
    options().whole_chain = false;
    options().read_only = false;
    Reopen();
    EXPECT_EQ(Dump(), dump);
  }
}

TEST_F(VolumeImageTest, ImagesAreNobodysFiles) {
  ASSERT_THAT(Write("a", "text"), IsOk());
  Reopen();
  ASSERT_THAT(Write("b", "text"), IsOk());
  Crash();
  EXPECT_TRUE(Unnamed().empty());
  Reopen();
  EXPECT_TRUE(OpensByImage());
  EXPECT_TRUE(Unnamed().empty());
}

TEST_F(VolumeImageTest, WhatAnotherProgramWritesBehindTheImageIsTakenOver) {
  ASSERT_THAT(Write("a", "text"), IsOk());
  Close();
  WithForeignStore([](Store& store) {
    ASSERT_THAT(store.Write("a", Bytes("foreign")), IsOk());
  });
  Open();
  EXPECT_TRUE(OpensByImage());
  EXPECT_EQ(*Read("a"), "foreign");
}

TEST_F(VolumeImageTest, StoreThatAnotherProgramCompactedIsOpenedWithoutImage) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_THAT(Write(absl::StrCat(i), Pattern(i, 100)), IsOk());
    if (i > 0) {
      ASSERT_THAT(Unlink(absl::StrCat(i - 1)), IsOk());
    }
  }
  const std::string dump = Dump();
  Close();
  WithForeignStore([](Store& store) { ASSERT_THAT(store.Compact(), IsOk()); });
  Open();
  EXPECT_FALSE(OpensByImage());
  EXPECT_EQ(Dump(), dump);
  Reopen();
  EXPECT_TRUE(OpensByImage());
  EXPECT_EQ(Dump(), dump);
}

}  // namespace
}  // namespace varve::fs
