#include "engine/index/index.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include "engine/base/random.h"
#include "engine/base/status.h"

namespace varve {
namespace {

constexpr uint64_t kEmpty = 0;  // offset of a slot that holds no key
constexpr uint64_t kMinimumCapacity = 256;  // one page
// Tables from here on ask for huge pages, without which nearly every look-up
// would miss the TLB as well as the cache.
constexpr size_t kHugePageThreshold = size_t{4} << 20;

struct Secret {
  const uint64_t masks[2] = {RandomWord(), RandomWord()};
  // Odd, because an even factor would lose bits.
  const uint64_t factors[2] = {RandomWord() | 1, RandomWord() | 1};
};

uint64_t MultiplyAndFold(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t Mix(uint64_t key_hash) {
  static const Secret secret;
  const uint64_t once =
      MultiplyAndFold(key_hash ^ secret.masks[0], secret.factors[0]);
  return MultiplyAndFold(once ^ secret.masks[1], secret.factors[1]);
}

// The number of slots that a table of `capacity` may fill.
constexpr uint64_t LimitOf(uint64_t capacity) {
  return capacity - capacity / 5;  // 80 %
}

}  // namespace

// Once `offset` is set, `key_hash` never changes.
struct Index::Slot {
  std::atomic<uint64_t> key_hash;
  std::atomic<uint64_t> offset;
};

struct Index::Table {
  Slot* slots = nullptr;
  uint64_t capacity = 0;
  uint64_t used = 0;  // slots with a key, deleted ones too; for the writer

  size_t bytes() const { return capacity * sizeof(Slot); }

