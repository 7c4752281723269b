// Compares LiveTree with Tree, the model that keeps everything in memory.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/test_util.h"
#include "fs/btree/memory_nodes.h"
#include "fs/btree/merge.h"
#include "fs/format/change.h"
#include "fs/format/extent.h"
#include "fs/format/timestamp.h"
#include "fs/tree/live_tree.h"
#include "fs/tree/tree.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

constexpr uint64_t kSeed = 0x5eed;
constexpr uint64_t kLargestIno = 40;

Timestamp At(uint64_t seconds) { return Timestamp::FromPacked(seconds << 30); }

Extent Data(uint64_t file_offset, uint64_t length, uint64_t entry,
            uint64_t skip = 0) {
  return {.file_offset = file_offset,
          .length = length,
          .store_offset = 64 * entry + skip,
          .key_hash = entry,
          .entry_offset = skip,
          .entry_size = skip + length + 10,
          .entry_crc32 = static_cast<uint32_t>(entry)};
}

std::string Describe(const Attributes& a) {
  return absl::StrCat(a.mode, " ", a.uid, " ", a.gid, " ", a.rdev, " ", a.size,
                      " ", a.generation, " ", a.atime.packed(), " ",
                      a.mtime.packed(), " ", a.ctime.packed(), " ",
                      a.btime.packed());
}

std::string Describe(const Extent& e) {
  return absl::StrCat(e.file_offset, "+", e.length, "@", e.store_offset, "/",
                      e.key_hash, ":", e.entry_offset, "/", e.entry_size, "#",
                      e.entry_crc32, e.shared ? "s" : "");
}

