// What punching takes for dead, while files are written, cloned, deleted and
// closed beside it. Volume's tests have the rest.

#include "fs/compaction/puncher.h"

#include <errno.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "fs/base/error.h"
#include "fs/log/checkpoint.h"
#include "fs/log/commit.h"
#include "fs/log/core_test_util.h"
#include "fs/log/loader.h"
#include "gmock/gmock.h"

namespace varve::fs {
namespace {

constexpr uint64_t kFiles = 12;

uint64_t Seed() {
  uint64_t seed = 1;
  const char* const given = std::getenv("VARVE_TEST_SEED");
  if (given != nullptr && !absl::SimpleAtoi(given, &seed)) seed = 1;
  return seed;
}

// Files with nothing but content, in a store of their own, and what they hold.
class Files {
 public:
  Files(const std::string& path, uint64_t seed) : random_(seed) {
    MakeCore(path, core_);
    absl::MutexLock lock(&core_.tree_mu);
    core_.is_in_use = [this](uint64_t ino) { return open_.contains(ino); };
  }

  Core& core() { return core_; }

  // One step of somebody's, as an operation of Volume holds its locks.
  void Step() {
    absl::ReaderMutexLock relocation(&core_.relocation_mu);
    absl::MutexLock lock(&core_.commit_mu);
    const uint64_t ino = kRootIno + 1 + random_() % kFiles;
    switch (random_() % 8) {
      case 0:
      case 1:
      case 2:
        return Write(ino);
      case 3:
      case 4:
        return Clone(ino);
      case 5:
        return Delete(ino, /*is_open=*/false);
      case 6:
        return Delete(ino, /*is_open=*/true);
      default:
        return CloseAll();
    }
  }

  // Whether each has the bytes that it should have.
  void ExpectAll() {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    for (const auto& [ino, content] : contents_) {
      EXPECT_EQ(ContentOf(core_.reader(), ino), content) << "inode " << ino;
    }
    for (const auto& [ino, content] : open_) {
      EXPECT_EQ(ContentOf(core_.orphans.reader(), ino), content)
          << "deleted inode " << ino;
    }
  }

 private:
  uint64_t NumberOf(uint64_t ino) { return ino + generation_[ino] * 1000; }

  absl::StatusOr<std::vector<Extent>> ExtentsOf(const TreeReader& reader,
                                                uint64_t ino) {
    std::vector<Extent> extents;
    const auto inode = reader.GetInode(ino);
    if (!inode.ok()) return inode.status();
    const absl::Status status = reader.ForEachExtent(
        *inode, 0, kMaxFileSize, [&extents](const Extent& extent) {
          extents.push_back(extent);
          return true;
        });
    if (!status.ok()) return status;
    return extents;
  }

  std::string ContentOf(const TreeReader& reader, uint64_t ino) {
    const auto extents = ExtentsOf(reader, ino);
    if (!extents.ok()) return extents.status().ToString();
    std::string content;
    for (const Extent& extent : *extents) {
      const auto bytes = core_.store->View(extent.store_offset, extent.length);
      if (!bytes.ok()) return bytes.status().ToString();
      content.append(reinterpret_cast<const char*>(bytes->bytes.data()),
                     bytes->bytes.size());
    }
    return content;
  }

  void Put(Commit& commit, uint64_t number, const std::string& content,
           Extent extent) {
    commit.Add(PutInode{
        .ino = number,
        .attributes = {.mode = S_IFREG | 0644, .size = content.size()}});
    commit.Add(SetContent{.ino = number, .extents = {extent}});
    EXPECT_THAT(commit.Finish(), IsOk());
    contents_[number] = content;
  }

  void Write(uint64_t ino) ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu) {
    const uint64_t number = NumberOf(ino);
    const std::string content = Pattern(random_(), 5000 + random_() % 20'000);
    // Under a path of its own, or as data.
    const uint64_t key = random_() % 2 == 0
                             ? HashKey(std::to_string(number))
                             : core_.identity.DataKeyHash(core_.NewDataId());
    Commit commit(core_, Timestamp::Now());
    const Extent extent = commit.AddEntry(key, {AsBytes(content)});
    Put(commit, number, content, extent);
  }

  // Of any other file, also one that was deleted and is open.
  void Clone(uint64_t ino) ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu) {
    const auto& from =
        random_() % 2 == 0 || contents_.empty() ? open_ : contents_;
    if (from.empty()) return;
    const auto& [source, content] =
        *std::next(from.begin(), static_cast<long>(random_() % from.size()));
    const uint64_t number = NumberOf(ino);
    if (source == number) return;
    absl::StatusOr<std::vector<Extent>> extents;
    {
      absl::ReaderMutexLock lock(&core_.tree_mu);
      extents = ExtentsOf(
          &from == &open_ ? core_.orphans.reader() : core_.reader(), source);
    }
    ASSERT_THAT(extents, IsOk());
    ASSERT_EQ(extents->size(), 1u);
    Extent extent = extents->front();
    extent.shared = true;
    const std::string copy = content;
    Commit commit(core_, Timestamp::Now());
    Put(commit, number, copy, extent);
  }

