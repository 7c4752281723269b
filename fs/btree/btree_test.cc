// Compares the B+ tree with a map as its model: overlays, merges, cursors,
// damage.

#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/test_util.h"
#include "fs/btree/memory_nodes.h"
#include "fs/btree/merge.h"
#include "fs/btree/overlay.h"
#include "fs/btree/stored_tree.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using Model = std::map<std::string, std::string>;

// A tree that changes like that of a mount: an overlay that takes changes, one
// that is frozen while a checkpoint is written, and the stored tree below.
class TestTree {
 public:
  TestTree() : reader_(&nodes_) { Root({}); }

  void Put(const std::string& key, const std::string& value) {
    if (model_.contains(key)) {
      active_->Put(key, value);
    } else {
      active_->PutNew(key, value);
    }
    model_[key] = value;
  }
  void Erase(const std::string& key) {
    active_->Erase(key);
    model_.erase(key);
  }
  void Freeze() {
    ASSERT_TRUE(frozen_->empty());
    std::swap(frozen_, active_);
  }
  absl::Status WriteFrozen() {
    VARVE_ASSIGN_OR_RETURN(const auto root,
                           MergeOverlay(*stored_, *frozen_, &nodes_));
    Root(root);
    frozen_ = std::make_unique<Overlay>();
    return absl::OkStatus();
  }
  void Checkpoint() {
    Freeze();
    ASSERT_THAT(WriteFrozen(), IsOk());
  }

  LayeredTree layers() const {
    return LayeredTree({active_.get(), frozen_.get()}, stored_.get());
  }
  // All items, as the cursor finds them.
  Model Contents() const {
    Model found;
    const LayeredTree tree = layers();
    LayeredCursor cursor(&tree);
    EXPECT_THAT(cursor.Seek(""), IsOk());
    while (cursor.valid()) {
      found.emplace(cursor.key(), cursor.value());
      const absl::Status status = cursor.Next();
      if (!status.ok()) ADD_FAILURE() << status;
      if (!status.ok()) break;
    }
    return found;
  }
  void ExpectGets(const std::string& key) const {
    const auto value = layers().Get(key);
    ASSERT_THAT(value, IsOk());
    const auto it = model_.find(key);
    ASSERT_EQ(value->has_value(), it != model_.end()) << key;
    if (value->has_value()) {
      EXPECT_EQ(**value, it->second);
    }
  }
  void ExpectFindsAtOrBefore(const std::string& key,
                             const std::string& low) const {
    const auto found = layers().FindAtOrBefore(key, low);
    ASSERT_THAT(found, IsOk());
    auto it = model_.upper_bound(key);
    const bool is_there = it != model_.begin() && (--it)->first >= low;
    ASSERT_EQ(found->has_value(), is_there) << key << " from " << low;
    if (!is_there) return;
    EXPECT_EQ((*found)->key, it->first);
    EXPECT_EQ((*found)->value, it->second);
  }

  const Model& model() const { return model_; }
  MemoryNodes& nodes() { return nodes_; }
  const StoredTree& stored() const { return *stored_; }
  const Overlay& active() const { return *active_; }
  void Root(std::optional<NodePointer> root) {
    stored_ = std::make_unique<StoredTree>(&reader_, root);
  }
  // The indexes of all nodes below the root.
  std::set<size_t> InReach() const {
    std::set<size_t> found;
    if (stored_->root().has_value()) Reach(*stored_->root(), &found);
    return found;
  }
  // A reader that has not seen any node yet.
  std::unique_ptr<NodeReader> NewReader() const {
    return std::make_unique<NodeReader>(&nodes_);
  }

 private:
  void Reach(const NodePointer& pointer, std::set<size_t>* found) const {
    EXPECT_TRUE(found->insert(pointer.offset).second);
    const auto node = reader_.Read(pointer);
    ASSERT_THAT(node, IsOk());
    const auto follow = [&](absl::string_view bytes) {
      const auto next = DecodePointer(bytes);
      ASSERT_THAT(next, IsOk());
      Reach(*next, found);
    };
    if (node->is_delta()) follow(node->base());
    for (size_t i = 0; node->level() > 0 && i < node->count(); ++i) {
      follow(node->value(i));
    }
  }

  MemoryNodes nodes_;
  NodeReader reader_;
  std::unique_ptr<StoredTree> stored_;
  std::unique_ptr<Overlay> active_ = std::make_unique<Overlay>();
  std::unique_ptr<Overlay> frozen_ = std::make_unique<Overlay>();
  Model model_;
};

std::string Key(uint64_t number) {
  return absl::StrCat("k", absl::Dec(number, absl::kZeroPad8));
}

TEST(BTree, EmptyHasNothing) {
  TestTree tree;
  tree.Checkpoint();
  EXPECT_FALSE(tree.stored().root().has_value());
  tree.ExpectGets("a");
  tree.ExpectFindsAtOrBefore("z", "");
  EXPECT_TRUE(tree.Contents().empty());
}

