// Many threads use one volume. Also runs under the thread sanitizer.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include <atomic>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fs/tree/tree_checker.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

constexpr int kThreads = 4;

class VolumeThreadsTest : public VolumeTest {
 protected:
  static void RunAll(int count, const std::function<void(int)>& run) {
    std::vector<std::thread> threads;
    for (int i = 0; i < count; ++i) threads.emplace_back(run, i);
    for (std::thread& thread : threads) thread.join();
  }
  void ExpectSameAfterReopen() {
    const std::string before = Dump();
    Crash();
    EXPECT_EQ(Dump(), before);
    Reopen();
    EXPECT_EQ(Dump(), before);
  }
};

TEST_F(VolumeThreadsTest, DisjointDirectoriesDoNotDisturbEachOther) {
  for (int i = 0; i < kThreads; ++i) {
    ASSERT_THAT(MakeDir(absl::StrCat("d", i)), IsOk());
  }
  RunAll(kThreads, [&](int thread) {
    const std::string dir = absl::StrCat("d", thread, "/");
    std::mt19937_64 random(thread);
    for (int i = 0; i < 60; ++i) {
      const std::string name = absl::StrCat(dir, i);
      const std::string text = Pattern(random(), random() % 30'000);
      ASSERT_THAT(Write(name, text), IsOk());
      ASSERT_THAT(WriteAt(name, text.size() / 2, "patched"), IsOk());
      ASSERT_THAT(Rename(name, name + "r"), IsOk());
      const auto read = Read(name + "r");
      ASSERT_THAT(read, IsOk());
      ASSERT_EQ(read->substr(text.size() / 2, 7), "patched");
      if (i % 3 == 0) {
        ASSERT_THAT(Unlink(name + "r"), IsOk());
      }
      if (i % 5 == 0) {
        ASSERT_THAT(MakeDir(name + "d"), IsOk());
      }
    }
  });
  for (int i = 0; i < kThreads; ++i) {
    EXPECT_EQ(List(absl::StrCat("d", i)).size(), 52u);
  }
  ExpectSameAfterReopen();
}

// All threads make all kinds of operations in one directory. Any error that
// another thread may have caused is fine.
TEST_F(VolumeThreadsTest, SharedDirectoryStaysConsistent) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(MakeDir("e"), IsOk());
  RunAll(kThreads, [&](int thread) {
    std::mt19937_64 random(thread + 100);
    const auto name = [&] {
      return absl::StrCat(random() % 2 == 0 ? "d/" : "e/", random() % 6);
    };
    for (int i = 0; i < 300; ++i) {
      absl::Status status;
      switch (random() % 10) {
        case 0:
        case 1:
          status = Write(name(), Pattern(i, random() % 5000));
          break;
        case 2:
          status = Rename(name(), name());
          break;
        case 3:
          status = Rename(name(), name(), RENAME_EXCHANGE);
          break;
        case 4:
          status = Unlink(name());
          break;
        case 5:
          status = Link(name(), name());
          break;
        case 6:
          status = MakeDir(name());
          break;
        case 7:
          status = RemoveDir(name());
          break;
        case 8:
          status = Read(name()).status();
          break;
        case 9:
          List("d");
          GetStat(name()).IgnoreError();
          break;
      }
      const int number = ErrnoOf(status);
      ASSERT_TRUE(number == 0 || number == ENOENT || number == EEXIST ||
                  number == EISDIR || number == ENOTDIR || number == EPERM ||
                  number == ENOTEMPTY || number == EINVAL)
          << status;
    }
  });
  const TreeTotals totals = volume().totals();
  volume().WithTree([&totals](const TreeReader& tree) {
    EXPECT_THAT(CheckTree(tree, totals), testing::IsEmpty());
  });
  ExpectSameAfterReopen();
}

// Each version of the file is one byte repeated; a read sees one version, or
// two if it needs two calls.
TEST_F(VolumeThreadsTest, ReadersSeeWholeVersionsOfAFile) {
  constexpr size_t kSize = 100'000;
  ASSERT_THAT(Write("f", std::string(kSize, 'a')), IsOk());
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int i = 0; i < 150; ++i) {
      const std::string next = absl::StrCat("next", i % 2);
      ASSERT_THAT(
          Write(next, std::string(kSize, static_cast<char>('a' + i % 26))),
          IsOk());
      ASSERT_THAT(Rename(next, "f"), IsOk());
    }
    stop = true;
  });
  RunAll(2, [&](int) {
    while (!stop) {
      auto handle = OpenFile("f", O_RDONLY);
      if (!handle.ok()) continue;
      const auto reply = volume().Read(**handle, 0, kSize);
      ASSERT_THAT(reply, IsOk());
      const std::string text = reply->ToString();
      ASSERT_EQ(text.size(), kSize);
      ASSERT_EQ(text.find_first_not_of(text[0]), std::string::npos);
      ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
    }
  });
  writer.join();
  ExpectSameAfterReopen();
}

