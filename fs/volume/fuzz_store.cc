#include "fs/volume/fuzz_store.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/entry/entry.h"
#include "engine/entry/layout.h"
#include "fs/format/change.h"
#include "fs/format/commit_record.h"
#include "fs/format/identity.h"
#include "fs/format/wire.h"

namespace varve::fs {
namespace {

constexpr int kMaxSteps = 64;
constexpr int kMaxChanges = 16;
constexpr uint64_t kMaxPayload = 1024;

constexpr absl::string_view kNames[] = {"a", "b",   "c",     "d",
                                        "e", "d/a", "d/e/b", ".varve"};
constexpr absl::string_view kXattrs[] = {
    "user.a", "user.b", "system.posix_acl_access", "security.capability"};
constexpr uint32_t kModes[] = {S_IFREG | 0644, S_IFREG | 06777, S_IFDIR | 0755,
                               S_IFLNK | 0777, S_IFIFO | 0600,  S_IFSOCK,
                               S_IFCHR,        S_IFBLK,         0,
                               0xffffffff};

// Reads a script. After its end come only zeros.
class Script {
 public:
  explicit Script(absl::string_view in) : in_(in) {}

  bool at_end() const { return in_.empty(); }
  uint8_t Byte() {
    if (in_.empty()) return 0;
    const auto byte = static_cast<uint8_t>(in_[0]);
    in_.remove_prefix(1);
    return byte;
  }
  // A number: usually small, often one that is likely to cause trouble, and
  // sometimes any. `size` is the present size of the store.
  uint64_t Number(uint64_t size = 0) {
    const uint8_t byte = Byte();
    if (byte < 0xd8) return byte;
    if (byte < 0xf0) return Extreme(byte, size);
    uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | Byte();
    return value;
  }
  bool OneIn(int count) { return Byte() % count == 1; }
  template <typename T, size_t N>
  T OneOf(const T (&choices)[N]) {
    return choices[Byte() % N];
  }
  absl::string_view Bytes(size_t limit) {
    const size_t wanted = Byte() % (limit + 1);
    const size_t size = std::min(wanted, in_.size());
    const absl::string_view bytes = in_.substr(0, size);
    in_.remove_prefix(size);
    return bytes;
  }
  absl::string_view Name() { return OneIn(16) ? Bytes(40) : OneOf(kNames); }

 private:
  static uint64_t Extreme(uint8_t byte, uint64_t size) {
    const uint64_t numbers[] = {0,
                                1,
                                size - 1,
                                size,
                                size + 1,
                                size + kMetadataSize,
                                Align64(size),
                                (uint64_t{1} << 32) - 1,
                                uint64_t{1} << 32,
                                (uint64_t{1} << 62) - 1,
                                uint64_t{1} << 62,
                                (uint64_t{1} << 63) - 1 - kMetadataSize,
                                (uint64_t{1} << 63) - 1,
                                uint64_t{1} << 63,
                                (uint64_t{1} << 63) + 1,
                                ~uint64_t{0} - 63,
                                ~uint64_t{0} - kTombstoneSize,
                                ~uint64_t{0} - kMetadataSize,
                                ~uint64_t{0} - 1,
                                ~uint64_t{0}};
    return numbers[byte % std::size(numbers)];
  }

  absl::string_view in_;
};

class StoreBuilder {
 public:
  explicit StoreBuilder(absl::string_view script) : script_(script) {}

  std::string Build() {
    if (!script_.OneIn(16)) AddIdentity();
    for (int i = 0; i < kMaxSteps && !script_.at_end(); ++i) Step();
    return std::move(file_);
  }

 private:
  void Step() {
    const uint8_t what = script_.Byte();
    // Keeps the meaning of scripts that are older than these steps.
    if (what >= 240) return Attack(what);
    switch (what % 12) {
      case 0:
      case 1:
        return AddValue(HashKey(script_.Name()), Payload());
      case 2:
        return AddValue(identity_.DataKeyHash(Number()), Payload());
      case 3:
        return AddValue(Number(), std::string(script_.Bytes(255)));
      case 4:
        return AddTombstone(HashKey(script_.Name()));
      case 5:
        return AddTombstone(identity_.DataKeyHash(Number()));
      case 6:
        return Damage();
      case 7:
        return AddEnd();
      default:
        return AddRecord();
    }
  }
  void Attack(uint8_t what) {
    switch (what % 3) {
      case 0:
        return AddLinked();
      case 1:
        return AddReserved();
      default:
        return AddImage();
    }
  }

