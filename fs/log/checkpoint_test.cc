// Checkpoints: what they write, what may go on meanwhile, and which tree is
// read back from them.

#include "fs/log/checkpoint.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/test_util.h"
#include "fs/log/commit.h"
#include "fs/log/core_test_util.h"
#include "fs/log/loader.h"
#include "fs/log/tree_root.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using ::testing::IsEmpty;

// A store with a tree but without a Volume.
class CheckpointTest : public testing::Test {
 protected:
  void SetUp() override { MakeCore(path_, core_); }

  absl::Status MakeDirectory(const std::string& name) {
    absl::MutexLock lock(&core_.commit_mu);
    Commit commit(core_, Timestamp::Now());
    const uint64_t ino = commit.NewIno();
    commit.Add(PutInode{.ino = ino, .attributes = {.mode = 040755}});
    commit.Add(PutName{.parent = kRootIno, .ino = ino, .name = name});
    return commit.Finish();
  }
  absl::Status Checkpoint() { return WriteCheckpoint(core_, Timestamp::Now()); }
  uint64_t Length() const { return core_.store->tail(); }

  // The names in the root directory, as a load from the store finds them.
  std::vector<std::string> ReadBack() {
    EXPECT_THAT(core_.store->Sync().status(), IsOk());
    Core core;
    auto store = Store::Open(path_, {.mode = OpenMode::kRead});
    EXPECT_THAT(store, IsOk());
    core.store = *std::move(store);
    core.identity = core_.identity;
    const auto loaded = LoadTree(core);
    EXPECT_THAT(loaded, IsOk());
    EXPECT_THAT(loaded->notes, IsEmpty());
    absl::ReaderMutexLock lock(&core.tree_mu);
    return NamesIn(core.reader());
  }
  // The segments that are known when the store is opened for writing.
  std::vector<Segment> SegmentsReadBack() {
    const std::string copy = directory_.File("copy");
    WriteWholeFile(copy, ReadWholeFile(path_));
    Core core;
    auto store = Store::Open(copy, {.mode = OpenMode::kReadWrite});
    EXPECT_THAT(store, IsOk());
    core.store = *std::move(store);
    core.identity = core_.identity;
    EXPECT_THAT(LoadTree(core), IsOk());
    absl::ReaderMutexLock lock(&core.tree_mu);
    return core.log_tree->segments.All();
  }
  static std::vector<std::string> NamesIn(const TreeReader& tree) {
    std::vector<std::string> names;
    EXPECT_THAT(tree.ForEachNameAfter({.directory = kRootIno, .place = 0},
                                      [&names](const NameItem& name) {
                                        names.emplace_back(name.text);
                                        return true;
                                      }),
                IsOk());
    return names;
  }
  std::vector<std::string> Names() {
    // What has been appended is in the tree only once the commit has ended.
    absl::MutexLock commit_lock(&core_.commit_mu);
    absl::ReaderMutexLock lock(&core_.tree_mu);
    return NamesIn(core_.reader());
  }

  const TemporaryDirectory directory_;
  const std::string path_ = directory_.File("store");
  Core core_;
};

TEST_F(CheckpointTest, TheTreeIsReadBackInItsOrder) {
  for (int i = 0; i < 3000; ++i) {
    ASSERT_THAT(MakeDirectory(absl::StrCat(i * 7919 % 3000)), IsOk());
    if (i % 1000 != 777) continue;
    ASSERT_THAT(Checkpoint(), IsOk());
  }
  EXPECT_EQ(ReadBack(), Names());
  ASSERT_THAT(Checkpoint(), IsOk());
  EXPECT_EQ(ReadBack(), Names());
}

TEST_F(CheckpointTest, WritesWhatHasChanged) {
  for (int i = 0; i < 5000; ++i) {
    ASSERT_THAT(MakeDirectory(absl::StrCat("some name ", i)), IsOk());
  }
  const uint64_t begin = Length();
  ASSERT_THAT(Checkpoint(), IsOk());
  const uint64_t all = Length() - begin;
  ASSERT_THAT(MakeDirectory("one more"), IsOk());
  const uint64_t before = Length();
  ASSERT_THAT(Checkpoint(), IsOk());
  EXPECT_LT(Length() - before, all / 10);
  EXPECT_EQ(ReadBack(), Names());
}

