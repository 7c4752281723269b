// Reads arbitrary bytes as block sums: of the entry that they say they belong
// to, and of one of a size that they do not choose.
//
// What is read is compared with the bytes at the places that docs/format.md
// names. All bytes lie in a block of exactly their size, so that the address
// sanitizer notices reads beyond it.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "engine/base/endian.h"
#include "engine/entry/block_sums.h"
#include "engine/entry/entry.h"

namespace varve {
namespace {

constexpr size_t kHeader = 24;
constexpr uint64_t kGroup = 1022;
constexpr uint64_t kBlock = 65536;

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "block_sums_fuzz: %s\n", what);
  std::abort();
}

void Read(absl::string_view payload, const EntryLocation& entry) {
  const std::optional<BlockSums> sums = BlockSums::Open(payload, entry);
  if (!sums.has_value()) return;
  Check(BlockSums::DataKeyIn(payload) == entry.key_hash, "another key");
  Check(sums->count() == entry.payload_size / kBlock, "another count");
  Check(4 * sums->count() < payload.size(), "more sums than bytes");
  bool all = true;
  for (uint64_t block = 0; block < sums->count(); ++block) {
    const std::optional<uint32_t> sum = sums->SumOf(block);
    const size_t at = kHeader + 4 * block + 8 * (block / kGroup);
    all = all && sum.has_value();
    Check(!sum.has_value() ||
              *sum == LoadLittle32(reinterpret_cast<const std::byte*>(
                          payload.data() + at)),
          "another sum");
  }
  Check(!sums->SumOf(sums->count()).has_value(), "a sum too many");
  Check(!sums->SumOf(UINT64_MAX).has_value(), "a sum of no block");
  Check(all || !sums->MatchEntry(), "damaged sums match");
}

// The same bytes, with checks that match.
std::string WithChecks(absl::string_view payload) {
  std::string bytes(payload);
  uint64_t group = 0;
  for (size_t at = kHeader; at + 8 < bytes.size(); ++group) {
    const size_t size = std::min<size_t>(4 * kGroup, bytes.size() - at - 8);
    std::string checked = bytes.substr(0, kHeader);
    checked.resize(kHeader + 8);
    StoreLittle64(group, reinterpret_cast<std::byte*>(&checked[kHeader]));
    checked += bytes.substr(at, size);
    StoreLittle64(HashKey(checked),
                  reinterpret_cast<std::byte*>(&bytes[at + size]));
    at += size + 8;
  }
  return bytes;
}

void ReadAsAny(absl::string_view text) {
  const auto block = std::make_unique<char[]>(text.size());
  std::memcpy(block.get(), text.data(), text.size());
  const absl::string_view payload(block.get(), text.size());
  EntryLocation entry = {.key_hash = 1, .payload_offset = 64};
  const auto* const bytes = reinterpret_cast<const std::byte*>(payload.data());
  if (payload.size() >= kHeader) {
    entry.crc32 = LoadLittle32(bytes + 4);
    entry.key_hash = LoadLittle64(bytes + 8);
    entry.payload_size = LoadLittle64(bytes + 16);
    Read(payload, entry);
  }
  entry.payload_size = payload.size() / 4 * kBlock;
  Read(payload, entry);
}

}  // namespace
}  // namespace varve

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  varve::ReadAsAny(text);
  varve::ReadAsAny(varve::WithChecks(text));
  return 0;
}
