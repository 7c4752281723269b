// Trees of hostile nodes: each has the right checksum, but otherwise any form.
// Reading, walking and merging must end, stay inside the nodes, and give items
// in order or an error.
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

absl::Status Walk(const LayeredTree& tree) {
  LayeredCursor cursor(&tree);
  std::string last;
  bool is_first = true;
  absl::Status status = cursor.Seek("");
  while (status.ok() && cursor.valid()) {
    if (!is_first && cursor.key() <= last) std::abort();
    is_first = false;
    last = std::string(cursor.key());
    status = cursor.Next();
  }
  return status;
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
  (void)Walk(LayeredTree({}, &merged));
  return 0;
}
