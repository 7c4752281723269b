// The part of ContentWriter that keeps files from having very many pieces. Each
// piece takes memory or items of the tree, often more than its bytes.

#include <errno.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/zeros.h"
#include "fs/base/error.h"
#include "fs/content/content_writer.h"
#include "fs/log/content_key.h"

namespace varve::fs {
namespace {

using Range = ContentReader::Range;

// A copy of more than this is long: it does not begin while the store is
// compacted.
constexpr uint64_t kLongCopy = uint64_t{4} << 20;
// A copy reads and writes this much at a time.
constexpr uint64_t kCopyChunk = uint64_t{1} << 20;

// Longer pieces are not joined, and longer gaps are not filled.
constexpr uint64_t kSmall = 4096;
// Files whose extents have fewer bytes than this on average are rewritten.
constexpr uint64_t kTinyExtent = 512;
// The longest result of joining pieces, which is held in memory for a moment.
constexpr uint64_t kMaxJoined = uint64_t{1} << 20;

// A piece of a file after it was written to a stream.
struct Written {
  uint64_t file_offset;
  uint64_t store_offset;
  uint64_t length;
};

// Finds where pieces lie in the entries that the stream became. Both are in
// order.
ExtentList Locate(const std::vector<Written>& written,
                  const std::vector<EntryLocation>& entries) {
  ExtentList extents;
  auto entry = entries.begin();
  for (const Written& part : written) {
    while (part.store_offset >= entry->payload_offset + entry->payload_size) {
      ++entry;
    }
    if (!extents.empty()) {
      Extent& before = extents.back();
      if (before.file_end() == part.file_offset &&
          before.payload_offset() == entry->payload_offset) {
        before.length += part.length;
        continue;
      }
    }
    extents.push_back(
        ExtentIn(*entry, part.store_offset, part.file_offset, part.length));
  }
  return extents;
}

}  // namespace

bool ContentWriter::JoinPieces(OpenInode& open, Range range) {
  const uint64_t length = range.end - range.begin;
  const auto bytes = reader_.ReadLocked(open, range.begin, length);
  if (!bytes.ok()) return false;
  const absl::StatusOr<std::string> text = bytes->Copy();
  const absl::StatusOr<uint64_t> replaced =
      DataIn(open, range.begin, range.end);
  if (!text.ok() || !replaced.ok() || text->size() != length) return false;
  const uint64_t memory_before = open.content.memory_cost();
  open.content.Write(range.begin, *text);
  dirty_bytes_.fetch_add(open.content.memory_cost() - memory_before);
  open.data_bytes += length - *replaced;
  absl::MutexLock lock(&open.stat_mu);
  open.stat.data_bytes = open.data_bytes;
  return true;
}

void ContentWriter::JoinPiecesIfDue(OpenInode& open) {
  const DirtyContent::Pieces& pieces = open.content.pieces();
  if (pieces.size() < open.join_pieces_at) return;
  struct Run {
    Range range = {0, 0};
    uint64_t pieces = 0;
  };
  std::vector<Run> runs = {{}};
  for (const auto& [offset, piece] : pieces) {
    const uint64_t end = offset + piece.length;
    Run& run = runs.back();
    if (piece.length > kSmall) {
      runs.push_back({});
    } else if (run.pieces > 0 && offset - run.range.end <= kSmall &&
               end - run.range.begin <= kMaxJoined) {
      run.range.end = end;
      ++run.pieces;
    } else {
      runs.push_back({{offset, end}, 1});
    }
  }
  for (const Run& run : runs) {
    if (run.pieces < 2 || !JoinPieces(open, run.range)) continue;
    // The write that led here has been accepted. If the store has no room, its
    // bytes stay in memory, which does no harm.
    if (open.content.memory_cost() > kMaxFileMemory && !Spill(open).ok()) break;
  }
  open.join_pieces_at =
      std::max<uint64_t>(OpenInode::kManyPieces, 2 * pieces.size());
}

absl::StatusOr<std::optional<LiveInode>> ContentWriter::FindInPieces(
    uint64_t ino) const {
  const absl::StatusOr<LiveInode> inode = core_.GetNamed(ino);
  if (!inode.ok() && ErrnoOf(inode.status()) != ENOENT) return inode.status();
  if (!inode.ok() || !inode->is_regular() || inode->extent_count == 0) {
    return std::optional<LiveInode>();
  }
  return std::optional(*inode);
}

absl::Status ContentWriter::MakePlainIfDue(OpenInode& open) {
  if (core_.store->read_only()) return absl::OkStatus();
  absl::MutexLock lock(&open.mu);
  if (open.content.dirty()) return absl::OkStatus();
  uint64_t size;
  {
    absl::ReaderMutexLock tree_lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const auto inode, FindInPieces(open.ino));
    if (!inode.has_value()) return absl::OkStatus();
    size = inode->attributes.size;
    // A file with holes would grow, and a single byte may have to stay inline.
    if (size <= 1 || inode->extent_bytes != size) return absl::OkStatus();
    if (inode->patched <= size / 2) return absl::OkStatus();
  }
  return Rewrite(open, {{0, size}}, size);
}

