// LevelDB with its defaults, except that there is no compression and a cache
// that holds everything. Its log is written and not synced, which survives a
// crash of the process. A batch is one WriteBatch.

#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/write_batch.h>

#include "absl/strings/str_cat.h"
#include "tools/bench/key_value_store.h"

namespace varve::bench {
namespace {

constexpr size_t kCache = size_t{1} << 30;

void Check(const leveldb::Status& status) {
  if (!status.ok()) Fail(absl::StrCat("leveldb: ", status.ToString()));
}

leveldb::Slice SliceOf(absl::string_view text) {
  return {text.data(), text.size()};
}

class LevelDb final : public KeyValueStore {
 public:
  absl::string_view name() const override { return "leveldb"; }

  void Open(const std::string& path, uint64_t /*capacity*/) override {
    leveldb::Options options;
    options.create_if_missing = true;
    options.compression = leveldb::kNoCompression;
    options.block_cache = cache_.get();
    leveldb::DB* database = nullptr;
    Check(leveldb::DB::Open(options, path, &database));
    database_.reset(database);
  }

  void Close() override { database_.reset(); }

  void Put(const KeyValue& item) override {
    Check(database_->Put(leveldb::WriteOptions(), SliceOf(item.key.text()),
                         SliceOf(item.value)));
  }

  void PutBatch(absl::Span<const KeyValue> items) override {
    leveldb::WriteBatch batch;
    for (const KeyValue& item : items) {
      batch.Put(SliceOf(item.key.text()), SliceOf(item.value));
    }
    Check(database_->Write(leveldb::WriteOptions(), &batch));
  }

  uint64_t Read(absl::Span<const Key> keys) override {
    const leveldb::ReadOptions options;
    uint64_t sum = 0;
    std::string value;
    for (const Key& key : keys) {
      Check(database_->Get(options, SliceOf(key.text()), &value));
      sum += Digest(value.data(), value.size());
    }
    return sum;
  }

  Totals Iterate() override {
    Totals totals;
    const std::unique_ptr<leveldb::Iterator> entry(
        database_->NewIterator(leveldb::ReadOptions()));
    for (entry->SeekToFirst(); entry->Valid(); entry->Next()) {
      Key key;
      std::memcpy(&key, entry->key().data(), sizeof(key));
      totals.Add(key.number(),
                 Digest(entry->value().data(), entry->value().size()));
    }
    Check(entry->status());
    return totals;
  }

 private:
  // Outlives the database.
  const std::unique_ptr<leveldb::Cache> cache_{leveldb::NewLRUCache(kCache)};
  std::unique_ptr<leveldb::DB> database_;
};

}  // namespace

std::unique_ptr<KeyValueStore> MakeLevelDb() {
  return std::make_unique<LevelDb>();
}

}  // namespace varve::bench
