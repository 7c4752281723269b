// RocksDB with its defaults, except that there is no compression and a cache
// that holds everything. Its log is written and not synced, which survives a
// crash of the process. A batch is one WriteBatch.

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "absl/strings/str_cat.h"
#include "tools/bench/key_value_store.h"

namespace varve::bench {
namespace {

constexpr size_t kCache = size_t{1} << 30;

void Check(const rocksdb::Status& status) {
  if (!status.ok()) Fail(absl::StrCat("rocksdb: ", status.ToString()));
}

rocksdb::Slice SliceOf(absl::string_view text) {
  return {text.data(), text.size()};
}

class RocksDb final : public KeyValueStore {
 public:
  absl::string_view name() const override { return "rocksdb"; }

  void Open(const std::string& path, uint64_t /*capacity*/) override {
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = cache_;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    rocksdb::DB* database = nullptr;
    Check(rocksdb::DB::Open(options, path, &database));
    database_.reset(database);
  }

  void Close() override { database_.reset(); }

  void Put(const KeyValue& item) override {
    Check(database_->Put(rocksdb::WriteOptions(), SliceOf(item.key.text()),
                         SliceOf(item.value)));
  }

  void PutBatch(absl::Span<const KeyValue> items) override {
    rocksdb::WriteBatch batch;
    for (const KeyValue& item : items) {
      Check(batch.Put(SliceOf(item.key.text()), SliceOf(item.value)));
    }
    Check(database_->Write(rocksdb::WriteOptions(), &batch));
  }

  uint64_t Read(absl::Span<const Key> keys) override {
    const rocksdb::ReadOptions options;
    uint64_t sum = 0;
    rocksdb::PinnableSlice value;
    for (const Key& key : keys) {
      value.Reset();
      Check(database_->Get(options, database_->DefaultColumnFamily(),
                           SliceOf(key.text()), &value));
      sum += Digest(value.data(), value.size());
    }
    return sum;
  }

  Totals Iterate() override {
    Totals totals;
    const std::unique_ptr<rocksdb::Iterator> entry(
        database_->NewIterator(rocksdb::ReadOptions()));
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
  const std::shared_ptr<rocksdb::Cache> cache_ = rocksdb::NewLRUCache(kCache);
  std::unique_ptr<rocksdb::DB> database_;
};

}  // namespace

std::unique_ptr<KeyValueStore> MakeRocksDb() {
  return std::make_unique<RocksDb>();
}

}  // namespace varve::bench