TEST(BTree, ManyItemsInOrderFillTheirNodes) {
  TestTree tree;
  for (int i = 0; i < 20000; ++i) tree.Put(Key(i), "some value");
  tree.Checkpoint();
  EXPECT_EQ(tree.Contents(), tree.model());
  const double bytes_each = double(tree.nodes().bytes()) / 20000;
  EXPECT_LT(bytes_each, 24);  // 10 of value, 6 of slot and sizes, 3 to 5 of key
}

TEST(BTree, OneChangeWritesADeltaAndThePathToIt) {
  TestTree tree;
  for (int i = 0; i < 20000; ++i) tree.Put(Key(i), "some value");
  tree.Checkpoint();
  const uint64_t bytes = tree.nodes().bytes();
  tree.Put(Key(777), "another one");
  tree.Checkpoint();
  EXPECT_EQ(tree.Contents(), tree.model());
  // Two inner nodes at most, of up to twice the target, and some bytes.
  EXPECT_LT(tree.nodes().bytes() - bytes, 4 * kNodeTarget);
}

TEST(Overlay, WhatComesAndGoesLeavesNothing) {
  Overlay overlay;
  overlay.Put("old", "value");
  const size_t memory = overlay.memory();
  for (int i = 0; i < 100; ++i) {
    overlay.PutNew(Key(i), "value");
    if (i % 2 == 0) overlay.Put(Key(i), "another value");
    // As the changes of a commit come.
    Overlay commit;
    if (i % 3 == 0) commit.Put(Key(i), "a third");
    commit.Erase(Key(i));
    overlay.Absorb(std::move(commit));
  }
  EXPECT_EQ(overlay.items().size(), 1);
  EXPECT_EQ(overlay.memory(), memory);
  // The overlay must hide the item below, even if it was put again meanwhile.
  overlay.Erase("old");
  overlay.PutNew("old", "new");
  overlay.Erase("old");
  ASSERT_EQ(overlay.items().size(), 1);
  EXPECT_FALSE(overlay.items().begin()->second.value.has_value());
}

// Walks over a range with others before and behind it, as listing a directory
// does.
TEST(BTree, CursorsKeepToTheirPrefix) {
  TestTree tree;
  for (int i = 0; i < 300; ++i) tree.Put(Key(i), absl::StrCat(i));
  tree.Checkpoint();
  for (int i = 0; i < 300; ++i) {
    if (i / 10 % 3 != 1) tree.Erase(Key(i));
  }
  tree.Put(Key(1105), "new");
  const LayeredTree layers = tree.layers();
  // Prefixes that ten keys have each, and some that no item has.
  for (int ten = 0; ten < 40; ++ten) {
    const std::string prefix = Key(10 * ten).substr(0, 8);
    Model expected;
    for (const auto& [key, value] : tree.model()) {
      if (key.substr(0, 8) == prefix) expected.emplace(key, value);
    }
    Model found;
    LayeredCursor cursor(&layers, prefix);
    ASSERT_THAT(cursor.Seek(prefix), IsOk());
    while (cursor.valid()) {
      found.emplace(cursor.key(), cursor.value());
      ASSERT_THAT(cursor.Next(), IsOk());
    }
    EXPECT_EQ(found, expected) << prefix;
  }
}

TEST(BTree, NoChangeWritesNothing) {
  TestTree tree;
  for (int i = 0; i < 1000; ++i) tree.Put(Key(i), "v");
  tree.Checkpoint();
  const auto root = tree.stored().root();
  const uint64_t bytes = tree.nodes().bytes();
  tree.Checkpoint();
  EXPECT_EQ(tree.stored().root(), root);
  EXPECT_EQ(tree.nodes().bytes(), bytes);
}

TEST(BTree, ErasingAllLeavesNoRoot) {
  TestTree tree;
  for (int i = 0; i < 5000; ++i) tree.Put(Key(i), "v");
  tree.Checkpoint();
  for (int i = 0; i < 5000; ++i) tree.Erase(Key(i));
  tree.Checkpoint();
  EXPECT_FALSE(tree.stored().root().has_value());
  EXPECT_TRUE(tree.Contents().empty());
}

TEST(BTree, ErasingMostLeavesALowTree) {
  TestTree tree;
  for (int i = 0; i < 20000; ++i) tree.Put(Key(i), std::string(60, 'v'));
  tree.Checkpoint();
  const auto before = tree.stored().ReadNode(*tree.stored().root(), -1, {});
  ASSERT_THAT(before, IsOk());
  EXPECT_GE(before->level(), 2);
  for (int i = 0; i < 20000; ++i) {
    if (i % 4000 != 5) tree.Erase(Key(i));
  }
  tree.Checkpoint();
  EXPECT_EQ(tree.Contents(), tree.model());
  const auto root = tree.stored().ReadNode(*tree.stored().root(), -1, {});
  ASSERT_THAT(root, IsOk());
  EXPECT_LT(root->level(), before->level());
}

TEST(BTree, LongKeysAndLargeValuesFit) {
  TestTree tree;
  for (int i = 0; i < 200; ++i) {
    tree.Put(std::string(kMaxKeySize - 8, 'p') + Key(i).substr(1),
             std::string(kMaxValueSize, char('a' + i % 26)));
  }
  tree.Checkpoint();
  EXPECT_EQ(tree.Contents(), tree.model());
}

