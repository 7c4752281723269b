// Failing disks: the caller gets the error, and nothing else has happened.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::Not;

constexpr uint64_t kLarge = 200'000;

struct Step {
  const char* name;
  std::function<absl::Status(TestVolume&)> run;
};

// One of each operation that appends.
std::vector<Step> Steps() {
  return {
      {"mkdir", [](TestVolume& v) { return v.MakeDir("new"); }},
      {"create",
       [](TestVolume& v) {
         auto handle = v.CreateFile("new", O_RDWR);
         if (handle.ok()) v.Abandon(*std::move(handle));
         return handle.status();
       }},
      {"symlink", [](TestVolume& v) { return v.Symlink("new", "x"); }},
      {"link", [](TestVolume& v) { return v.Link("small", "new"); }},
      {"unlink", [](TestVolume& v) { return v.Unlink("small"); }},
      {"rmdir", [](TestVolume& v) { return v.RemoveDir("empty"); }},
      {"rename small", [](TestVolume& v) { return v.Rename("small", "new"); }},
      {"rename large", [](TestVolume& v) { return v.Rename("large", "new"); }},
      {"replace", [](TestVolume& v) { return v.Rename("small", "large"); }},
      {"exchange",
       [](TestVolume& v) {
         return v.Rename("small", "large", RENAME_EXCHANGE);
       }},
      {"move directory", [](TestVolume& v) { return v.Rename("d", "empty"); }},
      {"chmod",
       [](TestVolume& v) {
         return v.volume()
             .SetAttributes(v.Ino("small"), {.mode = 0}, nullptr)
             .status();
       }},
      {"truncate", [](TestVolume& v) { return v.Truncate("large", 100); }},
      {"setxattr",
       [](TestVolume& v) {
         return v.volume().SetXattr(v.Ino("d"), "user.b", "2", 0);
       }},
      {"removexattr",
       [](TestVolume& v) {
         return v.volume().RemoveXattr(v.Ino("d"), "user.a");
       }},
      {"overwrite small", [](TestVolume& v) { return v.Write("small", "n"); }},
      {"overwrite large",
       [](TestVolume& v) { return v.Write("large", Pattern(9, 6 << 20)); }},
      {"patch", [](TestVolume& v) { return v.WriteAt("large", 5, "patch"); }},
      {"large patch",
       [](TestVolume& v) { return v.WriteAt("large", 5, Pattern(8, 20'000)); }},
  };
}

void MakeTree(TestVolume& v) {
  v.Open();
  ASSERT_THAT(v.MakeDir("d"), IsOk());
  ASSERT_THAT(v.MakeDir("empty"), IsOk());
  ASSERT_THAT(v.Write("d/f", "in a directory"), IsOk());
  ASSERT_THAT(v.Write("small", "small text"), IsOk());
  ASSERT_THAT(v.Write("large", Pattern(1, kLarge)), IsOk());
  ASSERT_THAT(v.volume().SetXattr(v.Ino("d"), "user.a", "1", 0), IsOk());
}

class VolumeFaultTest : public testing::TestWithParam<int> {};

// Fails the first, second, third… write of each operation, with and without a
// part of it written, until the operation succeeds.
TEST_P(VolumeFaultTest, FailedAppendChangesNothing) {
  const int error_number = GetParam();
  for (const Step& step : Steps()) {
    for (const size_t partial_bytes : {0, 70}) {
      SCOPED_TRACE(absl::StrCat(step.name, ", ", partial_bytes, " bytes done"));
      TestVolume v;
      MakeTree(v);
      const std::string before = v.Dump();
      bool done = false;
      for (int nth = 1; !done && nth < 100; ++nth) {
        v.files().Inject({.ops = kOpWrite,
                          .nth = nth,
                          .times = 1 << 20,
                          .error_number = error_number,
                          .partial_bytes = partial_bytes});
        const absl::Status status = step.run(v);
        done = v.files().hits() == 0;
        v.files().Heal();
        if (done) {
          EXPECT_THAT(status, IsOk());
          break;
        }
        ASSERT_THAT(status, HasErrno(error_number)) << "write " << nth;
        ASSERT_EQ(v.Dump(), before) << "write " << nth;
        ASSERT_FALSE(v.volume().read_only());
      }
      ASSERT_TRUE(done);
      const std::string after = v.Dump();
      EXPECT_NE(after, before);
      v.Crash();
      EXPECT_EQ(v.Dump(), after);
      v.Reopen();
      EXPECT_EQ(v.Dump(), after);
    }
  }
}

TEST_P(VolumeFaultTest, StoreIsAsBeforeWhenItCrashesAfterAFailedAppend) {
  const int error_number = GetParam();
  for (const Step& step : Steps()) {
    SCOPED_TRACE(step.name);
    TestVolume v;
    MakeTree(v);
    const std::string before = v.Dump();
    v.files().Inject({.ops = kOpWrite,
                      .times = 1 << 20,
                      .error_number = error_number,
                      .partial_bytes = 100});
    EXPECT_THAT(step.run(v), HasErrno(error_number));
    v.Crash();
    EXPECT_EQ(v.Dump(), before);
  }
}

INSTANTIATE_TEST_SUITE_P(Numbers, VolumeFaultTest,
                         testing::Values(ENOSPC, EIO, EDQUOT));

class VolumeDiskTest : public VolumeTest {
 protected:
  void FailWrites(int number) {
    files().Inject({.ops = kOpWrite, .times = 1 << 20, .error_number = number});
  }
};

TEST_F(VolumeDiskTest, DirtyContentOutlivesAFailedFlush) {
  auto handle = CreateFile("f", O_RDWR);
  ASSERT_THAT(volume().Write(**handle, 0, "precious"), IsOk());
  FailWrites(ENOSPC);
  EXPECT_THAT(volume().Flush(**handle), HasErrno(ENOSPC));
  EXPECT_THAT(volume().Fsync(**handle), HasErrno(ENOSPC));
  EXPECT_EQ(ReadHandle(**handle), "precious");
  files().Heal();
  EXPECT_THAT(CloseFile(*std::move(handle)), IsOk());
  Crash();
  EXPECT_EQ(*Read("f"), "precious");
}

// The kernel may release a handle late, when the file is already being
// overwritten through another one.
class VolumeLateReleaseTest : public VolumeDiskTest {
 protected:
  // Leaves the file closed, but not released, and opened to be overwritten.
  void SetUp() override {
    VolumeDiskTest::SetUp();
    ASSERT_THAT(Write("f", "old"), IsOk());
    first_ = *OpenFile("f", O_WRONLY);
    ASSERT_THAT(volume().Write(*first_, 0, "new"), IsOk());
    ASSERT_THAT(volume().Flush(*first_), IsOk());
    second_ = *OpenFile("f", O_WRONLY | O_TRUNC);
  }

  void WriteInVain() {
    ASSERT_THAT(volume().Write(*second_, 0, "no"), IsOk());
    FailWrites(ENOSPC);
    EXPECT_THAT(volume().Flush(*second_), HasErrno(ENOSPC));
    files().Heal();
  }

  void ExpectNew() {
    EXPECT_EQ(*Read("f"), "new");
    Crash();
    EXPECT_EQ(*Read("f"), "new");
  }

  std::unique_ptr<Handle> first_;
  std::unique_ptr<Handle> second_;
};

TEST_F(VolumeLateReleaseTest, CommitsNothingOfTheNextWriter) {
  EXPECT_THAT(volume().Release(std::move(first_)), IsOk());
  EXPECT_EQ(*Read("f"), "");
  Abandon(std::move(second_));
  Crash();
  EXPECT_EQ(*Read("f"), "new");
}

TEST_F(VolumeLateReleaseTest, BeforeTheNextCloseFails) {
  EXPECT_THAT(volume().Release(std::move(first_)), IsOk());
  WriteInVain();
  EXPECT_THAT(volume().Release(std::move(second_)), IsOk());
  ExpectNew();
}

TEST_F(VolumeLateReleaseTest, DoesNotSaveWhatWasGivenUp) {
  WriteInVain();
  EXPECT_THAT(volume().Release(std::move(second_)), IsOk());
  EXPECT_THAT(volume().Release(std::move(first_)), IsOk());
  ExpectNew();
}

TEST_F(VolumeDiskTest, FullDiskFailsTheWriteThatHasNoRoomAndNoOther) {
  const std::string text = Pattern(1, 12 << 20);
  constexpr size_t kChunk = 256 << 10;
  auto handle = CreateFile("f", O_RDWR);
  size_t at = 0;
  absl::Status status;
  FailWrites(ENOSPC);
  while (at < text.size()) {
    status = volume().Write(**handle, at, text.substr(at, kChunk));
    if (!status.ok()) break;
    at += kChunk;
  }
  EXPECT_THAT(status, HasErrno(ENOSPC));
  EXPECT_LE(at, 5u << 20);
  EXPECT_TRUE(ReadHandle(**handle) == text.substr(0, at));
  files().Heal();
  for (; at < text.size(); at += kChunk) {
    // Some calls fail, and are repeated.
    if (at % (1 << 20) == 0) {
      FailWrites(EIO);
      status = volume().Write(**handle, at, text.substr(at, kChunk));
      files().Heal();
      if (status.ok()) continue;
    }
    ASSERT_THAT(volume().Write(**handle, at, text.substr(at, kChunk)), IsOk());
  }
  EXPECT_TRUE(ReadHandle(**handle) == text);
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  Crash();
  EXPECT_TRUE(*Read("f") == text);
}

TEST_F(VolumeDiskTest, FailedSyncTurnsTheVolumeReadOnly) {
  ASSERT_THAT(Write("f", "text"), IsOk());
  auto handle = OpenFile("f", O_RDWR);
  ASSERT_THAT(volume().Write(**handle, 0, "T"), IsOk());
  files().Inject({.ops = kOpSync, .error_number = EIO});
  EXPECT_THAT(volume().Fsync(**handle), HasErrno(EIO));
  files().Heal();
  EXPECT_TRUE(volume().read_only());
  EXPECT_THAT(volume().Fsync(**handle), Not(IsOk()));
  EXPECT_THAT(volume().Write(**handle, 0, "x"), HasErrno(EROFS));
  EXPECT_THAT(MakeDir("d"), HasErrno(EROFS));
  EXPECT_THAT(Unlink("f"), HasErrno(EROFS));
  EXPECT_THAT(Truncate("f", 0), HasErrno(EROFS));
  EXPECT_THAT(OpenFile("f", O_RDWR), HasErrno(EROFS));
  EXPECT_EQ(ReadHandle(**handle), "Text");
  EXPECT_EQ(*Read("f"), "Text");
  Abandon(*std::move(handle));
  Crash();
  EXPECT_FALSE(volume().read_only());
  EXPECT_EQ(*Read("f"), "Text");
}

TEST_F(VolumeDiskTest, DirtyBytesCanBeReadAfterTheVolumeTurnedReadOnly) {
  ASSERT_THAT(Write("f", "text"), IsOk());
  auto handle = OpenFile("f", O_RDWR);
  ASSERT_THAT(volume().Write(**handle, 0, "T"), IsOk());
  ASSERT_THAT(MakeDir("d"), IsOk());
  files().Inject({.ops = kOpSync, .error_number = EIO});
  EXPECT_THAT(volume().SyncAll(), HasErrno(EIO));
  EXPECT_EQ(ReadHandle(**handle), "Text");
  EXPECT_THAT(volume().Flush(**handle), HasErrno(EROFS));
  EXPECT_EQ(ReadHandle(**handle), "Text");
  Abandon(*std::move(handle));
}

TEST_F(VolumeDiskTest, CloseSaysThatItFailed) {
  ASSERT_THAT(Write("f", "text"), IsOk());
  FailWrites(ENOSPC);
  EXPECT_THAT(volume().Close(), HasErrno(ENOSPC));
  files().Heal();
  Crash();
  EXPECT_EQ(*Read("f"), "text");
}

TEST_F(VolumeDiskTest, OpenSaysThatItFailedAndCanBeRepeated) {
  ASSERT_THAT(Write("f", "text"), IsOk());
  const std::string store = ReadWholeFile(path()) + "a torn tail";
  Close();
  for (const FileOp kind :
       {kOpOpen, kOpRead, kOpWrite, kOpSync, kOpTruncate, kOpInfo, kOpMap}) {
    for (int nth = 1; nth < 50; ++nth) {
      WriteWholeFile(path(), store);
      files().Inject({.ops = kind, .nth = nth, .error_number = EIO});
      const absl::Status status = TryOpen();
      const bool hit = files().hits() > 0;
      files().Heal();
      if (status.ok()) {
        EXPECT_EQ(*Read("f"), "text");
        Close();
        if (!hit) break;
      }
      WriteWholeFile(path(), store);
      Open();
      ASSERT_TRUE(is_open());
      EXPECT_EQ(*Read("f"), "text");
      Close();
    }
  }
}

TEST_F(VolumeDiskTest, FailedReadOfAVerifiedEntryIsAnError) {
  ASSERT_THAT(Write("f", Pattern(1, 100'000)), IsOk());
  ASSERT_THAT(Write("g", "other"), IsOk());
  Reopen();
  files().Inject({.ops = kOpRead, .times = 1, .error_number = EIO});
  EXPECT_THAT(Read("f"), HasErrno(EIO));
  files().Heal();
  EXPECT_TRUE(*Read("f") == Pattern(1, 100'000));
  EXPECT_EQ(*Read("g"), "other");
}

}  // namespace
}  // namespace varve::fs
