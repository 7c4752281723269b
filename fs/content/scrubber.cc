#include "fs/content/scrubber.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "engine/io/bus_guard.h"
#include "fs/base/idle_priority.h"

namespace varve::fs {
namespace {

// The time between two checks of all files.
constexpr absl::Duration kInterval = absl::Hours(7 * 24);
constexpr uint64_t kBlocksAtOnce = 16;  // 1 MiB
// The most damaged blocks of one entry that are reported at once. Reads find
// the others, unless they were read before they went bad.
constexpr size_t kMaxBlocks = size_t{1} << 16;
// The least time for so many blocks, so that most of the disk's bandwidth is
// left to others.
constexpr absl::Duration kChunkTime = absl::Milliseconds(10);

bool IsLarge(const Extent& extent) {
  return !extent.is_hole() && extent.entry_size > EntryChecks::kMaxQuickSize;
}

}  // namespace

void Scrubber::Start(absl::Duration delay) {
  thread_ = std::thread([this, first = Wakeup::After(delay)] { Run(first); });
}

void Scrubber::Stop() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  wakeup_.Wake();
  thread_.join();
}

Scrubber::Progress Scrubber::progress() const {
  absl::MutexLock lock(&mu_);
  return progress_;
}

bool Scrubber::TakeNext(uint64_t& ino) {
  absl::MutexLock lock(&mu_);
  if (stop_ || waiting_.empty()) return false;
  ino = waiting_.front();
  waiting_.pop_front();
  return true;
}

void Scrubber::Run(Wakeup::Clock::time_point next_sweep) {
  const IdlePriority priority(/*idle=*/true);
  while (true) {
    uint64_t ino;
    while (TakeNext(ino)) ScrubFile(ino);
    {
      absl::MutexLock lock(&mu_);
      if (stop_) return;
    }
    wakeup_.WaitUntil(next_sweep);
    if (Wakeup::Clock::now() < next_sweep) continue;
    next_sweep = Wakeup::After(kInterval);
    done_.clear();
    const std::vector<uint64_t> files = LargeFiles();
    absl::MutexLock lock(&mu_);
    waiting_.insert(waiting_.end(), files.begin(), files.end());
  }
}

std::vector<uint64_t> Scrubber::LargeFiles() {
  std::vector<uint64_t> files;
  absl::Status status;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const TreeReader& tree = core_.reader();
    status.Update(tree.ForEachInode([&](const InodeItem& inode) {
      core_.tree_mu.AssertReaderHeld();
      const absl::Status read =
          tree.ForEachExtent(inode, 0, kMaxFileSize, [&](const Extent& extent) {
            if (!IsLarge(extent)) return true;
            files.push_back(inode.ino);
            return false;
          });
      status.Update(read);
      return true;
    }));
  }
  if (!status.ok()) on_damage_(kRootIno, status);
  return files;
}

std::vector<Extent> Scrubber::LargeEntriesOf(uint64_t ino) {
  std::vector<Extent> entries;
  const auto extents = reader_.CommittedExtents(ino, 0, kMaxFileSize);
  if (!extents.ok()) return entries;  // the file is gone
  for (const Extent& extent : *extents) {
    if (IsLarge(extent) &&
        !done_.contains({extent.payload_offset(), extent.entry_crc32})) {
      entries.push_back(extent);
    }
  }
  return entries;
}

void Scrubber::ScrubFile(uint64_t ino) {
  while (true) {
    Extent extent;
    absl::StatusOr<EntryView> entry;
    std::optional<BlockSums> sums;
    uint64_t relocations;
    {
      absl::ReaderMutexLock lock(&core_.relocation_mu);
      const std::vector<Extent> entries = LargeEntriesOf(ino);
      if (entries.empty()) return;
      relocations = core_.relocations;
      extent = entries.front();
      done_.insert({extent.payload_offset(), extent.entry_crc32});
      // The view pins the store's mapping, so its bytes stay valid during a
      // compaction.
      entry = core_.store->EntryEndingAt(extent.entry_metadata_offset() +
                                         kMetadataSize);
      if (entry.ok()) {
        sums = core_.store->FindBlockSums(
            entry->location(), core_.identity.SumsKeyHash(entry->key_hash()));
      }
    }
    // If the entry is not there, reads of the file report that.
    if (!entry.ok()) continue;
    const Finding finding =
        Compare(*entry, sums.has_value() ? &*sums : nullptr);
    if (finding.matches) continue;
    absl::Status damage;
    {
      absl::ReaderMutexLock lock(&core_.relocation_mu);
      // After a compaction, the offset means something else. (The compaction
      // has compared the entry with its checksum, too.)
      if (core_.relocations != relocations) continue;
      damage = reader_.NoteDamaged(ino, extent, finding.blocks);
    }
    {
      absl::MutexLock lock(&mu_);
      ++progress_.damaged;
    }
    on_damage_(ino, damage);
  }
}

Scrubber::Finding Scrubber::Compare(const EntryView& entry,
                                    const BlockSums* sums) {
  Finding finding;
  uint32_t crc = 0;
  Wakeup::Clock::time_point end = Wakeup::After(kChunkTime);
  for (uint64_t block = 0; block < CountBlocks(entry.size()); ++block) {
    const BlockRange range = BlockAt(entry.size(), block);
    const auto bytes =
        entry.payload().subspan(range.begin, range.end - range.begin);
    crc = Crc32(crc, bytes);
    const std::optional<uint32_t> sum =
        sums == nullptr ? std::nullopt : sums->SumOf(block);
    if (sum.has_value() && (*sum != Crc32(0, bytes) || HasLostBytes(bytes)) &&
        finding.blocks.size() < kMaxBlocks) {
      finding.blocks.push_back(block);
    }
    {
      absl::MutexLock lock(&mu_);
      progress_.bytes += bytes.size();
      if (stop_) return {};
    }
    if ((block + 1) % kBlocksAtOnce != 0) continue;
    // Readers of the file do not wait for the check, so it need not hurry.
    wakeup_.WaitUntil(end);
    end = Wakeup::After(kChunkTime);
  }
  finding.matches = crc == entry.checksum() && !HasLostBytes(entry.payload());
  return finding;
}

}  // namespace varve::fs