TEST_F(VolumeThreadsTest, ReadsDuringWritesOfOneHandle) {
  const std::string text = Pattern(1, 12 << 20);
  auto handle = CreateFile("f", O_RDWR);
  ASSERT_THAT(handle, IsOk());
  std::atomic<uint64_t> written{0};
  std::thread writer([&] {
    for (size_t at = 0; at < text.size(); at += 100'000) {
      const std::string part = text.substr(at, 100'000);
      ASSERT_THAT(volume().Write(**handle, at, part), IsOk());
      written = at + part.size();
      if (at % 1'000'000 == 0) {
        ASSERT_THAT(volume().Flush(**handle), IsOk());
      }
    }
  });
  RunAll(2, [&](int thread) {
    std::mt19937_64 random(thread);
    while (written < text.size()) {
      const uint64_t end = written;
      if (end == 0) continue;
      const uint64_t at = random() % end;
      const uint64_t size = std::min<uint64_t>(random() % 300'000, end - at);
      const auto reply = volume().Read(**handle, at, size);
      ASSERT_THAT(reply, IsOk());
      ASSERT_TRUE(reply->ToString() == text.substr(at, size));
      if (thread == 0) GetStat("f").IgnoreError();
    }
  });
  writer.join();
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  EXPECT_TRUE(*Read("f") == text);
  ExpectSameAfterReopen();
}

TEST_F(VolumeThreadsTest, BigFilesWrittenAtOnceAreAllRight) {
  RunAll(kThreads, [&](int thread) {
    ASSERT_THAT(
        Write(absl::StrCat("f", thread), Pattern(thread, (9 << 20) + thread)),
        IsOk());
  });
  for (int i = 0; i < kThreads; ++i) {
    EXPECT_TRUE(*Read(absl::StrCat("f", i)) == Pattern(i, (9 << 20) + i));
  }
  ExpectSameAfterReopen();
}

TEST_F(VolumeThreadsTest, OpensAndClosesOfOneFile) {
  ASSERT_THAT(Write("f", std::string(kThreads * 100, '.')), IsOk());
  RunAll(kThreads, [&](int thread) {
    for (int i = 0; i < 100; ++i) {
      ASSERT_THAT(WriteAt("f", thread * 100 + i,
                          std::string(1, static_cast<char>('a' + thread))),
                  IsOk());
      ASSERT_THAT(Read("f"), IsOk());
    }
  });
  std::string expected;
  for (int i = 0; i < kThreads; ++i) {
    expected += std::string(100, static_cast<char>('a' + i));
  }
  EXPECT_EQ(*Read("f"), expected);
  ExpectSameAfterReopen();
}

TEST_F(VolumeThreadsTest, SyncsCheckpointsAndCopiesMeanwhile) {
  Close();
  options().sync_interval = absl::Milliseconds(1);
  Open();
  ASSERT_THAT(Write("source", Pattern(1, 300'000)), IsOk());
  RunAll(kThreads, [&](int thread) {
    for (int i = 0; i < 100; ++i) {
      const std::string name = absl::StrCat("f", thread);
      if (thread == 0) {
        ASSERT_THAT(volume().SyncAll(), IsOk());
        ASSERT_THAT(
            volume().SetXattr(kRootIno, "user.a", std::string(20'000, 'x'), 0),
            IsOk());
        continue;
      }
      ASSERT_THAT(Write(name, "head"), IsOk());
      auto from = OpenFile("source", O_RDONLY);
      auto to = OpenFile(name, O_RDWR);
      ASSERT_THAT(volume().CopyRange(**from, i, **to, 4, 100'000), IsOk());
      ASSERT_THAT(volume().Fsync(**to), IsOk());
      ASSERT_THAT(CloseFile(*std::move(from)), IsOk());
      ASSERT_THAT(CloseFile(*std::move(to)), IsOk());
      ASSERT_TRUE(*Read(name) ==
                  "head" + Pattern(1, 300'000).substr(i, 100'000));
      Unnamed();
      ASSERT_THAT(volume().GetSpace(), IsOk());
    }
  });
  ExpectSameAfterReopen();
}

TEST_F(VolumeThreadsTest, UnlinkWhileOthersReadAndWrite) {
  for (int round = 0; round < 40; ++round) {
    ASSERT_THAT(Write("f", "text"), IsOk());
    RunAll(3, [&](int thread) {
      if (thread == 0) {
        ASSERT_THAT(Unlink("f"), IsOk());
        return;
      }
      auto handle = OpenFile("f", O_RDWR);
      if (!handle.ok()) return;
      ASSERT_THAT(volume().Write(**handle, 4, "more"), IsOk());
      ASSERT_EQ(ReadHandle(**handle), "textmore");
      ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
    });
    ASSERT_THAT(List(""), testing::IsEmpty());
  }
  EXPECT_EQ(volume().GetSpace()->inodes, 1u);
  ExpectSameAfterReopen();
}

}  // namespace
}  // namespace varve::fs
