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
#include "fs/btree/fuzz_script.h"
#include "fs/btree/memory_nodes.h"
#include "fs/btree/merge.h"
#include "fs/format/change.h"
#include "fs/tree/items.h"
#include "fs/tree/live_tree.h"

namespace varve::fs {
namespace {

constexpr uint64_t kSeed = 7;

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "live_tree_fuzz: %s\n", what);
  std::abort();
}

void CheckStatus(const absl::Status& status) {
  Check(status.ok() || absl::IsDataLoss(status), "an error of another kind");
}

// FuzzScript with the parts of items.
class Script : public FuzzScript {
 public:
  using FuzzScript::FuzzScript;

  uint64_t Ino() { return Byte() % 12; }
  // A number that is usually small, and sometimes extreme.
  uint64_t Number() {
    const uint8_t byte = Byte();
    if (byte < 0xf8) return byte;
    constexpr uint64_t kExtremes[] = {
        kMaxId,     kMaxId + 1, kMaxFileSize,          uint64_t{1} << 63,
        UINT64_MAX, UINT32_MAX, NamePlace::kLimit - 1, NamePlace::kLimit};
    return kExtremes[byte - 0xf8];
  }
  std::string AnyBytes() { return Bytes(Byte() % 32); }
  std::string Name() { return std::string(1 + Byte() % 2, 'a' + Byte() % 4); }
  NamePlace Place() { return {.directory = Ino(), .place = Number() % 64}; }
};

Attributes AnyAttributes(Script& script) {
  constexpr uint32_t kTypes[] = {S_IFDIR, S_IFREG, S_IFLNK, S_IFIFO};
  return {.mode = kTypes[script.Byte() % 4] | 0644, .size = script.Number()};
}

Extent AnyExtent(Script& script) {
  Extent extent = {.file_offset = script.Number(),
                   .length = uint64_t{1} + script.Byte(),
                   .store_offset = uint64_t{64} * script.Byte(),
                   .key_hash = script.Byte()};
  if (script.Byte() % 4 == 0) return Extent::Hole(extent.file_offset, 9);
  extent.entry_size = extent.length;
  return extent;
}

InodeItem AnyInode(Script& script) {
  InodeItem item;
  item.attributes = AnyAttributes(script);
  item.first_name = script.Place();
  item.links = script.Byte();
  item.name_count = script.Number();
  item.next_place = script.Number();
  if (script.Byte() % 4 == 0) {
    item.whole_entry = {.store_offset = script.Number(), .key_hash = 1};
  } else {
    item.extent_count = script.Number();
    item.extent_bytes = script.Number();
    item.patched = script.Byte();
  }
  return item;
}

// Makes an item of the right form with any content, or with any bytes as its
// value.
void AddItem(Script& script, Overlay& items) {
  const uint8_t kind = script.Byte();
  std::string key;
  std::string value;
  switch (kind % 9) {
    case 0:
      key = InodeKey(script.Ino());
      value = EncodeInode(AnyInode(script));
      break;
    case 1: {
      const NamePlace place = script.Place();
      const std::string name = script.Name();
      key = NameKey(place);
      value = EncodeName(script.Ino(), S_IFREG, name);
      if (script.Byte() % 4 != 0) {
        const LayeredTree none({}, nullptr);
        items.Put(NameHashKey(place, TreeReader(&none, kSeed).HashOf(name)),
                  "");
      }
      break;
    }
    case 2: {
      const LayeredTree none({}, nullptr);
      key = NameHashKey(script.Place(),
                        TreeReader(&none, kSeed).HashOf(script.Name()));
      break;
    }
    case 3:
      key = LinkKey(script.Ino(), script.Place());
      break;
    case 4:
      key = XattrKey(script.Ino(), script.Name(), script.Byte());
      value = std::string(script.Byte() % 2 == 0 ? kXattrChunkSize : 3, 'x');
      break;
    case 5: {
      const Extent extent = AnyExtent(script);
      key = ExtentKey(script.Ino(), extent.file_offset);
      value = EncodeExtentItem(extent);
      break;
    }
    case 6:
      key = TotalsKey();
      value = EncodeTotals({.inodes = script.Number()});
      break;
    case 7:
      key = UnfinishedKey(script.Number());
      value = EncodeUnfinished(script.Number());
      break;
    default:
      key = script.AnyBytes();
      break;
  }
  if (kind >= 9 * 20) value = script.AnyBytes();
  if (!key.empty()) items.Put(key, value);
}

Change AnyChange(Script& script, std::deque<std::string>& strings) {
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

void RunInput(Script script) {
  Overlay items;
  items.Put(TotalsKey(), EncodeTotals({.inodes = 1}));
  for (size_t count = script.Byte(); count > 0 && !script.at_end(); --count) {
    AddItem(script, items);
  }
  MemoryNodes nodes;
  const NodeReader reader(&nodes);
  const StoredTree empty(&reader, std::nullopt);
  auto root = MergeOverlay(empty, items, &nodes);
  Check(root.ok(), "items could not be stored");
  auto tree = LiveTree::Open(&reader, *root, kSeed);
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
  varve::fs::RunInput(varve::fs::Script(data, size));
  return 0;
}
