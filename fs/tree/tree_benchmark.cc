// Measures what the tree costs. Makes a tree of many files by commits, with a
// checkpoint whenever one is due, then changes files at random. Reports the
// bytes of nodes written for each byte of the log, the time of a change, and
// the most memory that the changes since a checkpoint take.
//
//   tree_benchmark FILES CHANGES CHECKPOINT_MIB
//
// Nodes are kept in memory; no store is written.

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/entry/entry.h"
#include "fs/btree/memory_nodes.h"
#include "fs/btree/merge.h"
#include "fs/format/change.h"
#include "fs/format/commit_record.h"
#include "fs/tree/live_tree.h"

namespace varve::fs {
namespace {

constexpr uint64_t kFilesInDirectory = 1000;

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

template <typename T>
T Must(absl::StatusOr<T> result) {
  if (!result.ok()) {
    std::fprintf(stderr, "tree_benchmark: %s\n",
                 result.status().ToString().c_str());
    std::exit(1);
  }
  return *std::move(result);
}

void Must(const absl::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "tree_benchmark: %s\n", status.ToString().c_str());
  std::exit(1);
}

class Bench {
 public:
  explicit Bench(size_t limit) : limit_(limit), reader_(&nodes_) {
    tree_ = Must(LiveTree::Open(&reader_, std::nullopt, 1));
  }

  void Commit(const std::vector<Change>& changes) {
    ++time_;
    const Timestamp time = Timestamp::FromPacked(time_ << 20);
    CommitWriter record({.sequence = time_, .time = time});
    for (const Change& change : changes) record.Add(change);
    record.AddDigest();
    log_bytes_ += Align64(record.payload().size() + kMetadataSize);
    const auto start = Clock::now();
    TreeEditor editor = tree_->Edit();
    for (const Change& change : changes) Must(editor.Apply(change, time));
    tree_->Publish(editor);
    applying_ += SecondsSince(start);
    memory_ = std::max(memory_, tree_->memory());
    if (tree_->memory() > limit_) Checkpoint();
  }
  void Checkpoint() {
    const auto start = Clock::now();
    tree_->Freeze();
    std::optional<NodePointer> root =
        Must(MergeOverlay(tree_->stored(), tree_->frozen(), &nodes_));
    Overlay garbage;
    tree_->Install(root, &garbage);
    merging_ += SecondsSince(start);
    ++checkpoints_;
  }
  void Report(const char* what, uint64_t count) {
    Checkpoint();
    const uint64_t node_bytes = nodes_.bytes() - last_nodes_;
    std::printf(
        "%-8s %9llu  log %6.1f MiB  nodes %7.1f MiB  %5.2f times  "
        "%d checkpoints  %5.2f us/commit  merging %5.2f us/commit  "
        "changes in memory %.1f MiB\n",
        what, static_cast<unsigned long long>(count), log_bytes_ / 1048576.0,
        node_bytes / 1048576.0,
        static_cast<double>(node_bytes) / static_cast<double>(log_bytes_),
        checkpoints_, 1e6 * applying_ / count, 1e6 * merging_ / count,
        memory_ / 1048576.0);
    last_nodes_ = nodes_.bytes();
    log_bytes_ = 0;
    checkpoints_ = 0;
    applying_ = merging_ = 0;
    memory_ = 0;
  }
  const LiveTree& tree() const { return *tree_; }

 private:
  const size_t limit_;
  MemoryNodes nodes_;
  NodeReader reader_;
  std::unique_ptr<LiveTree> tree_;
  uint64_t time_ = 1;
  uint64_t log_bytes_ = 0;
  uint64_t last_nodes_ = 0;
  int checkpoints_ = 0;
  double applying_ = 0;
  double merging_ = 0;
  size_t memory_ = 0;
};

PutInode AnInode(uint64_t ino, uint32_t mode) {
  return {.ino = ino,
          .attributes = {.mode = mode,
                         .uid = 1000,
                         .gid = 1000,
                         .size = S_ISREG(mode) ? uint64_t{4321} : 0,
                         .mtime = Timestamp::FromPacked(ino << 25)}};
}

SetContent AContent(uint64_t ino) {
  return {.ino = ino,
          .extents = {{.length = 4321,
                       .store_offset = ino * 4544,
                       .key_hash = HashKey(absl::StrCat(ino)),
                       .entry_size = 4321,
                       .entry_crc32 = static_cast<uint32_t>(ino)}}};
}

void Run(uint64_t files, uint64_t changes, size_t limit) {
  Bench bench(limit);
  uint64_t ino = kRootIno;
  uint64_t directory = 0;
  std::vector<uint64_t> inos;
  for (uint64_t i = 0; i < files; ++i) {
    if (i % kFilesInDirectory == 0) {
      directory = ++ino;
      const std::string name = absl::StrCat("directory-", i);
      bench.Commit(
          {AnInode(ino, S_IFDIR | 0755), PutName{kRootIno, directory, name}});
    }
    const std::string name = absl::StrCat("file-number-", i, ".txt");
    ++ino;
    bench.Commit({AnInode(ino, S_IFREG | 0644), PutName{directory, ino, name}});
    bench.Commit({AnInode(ino, S_IFREG | 0644), AContent(ino)});
    inos.push_back(ino);
  }
  bench.Report("create", 2 * files);
  std::mt19937_64 random(1);
  const auto any = [&] { return inos[random() % inos.size()]; };
  for (uint64_t i = 0; i < changes; ++i) {
    bench.Commit({AnInode(any(), S_IFREG | 0600)});
  }
  bench.Report("chmod", changes);
  for (uint64_t i = 0; i < changes; ++i) {
    const uint64_t changed = any();
    bench.Commit({AnInode(changed, S_IFREG | 0600), AContent(changed)});
  }
  bench.Report("write", changes);
  const auto start = Clock::now();
  for (uint64_t i = 0; i < changes; ++i) {
    Must(bench.tree().reader().FindInode(any()));
  }
  std::printf("find an inode: %.2f us\n", 1e6 * SecondsSince(start) / changes);
}

}  // namespace
}  // namespace varve::fs

int main(int argc, char** argv) {
  uint64_t files = 0;
  uint64_t changes = 0;
  uint64_t mib = 0;
  if (argc != 4 || !absl::SimpleAtoi(argv[1], &files) ||
      !absl::SimpleAtoi(argv[2], &changes) ||
      !absl::SimpleAtoi(argv[3], &mib) || files == 0 || changes == 0) {
    std::fprintf(stderr,
                 "usage: tree_benchmark FILES CHANGES CHECKPOINT_MIB\n");
    return 2;
  }
  varve::fs::Run(files, changes, mib << 20);
  return 0;
}
