// Compares the difference of two trees with that of two maps.

#include "fs/btree/tree_diff.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "engine/base/test_util.h"
#include "fs/btree/memory_nodes.h"
#include "fs/btree/merge.h"
#include "fs/btree/overlay.h"
#include "fs/btree/stored_tree.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Model = std::map<std::string, std::string>;

struct Difference {
  std::string key;
  std::optional<std::string> before;
  std::optional<std::string> after;

  friend bool operator==(const Difference&, const Difference&) = default;
};
using Differences = std::vector<Difference>;

void PrintTo(const Difference& difference, std::ostream* out) {
  *out << difference.key << ": " << difference.before.value_or("nothing")
       << " -> " << difference.after.value_or("nothing");
}

Differences Compare(const Model& before, const Model& after) {
  Model all = before;
  all.insert(after.begin(), after.end());
  Differences found;
  for (const auto& [key, value] : all) {
    Difference difference = {.key = key};
    if (before.contains(key)) difference.before = before.at(key);
    if (after.contains(key)) difference.after = after.at(key);
    if (difference.before != difference.after) found.push_back(difference);
  }
  return found;
}

// Counts how many nodes are read.
class CountingSource final : public NodeSource {
 public:
  explicit CountingSource(const NodeSource* nodes) : nodes_(nodes) {}

  absl::StatusOr<absl::string_view> Fetch(
      const NodePointer& pointer) const override {
    ++count_;
    return nodes_->Fetch(pointer);
  }
  absl::StatusOr<absl::string_view> Recover(
      const NodePointer& pointer) const override {
    return nodes_->Recover(pointer);
  }
  int count() const { return count_; }

 private:
  const NodeSource* const nodes_;
  mutable int count_ = 0;
};

// A tree and what it should hold. Copies are moments of the past.
class TestTree {
 public:
  explicit TestTree(MemoryNodes* nodes) : nodes_(nodes) {}

  void Put(const std::string& key, const std::string& value) {
    overlays_.front().Put(key, value);
    model_[key] = value;
  }
  void Erase(const std::string& key) {
    overlays_.front().Erase(key);
    model_.erase(key);
  }
  // Begins another overlay above those there are.
  void Cover() { overlays_.insert(overlays_.begin(), Overlay()); }
  // Moves all changes from the overlays to the stored tree.
  void Checkpoint() {
    for (; !overlays_.empty(); overlays_.pop_back()) {
      const NodeReader reader(nodes_);
      const StoredTree stored(&reader, root_);
      const auto root = MergeOverlay(stored, overlays_.back(), nodes_);
      ASSERT_THAT(root, IsOk());
      root_ = *root;
    }
    Cover();
  }

  size_t overlay_count() const { return overlays_.size(); }
  const std::vector<Overlay>& overlays() const { return overlays_; }
  const std::optional<NodePointer>& root() const { return root_; }
  const Model& model() const { return model_; }
  const MemoryNodes& nodes() const { return *nodes_; }

 private:
  MemoryNodes* nodes_;
  std::optional<NodePointer> root_;
  std::vector<Overlay> overlays_ = {Overlay()};  // newest first
  Model model_;
};

// Reads a tree, and counts the nodes that it reads.
class View {
 public:
  using Overlays = absl::InlinedVector<const Overlay*, 3>;

  explicit View(const TestTree& tree)
      : View(&tree.nodes(), tree.root(), PointersTo(tree.overlays())) {}
  View(const NodeSource* nodes, std::optional<NodePointer> root,
       Overlays overlays = PointersTo({}))
      : source_(nodes),
        reader_(&source_),
        stored_(&reader_, root),
        layers_(std::move(overlays), &stored_) {}
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  const LayeredTree& layers() const { return layers_; }
  int reads() const { return source_.count(); }

 private:
  static Overlays PointersTo(const std::vector<Overlay>& overlays) {
    Overlays pointers;
    for (const Overlay& overlay : overlays) pointers.push_back(&overlay);
    return pointers;
  }

  CountingSource source_;
  NodeReader reader_;
  StoredTree stored_;
  LayeredTree layers_;
};