// A segment is known as long as the last checkpoint or the one before needs a
// node of it, and no longer. The same holds once the store is opened anew.
TEST_F(CheckpointTest, SegmentsAreForgottenWhenNoCheckpointNeedsThem) {
  std::vector<Segment> before;
  for (int i = 0; i < 60; ++i) {
    ASSERT_THAT(MakeDirectory(absl::StrCat("name ", i)), IsOk());
    ASSERT_THAT(Checkpoint(), IsOk());
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const std::vector<Segment> now = core_.log_tree->segments.All();
    std::set<uint32_t> numbers;
    for (const Segment& segment : now) numbers.insert(segment.number);
    for (const Segment& segment : before) {
      // A segment that was live is still there, if without a live byte.
      EXPECT_EQ(numbers.contains(segment.number), segment.live_bytes > 0)
          << segment.number << " after checkpoint " << i;
    }
    before = now;
  }
  // A leaf with its deltas, and as many segments for the checkpoint before.
  EXPECT_LE(before.size(), 2 * (kMaxRuns + 1));
  EXPECT_EQ(SegmentsReadBack(), before);
}

// What is committed while a checkpoint is written lies before it in the store,
// and is in the tree all the same.
TEST_F(CheckpointTest, CommitsMeanwhileAreKept) {
  std::atomic<bool> stop{false};
  std::thread writer([this, &stop] {
    for (int i = 0; !stop.load(); ++i) {
      ASSERT_THAT(MakeDirectory(absl::StrCat("name ", i)), IsOk());
    }
  });
  for (int i = 0; i < 40; ++i) {
    EXPECT_THAT(Checkpoint(), IsOk());
    if (i % 8 == 0) {
      // A moment in between: the names are the first of those that are there
      // later.
      const std::vector<std::string> read = ReadBack();
      std::vector<std::string> names = Names();
      ASSERT_LE(read.size(), names.size());
      names.resize(read.size());
      EXPECT_EQ(read, names);
    }
  }
  stop.store(true);
  writer.join();
  EXPECT_EQ(ReadBack(), Names());
}

// The nodes of a lost page are recovered, both under a mount and when the store
// is opened.
TEST_F(CheckpointTest, DamagedNodesAreBroughtBack) {
  for (int i = 0; i < 2000; ++i) {
    ASSERT_THAT(MakeDirectory(absl::StrCat("name ", i)), IsOk());
  }
  ASSERT_THAT(Checkpoint(), IsOk());
  const std::vector<std::string> names = Names();
  const Segment segment = SegmentsReadBack().front();
  const std::string sound = ReadWholeFile(path_);
  ASSERT_GT(segment.nodes_size, 10 * 4096);
  for (uint64_t at = 0; at < segment.nodes_size; at += 8000) {
    std::string bytes = sound;
    std::fill_n(
        bytes.begin() + static_cast<ptrdiff_t>(segment.nodes_offset + at),
        std::min<uint64_t>(4096, segment.nodes_size - at), '\xee');
    WriteWholeFile(path_, bytes);
    EXPECT_EQ(ReadBack(), names) << at;
  }
  EXPECT_EQ(Names(), names);
  ASSERT_THAT(MakeDirectory("new"), IsOk());
  ASSERT_THAT(Checkpoint(), IsOk());
  EXPECT_EQ(ReadBack(), Names());
  absl::ReaderMutexLock lock(&core_.tree_mu);
  const absl::Status damage = core_.log_tree->segments.TakeDamage();
  EXPECT_TRUE(absl::IsDataLoss(damage)) << damage;
  EXPECT_THAT(core_.log_tree->segments.TakeDamage(), IsOk());
}

// Any other damage is an error, and damaged bytes are never taken for something
// else.
TEST_F(CheckpointTest, LostNodesAreAnError) {
  for (int i = 0; i < 2000; ++i) {
    ASSERT_THAT(MakeDirectory(absl::StrCat("name ", i)), IsOk());
  }
  ASSERT_THAT(Checkpoint(), IsOk());
  const Segment segment = SegmentsReadBack().front();
  std::string bytes = ReadWholeFile(path_);
  std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(segment.nodes_offset),
              segment.nodes_size, '\0');
  WriteWholeFile(path_, bytes);
  absl::ReaderMutexLock lock(&core_.tree_mu);
  EXPECT_THAT(core_.reader().FindName(kRootIno, "name 7").status(),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(
      core_.reader().ForEachNameAfter({.directory = kRootIno, .place = 0},
                                      [](const NameItem&) { return true; }),
      HasCode(absl::StatusCode::kDataLoss));
}

