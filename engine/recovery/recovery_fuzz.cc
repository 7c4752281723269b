// Recovers files that consist of sound entries and of damage of all kinds.
//
// Each input is a script: two bytes per step say what is added to the file or
// done to it. Whatever comes out, recovery must not touch bytes outside of the
// file, must find the same through the map as by reading, must return a chain
// that is sound, and must keep every entry before the first damage. If the
// script says so, the file is then written to as a store: opened, appended to,
// compacted and opened again, with nothing lost on the way.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"
#include "engine/base/fuzz_test_util.h"
#include "engine/entry/layout.h"
#include "engine/recovery/recovery.h"
#include "engine/store/store.h"

namespace varve {
namespace {

constexpr size_t kMaximumFile = 1 << 16;
constexpr size_t kMaximumSteps = 64;

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "recovery_fuzz: %s\n", what);
  std::abort();
}

class MemoryMapping final : public Mapping {
 public:
  // A copy of exactly the size, so that the address sanitizer notices reads
  // beyond it.
  explicit MemoryMapping(const std::string& bytes)
      : MemoryMapping(std::make_unique<std::byte[]>(bytes.size()), bytes) {}

 private:
  MemoryMapping(std::unique_ptr<std::byte[]> memory, const std::string& bytes)
      : Mapping(memory.get(), bytes.size()), memory_(std::move(memory)) {
    std::memcpy(memory_.get(), bytes.data(), bytes.size());
  }
  const std::unique_ptr<std::byte[]> memory_;
};

// A file that can only be read.
class MemoryFile final : public File {
 public:
  explicit MemoryFile(const std::string& bytes) : bytes_(bytes) {}

  absl::StatusOr<size_t> ReadAt(uint64_t offset,
                                absl::Span<std::byte> out) override {
    if (offset >= bytes_.size()) return size_t{0};
    const size_t count = std::min(out.size(), bytes_.size() - offset);
    std::memcpy(out.data(), bytes_.data() + offset, count);
    return count;
  }
  absl::StatusOr<size_t> WriteAt(uint64_t,
                                 absl::Span<const struct iovec>) override {
    return Refuse();
  }
  absl::Status Sync() override { return Refuse(); }
  absl::Status BeginWriteOut(uint64_t, uint64_t) override { return Refuse(); }
  absl::Status Truncate(uint64_t) override { return Refuse(); }
  absl::Status PunchHole(uint64_t, uint64_t) override { return Refuse(); }
  absl::Status Preallocate(uint64_t, uint64_t) override { return Refuse(); }
  absl::StatusOr<FileInfo> Info() override { return Refuse(); }
  absl::Status SetOwner(uint32_t, uint32_t) override { return Refuse(); }
  absl::StatusOr<std::vector<FileXattr>> Xattrs() override { return Refuse(); }
  absl::Status SetXattr(const FileXattr&) override { return Refuse(); }
  absl::StatusOr<std::unique_ptr<Mapping>> Map(uint64_t) override {
    return Refuse();
  }
  absl::Status LockExclusive(absl::Duration) override { return Refuse(); }
  absl::Status LockForReading() override { return Refuse(); }
  absl::StatusOr<bool> TryLockOutReaders() override { return Refuse(); }
  void LetReadersIn() override {}

 private:
  static absl::Status Refuse() {
    Check(false, "recovery did more than reading");
    return absl::InternalError("unreachable");
  }
  const std::string& bytes_;
};

// A file under construction.
class Script {
 public:
  // The end of an undamaged chain, which must survive whatever follows.
  uint64_t sound_tail() const { return sound_tail_; }
  const std::string& file() const { return file_; }
  bool is_written() const { return is_written_; }

  void Run(uint8_t what, uint8_t how) {
    switch (what % 11) {
      case 0:
      case 1:
      case 2:
        return AddEntry(how % 16, std::string(1 + how, static_cast<char>(how)));
      case 3:
        return AddTombstone(how % 16);
      case 4:
        return AddDamage(std::string(how, '\0'));
      case 5:
        return AddDamage(std::string(1 + how % 100, static_cast<char>(how)));
      case 6: {  // old bytes again
        const size_t from = file_.empty() ? 0 : how * 97 % file_.size();
        return AddDamage(file_.substr(from, 200));
      }
      case 7:
        return Flip(how);
      case 8:
        return AddLinked(how);
      case 9:
        return DamageLink(how);
      default:
        is_written_ = true;
    }
  }