absl::Status Diff(const View& before, const View& after, NodeSharing sharing,
                  Differences* found) {
  return DiffTrees(before.layers(), after.layers(), sharing,
                   [found](const ItemDifference& item) -> absl::StatusOr<bool> {
                     Difference difference = {.key = std::string(item.key)};
                     if (item.before.has_value())
                       difference.before.emplace(*item.before);
                     if (item.after.has_value())
                       difference.after.emplace(*item.after);
                     found->push_back(std::move(difference));
                     return true;
                   });
}

Differences DiffOf(const TestTree& before, const TestTree& after,
                   NodeSharing sharing = NodeSharing::kOneStore) {
  Differences found;
  EXPECT_THAT(Diff(View(before), View(after), sharing, &found), IsOk());
  return found;
}

void ExpectRightDiff(const TestTree& before, const TestTree& after) {
  const Differences expected = Compare(before.model(), after.model());
  EXPECT_EQ(DiffOf(before, after), expected);
  EXPECT_EQ(DiffOf(before, after, NodeSharing::kNone), expected);
  EXPECT_EQ(DiffOf(after, before), Compare(after.model(), before.model()));
}

std::string Key(uint64_t number) {
  return absl::StrCat("k", absl::Dec(number, absl::kZeroPad8));
}

class TreeDiffTest : public ::testing::Test {
 protected:
  TestTree NewTree(uint64_t items = 0) {
    TestTree tree(&nodes_);
    for (uint64_t i = 0; i < items; ++i) tree.Put(Key(i), absl::StrCat(i));
    if (items > 0) tree.Checkpoint();
    return tree;
  }

  MemoryNodes nodes_;
};

TEST_F(TreeDiffTest, EmptyTreesAreEqual) {
  EXPECT_THAT(DiffOf(NewTree(), NewTree()), IsEmpty());
}

TEST_F(TreeDiffTest, FromAndToNothingIsEverything) {
  const TestTree tree = NewTree(3000);
  ExpectRightDiff(NewTree(), tree);
  EXPECT_EQ(DiffOf(NewTree(), tree).size(), 3000);
}

TEST_F(TreeDiffTest, EqualTreesAreNotRead) {
  const TestTree tree = NewTree(3000);
  const View before(tree);
  const View after(tree);
  Differences found;
  EXPECT_THAT(Diff(before, after, NodeSharing::kOneStore, &found), IsOk());
  EXPECT_THAT(found, IsEmpty());
  EXPECT_EQ(before.reads() + after.reads(), 0);
}

