// What the original program of the entry format does, as far as tests need it.

#ifndef VARVE_FS_VOLUME_ORIGINAL_TEST_UTIL_H_
#define VARVE_FS_VOLUME_ORIGINAL_TEST_UTIL_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/test_util.h"
#include "engine/base/zeros.h"
#include "engine/store/store.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {

// Compacts the store at `path` as the original does: keeps only its live
// entries, newest first, as in tests/format/golden/after_compact.store. The
// original fails if a payload is all zeros; then this fails the test.
inline void RewriteAsOriginal(const std::string& path) {
  std::vector<std::pair<uint64_t, std::string>> live;
  {
    auto store = Store::Open(path, {.mode = OpenMode::kRead});
    ASSERT_THAT(store, IsOk());
    (*store)->ForEach([&live](const EntryView& entry) {
      live.emplace_back(entry.key_hash(), entry.payload_text());
      return true;
    });
  }
  WriteWholeFile(path, "");
  auto store = Store::Open(path, {});
  ASSERT_THAT(store, IsOk());
  for (const auto& [key_hash, text] : live) {
    ASSERT_FALSE(IsAllZeros(text)) << key_hash;
    ASSERT_THAT((*store)->Write(EntryKey::OfHash(key_hash), AsBytes(text)),
                IsOk());
  }
}

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_ORIGINAL_TEST_UTIL_H_
