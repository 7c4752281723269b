#include "fs/content/entry_checks.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "engine/io/bus_guard.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

// Ranges that a message names.
constexpr size_t kMaxRangesNamed = 8;
// Of a large entry, so much is compared at a time.
constexpr size_t kChunk = size_t{1} << 20;
// So many blocks are compared by one call. If one of them is damaged, the
// others are compared again.
constexpr size_t kMostTogether = 16;

absl::StatusOr<EntryView> FindEntryOf(const Store& store,
                                      const Extent& extent) {
  VARVE_ASSIGN_OR_RETURN(
      EntryView entry,
      store.EntryEndingAt(extent.entry_metadata_offset() + kMetadataSize));
  if (entry.key_hash() != extent.key_hash ||
      entry.location().payload_offset != extent.payload_offset() ||
      entry.checksum() != extent.entry_crc32) {
    return DamageError("its metadata is not the one expected");
  }
  return entry;
}

// The first and the last block that the extent touches.
std::pair<uint64_t, uint64_t> BlocksOf(const Extent& extent) {
  return {
      BlockOfByte(extent.entry_size, extent.entry_offset),
      BlockOfByte(extent.entry_size, extent.entry_offset + extent.length - 1)};
}

absl::Status WholeDamage() {
  return DamageError("its payload does not match its checksum");
}

}  // namespace

absl::Status VerifyEntryOf(const Store& store, const Extent& extent,
                           bool checksum) {
  VARVE_ASSIGN_OR_RETURN(const EntryView entry, FindEntryOf(store, extent));
  return checksum ? store.Verify(entry.location()) : absl::OkStatus();
}

std::string DescribeBlocks(uint64_t entry_size,
                           absl::Span<const uint64_t> blocks) {
  if (blocks.empty()) return "";
  std::vector<BlockRange> ranges;
  for (const uint64_t block : blocks) {
    const BlockRange range = BlockAt(entry_size, block);
    if (!ranges.empty() && ranges.back().end == range.begin) {
      ranges.back().end = range.end;
    } else {
      ranges.push_back(range);
    }
  }
  std::string text = "; damaged are bytes";
  for (size_t i = 0; i < std::min(ranges.size(), kMaxRangesNamed); ++i) {
    absl::StrAppendFormat(&text, "%s [%d, %d)", i == 0 ? "" : ",",
                          ranges[i].begin, ranges[i].end);
  }
  if (ranges.size() > kMaxRangesNamed) absl::StrAppend(&text, " and more");
  return absl::StrCat(text, " of it");
}

std::string DescribeDamage(const Store& store, const Identity& identity,
                           const EntryLocation& entry) {
  const auto sums =
      store.FindBlockSums(entry, identity.SumsKeyHash(entry.key_hash));
  if (!sums.has_value()) return "";
  std::vector<uint64_t> damaged;
  for (uint64_t block = 0; block < sums->count(); ++block) {
    const std::optional<uint32_t> sum = sums->SumOf(block);
    if (!sum.has_value()) return "";
    if (!store.VerifyBlocks(entry, block, {*sum}).ok()) {
      damaged.push_back(block);
    }
  }
  return DescribeBlocks(entry.payload_size, damaged);
}

bool EntryChecks::IsDamaged(const Extent& extent) const {
  if (!any_damaged_.load(std::memory_order_relaxed)) return false;
  absl::ReaderMutexLock lock(&mu_);
  return damaged_.contains(extent.payload_offset());
}

absl::Status EntryChecks::Check(const Extent& extent) {
  return CheckEntry(extent, /*quick=*/false);
}

absl::Status EntryChecks::CheckIfQuick(const Extent& extent) {
  return CheckEntry(extent, /*quick=*/true);
}

absl::Status EntryChecks::CheckEntry(const Extent& extent, bool quick) {
  if (IsDamaged(extent)) return WholeDamage();
  // Each time, as what the bits tell is of a place: where an entry is gone,
  // another one may lie.
  const absl::StatusOr<EntryView> entry = FindEntryOf(*core_.store, extent);
  // Of an entry within which the store was cut short, what is left can be
  // served if it was compared before.
  if (!entry.ok() &&
      core_.store->CheckLength(extent.entry_metadata_offset() + kMetadataSize)
          .ok()) {
    return entry.status();
  }
  if (entries_.Contains(extent.payload_offset())) return absl::OkStatus();
  const bool may_have_sums = extent.entry_size >= kMinSummedSize;
  if (may_have_sums) {
    const auto [first, last] = BlocksOf(extent);
    if (blocks_.ContainsAll(extent.payload_offset() + first * kSumBlockSize,
                            last - first + 1)) {
      return absl::OkStatus();
    }
  }
  VARVE_RETURN_IF_ERROR(entry.status());
  if (may_have_sums) {
    const absl::Status status = CheckBlocks(extent, entry->location());
    if (!absl::IsUnimplemented(status)) return status;
  }
  if (quick && entry->size() > kMaxQuickSize) {
    return absl::UnavailableError("it has to be checked as a whole first");
  }
  VARVE_RETURN_IF_ERROR(core_.store->Verify(entry->location()));
  entries_.Add(extent.payload_offset());
  return absl::OkStatus();
}

