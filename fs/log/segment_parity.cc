#include "fs/log/segment_parity.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/base/status.h"
#include "engine/entry/entry.h"
#include "fs/base/error.h"
#include "fs/format/wire.h"
#include "isa-l/erasure_code.h"

namespace varve::fs {
namespace {

using Blocks = std::vector<std::string>;

constexpr size_t kSumSize = sizeof(uint32_t);

size_t DataBlocks(size_t nodes_size) {
  return (nodes_size + kParityBlock - 1) / kParityBlock;
}

// Zeros behind the nodes. Without them, a page of the file could hit three
// blocks: the end of one, a short last one, and the parity.
size_t Padding(size_t nodes_size) {
  const size_t blocks = DataBlocks(nodes_size);
  return blocks == 1 ? 0 : blocks * kParityBlock - nodes_size;
}

uint32_t SumOf(absl::string_view bytes) {
  return Crc32(
      0, {reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()});
}

unsigned char* Raw(std::string& block) {
  return reinterpret_cast<unsigned char*>(block.data());
}

// Splits `nodes` into blocks; the last one is filled up with zeros.
Blocks Split(absl::string_view nodes) {
  Blocks blocks;
  for (; !nodes.empty();
       nodes.remove_prefix(std::min(kParityBlock, nodes.size()))) {
    blocks.emplace_back(nodes.substr(0, kParityBlock));
    blocks.back().resize(kParityBlock);
  }
  return blocks;
}

// The matrix of the code: a row for each block of data and parity, with the
// factor of each block of data in it.
std::vector<uint8_t> CodeOf(size_t data) {
  std::vector<uint8_t> code((data + kParityBlocks) * data);
  gf_gen_cauchy1_matrix(code.data(), static_cast<int>(data + kParityBlocks),
                        static_cast<int>(data));
  return code;
}

// For each row of `rows`, computes the sum of the blocks `from`, multiplied by
// the row's factors.
void Combine(const uint8_t* rows, Blocks& from, absl::Span<std::string> to) {
  std::vector<uint8_t> tables(32 * from.size() * to.size());
  ec_init_tables(static_cast<int>(from.size()), static_cast<int>(to.size()),
                 const_cast<uint8_t*>(rows), tables.data());
  std::vector<uint8_t*> sources;
  std::vector<uint8_t*> results;
  for (std::string& block : from) sources.push_back(Raw(block));
  for (std::string& block : to) {
    block.resize(kParityBlock);
    results.push_back(Raw(block));
  }
  ec_encode_data(static_cast<int>(kParityBlock), static_cast<int>(from.size()),
                 static_cast<int>(to.size()), tables.data(), sources.data(),
                 results.data());
}

// The checksums of all blocks; nothing if the table itself is damaged.
std::optional<std::vector<uint32_t>> ReadTable(absl::string_view table) {
  const absl::string_view sums = table.substr(0, table.size() - kSumSize);
  WireReader reader(table);
  std::vector<uint32_t> result;
  for (size_t at = 0; at < sums.size(); at += kSumSize) {
    result.push_back(reader.U32());
  }
  if (reader.U32() != SumOf(sums)) return std::nullopt;
  return result;
}

// Recovers the blocks `lost` from the blocks `sound`, which are as many as
// there are blocks of data.
absl::Status BringBack(const std::vector<size_t>& lost,
                       const std::vector<size_t>& sound,
                       const std::vector<uint32_t>& sums, Blocks& all) {
  if (lost.empty()) return absl::OkStatus();
  const size_t data = sound.size();
  // The inverse expresses the blocks of data by sound blocks. Only the rows of
  // lost blocks are needed.
  const std::vector<uint8_t> code = CodeOf(data);
  std::vector<uint8_t> matrix;
  Blocks from;
  for (const size_t i : sound) {
    const auto row = code.begin() + static_cast<ptrdiff_t>(i * data);
    matrix.insert(matrix.end(), row, row + static_cast<ptrdiff_t>(data));
    from.push_back(all[i]);
  }
  std::vector<uint8_t> inverse(matrix.size());
  if (gf_invert_matrix(matrix.data(), inverse.data(), static_cast<int>(data)) !=
      0) {
    return DamageError("the segment cannot be recovered");
  }
  for (const size_t i : lost) {
    Combine(inverse.data() + i * data, from, absl::MakeSpan(&all[i], 1));
    if (SumOf(all[i]) != sums[i]) {
      return DamageError(
          "a recovered block of the segment does not match its checksum");
    }
  }
  return absl::OkStatus();
}

}  // namespace

size_t BytesBeforeNodes(size_t nodes_size) {
  return (DataBlocks(nodes_size) + kParityBlocks + 1) * kSumSize;
}

size_t BytesBehindNodes(size_t nodes_size) {
  return Padding(nodes_size) + kParityBlocks * kParityBlock +
         BytesBeforeNodes(nodes_size);
}

SegmentParity ParityOf(absl::string_view nodes) {
  Blocks data = Split(nodes);
  std::array<std::string, kParityBlocks> parity;
  const std::vector<uint8_t> code = CodeOf(data.size());
  Combine(code.data() + data.size() * data.size(), data,
          absl::MakeSpan(parity));
  std::string table;
  WireWriter sums(&table);
  for (const std::string& block : data) sums.U32(SumOf(block));
  for (const std::string& block : parity) sums.U32(SumOf(block));
  sums.U32(SumOf(table));
  SegmentParity result{.before = table, .behind = {}};
  result.behind.resize(Padding(nodes.size()));
  for (const std::string& block : parity) result.behind += block;
  result.behind += table;
  return result;
}

absl::StatusOr<std::string> RecoverNodes(absl::string_view whole,
                                         size_t nodes_size) {
  const size_t before = BytesBeforeNodes(nodes_size);
  const size_t behind = BytesBehindNodes(nodes_size);
  if (nodes_size == 0 || nodes_size > kMaxNodesSize ||
      whole.size() != before + nodes_size + behind) {
    return DamageError("the segment has the wrong size");
  }
  auto sums = ReadTable(whole.substr(0, before));
  if (!sums.has_value()) sums = ReadTable(whole.substr(whole.size() - before));
  if (!sums.has_value()) {
    return DamageError(
        "both copies of the segment's checksum table are damaged");
  }
  Blocks all = Split(whole.substr(before, nodes_size + Padding(nodes_size)));
  const size_t data = all.size();
  whole.remove_prefix(before + nodes_size + Padding(nodes_size));
  for (std::string& block :
       Split(whole.substr(0, kParityBlocks * kParityBlock))) {
    all.push_back(std::move(block));
  }
  std::vector<size_t> lost;   // blocks of data
  std::vector<size_t> sound;  // as many as there are blocks of data
  size_t damaged = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool is_sound = SumOf(all[i]) == (*sums)[i];
    damaged += is_sound ? 0 : 1;
    if (!is_sound && i < data) lost.push_back(i);
    if (is_sound && sound.size() < data) sound.push_back(i);
  }
  if (damaged > kParityBlocks) {
    return DamageError(absl::StrCat(damaged,
                                    " blocks of the segment are damaged, ",
                                    "more than its parity can recover"));
  }
  VARVE_RETURN_IF_ERROR(BringBack(lost, sound, *sums, all));
  std::string nodes;
  for (size_t i = 0; i < data; ++i) nodes += all[i];
  nodes.resize(nodes_size);
  return nodes;
}

}  // namespace varve::fs