  std::string Payload() {
    const uint8_t seed = script_.Byte();
    std::string payload(1 + Number() % kMaxPayload, '\0');
    for (size_t i = 0; i < payload.size(); ++i) {
      payload[i] = static_cast<char>(seed + i * i);
    }
    return payload;
  }

  // --- Entries ---

  void AddIdentity() { AddValue(HashKey(Identity::Key()), identity_.Encode()); }
  void AddValue(uint64_t key_hash, std::string payload) {
    if (payload.empty()) payload = "x";
    file_.resize(Align64(tail_));
    Append(key_hash, payload);
  }
  void AddTombstone(uint64_t key_hash) {
    file_.resize(tail_);
    Append(key_hash, std::string(1, '\0'));
  }
  void Append(uint64_t key_hash, const std::string& payload) {
    const uint64_t offset = file_.size();
    const uint32_t crc = Crc32(0, AsBytes(payload));
    std::byte metadata[kMetadataSize];
    EncodeMetadata({key_hash, tail_, crc}, metadata);
    file_ += payload;
    file_.append(reinterpret_cast<const char*>(metadata), kMetadataSize);
    entries_.push_back({.key_hash = key_hash,
                        .payload_offset = offset,
                        .payload_size = payload.size(),
                        .prev_tail = tail_,
                        .crc32 = crc});
    tail_ = file_.size();
  }

  // Everything is valid except the link.
  void AddLinked() {
    const uint64_t link = Number();
    if (script_.OneIn(2)) file_.resize(Align64(tail_));
    const std::string payload = Payload();
    std::byte metadata[kMetadataSize];
    EncodeMetadata({Number(), link, Crc32(0, AsBytes(payload))}, metadata);
    file_ += payload;
    file_.append(reinterpret_cast<const char*>(metadata), kMetadataSize);
    tail_ = file_.size();
  }
  // Anything under a key of the tree's own, or nearly.
  void AddReserved() {
    const uint64_t keys[] = {
        HashKey(Identity::Key()), identity_.CheckpointKeyHash(),
        identity_.IndexImageKeyHash(), identity_.CommitKeyHash(sequence_ + 1),
        identity_.CommitKeyHash(Number())};
    uint64_t key_hash = script_.OneOf(keys);
    if (script_.OneIn(4)) key_hash ^= uint64_t{1} << script_.Byte() % 64;
    if (script_.OneIn(4)) return AddTombstone(key_hash);
    AddValue(key_hash, script_.OneIn(2) ? identity_.Encode() : Payload());
  }
  // An image of the index: of all live entries, or with any numbers.
  void AddImage() {
    std::map<uint64_t, uint64_t> keys;
    for (const EntryLocation& entry : entries_) {
      keys[entry.key_hash] = entry.metadata_offset();
    }
    const uint8_t odd = script_.Byte();
    std::string payload;
    WireWriter out(&payload);
    out.U64(0x3130584449455256);  // "VREIDX01"
    out.U64((odd & 1) != 0 ? Number() : Align64(tail_));
    out.U64((odd & 2) != 0 ? Number() : tail_);
    out.U64((odd & 4) != 0 ? Number() : keys.size());
    std::string before(kMetadataSize, '\0');
    if (tail_ >= kMetadataSize) {
      before = file_.substr(tail_ - kMetadataSize, kMetadataSize);
    }
    out.Bytes(before);
    payload.resize(64);
    for (const auto& [key_hash, metadata_offset] : keys) {
      out.U64(script_.OneIn(8) ? Number() : key_hash);
      out.U64(script_.OneIn(8) ? Number() : metadata_offset);
    }
    AddValue(identity_.IndexImageKeyHash(), payload);
  }

  // --- Records ---

  uint64_t Number() { return script_.Number(tail_); }