 private:
  // Numbers that wrap when something is added to them, or look like an offset.
  uint64_t Extreme(uint8_t how) const {
    const uint64_t size = file_.size();
    const uint64_t numbers[] = {0,
                                1,
                                tail_ - 1,
                                tail_,
                                tail_ + 1,
                                size + 99,
                                size + 100,
                                size + 119,
                                size + 120,
                                size + 121,
                                uint64_t{1} << 32,
                                (uint64_t{1} << 63) - 1,
                                uint64_t{1} << 63,
                                ~uint64_t{0} - 63,
                                ~uint64_t{0} - 62,
                                ~uint64_t{0} - 20,
                                ~uint64_t{0} - 19,
                                ~uint64_t{0} - 1,
                                ~uint64_t{0}};
    return numbers[how % std::size(numbers)];
  }
  // Bytes that would be a sound entry but for a link to anywhere.
  void AddLinked(uint8_t how) {
    if (how >= 128) file_.resize(Align64(tail_));
    const std::string payload(how % 2 == 0 ? 100 : 1 + how, 'l');
    std::byte metadata[kMetadataSize];
    EncodeMetadata({how % 16u, Extreme(how), Crc32(0, AsBytes(payload))},
                   metadata);
    AddDamage(payload + std::string(reinterpret_cast<const char*>(metadata),
                                    kMetadataSize));
  }
  // The link of the newest entry leads to anywhere.
  void DamageLink(uint8_t how) {
    if (file_.size() < kMetadataSize) return;
    StoreLittle64(Extreme(how), reinterpret_cast<std::byte*>(
                                    &file_[file_.size() - kMetadataSize + 8]));
    sound_tail_ = 0;
  }

  void AddEntry(uint64_t key_hash, std::string payload) {
    if (payload[0] == '\0') payload[0] = 'x';
    file_.resize(Align64(tail_));
    AddWithMetadata(key_hash, payload);
  }
  void AddTombstone(uint64_t key_hash) {
    file_.resize(tail_);
    AddWithMetadata(key_hash, std::string(1, '\0'));
  }
  void AddWithMetadata(uint64_t key_hash, const std::string& payload) {
    const uint32_t crc = Crc32(
        0,
        absl::MakeConstSpan(reinterpret_cast<const std::byte*>(payload.data()),
                            payload.size()));
    std::byte metadata[kMetadataSize];
    EncodeMetadata({key_hash, tail_, crc}, metadata);
    file_ += payload;
    file_.append(reinterpret_cast<const char*>(metadata), kMetadataSize);
    if (sound_tail_ == tail_) sound_tail_ = file_.size();
    tail_ = file_.size();
  }
  void AddDamage(const std::string& bytes) {
    if (bytes.empty()) return;
    file_ += bytes;
    tail_ = file_.size();  // sound_tail_ stays behind from here on
  }
  void Flip(uint8_t how) {
    if (file_.empty()) return;
    const size_t at = (how * 131 + 7) % file_.size();
    file_[at] ^= static_cast<char>(1 + how % 255);
    // Recovery does not look for damage to payloads below the newest entry, and
    // a flipped link may lead anywhere. So from here on nothing is promised.
    if (at < sound_tail_) sound_tail_ = 0;
  }

  std::string file_;
  uint64_t tail_ = 0;
  uint64_t sound_tail_ = 0;
  bool is_written_ = false;
};

absl::StatusOr<RecoveredTail> RecoverFrom(
    const std::string& file, const std::shared_ptr<const Mapping>& mapping,
    bool locked, Index& index) {
  MemoryFile memory_file(file);
  return Recover({.path = "store",
                  .file = &memory_file,
                  .mapping = mapping,
                  .file_size = file.size(),
                  .locked = locked},
                 index);
}

