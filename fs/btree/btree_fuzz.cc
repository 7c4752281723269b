// Trees of hostile nodes: each has the right checksum, but otherwise any form.
// Reading, walking, merging and comparing must end, stay inside the nodes, and
// give items in order or an error.
//
// The input is a script that makes nodes one after the other. An inner node
// points to nodes that were made before it, or to none.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "fs/btree/fuzz_script.h"
#include "fs/btree/memory_nodes.h"
#include "fs/btree/merge.h"
#include "fs/btree/node.h"
#include "fs/btree/overlay.h"
#include "fs/btree/stored_tree.h"
#include "fs/btree/tree_diff.h"

namespace varve::fs {
namespace {

std::string AnyPointer(FuzzScript& script,
                       const std::vector<NodePointer>& made) {
  std::string encoded;
  const uint8_t which = script.Byte();
  if (which == 0xff || made.empty()) return script.Bytes(script.Byte() % 40);
  EncodePointer(made[which % made.size()], &encoded);
  return encoded;
}

// Makes a node with the builder, of any level and with pointers to anywhere,
// and sometimes changes some of its bytes; or makes any bytes.
std::string AnyNode(FuzzScript& script, const std::vector<NodePointer>& made) {
  const uint8_t kind = script.Byte();
  if (kind % 8 == 7) return script.Bytes(script.Byte());
  const bool is_delta = kind % 8 == 3;
  const int level = kind % 8 < 4 ? 0 : kind % 8 - 3;
  std::map<std::string, std::string> items;
  for (size_t count = 1 + script.Byte() % 12; count > 0; --count) {
    const std::string key = script.Bytes(script.Byte() % 6);
    items[key] =
        level > 0 ? AnyPointer(script, made) : script.Bytes(script.Byte() % 9);
  }
  NodeBuilder builder;
  for (const auto& [key, value] : items) {
    if (is_delta && value.empty()) {
      builder.AddErased(key);
    } else {
      builder.Add(key, value);
    }
  }
  std::string base;
  if (is_delta) base = AnyPointer(script, made);
  std::string node = builder.Build(level, base);
  for (int changes = kind / 64; changes > 0; --changes) {
    const size_t at = (script.Byte() * size_t{256} + script.Byte());
    node[at % node.size()] = static_cast<char>(script.Byte());
  }
  return node;
}

using Items = std::map<std::string, std::string>;

absl::Status Walk(const LayeredTree& tree, Items* items = nullptr) {
  LayeredCursor cursor(&tree);
  std::string last;
  bool is_first = true;
  absl::Status status = cursor.Seek("");
  while (status.ok() && cursor.valid()) {
    if (!is_first && cursor.key() <= last) std::abort();
    is_first = false;
    last = std::string(cursor.key());
    if (items != nullptr) items->emplace(last, cursor.value());
    status = cursor.Next();
  }
  return status;
}

// Of two trees that can be walked over, the difference must make the items of
// the one out of those of the other.
void Compare(const LayeredTree& before, const LayeredTree& after,
             NodeSharing sharing) {
  Items items;
  Items expected;
  const bool can_walk =
      Walk(before, &items).ok() && Walk(after, &expected).ok();
  std::string last;
  bool is_first = true;
  const absl::Status status = DiffTrees(
      before, after, sharing,
      [&](const ItemDifference& found) -> absl::StatusOr<bool> {
        if (found.before == found.after) std::abort();
        if (!is_first && found.key <= last) std::abort();
        is_first = false;
        last = std::string(found.key);
        const auto it = items.find(last);
        const bool was_there = it != items.end();
        if (can_walk && (was_there != found.before.has_value() ||
                         (was_there && it->second != *found.before))) {
          std::abort();
        }
        if (was_there) items.erase(it);
        if (found.after.has_value()) items.emplace(last, *found.after);
        return true;
      });
  if (can_walk && (!status.ok() || items != expected)) std::abort();
}

}  // namespace
}  // namespace varve::fs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace varve::fs;
  if (size > 4096) return 0;
  FuzzScript script(data, size);
  MemoryNodes nodes;
  Overlay overlay;
  for (int changes = script.Byte() % 5; changes > 0; --changes) {
    const std::string key = script.Bytes(script.Byte() % 6);
    if (script.Byte() % 3 == 0) {
      overlay.Erase(key);
    } else {
      overlay.Put(key, script.Bytes(script.Byte() % 9));
    }
  }
  std::vector<NodePointer> made;
  while (!script.at_end() && made.size() < 64) {
    const auto pointer = nodes.Append(AnyNode(script, made));
    if (pointer.ok()) made.push_back(*pointer);
  }
  if (made.empty()) return 0;
  const NodeReader reader(&nodes);
  const StoredTree stored(&reader, made.back());
  const LayeredTree tree({&overlay}, &stored);
  const absl::Status walked = Walk(tree);
  const std::string key(reinterpret_cast<const char*>(data), size % 6);
  (void)tree.Get(key);
  (void)tree.FindAtOrBefore(key, "");
  // Nodes point to nodes made before them, so that these two often share some.
  const StoredTree other(&reader, made[data[0] % made.size()]);
  for (const NodeSharing sharing :
       {NodeSharing::kOneStore, NodeSharing::kNone}) {
    Compare(LayeredTree({}, &other), LayeredTree({}, &stored), sharing);
    Compare(tree, LayeredTree({}, &other), sharing);
  }
  const auto root = MergeOverlay(stored, overlay, &nodes);
  if (!root.ok()) return 0;
  // The merged tree must have the items of the layers, if all layers could be
  // read. (Otherwise, a misplaced node may become readable once others are
  // gone.)
  const StoredTree merged(&reader, *root);
  const auto before = tree.Get(key);
  const auto after = merged.Get(key);
  if (walked.ok() && (!before.ok() || !after.ok() || *before != *after)) {
    std::abort();
  }
  const LayeredTree newer({}, &merged);
  (void)Walk(newer);
  Compare(tree, newer, NodeSharing::kOneStore);
  Compare(LayeredTree({}, &stored), newer, NodeSharing::kOneStore);
  return 0;
}