  void Delete(uint64_t ino, bool is_open)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu) {
    const uint64_t number = NumberOf(ino);
    const auto it = contents_.find(number);
    if (it == contents_.end()) return;
    if (is_open) open_.insert(*it);
    contents_.erase(it);
    const uint64_t key = HashKey(std::to_string(number));
    Commit commit(core_, Timestamp::Now());
    if (core_.store->Exists(EntryKey::OfHash(key))) commit.AddTombstone(key);
    commit.Add(DropInode{.ino = number});
    EXPECT_THAT(commit.Finish(), IsOk());
    ++generation_[ino];  // numbers are not used again
  }

  void CloseAll() {
    absl::MutexLock lock(&core_.tree_mu);
    for (const auto& [ino, content] : open_) core_.orphans.Remove(ino);
    open_.clear();
  }

  Core core_;
  std::mt19937_64 random_;
  std::map<uint64_t, std::string> contents_;  // of files in the tree
  std::map<uint64_t, std::string> open_;      // of deleted ones
  std::map<uint64_t, uint64_t> generation_;
};

class PuncherTest : public testing::Test {
 protected:
  absl::Status Punch(Files& files, size_t most_ranges, size_t most_dead) {
    monitor_.Begin({.punch = true});
    Core& core = files.core();
    UnnamedEntries unnamed(core);
    Puncher puncher({.core = core,
                     .open_files = open_files_,
                     .monitor = monitor_,
                     .now = [] { return Timestamp::Now(); },
                     .unnamed = unnamed,
                     .copy_gate = copy_gate_,
                     .answers = answers_,
                     .sync = [&core] { return core.store->Sync().status(); },
                     .forget = true,
                     .most_ranges = most_ranges,
                     .most_dead = most_dead});
    return puncher.Run();
  }
  uint64_t Allocated(Files& files) {
    return files.core().store->Info()->allocated;
  }

  TemporaryDirectory directory_;
  OpenFiles open_files_;
  CompactionMonitor monitor_;
  CopyGate copy_gate_;
  ReadSections answers_;
};

TEST_F(PuncherTest, SeveralPassesPunchAsMuchAsOne) {
  std::vector<uint64_t> left;
  for (const size_t most : {UsedRanges::kMost, size_t{2}, size_t{5}}) {
    Files files(directory_.File(std::to_string(most)), /*seed=*/7);
    for (int i = 0; i < 300; ++i) {
      files.Step();
      if (i % 100 == 50) {
        ASSERT_THAT(WriteCheckpoint(files.core(), Timestamp::Now()), IsOk());
      }
    }
    const uint64_t before = Allocated(files);
    const absl::Status status = Punch(files, most, most);
    if (ErrnoOf(status) == EOPNOTSUPP) GTEST_SKIP() << "no holes on this host";
    ASSERT_THAT(status, IsOk());
    files.ExpectAll();
    left.push_back(Allocated(files));
    EXPECT_LT(left.back(), before / 2);
  }
  // A commit and its tombstones more, each time that some were gathered.
  for (const uint64_t bytes : left) EXPECT_LT(bytes, left[0] + 100'000);
}

// Somebody writes, clones and deletes all the time; checkpoints come, too.
TEST_F(PuncherTest, NothingThatIsInUseIsPunched) {
  constexpr int kSteps = 800;
  const uint64_t seed = Seed();
  std::printf("seed %lu\n", static_cast<unsigned long>(seed));
  Files files(directory_.File("store"), seed);
  for (int i = 0; i < 50; ++i) files.Step();
  std::atomic<bool> ended{false};
  std::thread client([&] {
    for (int i = 0; i < kSteps; ++i) {
      files.Step();
      if (i % 50 > 0) continue;
      EXPECT_THAT(WriteCheckpoint(files.core(), Timestamp::Now()), IsOk());
    }
    ended.store(true);
  });
  absl::Status status;
  std::mt19937_64 random(seed);
  do {
    status = Punch(files, 50 + random() % 200, 10 + random() % 20);
  } while (status.ok() && !ended.load());
  client.join();
  if (ErrnoOf(status) == EOPNOTSUPP) GTEST_SKIP() << "no holes on this host";
  ASSERT_THAT(status, IsOk());
  ASSERT_THAT(Punch(files, 50, 10), IsOk());
  files.ExpectAll();
}

}  // namespace
}  // namespace varve::fs