// Access times that were put into the tree stay there, and do not come back to
// hide one that is set later.
TEST_F(CheckpointTest, AFailedCheckpointKeepsAccessTimesOnce) {
  for (int i = 0; i < 2000; ++i) {
    ASSERT_THAT(MakeDirectory(absl::StrCat("name ", i)), IsOk());
  }
  ASSERT_THAT(Checkpoint(), IsOk());
  ASSERT_THAT(MakeDirectory("new"), IsOk());
  const Segment segment = SegmentsReadBack().front();
  const Timestamp time = Timestamp::Now();
  uint64_t ino = 0;
  {
    absl::MutexLock commit_lock(&core_.commit_mu);
    absl::MutexLock lock(&core_.tree_mu);
    ino = core_.next_ino - 1;
    core_.accessed[ino] = time;
  }
  std::string bytes = ReadWholeFile(path_);
  std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(segment.nodes_offset),
              segment.nodes_size, '\0');
  WriteWholeFile(path_, bytes);
  ASSERT_THAT(Checkpoint(), HasCode(absl::StatusCode::kDataLoss));
  absl::ReaderMutexLock lock(&core_.tree_mu);
  EXPECT_TRUE(core_.accessed.empty());
  EXPECT_EQ(core_.reader().GetInode(ino)->attributes.atime, time);
}

TEST(TreeRoot, IsWhatWasEncoded) {
  const TreeRoot root = {
      .root = {.segment = 7, .offset = 100, .size = 4096, .checksum = 5},
      .previous = 1000,
      .log_begin = 1020,
      .first_data_id = 9,
      .next_segment = 8,
      .segments = {{1, 64, 5000, 5000}, {7, 8000, 4196, 1}},
      .time = Timestamp::FromPacked(12345),
      .snapshots = {{3, 0, 700}, {8, 900, 990}}};
  const std::string bytes = EncodeTreeRoot(root);
  // Where roots ended before there were moments.
  const size_t early = bytes.size() - 8 - 1 - 4 - 5;
  const auto decoded = DecodeTreeRoot(bytes);
  ASSERT_THAT(decoded, IsOk());
  EXPECT_EQ(*decoded, root);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_THAT(DecodeTreeRoot(absl::string_view(bytes).substr(0, size)),
                HasCode(size == early ? absl::StatusCode::kUnimplemented
                                      : absl::StatusCode::kDataLoss))
        << size;
  }
  EXPECT_THAT(DecodeTreeRoot(bytes + '\0'),
              HasCode(absl::StatusCode::kDataLoss));
}

TEST(TreeRoot, ImpossibleSnapshotsAreDamage) {
  for (const std::vector<MomentLocation>& snapshots :
       {std::vector<MomentLocation>{{0, 0, 0}},
        {{5, 0, 10}, {5, 0, 20}},
        {{5, 0, 10}, {4, 0, 20}},
        {{5, UINT64_MAX, 10}},
        {{5, 0, UINT64_MAX}}}) {
    EXPECT_THAT(DecodeTreeRoot(EncodeTreeRoot({.snapshots = snapshots})),
                HasCode(absl::StatusCode::kDataLoss));
  }
}

TEST(TreeRoot, ImpossibleSegmentsAreDamage) {
  const TreeRoot sound = {.root = {.size = 1}, .next_segment = 3};
  ASSERT_THAT(DecodeTreeRoot(EncodeTreeRoot(sound)), IsOk());
  const std::vector<std::vector<Segment>> impossible = {
      {{2, 64, 10, 10}, {1, 200, 10, 10}},  // out of order
      {{1, 64, 10, 10}, {1, 64, 10, 10}},   // twice
      {{0, 64, 10, 10}},                    // of no number
      {{3, 64, 10, 10}},                    // never written
      {{1, 64, 10, 11}},                    // more live than there is
      {{1, ~uint64_t{0}, 10, 10}},          // nowhere
  };
  for (const std::vector<Segment>& segments : impossible) {
    TreeRoot root = sound;
    root.segments = segments;
    EXPECT_THAT(DecodeTreeRoot(EncodeTreeRoot(root)),
                HasCode(absl::StatusCode::kDataLoss));
  }
}

}  // namespace
}  // namespace varve::fs
