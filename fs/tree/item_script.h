// Items that a fuzzer makes: of the right form or not, and with any content.
//
// Not thread-safe.

#ifndef VARVE_FS_TREE_ITEM_SCRIPT_H_
#define VARVE_FS_TREE_ITEM_SCRIPT_H_

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "fs/btree/fuzz_script.h"
#include "fs/btree/overlay.h"
#include "fs/format/change.h"
#include "fs/format/extent.h"
#include "fs/tree/items.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {

// The seed of the hashes of names in these items.
inline constexpr uint64_t kItemSeed = 7;

// FuzzScript with the parts of items.
class ItemScript : public FuzzScript {
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

inline Attributes AnyAttributes(ItemScript& script) {
  constexpr uint32_t kTypes[] = {S_IFDIR, S_IFREG, S_IFLNK, S_IFIFO};
  return {.mode = kTypes[script.Byte() % 4] | 0644, .size = script.Number()};
}

inline Extent AnyExtent(ItemScript& script) {
  Extent extent = {.file_offset = script.Number(),
                   .length = uint64_t{1} + script.Byte(),
                   .store_offset = uint64_t{64} * script.Byte(),
                   .key_hash = script.Byte()};
  if (script.Byte() % 4 == 0) return Extent::Hole(extent.file_offset, 9);
  extent.entry_size = extent.length;
  return extent;
}

inline InodeItem AnyInode(ItemScript& script) {
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
inline void PutAnyItem(ItemScript& script, Overlay& items) {
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
        items.Put(NameHashKey(place, TreeReader(&none, kItemSeed).HashOf(name)),
                  "");
      }
      break;
    }
    case 2: {
      const LayeredTree none({}, nullptr);
      key = NameHashKey(script.Place(),
                        TreeReader(&none, kItemSeed).HashOf(script.Name()));
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

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_ITEM_SCRIPT_H_