// Checks that the chain from `tail` reaches 0 and that the index agrees with
// it.
void CheckChain(const Mapping& mapping, uint64_t tail, const Index& index) {
  absl::flat_hash_map<uint64_t, uint64_t> newest;  // 0 for a tombstone
  size_t live = 0;
  bool is_last = true;
  while (tail > 0) {
    const auto entry = LocateEntryEndingAt(
        {mapping.data(), static_cast<size_t>(mapping.length())}, tail);
    Check(entry.has_value(), "the chain is broken");
    if (is_last) {
      const absl::Span<const std::byte> payload(
          mapping.data() + entry->payload_offset, entry->payload_size);
      Check(Crc32(0, payload) == entry->crc32, "the last entry is not whole");
      is_last = false;
    }
    const uint64_t offset = entry->is_tombstone ? 0 : entry->metadata_offset();
    if (newest.try_emplace(entry->key_hash, offset).second) live += offset != 0;
    tail = entry->prev_tail;
  }
  Check(index.size() == live, "the index has another number of keys");
  for (const auto& [key_hash, offset] : newest) {
    Check(index.Find(key_hash).value_or(0) == offset,
          "the index says something else than the chain");
  }
}

// --- The written path ---

using Values = absl::flat_hash_map<uint64_t, std::string>;

Values LiveValues(const Store& store) {
  Values values;
  store.ForEach([&](const EntryView& entry) {
    values.emplace(entry.key_hash(), entry.payload_text());
    return true;
  });
  return values;
}

std::unique_ptr<Store> OpenStore(const std::string& path, OpenMode mode) {
  auto store = Store::Open(path, {.mode = mode});
  if (store.ok()) return *std::move(store);
  Check(absl::IsDataLoss(store.status()), "unexpected error in opening");
  return nullptr;
}

void WriteTo(const std::string& bytes) {
  constexpr uint64_t kNewKey = 100;
  constexpr char kNewValue[] = "what the fuzzer has written";
  static const FuzzDirectory directory;
  const std::string path = directory.MakeStore(bytes);
  if (const auto reader = OpenStore(path, OpenMode::kRead)) LiveValues(*reader);
  auto store = OpenStore(path, OpenMode::kReadWrite);
  if (store == nullptr) return;
  Values expected = LiveValues(*store);
  Check(store->Write(EntryKey::OfHash(kNewKey), AsBytes(kNewValue)).ok(),
        "appending");
  expected[kNewKey] = kNewValue;
  if (!expected.empty() && bytes.size() % 2 == 1) {
    const uint64_t deleted = expected.begin()->first;
    Check(store->Delete(EntryKey::OfHash(deleted)).ok(), "deleting");
    expected.erase(deleted);
  }
  Check(LiveValues(*store) == expected, "what was there is not any more");
  store = nullptr;
  store = OpenStore(path, OpenMode::kReadWrite);
  Check(store != nullptr, "what was written cannot be opened");
  Check(LiveValues(*store) == expected, "opening changes what is there");
  const absl::Status compacted = store->Compact();
  Check(compacted.ok() || absl::IsDataLoss(compacted), "compacting");
  Check(LiveValues(*store) == expected, "compacting loses what was there");
  store = nullptr;
  store = OpenStore(path, OpenMode::kRead);
  if (compacted.ok() && expected.empty()) return;
  Check(store != nullptr && LiveValues(*store) == expected,
        "opening again changes what is there");
}

void RunInput(absl::Span<const uint8_t> input) {
  Script script;
  for (size_t i = 0; i + 1 < input.size() && i / 2 < kMaximumSteps; i += 2) {
    if (script.file().size() < kMaximumFile) script.Run(input[i], input[i + 1]);
  }
  const auto mapping = std::make_shared<const MemoryMapping>(script.file());
  Index index;
  const auto mapped = RecoverFrom(script.file(), mapping, true, index);
  Index other;
  const auto read = RecoverFrom(script.file(), mapping, false, other);
  Check(mapped.status() == read.status(), "map and reads disagree");
  if (script.is_written()) WriteTo(script.file());
  if (!mapped.ok()) {
    Check(absl::IsDataLoss(mapped.status()), "unexpected error");
    Check(script.sound_tail() == 0, "a sound entry was not found");
    return;
  }
  Check(mapped->mend.has_value() == read->mend.has_value(),
        "map and reads mend differently");
  // Tail and index mean nothing then.
  if (mapped->mend.has_value()) return;
  Check(mapped->tail == read->tail, "map and reads find different tails");
  Check(mapped->tail <= script.file().size(), "the tail is beyond the file");
  Check(mapped->tail >= script.sound_tail(), "a sound entry was lost");
  CheckChain(*mapping, mapped->tail, index);
}

}  // namespace
}  // namespace varve

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  varve::RunInput({data, size});
  return 0;
}