TEST_F(TreeDiffTest, FewChangesAreFoundByReadingFewNodes) {
  const TestTree before = NewTree(200'000);
  TestTree after = before;
  std::mt19937_64 random(1);
  for (int i = 0; i < 100; ++i) {
    const std::string key = Key(random() % 250'000);
    if (i % 3 == 0) {
      after.Erase(key);
    } else {
      after.Put(key, "another value");
    }
  }
  after.Checkpoint();
  const View view_before(before);
  const View view_after(after);
  Differences found;
  EXPECT_THAT(Diff(view_before, view_after, NodeSharing::kOneStore, &found),
              IsOk());
  EXPECT_EQ(found, Compare(before.model(), after.model()));
  // A leaf and its delta for each change, and all that is above leaves.
  EXPECT_LT(view_before.reads() + view_after.reads(), 300);
}

TEST_F(TreeDiffTest, TreesOfDifferentHeights) {
  TestTree low = NewTree(5);
  TestTree high = low;
  for (uint64_t i = 0; i < 20'000; ++i) high.Put(Key(i), std::string(90, 'v'));
  high.Checkpoint();
  ExpectRightDiff(low, high);
  // The leaf on the left is what remains of the high tree.
  TestTree again = high;
  for (uint64_t i = 20; i < 20'000; ++i) again.Erase(Key(i));
  again.Checkpoint();
  ExpectRightDiff(high, again);
}

TEST_F(TreeDiffTest, AGrownTreeSharesTheLowerOne) {
  const TestTree before = NewTree(100'000);
  TestTree after = before;
  for (uint64_t i = 0; i < 100'000; ++i) {
    after.Put(Key(1'000'000 + i), std::string(90, 'v'));
  }
  after.Checkpoint();
  const View view_before(before);
  const View view_after(after);
  Differences found;
  EXPECT_THAT(Diff(view_before, view_after, NodeSharing::kOneStore, &found),
              IsOk());
  EXPECT_EQ(found.size(), 100'000);
  // Its inner nodes, and a leaf at the edge.
  EXPECT_LT(view_before.reads(), 20);
}

TEST_F(TreeDiffTest, DeltasOverDeltas) {
  const TestTree before = NewTree(500);
  TestTree after = before;
  for (uint64_t i = 0; i < 10; ++i) {
    if (i % 2 == 0) {
      after.Erase(Key(40 + i));
    } else {
      after.Put(Key(30 + i), "changed");
    }
    after.Checkpoint();
    ExpectRightDiff(before, after);
  }
  // Back to what it was, in other nodes.
  for (const auto& [key, value] : before.model()) after.Put(key, value);
  after.Checkpoint();
  EXPECT_NE(before.root(), after.root());
  EXPECT_THAT(DiffOf(before, after), IsEmpty());
}

TEST_F(TreeDiffTest, OverlaysHideAndMakeDifferences) {
  TestTree before = NewTree(100);
  TestTree after = before;
  after.Put(Key(1), "stored");
  after.Put(Key(2), "stored, too");
  after.Erase(Key(3));
  after.Checkpoint();
  before.Put(Key(1), "stored");  // as after has it
  after.Put(Key(3), "3");        // as before has it
  after.Put(Key(4), "4");        // as it was
  after.Erase(Key(5));
  before.Put(Key(6), "changed");
  before.Erase(Key(7));
  after.Erase(Key(7));
  before.Cover();
  before.Put(Key(6), "6");  // and changed back
  before.Put(Key(8), "old");
  after.Put(Key(8), "new");
  EXPECT_THAT(DiffOf(before, after),
              ElementsAre(Difference{Key(2), "2", "stored, too"},
                          Difference{Key(5), "5", std::nullopt},
                          Difference{Key(8), "old", "new"}));
  ExpectRightDiff(before, after);
}

TEST_F(TreeDiffTest, TreesOfDifferentStores) {
  MemoryNodes others;
  const TestTree before = NewTree(2000);
  TestTree after(&others);
  for (const auto& [key, value] : before.model()) after.Put(key, value);
  after.Checkpoint();
  EXPECT_THAT(DiffOf(before, after, NodeSharing::kNone), IsEmpty());
  // Equal pointers mean nothing.
  ASSERT_EQ(before.root(), after.root());
  const View view_before(before);
  const View view_after(after);
  Differences found;
  EXPECT_THAT(Diff(view_before, view_after, NodeSharing::kNone, &found),
              IsOk());
  EXPECT_GT(view_before.reads(), 5);
  EXPECT_EQ(view_after.reads(), view_before.reads());
  after.Put(Key(7), "changed");
  after.Checkpoint();
  EXPECT_THAT(DiffOf(before, after, NodeSharing::kNone),
              ElementsAre(Difference{Key(7), "7", "changed"}));
}

TEST_F(TreeDiffTest, TheVisitorEndsIt) {
  const TestTree before = NewTree();
  TestTree after = NewTree(300);
  after.Put(Key(400), "in the overlay");
  for (const size_t wanted : {size_t{1}, size_t{20}, size_t{301}}) {
    size_t count = 0;
    const View view(after);
    EXPECT_THAT(
        DiffTrees(View(before).layers(), view.layers(), NodeSharing::kOneStore,
                  [&](const ItemDifference&) -> absl::StatusOr<bool> {
                    return ++count < wanted;
                  }),
        IsOk());
    EXPECT_EQ(count, wanted);
    EXPECT_THAT(
        DiffTrees(View(before).layers(), view.layers(), NodeSharing::kOneStore,
                  [&](const ItemDifference&) -> absl::StatusOr<bool> {
                    if (--count == 0) return absl::AbortedError("");
                    return true;
                  }),
        HasCode(absl::StatusCode::kAborted));
  }
}

TEST_F(TreeDiffTest, DamageIsAnErrorUnlessItIsShared) {
  const TestTree before = NewTree(2000);
  TestTree after = before;
  for (uint64_t i = 0; i < 1000; i += 100) after.Put(Key(i), "changed");
  after.Checkpoint();
  const Differences expected = Compare(before.model(), after.model());
  int errors = 0;
  int passed = 0;
  for (size_t i = 0; i < nodes_.count(); ++i) {
    std::string& node = nodes_.node(i);
    const std::string sound = node;
    node[node.size() / 2] ^= 1;
    Differences found;
    const absl::Status status =
        Diff(View(before), View(after), NodeSharing::kOneStore, &found);
    if (status.ok()) {
      EXPECT_EQ(found, expected);
      ++passed;
    } else {
      EXPECT_THAT(status, HasCode(absl::StatusCode::kDataLoss));
      // What was found before it is right.
      ASSERT_LE(found.size(), expected.size());
      EXPECT_TRUE(std::equal(found.begin(), found.end(), expected.begin()));
      ++errors;
    }
    node = sound;
  }
  EXPECT_GT(errors, 2);
  EXPECT_GT(passed, 2);
}

// Trees in which a node stands in two places, is of a wrong level, has too many
// deltas, or has no pointer where one belongs.
TEST_F(TreeDiffTest, HostileTreesAreErrors) {
  NodeBuilder leaf;
  leaf.Add("a", "1");
  leaf.Add("b", "2");
  std::string pointer;
  EncodePointer(*nodes_.Append(leaf.Build(0)), &pointer);
  NodeBuilder twice;
  twice.Add("", pointer);
  twice.Add("b", pointer);
  const NodePointer shared = *nodes_.Append(twice.Build(1));
  NodeBuilder wrong;
  wrong.Add("", pointer);
  const NodePointer high = *nodes_.Append(wrong.Build(5));
  NodeBuilder deltas;
  for (size_t i = 0; i < kMaxRuns; ++i) {
    deltas.Add("a", absl::StrCat(i));
    const NodePointer delta = *nodes_.Append(deltas.Build(0, pointer));
    pointer.clear();
    EncodePointer(delta, &pointer);
  }
  const NodePointer deep = *DecodePointer(pointer);
  NodeBuilder malformed;
  malformed.Add("", "no pointer");
  const NodePointer lost = *nodes_.Append(malformed.Build(1));
  const TestTree sound = NewTree(100);
  for (const NodePointer& root : {shared, high, deep, lost}) {
    SCOPED_TRACE(root.offset);
    for (const auto& other : {std::optional<NodePointer>(), sound.root()}) {
      Differences found;
      EXPECT_THAT(Diff(View(&nodes_, root), View(&nodes_, other),
                       NodeSharing::kOneStore, &found),
                  HasCode(absl::StatusCode::kDataLoss));
      EXPECT_THAT(Diff(View(&nodes_, other), View(&nodes_, root),
                       NodeSharing::kOneStore, &found),
                  HasCode(absl::StatusCode::kDataLoss));
    }
  }
}

class RandomDiffTest : public TreeDiffTest,
                       public ::testing::WithParamInterface<int> {};

TEST_P(RandomDiffTest, AnyTwoMoments) {
  std::mt19937_64 random(static_cast<uint64_t>(GetParam()));
  const uint64_t range = 100 + random() % 8000;
  std::vector<TestTree> moments = {NewTree()};
  TestTree tree = moments.front();
  for (int step = 0; step < 30; ++step) {
    const uint64_t changes =
        random() % 4 == 0 ? random() % 2000 : random() % 30;
    const uint64_t mostly_erases = random() % 3;
    const uint64_t base = random() % range;
    for (uint64_t i = 0; i < changes; ++i) {
      const std::string key =
          Key(random() % 3 == 0 ? random() % range : (base + i) % range);
      if (random() % 3 < mostly_erases) {
        tree.Erase(key);
      } else {
        tree.Put(key, Pattern(random() % 4, random() % 90));
      }
    }
    if (random() % 2 == 0) {
      tree.Checkpoint();
    } else if (tree.overlay_count() < 3) {
      tree.Cover();
    }
    ExpectRightDiff(moments[random() % moments.size()], tree);
    ExpectRightDiff(moments.back(), tree);
    moments.push_back(tree);
    if (HasFailure()) break;
    // Sometimes, go on from another moment.
    if (random() % 8 == 0) tree = moments[random() % moments.size()];
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomDiffTest, testing::Range(1, 13));

}  // namespace
}  // namespace varve::fs
