// The difference of two trees of hostile items: each item lies in a sound node,
// but has any content, and may contradict the others. It must end, and give
// lines in order or DATA_LOSS.
//
// The input is a script that makes the items of the older tree, and then those
// that the newer tree has instead.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "fs/btree/memory_nodes.h"
#include "fs/btree/merge.h"
#include "fs/btree/node_reader.h"
#include "fs/btree/overlay.h"
#include "fs/btree/stored_tree.h"
#include "fs/tree/item_script.h"
#include "fs/tree/tree_difference.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {
namespace {

using Kind = PathDifference::Kind;

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "tree_difference_fuzz: %s\n", what);
  std::abort();
}

// A string that sorts as the path should. Names have no NUL.
std::string InOrder(absl::string_view path) {
  std::string sortable(path);
  for (char& c : sortable) {
    if (c == '/') c = '\0';
  }
  return sortable;
}

void CheckLine(const PathDifference& line) {
  Check(line.before.has_value() == (line.kind != Kind::kAdded),
        "no older inode, or one too many");
  Check(line.after.has_value() == (line.kind != Kind::kRemoved),
        "no newer inode, or one too many");
  const bool any = line.content || line.attributes || line.xattrs;
  Check(!any || line.kind == Kind::kModified || line.kind == Kind::kRenamed,
        "a difference of one inode");
  Check(line.kind != Kind::kModified || any || line.replaced,
        "modified without a difference");
}

void Compare(const TreeReader& before, const TreeReader& after,
             const PathDiffOptions& options) {
  std::optional<std::string> last;
  const absl::Status status = DiffPaths(
      before, after, options,
      [&last](const PathDifference& line) -> absl::StatusOr<bool> {
        CheckLine(line);
        const std::string path = InOrder(line.path);
        Check(!last.has_value() || *last <= path, "paths out of order");
        last = path;
        return true;
      });
  Check(status.ok() || absl::IsDataLoss(status), "an error of another kind");
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
  const auto root = MergeOverlay(empty, items, &nodes);
  Check(root.ok(), "items could not be stored");
  Overlay changes;
  while (!script.at_end()) {
    PutAnyItem(script, changes);
    if (script.Byte() % 4 != 0) continue;
    // Erase an item that is there.
    const auto it = items.items().lower_bound(InodeKey(script.Ino()));
    if (it != items.items().end()) changes.Erase(it->first);
  }
  const StoredTree stored(&reader, *root);
  const auto newer_root = MergeOverlay(stored, changes, &nodes);
  Check(newer_root.ok(), "items could not be stored");
  const StoredTree newer(&reader, *newer_root);
  const LayeredTree old_items({}, &stored);
  const LayeredTree new_items({}, &newer);
  const LayeredTree overlaid({&changes}, &stored);
  const TreeReader before(&old_items, kItemSeed);
  for (const LayeredTree* layers : {&new_items, &overlaid}) {
    const TreeReader after(layers, kItemSeed);
    Compare(before, after, {.sharing = NodeSharing::kOneStore});
    Compare(after, before, {.sharing = NodeSharing::kOneStore});
    Compare(before, after, {.sharing = NodeSharing::kNone, .below = "a"});
  }
}

}  // namespace
}  // namespace varve::fs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  varve::fs::RunInput(varve::fs::ItemScript(data, size));
  return 0;
}
