#include "fs/tree/items.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/entry/entry.h"
#include "fs/base/error.h"
#include "fs/format/wire.h"

namespace varve::fs {
namespace {

constexpr size_t kPlaceSize = 5;  // bytes of a place in a key

// Bits in an inode's item that say which fields it has.
enum InodeBits : uint8_t {
  kAtimeIsMtime = 1,
  kCtimeIsMtime = 2,
  kBtimeIsCtime = 4,
  kHasName = 8,
  kIsWhole = 16,
  kHasExtents = 32,
  kMoved = 64,
};
constexpr uint8_t kAllInodeBits = 127;

void AppendBigEndian(uint64_t number, size_t size, std::string* out) {
  for (size_t i = size; i-- > 0;) {
    out->push_back(static_cast<char>(number >> (8 * i)));
  }
}

uint64_t TakeBigEndian(size_t size, absl::string_view* in) {
  uint64_t number = 0;
  for (size_t i = 0; i < size; ++i) {
    number = number << 8 | static_cast<uint8_t>((*in)[i]);
  }
  in->remove_prefix(size);
  return number;
}

absl::Status Malformed(absl::string_view what) {
  return DamageError(absl::StrCat("the tree has a malformed ", what));
}

bool ParsePlace(absl::string_view rest, NamePlace* name) {
  if (rest.size() != kPlaceSize) return false;
  name->place = TakeBigEndian(kPlaceSize, &rest);
  return name->place >= NamePlace::kFirst && name->place < NamePlace::kLimit;
}

// Parses what follows inode and kind in a key.
bool ParseRest(absl::string_view rest, ItemKey* parsed) {
  switch (parsed->kind) {
    case ItemKind::kInode:
    case ItemKind::kTotals:
    case ItemKind::kKeptFrom:
    case ItemKind::kPolicy:
      return rest.empty();
    case ItemKind::kSnapshot:
      parsed->snapshot = rest;
      return IsValidName(rest);
    case ItemKind::kPurge:
      if (rest.size() != 16) return false;
      parsed->before = TakeBigEndian(8, &rest);
      parsed->hash = TakeBigEndian(8, &rest);
      return true;
    case ItemKind::kName:
      parsed->name.directory = parsed->ino;
      return ParsePlace(rest, &parsed->name);
    case ItemKind::kHash:
      if (rest.size() < 8) return false;
      parsed->hash = TakeBigEndian(8, &rest);
      parsed->name.directory = parsed->ino;
      return ParsePlace(rest, &parsed->name);
    case ItemKind::kLink:
      if (rest.size() < 8) return false;
      parsed->name.directory = TakeBigEndian(8, &rest);
      return ParsePlace(rest, &parsed->name);
    case ItemKind::kExtent:
      if (rest.size() != 8) return false;
      parsed->file_offset = TakeBigEndian(8, &rest);
      return true;
    case ItemKind::kUnfinished:
      if (rest.size() != 8) return false;
      parsed->unfinished_id = TakeBigEndian(8, &rest);
      return true;
    case ItemKind::kXattr:
      // A name, a NUL, and the number of the part.
      if (rest.size() < 3 || rest[rest.size() - 2] != '\0') return false;
      parsed->xattr = rest.substr(0, rest.size() - 2);
      parsed->chunk = static_cast<uint8_t>(rest.back());
      return parsed->xattr.size() <= kMaxXattrNameSize;
  }
  return false;
}

}  // namespace

// --- Keys --------------------------------------------------------------------

std::string KeyPrefix(uint64_t ino, ItemKind kind) {
  std::string key;
  AppendBigEndian(ino, 8, &key);
  key.push_back(static_cast<char>(kind));
  return key;
}

std::string InodeKey(uint64_t ino) { return KeyPrefix(ino, ItemKind::kInode); }

std::string NameKey(NamePlace name) {
  std::string key = KeyPrefix(name.directory, ItemKind::kName);
  AppendBigEndian(name.place, kPlaceSize, &key);
  return key;
}

std::string HashKeyPrefix(uint64_t directory, uint64_t hash) {
  std::string key = KeyPrefix(directory, ItemKind::kHash);
  AppendBigEndian(hash, 8, &key);
  return key;
}

std::string NameHashKey(NamePlace name, uint64_t hash) {
  std::string key = HashKeyPrefix(name.directory, hash);
  AppendBigEndian(name.place, kPlaceSize, &key);
  return key;
}

std::string LinkKey(uint64_t ino, NamePlace name) {
  std::string key = KeyPrefix(ino, ItemKind::kLink);
  AppendBigEndian(name.directory, 8, &key);
  AppendBigEndian(name.place, kPlaceSize, &key);
  return key;
}

std::string XattrKey(uint64_t ino, absl::string_view name, uint8_t chunk) {
  std::string key = KeyPrefix(ino, ItemKind::kXattr);
  key.append(name.data(), name.size());
  key.push_back('\0');
  key.push_back(static_cast<char>(chunk));
  return key;
}

void PutXattrItems(uint64_t ino, absl::string_view name,
                   absl::string_view value, Overlay* items) {
  size_t at = 0;
  uint8_t chunk = 0;
  do {  // even an empty value has one part
    items->PutNew(XattrKey(ino, name, chunk++),
                  value.substr(at, kXattrChunkSize));
    at += kXattrChunkSize;
  } while (at < value.size());
}

std::string ExtentKey(uint64_t ino, uint64_t file_offset) {
  std::string key = KeyPrefix(ino, ItemKind::kExtent);
  AppendBigEndian(file_offset, 8, &key);
  return key;
}

std::string TotalsKey() { return KeyPrefix(0, ItemKind::kTotals); }

std::string UnfinishedKey(uint64_t begin) {
  std::string key = KeyPrefix(0, ItemKind::kUnfinished);
  AppendBigEndian(begin, 8, &key);
  return key;
}

std::string SnapshotKey(absl::string_view name) {
  std::string key = KeyPrefix(0, ItemKind::kSnapshot);
  key.append(name.data(), name.size());
  return key;
}

std::string KeptFromKey() { return KeyPrefix(0, ItemKind::kKeptFrom); }

std::string PolicyKey() { return KeyPrefix(0, ItemKind::kPolicy); }

std::string PurgeKey(uint64_t before, absl::string_view path) {
  std::string key = KeyPrefix(0, ItemKind::kPurge);
  AppendBigEndian(before, 8, &key);
  AppendBigEndian(HashKey(path), 8, &key);
  return key;
}

absl::StatusOr<ItemKey> ParseKey(absl::string_view key) {
  constexpr size_t kHeadSize = 9;
  if (key.size() < kHeadSize) return Malformed("key");
  ItemKey parsed;
  parsed.ino = TakeBigEndian(8, &key);
  parsed.kind = static_cast<ItemKind>(TakeBigEndian(1, &key));
  const bool is_special = parsed.kind >= ItemKind::kTotals;
  if ((parsed.ino == 0) != is_special || parsed.ino > kMaxId ||
      !ParseRest(key, &parsed)) {
    return Malformed("key");
  }
  return parsed;
}

// --- Values ------------------------------------------------------------------

Extent InodeItem::WholeExtent() const {
  return {.file_offset = 0,
          .length = attributes.size,
          .store_offset = whole_entry->store_offset,
          .key_hash = whole_entry->key_hash,
          .entry_offset = 0,
          .entry_size = attributes.size,
          .entry_crc32 = whole_entry->crc32};
}

std::string EncodeInode(const InodeItem& item) {
  const Attributes& a = item.attributes;
  std::string value;
  WireWriter out(&value);
  uint8_t bits = 0;
  if (a.atime == a.mtime) bits |= kAtimeIsMtime;
  if (a.ctime == a.mtime) bits |= kCtimeIsMtime;
  if (a.btime == a.ctime) bits |= kBtimeIsCtime;
  if (item.first_name.place != 0) bits |= kHasName;
  if (item.whole_entry.has_value()) bits |= kIsWhole;
  if (item.extent_count > 0 || item.patched > 0) bits |= kHasExtents;
  if (item.moved) bits |= kMoved;
  out.U8(bits);
  EncodeAttributes(a, out);
  out.U64(a.mtime.packed());
  if ((bits & kAtimeIsMtime) == 0) out.U64(a.atime.packed());
  if ((bits & kCtimeIsMtime) == 0) out.U64(a.ctime.packed());
  if ((bits & kBtimeIsCtime) == 0) out.U64(a.btime.packed());
  out.Varint(item.links);
  if ((bits & kHasName) != 0) {
    out.Varint(item.first_name.directory);
    out.Varint(item.first_name.place);
  }
  if (item.is_directory()) {
    out.Varint(item.name_count);
    out.Varint(item.next_place);
  }
  if ((bits & kIsWhole) != 0) {
    out.Varint(item.whole_entry->store_offset);
    out.U64(item.whole_entry->key_hash);
    out.U32(item.whole_entry->crc32);
  }
  if ((bits & kHasExtents) != 0) {
    out.Varint(item.extent_count);
    out.Varint(item.extent_bytes);
    out.Varint(item.patched);
  }
  return value;
}

absl::StatusOr<InodeItem> DecodeInode(uint64_t ino, absl::string_view value) {
  InodeItem item;
  item.ino = ino;
  Attributes& a = item.attributes;
  WireReader in(value);
  const uint8_t bits = in.U8();
  DecodeAttributes(in, a);
  a.mtime = Timestamp::FromPacked(in.U64());
  a.atime =
      (bits & kAtimeIsMtime) != 0 ? a.mtime : Timestamp::FromPacked(in.U64());
  a.ctime =
      (bits & kCtimeIsMtime) != 0 ? a.mtime : Timestamp::FromPacked(in.U64());
  a.btime =
      (bits & kBtimeIsCtime) != 0 ? a.ctime : Timestamp::FromPacked(in.U64());
  item.links = in.Varint32();
  item.moved = (bits & kMoved) != 0;
  bool ok = bits <= kAllInodeBits && a.size <= kMaxFileSize;
  if ((bits & kHasName) != 0) {
    item.first_name.directory = in.Varint();
    item.first_name.place = in.Varint();
    ok = ok && item.first_name.directory > 0 &&
         item.first_name.directory <= kMaxId &&
         item.first_name.place >= NamePlace::kFirst &&
         item.first_name.place < NamePlace::kLimit;
  }
  if (item.is_directory()) {
    item.name_count = in.Varint();
    item.next_place = in.Varint();
    ok = ok && (bits & (kIsWhole | kHasExtents)) == 0 &&
         item.next_place >= NamePlace::kFirst &&
         item.next_place <= NamePlace::kLimit &&
         item.name_count <= item.next_place && item.links <= item.name_count;
  }
  if ((bits & kIsWhole) != 0) {
    WholeEntry& whole = item.whole_entry.emplace();
    whole.store_offset = in.Varint();
    whole.key_hash = in.U64();
    whole.crc32 = in.U32();
    ok = ok && a.size > 0 && (bits & kHasExtents) == 0 &&
         whole.store_offset <= kMaxFileSize - a.size;
  }
  if ((bits & kHasExtents) != 0) {
    item.extent_count = in.Varint();
    item.extent_bytes = in.Varint();
    item.patched = in.Varint();
    ok = ok && item.extent_count <= item.extent_bytes;
  }
  if (!ok || !in.ok() || !in.at_end()) return Malformed("inode");
  return item;
}

std::string EncodeName(uint64_t ino, uint32_t mode, absl::string_view text) {
  std::string value;
  WireWriter out(&value);
  out.U8(static_cast<uint8_t>((mode & S_IFMT) >> 12));
  out.Varint(ino);
  out.Bytes(text);
  return value;
}

absl::StatusOr<NameItem> DecodeName(NamePlace place, absl::string_view value) {
  NameItem item;
  item.place = place;
  WireReader in(value);
  item.type = in.U8();
  item.ino = in.Varint();
  item.text = in.rest();
  if (!in.ok() || item.type > (S_IFMT >> 12) || item.ino == 0 ||
      item.ino > kMaxId || !IsValidName(item.text)) {
    return Malformed("name");
  }
  return item;
}

std::string EncodeExtentItem(const Extent& extent) {
  std::string value;
  // The file offset is in the key.
  EncodeExtent(extent.Part(0, extent.length, 0), WireWriter(&value));
  return value;
}

absl::StatusOr<Extent> DecodeExtentItem(uint64_t file_offset,
                                        absl::string_view value) {
  WireReader in(value);
  Extent extent;
  DecodeExtent(/*record=*/nullptr, in, extent);
  if (!in.ok() || !in.at_end() || extent.is_hole() || extent.file_offset != 0 ||
      file_offset > kMaxFileSize - extent.length) {
    return Malformed("extent");
  }
  extent.file_offset = file_offset;
  return extent;
}

std::string EncodeTotals(const TreeTotals& totals) {
  std::string value;
  WireWriter out(&value);
  out.Varint(totals.inodes);
  out.Varint(totals.names);
  out.Varint(totals.extents);
  out.Varint(totals.content_bytes);
  out.Varint(totals.data_bytes);
  out.U8(totals.may_have_clones ? 1 : 0);
  return value;
}

absl::StatusOr<TreeTotals> DecodeTotals(absl::string_view value) {
  TreeTotals totals;
  WireReader in(value);
  totals.inodes = in.Varint();
  totals.names = in.Varint();
  totals.extents = in.Varint();
  totals.content_bytes = in.Varint();
  totals.data_bytes = in.Varint();
  const uint8_t bits = in.U8();
  totals.may_have_clones = bits != 0;
  if (!in.ok() || !in.at_end() || bits > 1) return Malformed("count");
  return totals;
}

std::string EncodeUnfinished(uint64_t end) {
  std::string value;
  WireWriter(&value).Varint(end);
  return value;
}

absl::StatusOr<uint64_t> DecodeUnfinished(uint64_t begin,
                                          absl::string_view value) {
  WireReader in(value);
  const uint64_t end = in.Varint();
  if (!in.ok() || !in.at_end() || end <= begin || end > kMaxId) {
    return Malformed("range of ids");
  }
  return end;
}

std::string EncodeSnapshot(const SnapshotItem& snapshot) {
  std::string value;
  WireWriter out(&value);
  out.Varint(snapshot.sequence);
  out.U64(snapshot.time.packed());
  out.U8(snapshot.flags);
  return value;
}

absl::StatusOr<SnapshotItem> DecodeSnapshot(absl::string_view name,
                                            absl::string_view value) {
  SnapshotItem snapshot = {.name = name};
  WireReader in(value);
  snapshot.sequence = in.Varint();
  snapshot.time = Timestamp::FromPacked(in.U64());
  snapshot.flags = in.U8();
  if (!in.ok() || !in.at_end()) return Malformed("snapshot");
  return snapshot;
}

absl::StatusOr<PurgedPath> DecodePurge(uint64_t before,
                                       absl::string_view value) {
  if (!IsValidPath(value)) return Malformed("purged path");
  return PurgedPath{.before = before, .path = std::string(value)};
}

std::string EncodeKeptFrom(uint64_t sequence) {
  std::string value;
  WireWriter(&value).Varint(sequence);
  return value;
}

absl::StatusOr<uint64_t> DecodeKeptFrom(absl::string_view value) {
  WireReader in(value);
  const uint64_t sequence = in.Varint();
  if (!in.ok() || !in.at_end()) return Malformed("number of a commit");
  return sequence;
}

}  // namespace varve::fs