// A whole tree as text, with a line for each inode.
std::vector<std::string> Describe(const Tree& tree) {
  std::vector<std::string> lines;
  // Inodes without a name, too.
  for (uint64_t ino = 0; ino <= kLargestIno; ++ino) {
    const Inode* const inode = tree.Find(ino);
    if (inode == nullptr) continue;
    std::string line =
        absl::StrCat(inode->ino, " ", Describe(inode->attributes), " links ",
                     inode->nlink(), " data ", inode->data_bytes());
    std::set<std::string> paths;
    for (const Name* name = inode->names; name; name = name->next_link()) {
      paths.insert(Tree::PathOf(*name));
    }
    absl::StrAppend(&line, " paths ", absl::StrJoin(paths, ","));
    if (inode->is_directory()) {
      inode->directory().ForEachAfter(0, [&](const Name& name) {
        absl::StrAppend(&line, " [", name.text(), " ", name.inode->ino, "]");
        return true;
      });
    }
    const ExtentMap content = Tree::ContentOf(*inode);
    for (const auto& [at, e] : content.extents()) {
      absl::StrAppend(&line, " ", Describe(e));
    }
    if (inode->detail != nullptr) {
      if (const uint64_t patched = inode->detail->patched; patched > 0) {
        absl::StrAppend(&line, " patched ", patched);
      }
      for (const auto& [name, value] : inode->detail->xattrs) {
        absl::StrAppend(&line, " ", name, "=", value.size(), ":",
                        value.substr(0, 8));
      }
    }
    lines.push_back(line);
  }
  for (const auto& [begin, end] : tree.unfinished().ranges()) {
    lines.push_back(absl::StrCat("ids ", begin, "-", end));
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

std::string Describe(const TreeReader& tree, const InodeItem& inode) {
  std::string line =
      absl::StrCat(inode.ino, " ", Describe(inode.attributes), " links ",
                   inode.nlink(), " data ", inode.data_bytes());
  std::set<std::string> paths;
  EXPECT_THAT(tree.ForEachLink(inode,
                               [&](NamePlace place) {
                                 paths.insert(*tree.PathOf(place));
                                 return true;
                               }),
              IsOk());
  absl::StrAppend(&line, " paths ", absl::StrJoin(paths, ","));
  uint64_t names = 0;
  EXPECT_THAT(tree.ForEachNameAfter(
                  {inode.ino, 0},
                  [&](const NameItem& name) {
                    absl::StrAppend(&line, " [", name.text, " ", name.ino, "]");
                    EXPECT_EQ((*tree.FindName(inode.ino, name.text))->place,
                              name.place);
                    EXPECT_EQ(tree.GetInode(name.ino)->attributes.mode & S_IFMT,
                              name.mode_type());
                    ++names;
                    return true;
                  }),
              IsOk());
  EXPECT_EQ(names, inode.name_count);
  uint64_t extents = 0;
  EXPECT_THAT(tree.ForEachExtent(inode, 0, kMaxFileSize,
                                 [&](const Extent& e) {
                                   absl::StrAppend(&line, " ", Describe(e));
                                   ++extents;
                                   return true;
                                 }),
              IsOk());
  if (!inode.whole_entry.has_value()) {
    EXPECT_EQ(extents, inode.extent_count);
  }
  std::string xattrs;
  EXPECT_THAT(tree.ForEachXattr(
                  inode.ino,
                  [&](absl::string_view name) {
                    const std::string value = **tree.FindXattr(inode.ino, name);
                    absl::StrAppend(&xattrs, " ", name, "=", value.size(), ":",
                                    value.substr(0, 8));
                    return true;
                  }),
              IsOk());
  if (inode.patched > 0) absl::StrAppend(&line, " patched ", inode.patched);
  return line + xattrs;
}

std::vector<std::string> Describe(const TreeReader& tree) {
  std::vector<std::string> lines;
  EXPECT_THAT(tree.ForEachInode([&](const InodeItem& inode) {
    lines.push_back(Describe(tree, inode));
    return true;
  }),
              IsOk());
  EXPECT_THAT(tree.ForEachUnfinished([&](uint64_t begin, uint64_t end) {
    lines.push_back(absl::StrCat("ids ", begin, "-", end));
    return true;
  }),
              IsOk());
  std::sort(lines.begin(), lines.end());
  return lines;
}

// Applies the same changes, valid and invalid, to both trees, with checkpoints
// and reopenings in between.
class ModelRound {
 public:
  explicit ModelRound(uint64_t seed) : random_(seed), reader_(&nodes_) {
    live_ = *LiveTree::Open(&reader_, std::nullopt, kSeed);
    // The root of the model is made without a time.
    CommitBoth({PutInode{kRootIno, {.mode = S_IFDIR | 0755}}});
  }

  void Run(int commits) {
    for (int i = 0; i < commits && !testing::Test::HasFailure(); ++i) {
      Commit();
      const uint64_t event = Below(100);
      if (event < 2) Checkpoint();
      if (event == 2 && !live_->is_frozen()) live_->Freeze();
      if (event == 3 && live_->is_frozen()) live_->Thaw();
      if (event == 4 && live_->is_frozen()) Install();
      if (event == 5 || i + 1 == commits) Compare();
    }
  }

 private:
  uint64_t Below(uint64_t n) {
    return std::uniform_int_distribution<uint64_t>(0, n - 1)(random_);
  }
  uint64_t AnyIno() { return 1 + Below(kLargestIno); }
  std::string AnyName() { return absl::StrCat("n", Below(12)); }
  Extent AnyExtent() {
    const uint64_t offset = 16 * Below(20);
    const uint64_t length = 16 * (1 + Below(6));
    if (Below(5) == 0) return Extent::Hole(offset, length);
    // Chosen such that neighbours often continue each other.
    const uint64_t entry = 1 + Below(3);
    Extent extent = {.file_offset = offset,
                     .length = length,
                     .store_offset = 4096 * entry + offset,
                     .key_hash = entry,
                     .entry_offset = offset,
                     .entry_size = 1000,
                     .entry_crc32 = static_cast<uint32_t>(entry),
                     .shared = Below(6) == 0};
    return extent;
  }
  Change AnyChange() {
    strings_.push_back(AnyName());
    const std::string& name = strings_.back();
    switch (Below(12)) {
      case 0:
      case 1: {
        const uint64_t ino = AnyIno();
        const uint32_t types[] = {S_IFDIR, S_IFREG, S_IFLNK, S_IFREG};
        return PutInode{.ino = ino,
                        .attributes = {.mode = types[ino % 4] | 0600,
                                       .uid = uint32_t(Below(3)),
                                       .size = ino % 4 == 0 ? 0 : Below(300),
                                       .atime = At(Below(3)),
                                       .mtime = At(Below(3)),
                                       .ctime = At(Below(3)),
                                       .btime = At(Below(3))}};
      }
      case 2:
        return DropInode{AnyIno()};
      case 3:
      case 4:
      case 5:
        return PutName{AnyIno(), AnyIno(), name};
      case 6:
      case 7:
        return DropName{AnyIno(), name};
      case 8: {
        SetContent set = {.ino = AnyIno()};
        if (const Inode* inode = model_.Find(set.ino);
            inode != nullptr && Below(2) == 0 && inode->attributes.size > 0) {
          set.extents.push_back(Data(0, inode->attributes.size, 9));
          set.extents[0].entry_size = inode->attributes.size;
        } else {
          for (uint64_t n = Below(4); n > 0; --n) {
            set.extents.push_back(AnyExtent());
          }
        }
        return set;
      }
      case 9: {
        PatchContent patch = {.ino = AnyIno()};
        for (uint64_t n = 1 + Below(3); n > 0; --n) {
          patch.extents.push_back(AnyExtent());
        }
        return patch;
      }
      case 10: {
        strings_.push_back(std::string(Below(3) * Below(3000), 'v'));
        const std::string& value = strings_.back();
        if (Below(2) == 0) return DropXattr{AnyIno(), name};
        return SetXattr{AnyIno(), name, value};
      }
      default: {
        const uint64_t begin = Below(200);
        return KeepUnfinished{begin, begin + Below(9)};
      }
    }
  }
  void Commit() {
    strings_.clear();
    std::vector<Change> changes;
    for (uint64_t n = 1 + Below(4); n > 0; --n) changes.push_back(AnyChange());
    CommitBoth(changes);
  }
  void CommitBoth(const std::vector<Change>& changes) {
    const Timestamp time = At(++time_);
    TreeEditor editor = live_->Edit();
    model_.BeginCommit();
    for (const Change& change : changes) {
      const absl::Status expected = model_.Apply(change, time);
      const absl::Status status = editor.Apply(change, time);
      EXPECT_EQ(status.ok(), expected.ok())
          << "change of kind " << change.index() << ": " << status << ", not "
          << expected;
    }
    live_->Publish(editor);
  }
  void Checkpoint() {
    if (!live_->is_frozen()) live_->Freeze();
    Install();
    if (Below(2) == 0) return;
    // Reopening loses what came after the last checkpoint, so put all changes
    // into one first.
    live_->Freeze();
    Install();
    auto reopened = LiveTree::Open(&reader_, live_->stored().root(), kSeed);
    ASSERT_THAT(reopened, IsOk());
    live_ = *std::move(reopened);
  }
  void Install() {
    auto root = MergeOverlay(live_->stored(), live_->frozen(), &nodes_);
    ASSERT_THAT(root, IsOk());
    Overlay garbage;
    live_->Install(*root, &garbage);
  }
  void Compare() {
    EXPECT_EQ(Describe(live_->reader()), Describe(model_));
    const TreeTotals& totals = live_->totals();
    EXPECT_EQ(totals.inodes, model_.inode_count());
    EXPECT_EQ(totals.names, model_.name_count());
    EXPECT_EQ(totals.extents, model_.extent_count());
    EXPECT_EQ(totals.content_bytes, model_.content_bytes());
    EXPECT_EQ(totals.data_bytes, model_.data_bytes());
    EXPECT_EQ(totals.may_have_clones, model_.may_have_clones());
  }
  std::mt19937_64 random_;
  uint64_t time_ = 10;
  std::deque<std::string> strings_;
  MemoryNodes nodes_;
  NodeReader reader_;
  std::unique_ptr<LiveTree> live_;
  Tree model_;
};

TEST(LiveTreeModelTest, IsTheTreeInMemory) {
  // For a million commits, set VARVE_TREE_ROUNDS=700.
  uint64_t rounds = 8;
  if (const char* text = getenv("VARVE_TREE_ROUNDS")) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &rounds));
  }
  for (uint64_t seed = 1; seed <= rounds; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    ModelRound(seed).Run(1500);
    if (testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace varve::fs