absl::Status EntryChecks::CheckBlocks(const Extent& extent,
                                      const EntryLocation& entry) {
  const auto sums = core_.store->FindBlockSums(
      entry, core_.identity.SumsKeyHash(entry.key_hash));
  if (!sums.has_value()) return absl::UnimplementedError("no block sums");
  const auto [first, last] = BlocksOf(extent);
  const auto place_of = [&](uint64_t block) {
    return entry.payload_offset + block * kSumBlockSize;
  };
  for (uint64_t block = first; block <= last;) {
    // Those that follow one another are compared together.
    std::vector<uint32_t> run;
    while (block + run.size() <= last && run.size() < kMostTogether &&
           !blocks_.Contains(place_of(block + run.size()))) {
      const std::optional<uint32_t> sum = sums->SumOf(block + run.size());
      if (!sum.has_value()) return absl::UnimplementedError("damaged sums");
      run.push_back(*sum);
    }
    if (run.empty()) {
      ++block;
      continue;
    }
    VARVE_RETURN_IF_ERROR(core_.store->VerifyBlocks(entry, block, run));
    for (const uint64_t end = block + run.size(); block < end; ++block) {
      blocks_.Add(place_of(block));
    }
  }
  return absl::OkStatus();
}

void EntryChecks::CheckLong(const Extent& extent) {
  absl::MutexLock long_lock(&long_mu_);
  EntryView entry;
  uint64_t relocations;
  {
    absl::ReaderMutexLock lock(&core_.relocation_mu);
    if (IsDamaged(extent) || entries_.Contains(extent.payload_offset())) {
      return;
    }
    relocations = core_.relocations;
    auto found = FindEntryOf(*core_.store, extent);
    if (!found.ok()) return;
    entry =
        *std::move(found);  // pinned: a compaction does not move it under us
  }
  uint32_t crc = 0;
  for (auto rest = entry.payload(); !rest.empty();) {
    const auto chunk = rest.first(std::min(kChunk, rest.size()));
    core_.store->NoteServed(chunk.size());
    crc = Crc32(crc, chunk);
    rest.remove_prefix(chunk.size());
  }
  const bool sound = crc == entry.checksum() && !HasLostBytes(entry.payload());
  absl::ReaderMutexLock lock(&core_.relocation_mu);
  // If so, something else may lie at that place now.
  if (core_.relocations != relocations) return;
  if (sound) {
    entries_.Add(extent.payload_offset());
  } else {
    NoteDamaged(extent, {}).IgnoreError();  // it is Check() that says so
  }
}

absl::Status EntryChecks::CheckWhole(const Extent& extent) {
  VARVE_ASSIGN_OR_RETURN(const EntryView entry,
                         FindEntryOf(*core_.store, extent));
  absl::Status status = core_.store->Verify(entry.location());
  if (status.ok()) {
    entries_.Add(extent.payload_offset());
    return status;
  }
  return DamageError(absl::StrCat(
      status.message(),
      DescribeDamage(*core_.store, core_.identity, entry.location())));
}

absl::Status EntryChecks::NoteDamaged(const Extent& extent,
                                      absl::Span<const uint64_t> blocks) {
  // It may have been compared as a whole before it went bad.
  entries_.Remove(extent.payload_offset());
  for (const uint64_t block : blocks) {
    blocks_.Remove(extent.payload_offset() + block * kSumBlockSize);
  }
  const absl::Status damage = WholeDamage();
  if (!blocks.empty()) {
    return DamageError(absl::StrCat(damage.message(),
                                    DescribeBlocks(extent.entry_size, blocks)));
  }
  absl::MutexLock lock(&mu_);
  damaged_.insert(extent.payload_offset());
  any_damaged_.store(true);
  return damage;
}

void EntryChecks::Forget() {
  entries_.Clear();
  blocks_.Clear();
  absl::MutexLock lock(&mu_);
  damaged_.clear();
  any_damaged_.store(false);
}

}  // namespace varve::fs
