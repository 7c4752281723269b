// Open files.

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/time/clock.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/volume/lookup.h"
#include "fs/volume/volume.h"

namespace varve::fs {
namespace {

// The most bytes that one call copies. The answer to the kernel is a count of
// 32 bits, in which 4 GiB would be 0. read(2) and write(2) have this limit,
// too.
constexpr uint64_t kMaxCopy = 0x7ffff000;
// Counts its lifetime as time spent in writing.
class WritingTime {
 public:
  explicit WritingTime(CompactionRunner& compactions)
      : compactions_(compactions), begin_(absl::GetCurrentTimeNanos()) {}
  ~WritingTime() {
    compactions_.AddWritingTime(absl::GetCurrentTimeNanos() - begin_);
  }
  WritingTime(const WritingTime&) = delete;
  WritingTime& operator=(const WritingTime&) = delete;

 private:
  CompactionRunner& compactions_;
  const int64_t begin_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Handle>> Volume::Open(uint64_t ino, int flags) {
  auto handle = std::make_unique<Handle>();
  handle->flags = flags;
  if (read_only() && (handle->writes() || (flags & O_TRUNC) != 0)) {
    return PosixError(EROFS);
  }
  const absl::Status status = OpenAndEmpty(*handle, ino);
  if (status.ok()) return handle;
  // Return the first error.
  if (handle->inode != nullptr) Release(std::move(handle)).IgnoreError();
  return status;
}

absl::Status Volume::OpenAndEmpty(Handle& handle, uint64_t ino) {
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  {
    // While the lock is held, the inode cannot be dropped before it counts as
    // open.
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_RETURN_IF_ERROR(FindRegular(core_, ino).status());
    OpenInto(handle, ino);
  }
  if ((handle.flags & O_TRUNC) == 0) return absl::OkStatus();
  absl::MutexLock lock(&handle.inode->mu);
  VARVE_RETURN_IF_ERROR(writer_.Truncate(*handle.inode, 0, options_.now()));
  handle.NoteChange();
  return absl::OkStatus();
}

absl::StatusOr<ReadReply> Volume::Read(const Handle& handle, uint64_t offset,
                                       uint64_t size) {
  core_.store->NoteServed(size);
  while (true) {
    std::optional<Extent> unchecked;
    {
      absl::ReaderMutexLock relocation(&core_.relocation_mu);
      auto reply = reader_.Read(handle.inode->ino, handle.inode.get(), offset,
                                size, &unchecked);
      if (!unchecked.has_value()) return reply;
    }
    reader_.CheckLong(*unchecked);
  }
}

absl::Status Volume::Write(const Handle& handle, uint64_t offset,
                           absl::string_view bytes, bool from_map) {
  const WritingTime time(compactions_);
  {
    absl::ReaderMutexLock relocation(&core_.relocation_mu);
    OpenInode& open = *handle.inode;
    VARVE_RETURN_IF_ERROR(writer_.Write(open, offset, bytes, options_.now()));
    // For bytes that were written through a memory mapping, the kernel passes
    // any handle that may write.
    if (from_map) {
      open.mapped_in.store(open.round.load());
    } else {
      handle.NoteChange();
    }
  }
  syncer_.NoteLength(core_.store->tail());
  // With O_SYNC, the kernel sends a sync after all requests of the caller's
  // write. If each request were committed, a crash could leave half a write.
  return absl::OkStatus();
}

absl::Status Volume::Flush(const Handle& handle) {
  // Closing must not commit half of what another handle is writing.
  if (!handle.HasChanges()) return absl::OkStatus();
  const WritingTime time(compactions_);
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  OpenInode& open = *handle.inode;
  const absl::Status status = writer_.CommitUnlessEmptied(open);
  open.close_failed.store(!status.ok());
  if (status.ok())
    incidents_.Report(writer_.JoinExtentsIfDue(open, /*closing=*/false));
  syncer_.NoteLength(core_.store->tail());
  return status;
}

absl::Status Volume::Fsync(const Handle& handle) {
  const WritingTime time(compactions_);
  {
    absl::ReaderMutexLock relocation(&core_.relocation_mu);
    VARVE_RETURN_IF_ERROR(writer_.Commit(*handle.inode));
    incidents_.Report(
        writer_.JoinExtentsIfDue(*handle.inode, /*closing=*/false));
  }
  return SyncAll();
}

absl::Status Volume::SyncAll() { return core_.store->Sync().status(); }

absl::Status Volume::CloseOne(OpenInode& open) {
  absl::Status status;
  if (open_files_.IsLast(open)) {
    status = writer_.Commit(open);
    // These only improve the layout. If they fail, the file stays in pieces.
    if (status.ok()) incidents_.Report(writer_.MakePlainIfDue(open));
    if (status.ok())
      incidents_.Report(writer_.JoinExtentsIfDue(open, /*closing=*/true));
  }
  if (!open_files_.Close(open)) return status;
  if (open.dirty.load(std::memory_order_acquire)) {
    // If two handles were closed at once, neither may have been the last above.
    status.Update(writer_.Commit(open));
    writer_.Discard(open);
  }
  inodes_.DropIfUnused(open.ino);
  return status;
}

void Volume::TellStale(uint64_t ino) {
  absl::MutexLock lock(&stale_mu_);
  if (on_stale_) on_stale_(ino);
}

void Volume::TellStale(const StaleNames& names) {
  std::function<void(const StaleNames&)> on_stale;
  {
    absl::MutexLock lock(&stale_mu_);
    on_stale = on_names_stale_;
  }
  if (on_stale) on_stale(names);
}

void Volume::OpenInto(Handle& handle, uint64_t ino) {
  handle.inode = open_files_.Open(ino);
  if (handle.writes()) handle.inode->writers.fetch_add(1);
}

absl::Status Volume::Release(std::unique_ptr<Handle> handle) {
  OpenInode& open = *handle->inode;
  absl::Status status;
  bool given_up = false;
  {
    absl::ReaderMutexLock relocation(&core_.relocation_mu);
    const bool last_writer = handle->writes() && open.writers.fetch_sub(1) == 1;
    if (open.close_failed.load()) {
      // Its writers were told that the commit failed, so it must not succeed
      // now, when there may be room again.
      given_up = last_writer && open.close_failed.exchange(false);
    } else if (last_writer || handle->HasChanges()) {
      // Do not commit what other handles are still writing.
      status = writer_.Commit(open);
      given_up = last_writer && !status.ok();
    }
    if (given_up) writer_.Discard(open);
    status.Update(CloseOne(open));
  }
  if (given_up) TellStale(open.ino);
  return status;
}

absl::Status Volume::Abandon(std::unique_ptr<Handle> handle) {
  {
    absl::ReaderMutexLock relocation(&core_.relocation_mu);
    writer_.Discard(*handle->inode);
  }
  return Release(std::move(handle));
}

absl::Status Volume::Fallocate(const Handle& handle, int mode, uint64_t offset,
                               uint64_t length) {
  if (length == 0) return PosixError(EINVAL);
  if (length > kMaxFileSize || offset > kMaxFileSize - length) {
    return PosixError(EFBIG);
  }
  const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  const int kind = mode & ~FALLOC_FL_KEEP_SIZE;
  const bool punches = (kind == FALLOC_FL_PUNCH_HOLE && keep_size) ||
                       kind == FALLOC_FL_ZERO_RANGE;
  if (kind != 0 && !punches) return PosixError(EOPNOTSUPP);
  const Timestamp now = options_.now();
  OpenInode& open = *handle.inode;
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  absl::MutexLock lock(&open.mu);
  handle.NoteChange();
  VARVE_ASSIGN_OR_RETURN(const ContentReader::DataMap map,
                         reader_.MapDataLocked(open, kMaxFileSize));
  const uint64_t end = offset + length;
  if (punches && offset < map.size) {
    VARVE_RETURN_IF_ERROR(
        writer_.Punch(open, offset, std::min(end, map.size) - offset, now));
  }
  if (!keep_size && end > map.size) {
    VARVE_RETURN_IF_ERROR(writer_.Truncate(open, end, now));
  }
  return writer_.Touch(open, now);
}

absl::StatusOr<uint64_t> Volume::Seek(const Handle& handle, uint64_t offset,
                                      int whence) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return PosixError(EINVAL);
  const bool data = whence == SEEK_DATA;
  VARVE_ASSIGN_OR_RETURN(
      const ContentReader::Found found,
      reader_.FindNext(handle.inode->ino, handle.inode.get(), offset, data));
  if (offset >= found.size) return PosixError(ENXIO);
  // At the end of the file there is a hole, but no data.
  if (data && found.offset >= found.size) return PosixError(ENXIO);
  return found.offset;
}

absl::StatusOr<uint64_t> Volume::CopyRange(const Handle& from,
                                           uint64_t from_offset,
                                           const Handle& to, uint64_t to_offset,
                                           uint64_t length) {
  length = std::min(length, kMaxCopy);
  if (to_offset > kMaxFileSize - length) return PosixError(EFBIG);
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  if (from.inode->dirty.load(std::memory_order_acquire)) {
    // Only committed bytes can be shared, and the file's writers decide when to
    // commit. So dirty bytes are read and written.
    VARVE_ASSIGN_OR_RETURN(
        const ReadReply bytes,
        reader_.Read(from.inode->ino, from.inode.get(), from_offset,
                     std::min<uint64_t>(length, 1 << 20)));
    if (bytes.size() == 0) return 0;
    VARVE_ASSIGN_OR_RETURN(const std::string text, bytes.Copy());
    VARVE_RETURN_IF_ERROR(
        writer_.Write(*to.inode, to_offset, text, options_.now()));
    to.NoteChange();
    return bytes.size();
  }
  VARVE_ASSIGN_OR_RETURN(std::vector<Extent> extents,
                         reader_.CommittedExtents(from.inode->ino, from_offset,
                                                  from_offset + length));
  uint64_t copied = 0;
  for (Extent& extent : extents) {
    copied += extent.length;
    extent.file_offset = extent.file_offset - from_offset + to_offset;
  }
  if (copied == 0) return 0;
  absl::MutexLock lock(&to.inode->mu);
  to.NoteChange();
  VARVE_RETURN_IF_ERROR(writer_.Share(*to.inode, extents, options_.now()));
  return copied;
}

}  // namespace varve::fs
