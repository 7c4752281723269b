// A tree of hostile items: each lies in a sound node, but has any content, and
// may contradict the others. Reading and changing such a tree must end, with
// answers or with DATA_LOSS.
//
// The input is a script that makes the items and then changes the tree.

#include <sys/stat.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "fs/btree/memory_nodes.h"
#include "fs/btree/merge.h"
#include "fs/format/change.h"
#include "fs/tree/item_script.h"
#include "fs/tree/items.h"
#include "fs/tree/live_tree.h"

namespace varve::fs {
namespace {

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "live_tree_fuzz: %s\n", what);
  std::abort();
}

void CheckStatus(const absl::Status& status) {
  Check(status.ok() || absl::IsDataLoss(status), "an error of another kind");
}

Change AnyChange(ItemScript& script, std::deque<std::string>& strings) {
  strings.push_back(script.Name());
  const std::string& name = strings.back();
  const uint64_t ino = script.Ino();
  switch (script.Byte() % 9) {
    case 0:
      return PutInode{.ino = ino, .attributes = AnyAttributes(script)};
    case 1:
      return DropInode{ino};
    case 2:
      return PutName{ino, script.Ino(), name};
    case 3:
      return DropName{ino, name};
    case 4:
      return SetContent{ino, {AnyExtent(script)}};
    case 5:
      return PatchContent{ino, {AnyExtent(script)}};
    case 6:
      return SetXattr{ino, name, name};
    case 7:
      return DropXattr{ino, name};
    default:
      return KeepUnfinished{script.Byte(), script.Byte()};
  }
}

bool IsPossible(const Extent& extent) {
  return extent.file_offset <= kMaxFileSize - extent.length;
}

// Whether the decoder of commit records would accept the change.
bool IsPossible(const Change& change) {
  const ExtentList* const extents = ExtentsOf(change);
  if (extents != nullptr && !IsPossible(extents->front())) return false;
  const auto* const put = std::get_if<PutInode>(&change);
  return put == nullptr || put->attributes.size <= kMaxFileSize;
}

void LookAt(const TreeReader& tree, const InodeItem& inode) {
  CheckStatus(tree.PathOf(inode).status());
  CheckStatus(tree.IsWithin(inode, 5).status());
  CheckStatus(tree.ForEachNameAfter({inode.ino, 0}, [&](const NameItem& name) {
    CheckStatus(tree.FindName(inode.ino, name.text).status());
    return true;
  }));
  CheckStatus(tree.ForEachLink(inode, [&](NamePlace place) {
    CheckStatus(tree.PathOf(place).status());
    return true;
  }));
  uint64_t behind = 0;
  CheckStatus(tree.ForEachExtent(inode, 0, kMaxFileSize, [&](const Extent& e) {
    Check(e.file_offset >= behind, "extents out of order");
    behind = e.file_end();
    return true;
  }));
  absl::StatusOr<std::vector<Extent>> cover = tree.Cover(inode, 3, 300);
  CheckStatus(cover.status());
  if (cover.ok()) {
    uint64_t at = 3;
    for (const Extent& extent : *cover) {
      Check(extent.file_offset == at && extent.length > 0, "a gap");
      at = extent.file_end();
    }
    Check(at == 300, "covers too little or too much");
  }
  CheckStatus(tree.NextData(inode, 3).status());
  CheckStatus(tree.NextHole(inode, 3).status());
  CheckStatus(tree.ForEachXattr(inode.ino, [&](absl::string_view name) {
    CheckStatus(tree.FindXattr(inode.ino, name).status());
    return true;
  }));
}

void LookAtAll(const TreeReader& tree) {
  CheckStatus(tree.ForEachInode([&](const InodeItem& inode) {
    LookAt(tree, inode);
    return true;
  }));
  CheckStatus(tree.Resolve("a/b/c").status());
  CheckStatus(tree.ForEachUnfinished([](uint64_t, uint64_t) { return true; }));
}

void RunInput(ItemScript script) {
  Overlay items;
  items.Put(TotalsKey(), EncodeTotals({.inodes = 1}));
  for (size_t count = script.Byte(); count > 0 && !script.at_end(); --count) {
    PutAnyItem(script, items);
  }
  MemoryNodes nodes;
  const NodeReader reader(&nodes);
  const StoredTree empty(&reader, std::nullopt);
  auto root = MergeOverlay(empty, items, &nodes);
  Check(root.ok(), "items could not be stored");
  auto tree = LiveTree::Open(&reader, *root, kItemSeed);
  CheckStatus(tree.status());
  if (!tree.ok()) return;
  LookAtAll((*tree)->reader());
  std::deque<std::string> strings;
  while (!script.at_end()) {
    TreeEditor editor = (*tree)->Edit();
    const Change change = AnyChange(script, strings);
    if (!IsPossible(change)) continue;
    const absl::Status status = editor.Apply(change, Timestamp());
    CheckStatus(status);
    if (status.ok()) (*tree)->Publish(editor);
  }
  LookAtAll((*tree)->reader());
}

}  // namespace
}  // namespace varve::fs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  varve::fs::RunInput(varve::fs::ItemScript(data, size));
  return 0;
}
