// The engine, as the benchmark sees it.

#include <mutex>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/store/store.h"
#include "tools/bench/key_value_store.h"

namespace varve::bench {
namespace {

void Check(const absl::Status& status) {
  if (!status.ok()) Fail(absl::StrCat("varve: ", status.ToString()));
}

uint64_t DigestOf(const EntryView& entry) {
  const absl::Span<const std::byte> payload = entry.payload();
  return Digest(payload.data(), payload.size());
}

// The totals of one thread, in a cache line of their own.
class TotalsOfThreads {
 public:
  TotalsOfThreads() : number_(++made_) {}

  Totals& OfThisThread() {
    thread_local uint64_t number = 0;
    thread_local Slot* slot = nullptr;
    if (number != number_) {
      const std::lock_guard<std::mutex> lock(mutex_);
      slots_.push_back(std::make_unique<Slot>());
      slot = slots_.back().get();
      number = number_;
    }
    return slot->totals;
  }

  Totals Sum() const {
    Totals sum;
    for (const std::unique_ptr<Slot>& slot : slots_) {
      sum.count += slot->totals.count;
      sum.keys += slot->totals.keys;
      sum.values += slot->totals.values;
    }
    return sum;
  }

 private:
  struct alignas(64) Slot {
    Totals totals;
  };
  inline static uint64_t made_ = 0;

  const uint64_t number_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Slot>> slots_;
};

class Varve final : public KeyValueStore {
 public:
  absl::string_view name() const override { return "varve"; }

  void Open(const std::string& path, uint64_t /*capacity*/) override {
    auto store = Store::Open(path, {.mode = OpenMode::kCreate});
    Check(store.status());
    store_ = *std::move(store);
  }

  void Close() override { store_.reset(); }

  void Put(const KeyValue& item) override {
    Check(store_->Write(item.key.text(), AsBytes(item.value)).status());
  }

  void PutBatch(absl::Span<const KeyValue> items) override {
    items_.clear();
    for (const KeyValue& item : items) {
      items_.push_back({item.key.text(), AsBytes(item.value)});
    }
    Check(store_->WriteBatch(items_));
  }

  uint64_t Read(absl::Span<const Key> keys) override {
    uint64_t sum = 0;
    for (const Key& key : keys) {
      const absl::StatusOr<EntryView> entry = store_->Read(key.text());
      Check(entry.status());
      sum += DigestOf(*entry);
    }
    return sum;
  }

  uint64_t ReadBatch(absl::Span<const Key> keys) override {
    keys_.clear();
    for (const Key& key : keys) keys_.emplace_back(key.text());
    uint64_t sum = 0;
    for (const std::optional<EntryView>& entry : store_->ReadBatch(keys_)) {
      if (!entry.has_value()) Fail("varve: a key is missing");
      sum += DigestOf(*entry);
    }
    return sum;
  }

  Totals Iterate() override {
    Totals totals;
    store_->ForEach([&](const EntryView& entry) {
      totals.Add(entry.key_hash(), DigestOf(entry));
      return true;
    });
    return totals;
  }

  bool CanIterateInParallel() const override { return true; }

  Totals IterateInParallel() override {
    TotalsOfThreads totals;
    store_->ForEachParallel([&](const EntryView& entry) {
      totals.OfThisThread().Add(entry.key_hash(), DigestOf(entry));
    });
    return totals.Sum();
  }

  uint64_t KeyDigest(const Key& key) const override {
    return HashKey(key.text());
  }

 private:
  std::unique_ptr<Store> store_;
  // Members, so that their memory is reused.
  std::vector<BatchItem> items_;
  std::vector<EntryKey> keys_;
};

}  // namespace

std::unique_ptr<KeyValueStore> MakeVarve() { return std::make_unique<Varve>(); }

}  // namespace varve::bench
