// The fixture that tests of the store share: an open store and verbs for it.

#ifndef VARVE_ENGINE_STORE_STORE_TEST_FIXTURE_H_
#define VARVE_ENGINE_STORE_STORE_TEST_FIXTURE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/test_util.h"
#include "engine/io/fault_file.h"
#include "engine/store/store.h"

namespace varve {

// The durable_tail callback of OpenOptions.
using DurableTail = std::function<uint64_t(const EntryView& entry)>;

class StoreFixture : public testing::Test {
 protected:
  StoreFixture() { Open(OpenMode::kCreate); }

  std::string Path(absl::string_view name = "store") const {
    return directory_.File(name);
  }
  absl::StatusOr<std::unique_ptr<Store>> TryOpen(
      OpenMode mode = OpenMode::kReadWrite, DurableTail durable_tail = {}) {
    store_.reset();
    return Store::Open(Path(), {.mode = mode,
                                .file_system = &file_system_,
                                .durable_tail = std::move(durable_tail)});
  }
  void Open(OpenMode mode = OpenMode::kReadWrite,
            DurableTail durable_tail = {}) {
    auto store = TryOpen(mode, std::move(durable_tail));
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }
  std::unique_ptr<Store> OpenOther(absl::string_view name) const {
    auto store = Store::Open(Path(name), {.mode = OpenMode::kCreate});
    EXPECT_THAT(store, IsOk());
    return *std::move(store);
  }

  EntryLocation Write(absl::string_view key, absl::string_view payload) {
    const auto entry = store_->Write(key, Bytes(payload));
    EXPECT_THAT(entry, IsOk());
    return entry.value_or(EntryLocation{});
  }
  // "(NOT_FOUND)" or the like if there is none.
  std::string Read(absl::string_view key) const {
    return TextOf(store_->Read(key));
  }
  std::string ReadHashed(uint64_t key_hash) const {
    return TextOf(store_->Read(EntryKey::OfHash(key_hash)));
  }
  // Payloads of the live entries, newest first.
  std::vector<std::string> Live() const {
    std::vector<std::string> payloads;
    store_->ForEach([&](const EntryView& entry) {
      payloads.emplace_back(entry.payload_text());
      return true;
    });
    return payloads;
  }
  // What the store file holds.
  std::string File() const { return ReadWholeFile(Path()); }

  const TemporaryDirectory directory_;
  FaultFileSystem file_system_;
  std::unique_ptr<Store> store_;

 private:
  static std::string TextOf(const absl::StatusOr<EntryView>& entry) {
    return entry.ok()
               ? std::string(entry->payload_text())
               : absl::StrCat(
                     "(", absl::StatusCodeToString(entry.status().code()), ")");
  }
};

}  // namespace varve

#endif  // VARVE_ENGINE_STORE_STORE_TEST_FIXTURE_H_