  ~Table() {
    if (slots != nullptr) munmap(static_cast<void*>(slots), bytes());
  }
};

Index::Index() = default;
Index::~Index() = default;

// The high bits of the product choose the slot, so that a larger table keeps
// the order of the slots, and filling it is one sequential pass.
uint64_t Index::Position(const Table& table, uint64_t key_hash) {
  return static_cast<uint64_t>(
      (static_cast<unsigned __int128>(Mix(key_hash)) * table.capacity) >> 64);
}

uint64_t Index::Probe(const Table& table, uint64_t key_hash) {
  for (uint64_t i = Position(table, key_hash);;) {
    const Slot& slot = table.slots[i];
    const uint64_t offset = slot.offset.load(std::memory_order_acquire);
    if (offset == kEmpty) return kEmpty;
    // Acquire, because the check of the table below must not move up.
    if (slot.key_hash.load(std::memory_order_acquire) == key_hash) {
      return offset;
    }
    if (++i == table.capacity) i = 0;
  }
}

std::optional<uint64_t> Index::Find(uint64_t key_hash) const {
  const Table* table = table_.load(std::memory_order_acquire);
  while (table != nullptr) {
    const uint64_t offset = Probe(*table, key_hash);
    // If the table was replaced meanwhile, its memory may have been released
    // during the probe, and the result means nothing.
    const Table* const now = table_.load(std::memory_order_acquire);
    if (now == table) {
      if (offset == kEmpty) break;
      if (offset == kDeleted) return std::nullopt;
      return offset;
    }
    table = now;
  }
  return base_ == nullptr ? std::nullopt : base_->Find(key_hash);
}

void Index::Prefetch(uint64_t key_hash) const {
  if (base_ != nullptr) base_->Prefetch(key_hash);
  const Table* const table = table_.load(std::memory_order_acquire);
  if (table == nullptr) return;
  __builtin_prefetch(&table->slots[Position(*table, key_hash)]);
}

size_t Index::memory() const {
  const Table* const table = table_.load(std::memory_order_acquire);
  return table == nullptr ? 0 : table->bytes();
}

Index::Table& Index::WriterTable() const {
  return *table_.load(std::memory_order_relaxed);
}

Index::Slot& Index::SlotFor(const Table& table, uint64_t key_hash) {
  for (uint64_t i = Position(table, key_hash);;) {
    Slot& slot = table.slots[i];
    if (slot.offset.load(std::memory_order_relaxed) == kEmpty ||
        slot.key_hash.load(std::memory_order_relaxed) == key_hash) {
      return slot;
    }
    if (++i == table.capacity) i = 0;
  }
}

absl::Status Index::Reserve(size_t count) {
  const Table* const table = table_.load(std::memory_order_relaxed);
  if (table != nullptr && table->used + count <= LimitOf(table->capacity)) {
    return absl::OkStatus();
  }
  return Grow(KeysToKeep() + count);
}

bool Index::IsInBase(uint64_t key_hash) const {
  return base_ != nullptr && base_->Find(key_hash).has_value();
}

bool Index::MustKeep(const Slot& slot) const {
  const uint64_t offset = slot.offset.load(std::memory_order_relaxed);
  if (offset != kDeleted) return offset != kEmpty;
  return remembers_deleted_ ||
         IsInBase(slot.key_hash.load(std::memory_order_relaxed));
}

size_t Index::KeysToKeep() const {
  const Table* const table = table_.load(std::memory_order_relaxed);
  if (table == nullptr) return 0;
  if (remembers_deleted_) return table->used;
  if (base_ == nullptr) return size();
  size_t count = 0;
  for (uint64_t i = 0; i < table->capacity; ++i) {
    count += MustKeep(table->slots[i]);
  }
  return count;
}

absl::Status Index::Grow(size_t keys_wanted) {
  auto table = std::make_unique<Table>();
  // Half full afterwards, and replaced when it is 80 % full.
  table->capacity = std::max<uint64_t>(kMinimumCapacity, keys_wanted * 2);
  void* const memory = mmap(nullptr, table->bytes(), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return SystemError(errno, "no memory for the index");
  if (table->bytes() >= kHugePageThreshold) {
    madvise(memory, table->bytes(), MADV_HUGEPAGE);  // only a hint
  }
  // Fresh pages are zero, and a zero slot is empty.
  table->slots = static_cast<Slot*>(memory);

  Table* const old = table_.load(std::memory_order_relaxed);
  for (uint64_t i = 0; old != nullptr && i < old->capacity; ++i) {
    if (!MustKeep(old->slots[i])) continue;
    const uint64_t offset =
        old->slots[i].offset.load(std::memory_order_relaxed);
    const uint64_t key_hash =
        old->slots[i].key_hash.load(std::memory_order_relaxed);
    Slot& slot = SlotFor(*table, key_hash);
    slot.key_hash.store(key_hash, std::memory_order_relaxed);
    slot.offset.store(offset, std::memory_order_relaxed);
    ++table->used;
  }
  table_.store(table.get(), std::memory_order_release);
  tables_.push_back(std::move(table));
  if (old != nullptr) {
    void* const slots = static_cast<void*>(old->slots);
    // A huge page at an edge must not bring its neighbours back.
    madvise(slots, old->bytes(), MADV_NOHUGEPAGE);
    madvise(slots, old->bytes(), MADV_DONTNEED);
  }
  return absl::OkStatus();
}

// Publishes `offset` in a slot that holds the key or is empty.
void Index::Store(Slot& slot, uint64_t key_hash, uint64_t offset) {
  const uint64_t before = slot.offset.load(std::memory_order_relaxed);
  if (before == kEmpty) {
    ++WriterTable().used;
    slot.key_hash.store(key_hash, std::memory_order_relaxed);
  }
  const bool was_live =
      before == kEmpty ? IsInBase(key_hash) : before != kDeleted;
  const bool is_live = offset != kDeleted;
  slot.offset.store(offset, std::memory_order_release);
  live_.store(size() + is_live - was_live, std::memory_order_relaxed);
}

void Index::Set(uint64_t key_hash, uint64_t offset) {
  Store(SlotFor(WriterTable(), key_hash), key_hash, offset);
}

void Index::SetIfUnknown(uint64_t key_hash, uint64_t offset) {
  remembers_deleted_ = true;
  Slot& slot = SlotFor(WriterTable(), key_hash);
  if (slot.offset.load(std::memory_order_relaxed) != kEmpty) return;
  Store(slot, key_hash, offset);
}

void Index::SetBase(std::unique_ptr<const IndexImage> base) {
  base_ = std::move(base);
  size_t live = base_->size();
  const Table* const table = table_.load(std::memory_order_relaxed);
  for (uint64_t i = 0; table != nullptr && i < table->capacity; ++i) {
    const Slot& slot = table->slots[i];
    const uint64_t offset = slot.offset.load(std::memory_order_relaxed);
    if (offset == kEmpty) continue;
    live += offset != kDeleted;
    live -= IsInBase(slot.key_hash.load(std::memory_order_relaxed));
  }
  live_.store(live, std::memory_order_relaxed);
}

bool Index::Erase(uint64_t key_hash) {
  if (table_.load(std::memory_order_relaxed) == nullptr) return false;
  Slot& slot = SlotFor(WriterTable(), key_hash);
  const uint64_t before = slot.offset.load(std::memory_order_relaxed);
  if (before == kDeleted) return false;
  const bool is_present = before != kEmpty || IsInBase(key_hash);
  // What is filled in later, from older entries, must not bring it back.
  if (is_present || remembers_deleted_) Store(slot, key_hash, kDeleted);
  return is_present;
}

std::vector<uint64_t> Index::Offsets() const {
  std::vector<uint64_t> offsets;
  const Table* table = table_.load(std::memory_order_acquire);
  while (true) {
    offsets.clear();
    offsets.reserve(size());
    for (uint64_t i = 0; table != nullptr && i < table->capacity; ++i) {
      const uint64_t offset =
          table->slots[i].offset.load(std::memory_order_acquire);
      if (offset != kEmpty && offset != kDeleted) offsets.push_back(offset);
    }
    for (size_t i = 0; base_ != nullptr && i < base_->size(); ++i) {
      const IndexedKey key = base_->At(i);
      if (base_->IsValid(key) &&
          (table == nullptr || Probe(*table, key.key_hash) == kEmpty)) {
        offsets.push_back(key.metadata_offset);
      }
    }
    // As in Find().
    const Table* const now = table_.load(std::memory_order_acquire);
    if (now == table) return offsets;
    table = now;
  }
}

std::vector<IndexedKey> Index::SortedKeys() const {
  const Table* const table = table_.load(std::memory_order_relaxed);
  std::vector<IndexedKey> newer;  // deleted ones, too
  if (table != nullptr) newer.reserve(table->used);
  for (uint64_t i = 0; table != nullptr && i < table->capacity; ++i) {
    const Slot& slot = table->slots[i];
    const uint64_t offset = slot.offset.load(std::memory_order_relaxed);
    if (offset == kEmpty) continue;
    newer.push_back({slot.key_hash.load(std::memory_order_relaxed), offset});
  }
  std::sort(newer.begin(), newer.end(),
            [](const IndexedKey& a, const IndexedKey& b) {
              return a.key_hash < b.key_hash;
            });
  const auto is_deleted = [](const IndexedKey& key) {
    return key.metadata_offset == kDeleted;
  };
  if (base_ == nullptr) {
    std::erase_if(newer, is_deleted);
    return newer;
  }
  std::vector<IndexedKey> keys;
  keys.reserve(base_->size() + newer.size());
  auto next = newer.begin();
  for (size_t i = 0; i < base_->size(); ++i) {
    const IndexedKey older = base_->At(i);
    for (; next != newer.end() && next->key_hash < older.key_hash; ++next) {
      if (!is_deleted(*next)) keys.push_back(*next);
    }
    if (next == newer.end() || next->key_hash != older.key_hash) {
      keys.push_back(older);
    }
  }
  std::copy_if(next, newer.end(), std::back_inserter(keys),
               [&](const IndexedKey& key) { return !is_deleted(key); });
  return keys;
}

void Index::Clear() {
  table_.store(nullptr, std::memory_order_relaxed);
  tables_.clear();
  live_.store(0, std::memory_order_relaxed);
  remembers_deleted_ = false;
  base_.reset();
}

}  // namespace varve