  CommitHeader Header() {
    CommitHeader header;
    header.sequence = sequence_ + 1;
    header.time = Timestamp::FromPacked((uint64_t{1} << 61) + sequence_);
    header.position = Align64(tail_);
    header.batch_begin = tail_;
    header.next_ino = 20;
    header.next_data_id = 20;
    header.checkpoint = checkpoint_;
    return header;
  }
  // The commit that marks the store as closed.
  void AddEnd() {
    CommitHeader header = Header();
    header.flags = CommitHeader::kClean;
    const CommitWriter writer(header);
    AddRecordOf(header, writer.payload());
  }
  void AddRecord() {
    CommitHeader header = Header();
    const uint8_t odd = script_.Byte();
    if ((odd & 1) != 0) header.flags = script_.Byte();
    if (header.is_checkpoint()) header.sequence = sequence_;
    if ((odd & 2) != 0) header.sequence = Number();
    if ((odd & 4) != 0) header.position = Number();
    if ((odd & 8) != 0) header.next_ino = Number();
    if ((odd & 16) != 0) header.next_data_id = Number();
    if ((odd & 32) != 0) header.durable_tail = Number();
    if ((odd & 64) != 0) header.checkpoint = Number();
    if ((odd & 128) != 0) header.version = script_.Byte() % 4;
    CommitWriter writer(header);
    for (int count = script_.Byte() % kMaxChanges; count > 0; --count) {
      AddChange(writer);
    }
    std::string payload = writer.payload();
    // Any bytes, or a change of any kind with any bytes for a body.
    if (script_.OneIn(16)) absl::StrAppend(&payload, script_.Bytes(80));
    if (script_.OneIn(4)) {
      WireWriter out(&payload);
      out.U8(script_.Byte() % 12);
      out.SizedBytes(script_.Bytes(80));
    }
    if (payload.size() % 2 == 1) {
      const uint64_t digest = HashKey(payload);
      WireWriter out(&payload);
      out.U8(10);  // 5.4 of docs/format.md
      out.U8(8);
      out.U64(digest);
    }
    AddRecordOf(header, payload);
  }
  void AddRecordOf(const CommitHeader& header, const std::string& payload) {
    AddValue(header.is_checkpoint() ? identity_.CheckpointKeyHash()
                                    : identity_.CommitKeyHash(header.sequence),
             payload);
    sequence_ = header.sequence;
    if (header.is_checkpoint()) {
      checkpoint_ = entries_.back().metadata_offset();
    }
  }

  // --- Changes ---

