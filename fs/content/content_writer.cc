#include "fs/content/content_writer.h"

#include <errno.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/log/commit.h"

namespace varve::fs {
namespace {

// Sequential writes of at least this size go directly to a stream.
constexpr uint64_t kMinDirectWrite = uint64_t{128} << 10;
// Even when the budget is used up, shorter pieces stay in memory, because an
// entry of their own would take as much memory in the index.
constexpr uint64_t kMinSpill = 512;
// Pieces in memory are spilled together, up to this size with one write.
constexpr uint64_t kSpillChunk = uint64_t{1} << 20;

}  // namespace

absl::Status ContentWriter::Prepare(OpenInode& open) {
  if (core_.store->read_only()) return PosixError(EROFS);
  if (open.content.dirty()) return absl::OkStatus();
  absl::ReaderMutexLock tree_lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(open.ino));
  open.content.Reset(inode.attributes.size);
  open.data_bytes = inode.data_bytes();
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> ContentWriter::DataIn(OpenInode& open, uint64_t begin,
                                               uint64_t end) {
  end = std::min(end, open.content.size());
  if (begin >= end || open.data_bytes == 0) return 0;
  if (open.data_bytes == open.content.size()) return end - begin;  // no holes
  VARVE_ASSIGN_OR_RETURN(const ContentReader::DataMap map,
                         reader_.MapDataLocked(open, begin, end));
  uint64_t total = 0;
  for (const ContentReader::Range& range : map.data) {
    total += range.end - range.begin;
  }
  return total;
}

void ContentWriter::Finished(OpenInode& open, uint64_t memory_before,
                             Timestamp now) {
  dirty_bytes_.fetch_add(open.content.memory_cost() - memory_before);
  open.content.Touch();
  absl::MutexLock lock(&open.stat_mu);
  open.stat = {.dirty = true,
               .size = open.content.size(),
               .data_bytes = open.data_bytes,
               .mtime = now,
               .ctime = now};
  open.dirty.store(true, std::memory_order_release);
}

absl::StatusOr<std::unique_ptr<Stream>> ContentWriter::BeginStream() {
  {
    absl::MutexLock commit_lock(&core_.commit_mu);
    VARVE_RETURN_IF_ERROR(MarkInUse(core_, now_()));
  }
  return core_.store->BeginStream(
      [this] { return core_.identity.ContentKeys(NewDataKeyHash()); });
}

absl::StatusOr<Stream*> ContentWriter::StreamOf(OpenInode& open) {
  if (open.stream == nullptr) {
    VARVE_ASSIGN_OR_RETURN(open.stream, BeginStream());
  }
  return open.stream.get();
}

absl::Status ContentWriter::Spill(OpenInode& open) {
  const uint64_t memory_before = open.content.memory_cost();
  VARVE_ASSIGN_OR_RETURN(Stream* const stream, StreamOf(open));
  // File offset and length of the pieces for the next write.
  std::vector<std::pair<uint64_t, uint64_t>> gathered;
  std::string buffer;
  const auto write = [&](absl::string_view bytes) -> absl::Status {
    open.mu.AssertHeld();
    const absl::StatusOr<uint64_t> at = stream->Write(AsBytes(bytes));
    // A single NUL cannot begin an entry, so it stays in memory.
    if (absl::IsInvalidArgument(at.status())) return absl::OkStatus();
    VARVE_RETURN_IF_ERROR(at.status());
    uint64_t store_offset = *at;
    for (const auto& [offset, length] : gathered) {
      open.content.MarkSpilled(offset, length, store_offset);
      store_offset += length;
    }
    gathered.clear();
    buffer.clear();
    return absl::OkStatus();
  };
  std::vector<std::pair<uint64_t, uint64_t>> in_memory;
  for (const auto& [offset, piece] : open.content.pieces()) {
    if (piece.kind == DirtyContent::Piece::Kind::kMemory) {
      in_memory.emplace_back(offset, piece.length);
    }
  }
  absl::Status status;
  for (const auto& [offset, length] : in_memory) {
    const absl::string_view bytes = open.content.pieces().at(offset).bytes;
    if (buffer.empty() && length >= kSpillChunk) {
      gathered.emplace_back(offset, length);
      status = write(bytes);
    } else {
      gathered.emplace_back(offset, length);
      buffer.append(bytes.data(), bytes.size());
      if (buffer.size() >= kSpillChunk) status = write(buffer);
    }
    if (!status.ok()) break;
  }
  if (status.ok() && !buffer.empty()) status = write(buffer);
  dirty_bytes_.fetch_add(open.content.memory_cost() - memory_before);
  return status;
}

absl::Status ContentWriter::WriteLocked(OpenInode& open, uint64_t offset,
                                        absl::string_view bytes,
                                        Timestamp now) {
  VARVE_RETURN_IF_ERROR(Prepare(open));
  if (bytes.size() > kMaxFileSize || offset > kMaxFileSize - bytes.size()) {
    return PosixError(EFBIG);
  }
  DirtyContent& content = open.content;
  const bool over_budget = dirty_bytes_.load() + bytes.size() > budget_;
  if (content.memory_bytes() > 0 &&
      (over_budget || content.memory_cost() + bytes.size() > kMaxFileMemory)) {
    // Spill before the bytes are accepted, so that this write fails if the disk
    // is full.
    VARVE_RETURN_IF_ERROR(Spill(open));
  }
  VARVE_ASSIGN_OR_RETURN(const uint64_t replaced,
                         DataIn(open, offset, offset + bytes.size()));
  const uint64_t memory_before = content.memory_cost();
  const bool follows = open.stream != nullptr &&
                       bytes.size() >= kMinDirectWrite &&
                       offset == content.size();
  // A single byte might be a NUL, which cannot begin an entry.
  const bool direct = memory_before == 0 && bytes.size() > 1 &&
                      (follows || (over_budget && bytes.size() > kMinSpill));
  if (direct) {
    VARVE_ASSIGN_OR_RETURN(Stream* const stream, StreamOf(open));
    VARVE_ASSIGN_OR_RETURN(const uint64_t store_offset,
                           stream->Write(AsBytes(bytes)));
    content.MarkSpilled(offset, bytes.size(), store_offset);
  } else {
    content.Write(offset, bytes);
  }
  open.data_bytes += bytes.size() - replaced;
  Finished(open, memory_before, now);
  JoinPiecesIfDue(open);
  return absl::OkStatus();
}

absl::Status ContentWriter::Write(OpenInode& open, uint64_t offset,
                                  absl::string_view bytes, Timestamp now) {
  absl::MutexLock lock(&open.mu);
  return NoteWrite(open, WriteLocked(open, offset, bytes, now));
}

absl::Status ContentWriter::NoteWrite(OpenInode& open, absl::Status status) {
  if (status.ok()) {
    open.failed_write = absl::OkStatus();
    open.close_failed.store(false);
    return status;
  }
  if (!open.content.dirty() || open.content.base_limit() > 0) return status;
  absl::ReaderMutexLock tree_lock(&core_.tree_mu);
  const absl::StatusOr<LiveInode> inode = core_.GetInode(open.ino);
  // If the inode cannot be read, assume that it was not empty.
  const bool was_empty = inode.ok() ? inode->attributes.size == 0
                                    : ErrnoOf(inode.status()) == ENOENT;
  if (!was_empty) open.failed_write = status;
  return status;
}

absl::StatusOr<uint64_t> ContentWriter::Append(OpenInode& open,
                                               absl::string_view bytes,
                                               Timestamp now) {
  absl::MutexLock lock(&open.mu);
  VARVE_RETURN_IF_ERROR(Prepare(open));
  const uint64_t offset = open.content.size();
  VARVE_RETURN_IF_ERROR(NoteWrite(open, WriteLocked(open, offset, bytes, now)));
  return offset;
}

absl::Status ContentWriter::Truncate(OpenInode& open, uint64_t size,
                                     Timestamp now) {
  VARVE_RETURN_IF_ERROR(Prepare(open));
  if (size > kMaxFileSize) return PosixError(EFBIG);
  VARVE_ASSIGN_OR_RETURN(const uint64_t cut, DataIn(open, size, kMaxFileSize));
  if (size == 0)
    open.failed_write = absl::OkStatus();  // the content begins anew
  const uint64_t memory_before = open.content.memory_cost();
  open.content.Truncate(size);
  open.data_bytes -= cut;
  Finished(open, memory_before, now);
  return absl::OkStatus();
}

absl::Status ContentWriter::TruncateCommitted(OpenInode& open, uint64_t size,
                                              Timestamp now) {
  {
    // The committed content, as an open file without dirty content.
    OpenInode committed(open.ino);
    absl::MutexLock lock(&committed.mu);
    VARVE_RETURN_IF_ERROR(Truncate(committed, size, now));
    VARVE_RETURN_IF_ERROR(CommitLocked(committed));
    // The content of a file without a name is never committed.
    if (committed.content.dirty()) return Truncate(open, size, now);
  }
  open.committed = true;
  if (!open.content.dirty()) return absl::OkStatus();
  return Truncate(open, size, now);
}

absl::Status ContentWriter::Punch(OpenInode& open, uint64_t offset,
                                  uint64_t length, Timestamp now) {
  VARVE_RETURN_IF_ERROR(Prepare(open));
  VARVE_ASSIGN_OR_RETURN(const uint64_t punched,
                         DataIn(open, offset, offset + length));
  const uint64_t memory_before = open.content.memory_cost();
  open.content.Punch(offset, length);
  open.data_bytes -= punched;
  Finished(open, memory_before, now);
  JoinPiecesIfDue(open);
  return absl::OkStatus();
}

absl::Status ContentWriter::Touch(OpenInode& open, Timestamp now) {
  VARVE_RETURN_IF_ERROR(Prepare(open));
  Finished(open, open.content.memory_cost(), now);
  return absl::OkStatus();
}

absl::Status ContentWriter::Share(OpenInode& open,
                                  const std::vector<Extent>& extents,
                                  Timestamp now) {
  VARVE_RETURN_IF_ERROR(Prepare(open));
  const uint64_t memory_before = open.content.memory_cost();
  for (const Extent& extent : extents) {
    VARVE_ASSIGN_OR_RETURN(const uint64_t replaced,
                           DataIn(open, extent.file_offset, extent.file_end()));
    open.content.Share(extent);
    open.data_bytes -= replaced;
    if (!extent.is_hole()) open.data_bytes += extent.length;
  }
  Finished(open, memory_before, now);
  JoinPiecesIfDue(open);
  return absl::OkStatus();
}

void ContentWriter::Discard(OpenInode& open) {
  absl::MutexLock lock(&open.mu);
  dirty_bytes_.fetch_sub(open.content.memory_cost());
  open.content.Reset(0);
  open.failed_write = absl::OkStatus();
  open.stream.reset();
  open.round.fetch_add(1);
  open.dirty.store(false, std::memory_order_release);
}

}  // namespace varve::fs
