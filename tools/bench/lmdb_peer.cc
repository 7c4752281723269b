// LMDB in its fastest mode that survives a crash of the process: a writable
// mapping and no sync. A batch is one transaction.

#include <lmdb.h>
#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "tools/bench/key_value_store.h"

namespace varve::bench {
namespace {

constexpr unsigned kFlags = MDB_NOSYNC | MDB_WRITEMAP | MDB_MAPASYNC;
// An allowance for pages that are not full and for pages that a transaction
// copies.
constexpr uint64_t kMapPerByte = 8;
constexpr uint64_t kLeastMap = uint64_t{64} << 20;

void Check(int error) {
  if (error != 0) Fail(absl::StrCat("lmdb: ", mdb_strerror(error)));
}

MDB_val ValueOf(absl::string_view text) {
  return {text.size(), const_cast<char*>(text.data())};
}

class Transaction {
 public:
  Transaction(MDB_env* environment, unsigned flags) {
    Check(mdb_txn_begin(environment, nullptr, flags, &transaction_));
  }
  ~Transaction() {
    if (transaction_ != nullptr) mdb_txn_abort(transaction_);
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  MDB_txn* get() const { return transaction_; }
  void Commit() { Check(mdb_txn_commit(std::exchange(transaction_, nullptr))); }

 private:
  MDB_txn* transaction_ = nullptr;
};

class Lmdb final : public KeyValueStore {
 public:
  ~Lmdb() override { Close(); }

  absl::string_view name() const override { return "lmdb"; }

  void Open(const std::string& path, uint64_t capacity) override {
    Check(mdb_env_create(&environment_));
    Check(
        mdb_env_set_mapsize(environment_, kMapPerByte * capacity + kLeastMap));
    mkdir(path.c_str(), 0700);
    Check(mdb_env_open(environment_, path.c_str(), kFlags, 0600));
    Transaction transaction(environment_, 0);
    Check(mdb_dbi_open(transaction.get(), nullptr, 0, &database_));
    transaction.Commit();
  }

  void Close() override {
    if (environment_ == nullptr) return;
    mdb_env_close(std::exchange(environment_, nullptr));
  }

  void Put(const KeyValue& item) override {
    PutBatch(absl::MakeConstSpan(&item, 1));
  }

  void PutBatch(absl::Span<const KeyValue> items) override {
    Transaction transaction(environment_, 0);
    for (const KeyValue& item : items) {
      MDB_val key = ValueOf(item.key.text());
      MDB_val value = ValueOf(item.value);
      Check(mdb_put(transaction.get(), database_, &key, &value, 0));
    }
    transaction.Commit();
  }

  // In one transaction, which is faster than one for each.
  uint64_t Read(absl::Span<const Key> keys) override {
    const Transaction transaction(environment_, MDB_RDONLY);
    uint64_t sum = 0;
    for (const Key& wanted : keys) {
      MDB_val key = ValueOf(wanted.text());
      MDB_val value;
      Check(mdb_get(transaction.get(), database_, &key, &value));
      sum += Digest(value.mv_data, value.mv_size);
    }
    return sum;
  }

  Totals Iterate() override {
    const Transaction transaction(environment_, MDB_RDONLY);
    MDB_cursor* cursor = nullptr;
    Check(mdb_cursor_open(transaction.get(), database_, &cursor));
    Totals totals;
    MDB_val bytes;
    MDB_val value;
    int error = 0;
    while ((error = mdb_cursor_get(cursor, &bytes, &value, MDB_NEXT)) == 0) {
      Key key;
      std::memcpy(&key, bytes.mv_data, sizeof(key));
      totals.Add(key.number(), Digest(value.mv_data, value.mv_size));
    }
    if (error != MDB_NOTFOUND) Check(error);
    mdb_cursor_close(cursor);
    return totals;
  }

 private:
  MDB_env* environment_ = nullptr;
  MDB_dbi database_ = 0;
};

}  // namespace

std::unique_ptr<KeyValueStore> MakeLmdb() { return std::make_unique<Lmdb>(); }

}  // namespace varve::bench
