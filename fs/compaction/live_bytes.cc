#include "fs/compaction/live_bytes.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "engine/base/status.h"
#include "fs/log/frozen_tree.h"
#include "fs/log/segment_parity.h"
#include "fs/log/used_ranges.h"

namespace varve::fs {
namespace {

// What an entry takes besides its payload, on average.
constexpr uint64_t kEntryOverhead = 52;
// About what an inode and its name take in nodes.
constexpr uint64_t kInodeOverhead = 100;
// The most bytes of a file that may be in memory and not in the store while it
// is written.
constexpr uint64_t kMostInMemory = uint64_t{4} << 20;

}  // namespace

uint64_t CountContentBytes(Core& core) {
  uint64_t bytes = 0;
  std::vector<Extent> orphaned;
  {
    absl::ReaderMutexLock lock(&core.tree_mu);
    bytes = core.totals().data_bytes;
    core.orphans.ForEach(
        [&bytes](const InodeItem& inode) { bytes += inode.data_bytes(); });
    if (!core.totals().may_have_clones) return bytes;
    core.orphans.ForEachExtent(
        [&orphaned](const Extent& extent) { orphaned.push_back(extent); });
  }
  const auto tree = FrozenTree::Take(core);
  // What cannot be read counts as if nothing were shared: reading it says so.
  if (!tree.ok()) return bytes;
  const ExtentSource* const trees[] = {tree->get()};
  uint64_t distinct = 0;
  const absl::Status counted = UsedRanges::ForEachPass(
      std::numeric_limits<uint64_t>::max(), UsedRanges::kMost, trees,
      [] { return absl::OkStatus(); },
      [&orphaned](UsedRanges& used) {
        for (const Extent& extent : orphaned) used.Add(extent);
      },
      [&distinct](const UsedRanges& used, uint64_t) {
        distinct += used.bytes();
        return absl::OkStatus();
      });
  return counted.ok() ? distinct : bytes;
}

uint64_t EstimateLiveBytes(Core& core) {
  const uint64_t content = CountContentBytes(core);
  absl::ReaderMutexLock lock(&core.tree_mu);
  uint64_t nodes = 0;
  for (const Segment& segment : core.log_tree->segments.All()) {
    // A segment without live nodes is kept for the checkpoint before.
    nodes += segment.is_retired() ? segment.nodes_size : segment.live_bytes;
    nodes += BytesBeforeNodes(segment.nodes_size) +
             BytesBehindNodes(segment.nodes_size);
  }
  const uint64_t sums = content / (kSumBlockSize / sizeof(uint32_t));
  return content + sums + nodes +
         core.totals().inodes * (kEntryOverhead + kInodeOverhead);
}

uint64_t CountSpilledBytes(const OpenFiles& open_files) {
  uint64_t bytes = 0;
  for (const auto& open : open_files.All()) {
    if (!open->dirty.load(std::memory_order_acquire)) continue;
    // The lock may be held while a lot is written to the disk.
    if (!open->mu.ReaderTryLock()) {
      const uint64_t size = open->GetStat().data_bytes;
      if (size > kMostInMemory) bytes += size;
      continue;
    }
    if (open->stream != nullptr) {
      bytes += open->stream->unsealed_size();
      for (const EntryLocation& entry : open->stream->sealed()) {
        bytes += entry.payload_size;
      }
    }
    open->mu.ReaderUnlock();
  }
  return bytes;
}

uint64_t CountLiveBytes(Core& core, const OpenFiles& open_files,
                        const UnnamedEntries& unnamed) {
  // The order matters: bytes that are committed meanwhile count twice rather
  // than not at all.
  const uint64_t spilled = CountSpilledBytes(open_files);
  return spilled + EstimateLiveBytes(core) + unnamed.bytes();
}

absl::StatusOr<uint64_t> CountHistoryBytes(const Core& core, uint64_t live,
                                           uint64_t allocated) {
  VARVE_ASSIGN_OR_RETURN(const HistoryPolicy policy, PolicyOf(core));
  if (policy.within <= absl::ZeroDuration()) return 0;
  return std::min(MostHistoryBytes(live),
                  allocated - std::min(allocated, live));
}

absl::StatusOr<HistoryBounds> BoundHistory(Core& core, bool forget) {
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, core.store->Info());
  const uint64_t live = EstimateLiveBytes(core);
  return HistoryBounds{
      .forget = forget,
      .dead_bytes = info.allocated - std::min(info.allocated, live),
      .most_bytes = MostHistoryBytes(live)};
}

absl::StatusOr<StoreStatistics> CountStatistics(Core& core,
                                                const OpenFiles& open_files,
                                                const UnnamedEntries& unnamed) {
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, core.store->Info());
  StoreStatistics statistics;
  statistics.total_bytes = core.store->tail();
  statistics.allocated_bytes = info.allocated;
  statistics.live_bytes = CountLiveBytes(core, open_files, unnamed);
  statistics.dead_bytes =
      info.allocated - std::min(info.allocated, statistics.live_bytes);
  statistics.peak_extra_bytes = statistics.live_bytes;
  {
    absl::MutexLock lock(&core.commit_mu);
    statistics.commits = core.last_sequence;
  }
  absl::ReaderMutexLock lock(&core.tree_mu);
  VARVE_ASSIGN_OR_RETURN(
      statistics.history_bytes,
      CountHistoryBytes(core, statistics.live_bytes, info.allocated));
  statistics.files = core.totals().inodes;
  statistics.extents = core.totals().extents;
  return statistics;
}

}  // namespace varve::fs