  uint64_t Ino() {
    const uint64_t number = Number();
    return number < 0xf0 ? 1 + number % 12 : number;
  }
  Attributes Inode() {
    Attributes attributes;
    attributes.mode = script_.OneOf(kModes);
    attributes.size = Number();
    if (script_.OneIn(4)) attributes.uid = script_.Byte();
    if (script_.OneIn(4)) {
      attributes.mtime = Timestamp::FromPacked(Number());
    }
    return attributes;
  }
  // A whole existing entry, a part of one, or one that never existed.
  Extent Place() {
    Extent extent;
    if (!entries_.empty()) {
      // The newest entries are the most likely.
      const EntryLocation& entry =
          entries_[entries_.size() - 1 - script_.Byte() % entries_.size()];
      extent = {.length = entry.payload_size,
                .store_offset = entry.payload_offset,
                .key_hash = entry.key_hash,
                .entry_size = entry.payload_size,
                .entry_crc32 = entry.crc32};
    }
    const uint8_t odd = script_.Byte();
    if ((odd & 1) != 0) extent.file_offset = Number();
    if ((odd & 2) != 0 && extent.length > 1) {
      extent.entry_offset = script_.Byte() % extent.length;
      extent.store_offset += extent.entry_offset;
      extent.length -= extent.entry_offset;
    }
    if ((odd & 4) != 0) extent.length = Number();
    if ((odd & 8) != 0) extent.entry_size = Number();
    if ((odd & 16) != 0) extent.store_offset += Number();
    if ((odd & 32) != 0) extent.entry_crc32 += script_.Byte();
    if ((odd & 64) != 0) extent.shared = true;
    if ((odd & 128) != 0) {
      return Extent::Hole(extent.file_offset, extent.length);
    }
    return extent;
  }
  ExtentList Extents() {
    ExtentList extents;
    for (int count = 1 + script_.Byte() % 4; count > 0; --count) {
      extents.push_back(Place());
    }
    return extents;
  }
  // What Varve appends to make a file of one entry.
  void AddFile(CommitWriter& writer) {
    const uint64_t ino = Ino();
    PutInode put{.ino = ino, .attributes = {.mode = S_IFREG | 0644}};
    ExtentList extents;
    if (!entries_.empty()) {
      const EntryLocation& entry = entries_.back();
      put.attributes.size = entry.payload_size;
      extents.push_back({.length = entry.payload_size,
                         .store_offset = entry.payload_offset,
                         .key_hash = entry.key_hash,
                         .entry_size = entry.payload_size,
                         .entry_crc32 = entry.crc32});
    }
    writer.Add(put);
    writer.Add(PutName{.parent = 1, .ino = ino, .name = script_.Name()});
    writer.Add(SetContent{.ino = ino, .extents = extents});
  }
  void AddChange(CommitWriter& writer) {
    switch (script_.Byte() % 13) {
      case 0:
        return writer.Add(PutInode{.ino = Ino(), .attributes = Inode()});
      case 1:
        return writer.Add(DropInode{Ino()});
      case 2:
        return writer.Add(
            PutName{.parent = Ino(), .ino = Ino(), .name = script_.Name()});
      case 3:
        return writer.Add(DropName{.parent = Ino(), .name = script_.Name()});
      case 4:
        return writer.Add(SetContent{.ino = Ino(), .extents = Extents()});
      case 5:
        return writer.Add(PatchContent{.ino = Ino(), .extents = Extents()});
      case 6:
        return writer.Add(SetXattr{.ino = Ino(),
                                   .name = script_.OneOf(kXattrs),
                                   .value = script_.Bytes(64)});
      case 7:
        return writer.Add(
            DropXattr{.ino = Ino(), .name = script_.OneOf(kXattrs)});
      case 8:
        return writer.Add(KeepUnfinished{Number(), Number()});
      case 9: {
        const uint64_t ino = Ino();
        const uint64_t file_offset = Number();
        writer.AddInline(ino, file_offset, script_.Bytes(64));
        return;
      }
      case 10: {  // a directory with a name
        const uint64_t ino = Ino();
        writer.Add(PutInode{.ino = ino, .attributes = {.mode = S_IFDIR}});
        return writer.Add(
            PutName{.parent = Ino(), .ino = ino, .name = script_.Name()});
      }
      default:
        return AddFile(writer);
    }
  }

  // --- Damage ---

  void Damage() {
    const uint64_t where = Number() << 8 | script_.Byte();
    switch (script_.Byte() % 4) {
      case 0:
        if (!file_.empty()) {
          file_[where % file_.size()] ^= static_cast<char>(1 + where % 255);
        }
        return;
      case 1:
        file_.append(where % kMaxPayload, '\0');
        break;
      case 2:
        file_ += file_.substr(where % (file_.size() + 1), kMaxPayload);
        break;
      default:
        file_.resize(file_.size() - where % (file_.size() + 1));
        break;
    }
    tail_ = file_.size();
  }

  Script script_;
  Identity identity_;
  std::string file_;
  uint64_t tail_ = 0;
  uint64_t sequence_ = 0;
  uint64_t checkpoint_ = 0;
  std::vector<EntryLocation> entries_;
};

}  // namespace

std::string MakeFuzzStore(absl::string_view script) {
  return StoreBuilder(script).Build();
}

void FixChecksums(std::string& store) {
  const absl::Span<const std::byte> data = AsBytes(store);
  uint64_t end = store.size();
  while (end > 0) {
    const auto entry = LocateEntryEndingAt(data, end);
    if (!entry.has_value()) return;
    const uint32_t crc =
        Crc32(0, data.subspan(entry->payload_offset, entry->payload_size));
    std::byte metadata[kMetadataSize];
    EncodeMetadata({entry->key_hash, entry->prev_tail, crc}, metadata);
    std::memcpy(&store[entry->metadata_offset()], metadata, kMetadataSize);
    end = entry->prev_tail;
  }
}

}  // namespace varve::fs