absl::StatusOr<bool> ContentWriter::HoldsOnlyZeros(OpenInode& open,
                                                   uint64_t size) {
  for (uint64_t offset = 0; offset < size; offset += kCopyChunk) {
    VARVE_ASSIGN_OR_RETURN(const ReadReply bytes,
                           reader_.ReadLocked(open, offset, kCopyChunk));
    VARVE_ASSIGN_OR_RETURN(const std::string chunk, bytes.Copy());
    if (!IsAllZeros(chunk)) return false;
  }
  return true;
}

absl::Status ContentWriter::JoinExtentsIfDue(OpenInode& open, bool closing) {
  if (core_.store->read_only()) return absl::OkStatus();
  absl::MutexLock lock(&open.mu);
  if (open.content.dirty()) return absl::OkStatus();
  std::vector<Range> ranges;
  uint64_t size;
  {
    absl::ReaderMutexLock tree_lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const auto inode, FindInPieces(open.ino));
    if (!inode.has_value()) return absl::OkStatus();
    size = inode->attributes.size;
    const uint64_t count = inode->extent_count;
    if (count < (closing ? OpenInode::kManyPieces : open.join_extents_at) ||
        inode->extent_bytes / kTinyExtent >= count) {
      return absl::OkStatus();
    }
    VARVE_RETURN_IF_ERROR(core_.reader().ForEachExtent(
        *inode, 0, kMaxFileSize, [&ranges](const Extent& extent) {
          const uint64_t offset = extent.file_offset;
          if (ranges.empty() || offset - ranges.back().end > kSmall) {
            ranges.push_back({offset, offset});
          }
          ranges.back().end = extent.file_end();
          return true;
        }));
    // If little would be saved, do not try again soon.
    open.join_extents_at = std::max(OpenInode::kManyPieces, 2 * count);
    if (ranges.size() > count / 2) return absl::OkStatus();
  }
  open.join_extents_at =
      std::max<uint64_t>(OpenInode::kManyPieces, 2 * ranges.size());
  return Rewrite(open, ranges, size);
}

absl::Status ContentWriter::Rewrite(OpenInode& open,
                                    const std::vector<Range>& ranges,
                                    uint64_t size) {
  uint64_t total = 0;
  for (const Range& range : ranges) total += range.end - range.begin;
  if (total <= kLongCopy) return CopyAndCommit(open, ranges, size);
  const CopyGate::Copy copy(copy_gate_);
  // A compaction is waiting or running. It rewrites the file anyway, and must
  // not wait for this copy.
  if (!copy.admitted()) return absl::OkStatus();
  return CopyAndCommit(open, ranges, size);
}

absl::Status ContentWriter::CopyAndCommit(OpenInode& open,
                                          const std::vector<Range>& ranges,
                                          uint64_t size) {
  const bool whole =
      ranges.size() == 1 && ranges[0].begin == 0 && ranges[0].end == size;
  if (whole) {
    // A file of zeros cannot be a plain entry, so it stays as it is.
    VARVE_ASSIGN_OR_RETURN(const bool zeros, HoldsOnlyZeros(open, size));
    if (zeros) return absl::OkStatus();
  }
  VARVE_ASSIGN_OR_RETURN(const std::unique_ptr<Stream> stream, BeginStream());
  std::vector<Written> written;
  for (const Range& range : ranges) {
    for (uint64_t offset = range.begin; offset < range.end;) {
      VARVE_ASSIGN_OR_RETURN(
          const ReadReply bytes,
          reader_.ReadLocked(open, offset,
                             std::min(kCopyChunk, range.end - offset)));
      VARVE_ASSIGN_OR_RETURN(const std::string chunk, bytes.Copy());
      const absl::StatusOr<uint64_t> at = stream->Write(AsBytes(chunk));
      // A single NUL cannot begin an entry, so the file stays as it is.
      if (absl::IsInvalidArgument(at.status())) return absl::OkStatus();
      VARVE_RETURN_IF_ERROR(at.status());
      written.push_back({offset, *at, chunk.size()});
      offset += chunk.size();
    }
  }
  absl::MutexLock commit_lock(&core_.commit_mu);
  VARVE_ASSIGN_OR_RETURN(const std::optional<Target> target,
                         FindTarget(open.ino));
  if (!target.has_value()) return absl::OkStatus();
  fs::Commit commit(core_, now_(), stream.get());
  const std::optional<std::string> head = HeadOfStream(*stream);
  const bool plain = whole && stream->sealed().empty() && head.has_value() &&
                     !core_.identity.Reserves(target->path_hash, *head);
  const auto last = commit.FinishStream(
      plain ? target->path_hash : NewDataKeyHash(head.value_or("")));
  std::vector<EntryLocation> entries = stream->sealed();
  if (last.has_value()) entries.push_back(*last);
  commit.Add(SetContent{.ino = open.ino, .extents = Locate(written, entries)});
  return commit.Finish();
}

}  // namespace varve::fs