TEST(BTree, AFailedWriteLeavesTheTreeAsItWas) {
  TestTree tree;
  for (int i = 0; i < 3000; ++i) tree.Put(Key(i), "v");
  tree.Checkpoint();
  for (int i = 0; i < 3000; i += 7) tree.Put(Key(i), "w");
  tree.Freeze();
  for (size_t allowed = 0;; ++allowed) {
    tree.nodes().FailAt(tree.nodes().count() + allowed);
    const absl::Status status = tree.WriteFrozen();
    ASSERT_EQ(tree.Contents(), tree.model());
    if (status.ok()) break;
    ASSERT_THAT(status, HasCode(absl::StatusCode::kUnavailable));
    ASSERT_LT(allowed, 100);
  }
}

TEST(BTree, ADamagedNodeIsAnErrorAndNeverOtherBytes) {
  TestTree tree;
  for (int i = 0; i < 3000; ++i) tree.Put(Key(i), absl::StrCat("value", i));
  tree.Checkpoint();
  for (size_t i = 0; i < tree.nodes().count(); ++i) {
    std::string& node = tree.nodes().node(i);
    node[node.size() / 2] = static_cast<char>(node[node.size() / 2] ^ 1);
    const auto reader = tree.NewReader();
    const StoredTree stored(reader.get(), tree.stored().root());
    int damaged = 0;
    for (const auto& [key, value] : tree.model()) {
      const auto found = stored.Get(key);
      if (found.ok()) {
        ASSERT_EQ(**found, value);
      } else {
        EXPECT_THAT(found, HasCode(absl::StatusCode::kDataLoss));
        ++damaged;
      }
    }
    EXPECT_GT(damaged, 0);
    node[node.size() / 2] = static_cast<char>(node[node.size() / 2] ^ 1);
  }
}

// Forged trees: one in which a child stands in two places, and one with a child
// of the wrong level.
TEST(BTree, HostileTreesAreErrors) {
  MemoryNodes nodes;
  NodeBuilder leaf;
  leaf.Add("a", "1");
  leaf.Add("b", "2");
  std::string pointer;
  EncodePointer(*nodes.Append(leaf.Build(0)), &pointer);
  NodeBuilder twice;
  twice.Add("", pointer);
  twice.Add("b", pointer);
  const NodePointer shared = *nodes.Append(twice.Build(1));
  NodeBuilder wrong;
  wrong.Add("", pointer);
  const NodePointer high = *nodes.Append(wrong.Build(5));
  const NodeReader reader(&nodes);
  for (const NodePointer& root : {shared, high}) {
    const StoredTree tree(&reader, root);
    EXPECT_THAT(tree.Get("b"), HasCode(absl::StatusCode::kDataLoss));
    TreeCursor cursor(&tree);
    absl::Status status = cursor.Seek("");
    for (int i = 0; i < 10 && status.ok() && cursor.valid(); ++i) {
      status = cursor.Next();
    }
    EXPECT_THAT(status, HasCode(absl::StatusCode::kDataLoss));
  }
}

class RandomTest : public testing::TestWithParam<int> {};

TEST_P(RandomTest, AgreesWithTheModel) {
  std::mt19937_64 random(static_cast<uint64_t>(GetParam()));
  TestTree tree;
  const uint64_t range = 200 + random() % 6000;
  bool is_frozen = false;
  for (int step = 0; step < 24; ++step) {
    const uint64_t changes =
        random() % 4 == 0 ? random() % 1200 : random() % 40;
    const uint64_t mostly_erases = random() % 3;
    const uint64_t base = random() % range;
    for (uint64_t i = 0; i < changes; ++i) {
      const std::string key =
          Key(random() % 3 == 0 ? random() % range : (base + i) % range);
      if (random() % 3 < mostly_erases) {
        tree.Erase(key);
      } else {
        tree.Put(key, Pattern(random(), random() % 90));
      }
    }
    if (is_frozen) {
      ASSERT_THAT(tree.WriteFrozen(), IsOk());
      is_frozen = false;
    } else if (random() % 2 == 0) {
      tree.Freeze();
      is_frozen = true;
    }
    for (int i = 0; i < 20; ++i) {
      const std::string key = Key(random() % range);
      tree.ExpectGets(key);
      tree.ExpectFindsAtOrBefore(key, Key(random() % range));
      tree.ExpectFindsAtOrBefore(key + "x", "");
    }
    if (step % 3 == 2) {
      ASSERT_EQ(tree.Contents(), tree.model()) << "step " << step;
    }
  }
  // The nodes that no checkpoint retired are those of the tree.
  std::set<size_t> kept;
  for (size_t i = 0; i < tree.nodes().count(); ++i) kept.insert(i);
  for (const size_t retired : tree.nodes().retired()) {
    ASSERT_EQ(kept.erase(retired), 1) << "retired twice";
  }
  EXPECT_EQ(kept, tree.InReach());
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomTest, testing::Range(1, 13));

}  // namespace
}  // namespace varve::fs
