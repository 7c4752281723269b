#include "fs/content/content_reader.h"

#include <errno.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "engine/io/bus_guard.h"
#include "fs/base/error.h"
#include "fs/log/commit.h"

namespace varve::fs {
namespace {

constexpr size_t kZeroBytes = size_t{1} << 20;
char zeros[kZeroBytes];  // never written to

// Below the system's limit of pieces in one writev() (1024).
constexpr size_t kMaxPieces = 512;
// Smaller extents are cheaper to copy than to send as pieces.
constexpr uint64_t kMinPiece = 256;

uint64_t EndOf(uint64_t offset, uint64_t size) {
  return size > UINT64_MAX - offset ? UINT64_MAX : offset + size;
}

}  // namespace

std::string ReadReply::ToString() const {
  std::string text;
  text.reserve(size_);
  for (const struct iovec& piece : pieces_) {
    text.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  }
  return text;
}

bool ReadReply::HasLost() const {
  return std::any_of(
      pieces_.begin(), pieces_.end(), [](const struct iovec& piece) {
        return HasLostBytes(
            {static_cast<const std::byte*>(piece.iov_base), piece.iov_len});
      });
}

absl::StatusOr<std::string> ReadReply::Copy() const {
  std::string text = ToString();
  if (HasLost()) return DamageError("the store cannot be read any more");
  return text;
}

absl::Status ReadReply::AddStored(const Store& store, uint64_t offset,
                                  uint64_t length) {
  VARVE_ASSIGN_OR_RETURN(const Store::PinnedBytes bytes,
                         store.View(offset, length));
  AddPinned(bytes);
  store_end_ = std::max(store_end_, offset + length);
  if (!HasLostBytes(bytes.bytes)) return absl::OkStatus();
  return DamageError(absl::StrFormat(
      "the store cannot be read any more at [%d, +%d)", offset, length));
}

void ReadReply::AddPiece(const void* data, size_t size) {
  if (size == 0) return;
  size_ += size;
  if (!pieces_.empty() &&
      static_cast<char*>(pieces_.back().iov_base) + pieces_.back().iov_len ==
          data) {
    pieces_.back().iov_len += size;
    return;
  }
  pieces_.push_back({const_cast<void*>(data), size});
}

void ReadReply::AddPinned(const Store::PinnedBytes& bytes) {
  if (bytes.bytes.size() < kMinPiece) {
    AddCopy({reinterpret_cast<const char*>(bytes.bytes.data()),
             bytes.bytes.size()});
    return;
  }
  if (pins_.empty() || pins_.back() != bytes.pin) pins_.push_back(bytes.pin);
  AddPiece(bytes.bytes.data(), bytes.bytes.size());
}

void ReadReply::AddCopy(absl::string_view bytes) {
  // Append to the last copy only if that cannot move its bytes, because pieces
  // point to them.
  if (copies_.empty() ||
      copies_.back()->capacity() - copies_.back()->size() < bytes.size()) {
    copies_.push_back(std::make_unique<std::string>());
    copies_.back()->reserve(std::max<size_t>(bytes.size(), 4096));
  }
  std::string& copy = *copies_.back();
  copy.append(bytes.data(), bytes.size());
  AddPiece(copy.data() + copy.size() - bytes.size(), bytes.size());
}

void ReadReply::AddZeros(uint64_t count) {
  while (count > 0) {
    const uint64_t part = std::min<uint64_t>(count, kZeroBytes);
    size_ += part;
    pieces_.push_back({zeros, part});
    count -= part;
  }
}

absl::Status ReadReply::LimitPieces(size_t count) {
  if (pieces_.size() <= count) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(std::string text, Copy());
  auto all = std::make_unique<std::string>(std::move(text));
  pieces_ = {{all->data(), all->size()}};
  pins_.clear();
  copies_.clear();
  copies_.push_back(std::move(all));
  return absl::OkStatus();
}

std::string ContentReader::Describe(uint64_t ino) const {
  const absl::StatusOr<std::string> path = PathOfNamed(ino);
  if (path.ok()) return absl::StrCat("file \"", *path, "\"");
  return absl::StrCat(
      ErrnoOf(path.status()) == ENOENT ? "removed file" : "file", " (inode ",
      ino, ")");
}

std::string ContentReader::PathOf(uint64_t ino) const {
  const absl::StatusOr<std::string> path = PathOfNamed(ino);
  if (!path.ok() || (path->empty() && ino != kRootIno)) return "";
  return absl::StrCat("/", *path);
}

absl::StatusOr<std::string> ContentReader::PathOfNamed(uint64_t ino) const {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetNamed(ino));
  return core_.reader().PathOf(inode);
}

absl::StatusOr<ContentReader::Source> ContentReader::Find(uint64_t ino,
                                                          uint64_t begin,
                                                          uint64_t end,
                                                          bool clip) const {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
  return FindIn(core_.ReaderOf(inode), inode, begin, end, clip);
}

absl::StatusOr<ContentReader::Source> ContentReader::FindIn(
    const TreeReader& tree, const InodeItem& inode, uint64_t begin,
    uint64_t end, bool clip) {
  if (inode.is_directory()) return PosixError(EISDIR);
  Source source;
  source.size = inode.attributes.size;
  if (clip) end = std::min(end, source.size);
  if (begin >= end) return source;
  VARVE_ASSIGN_OR_RETURN(source.cover, tree.Cover(inode, begin, end));
  return source;
}

absl::Status ContentReader::DamageOf(uint64_t ino, const Extent& extent,
                                     absl::Status status) const {
  if (status.ok()) return status;
  // If the store has become shorter, report that instead.
  const absl::Status length =
      core_.store->CheckLength(extent.entry_metadata_offset() + kMetadataSize);
  if (!length.ok()) status = length;
  return DamageError(absl::StrFormat(
      "%s: the entry with key hash %016x at offset %d is damaged (%s)",
      Describe(ino), extent.key_hash, extent.payload_offset(),
      status.message()));
}

absl::Status ContentReader::NoteDamaged(uint64_t ino, const Extent& extent,
                                        absl::Span<const uint64_t> blocks) {
  return DamageOf(ino, extent, checks_.NoteDamaged(extent, blocks));
}

absl::Status ContentReader::Verify(uint64_t ino, const Extent& extent,
                                   std::optional<Extent>* unchecked) {
  if (unchecked == nullptr) {
    return DamageOf(ino, extent, checks_.Check(extent));
  }
  const absl::Status status = checks_.CheckIfQuick(extent);
  if (!absl::IsUnavailable(status)) return DamageOf(ino, extent, status);
  *unchecked = extent;
  return status;
}

absl::StatusOr<ReadReply> ContentReader::ReadUnnamed(
    const EntryLocation& entry, uint64_t offset, uint64_t size,
    std::optional<Extent>& unchecked) {
  ReadReply reply;
  if (offset >= entry.payload_size || size == 0) return reply;
  const Extent extent = ExtentOf(entry).Part(
      offset, std::min(size, entry.payload_size - offset), /*file_offset=*/0);
  const absl::Status status = checks_.CheckIfQuick(extent);
  if (absl::IsUnavailable(status)) unchecked = extent;
  VARVE_RETURN_IF_ERROR(status);
  VARVE_RETURN_IF_ERROR(
      reply.AddStored(*core_.store, extent.store_offset, extent.length));
  VARVE_RETURN_IF_ERROR(core_.store->CheckLength(reply.store_end()));
  return reply;
}

absl::Status ContentReader::AddStored(uint64_t ino, uint64_t offset,
                                      uint64_t length, ReadReply& reply) const {
  const absl::Status status = reply.AddStored(*core_.store, offset, length);
  if (!absl::IsDataLoss(status)) return status;
  return DamageError(absl::StrCat(Describe(ino), ": ", status.message()));
}

absl::Status ContentReader::Finish(uint64_t ino, ReadReply& reply) const {
  absl::Status status = reply.LimitPieces(kMaxPieces);
  // Check the length last: if the file was truncated, the rest of its last page
  // reads as zeros.
  if (status.ok() && reply.store_end() > 0) {
    status = core_.store->CheckLength(reply.store_end());
  }
  if (!absl::IsDataLoss(status)) return status;
  return DamageError(absl::StrCat(Describe(ino), ": ", status.message()));
}

absl::Status ContentReader::AppendExtents(uint64_t ino, const Source& source,
                                          std::optional<Extent>* unchecked,
                                          ReadReply& reply) {
  for (const Extent& extent : source.cover) {
    if (extent.is_hole()) {
      reply.AddZeros(extent.length);
      continue;
    }
    VARVE_RETURN_IF_ERROR(Verify(ino, extent, unchecked));
    VARVE_RETURN_IF_ERROR(
        AddStored(ino, extent.store_offset, extent.length, reply));
  }
  return absl::OkStatus();
}

absl::StatusOr<ReadReply> ContentReader::Read(
    uint64_t ino, OpenInode* open, uint64_t offset, uint64_t size,
    std::optional<Extent>* unchecked) {
  if (open != nullptr && open->dirty.load(std::memory_order_acquire)) {
    absl::ReaderMutexLock lock(&open->mu);
    if (open->content.dirty()) {
      return ReadLocked(*open, offset, size, unchecked);
    }
  }
  VARVE_ASSIGN_OR_RETURN(const Source source,
                         Find(ino, offset, EndOf(offset, size), /*clip=*/true));
  return ReadSource(ino, source, unchecked);
}

absl::StatusOr<ReadReply> ContentReader::ReadFrom(
    const TreeReader& tree, uint64_t ino, uint64_t offset, uint64_t size,
    std::optional<Extent>* unchecked) {
  VARVE_ASSIGN_OR_RETURN(const auto inode, tree.FindInode(ino));
  if (!inode.has_value()) return PosixError(ENOENT);
  VARVE_ASSIGN_OR_RETURN(
      const Source source,
      FindIn(tree, *inode, offset, EndOf(offset, size), /*clip=*/true));
  return ReadSource(ino, source, unchecked);
}

absl::StatusOr<ReadReply> ContentReader::ReadSource(
    uint64_t ino, const Source& source, std::optional<Extent>* unchecked) {
  ReadReply reply;
  VARVE_RETURN_IF_ERROR(AppendExtents(ino, source, unchecked, reply));
  VARVE_RETURN_IF_ERROR(Finish(ino, reply));
  return reply;
}

absl::StatusOr<ReadReply> ContentReader::ReadLocked(
    OpenInode& open, uint64_t offset, uint64_t size,
    std::optional<Extent>* unchecked) {
  ReadReply reply;
  DirtyContent& content = open.content;
  if (!content.dirty()) {
    return Read(open.ino, nullptr, offset, size, unchecked);
  }
  if (offset >= content.size()) return reply;
  const uint64_t end = offset + std::min(size, content.size() - offset);

  // Committed content below the base limit, zeros from there on.
  const auto fill = [&](uint64_t from, uint64_t to) -> absl::Status {
    open.mu.AssertReaderHeld();
    const uint64_t base_end = std::min(to, content.base_limit());
    if (from < base_end) {
      VARVE_ASSIGN_OR_RETURN(const Source source,
                             Find(open.ino, from, base_end, /*clip=*/false));
      VARVE_RETURN_IF_ERROR(AppendExtents(open.ino, source, unchecked, reply));
    }
    reply.AddZeros(to - std::min(to, std::max(from, base_end)));
    return absl::OkStatus();
  };

  uint64_t position = offset;
  for (const DirtyContent::Slice& slice : content.Cover(offset, end)) {
    VARVE_RETURN_IF_ERROR(fill(position, slice.offset));
    switch (slice.kind) {
      case DirtyContent::Piece::Kind::kMemory:
        reply.AddCopy(slice.bytes);
        break;
      case DirtyContent::Piece::Kind::kHole:
        reply.AddZeros(slice.length);
        break;
      case DirtyContent::Piece::Kind::kShared:
        VARVE_RETURN_IF_ERROR(Verify(open.ino, slice.extent, unchecked));
        [[fallthrough]];
      case DirtyContent::Piece::Kind::kSpilled:
        VARVE_RETURN_IF_ERROR(
            AddStored(open.ino, slice.store_offset, slice.length, reply));
        break;
    }
    position = slice.offset + slice.length;
  }
  VARVE_RETURN_IF_ERROR(fill(position, end));
  VARVE_RETURN_IF_ERROR(Finish(open.ino, reply));
  return reply;
}

namespace {

void AddRange(uint64_t begin, uint64_t end, ContentReader::DataMap& map) {
  if (begin >= end) return;
  if (!map.data.empty() && map.data.back().end == begin) {
    map.data.back().end = end;
  } else {
    map.data.push_back({begin, end});
  }
}

void AddExtents(const std::vector<Extent>& extents,
                ContentReader::DataMap& map) {
  for (const Extent& extent : extents) {
    if (!extent.is_hole()) AddRange(extent.file_offset, extent.file_end(), map);
  }
}

}  // namespace

absl::StatusOr<std::vector<Extent>> ContentReader::CommittedExtents(
    uint64_t ino, uint64_t begin, uint64_t end) {
  VARVE_ASSIGN_OR_RETURN(Source source, Find(ino, begin, end, /*clip=*/true));
  return std::move(source.cover);
}

absl::StatusOr<ContentReader::DataMap> ContentReader::MapData(uint64_t ino,
                                                              OpenInode* open,
                                                              uint64_t begin,
                                                              uint64_t end) {
  if (open != nullptr && open->dirty.load(std::memory_order_acquire)) {
    absl::ReaderMutexLock lock(&open->mu);
    if (open->content.dirty()) return MapDataLocked(*open, begin, end);
  }
  VARVE_ASSIGN_OR_RETURN(const Source source,
                         Find(ino, begin, end, /*clip=*/true));
  DataMap map{.size = source.size, .data = {}};
  AddExtents(source.cover, map);
  return map;
}

absl::StatusOr<ContentReader::DataMap> ContentReader::MapDataLocked(
    OpenInode& open, uint64_t begin, uint64_t end) {
  DirtyContent& content = open.content;
  if (!content.dirty()) return MapData(open.ino, nullptr, begin, end);
  DataMap map{.size = content.size(), .data = {}};
  end = std::min(end, content.size());
  const auto fill = [&](uint64_t from, uint64_t to) -> absl::Status {
    open.mu.AssertReaderHeld();
    to = std::min(to, content.base_limit());
    if (from >= to) return absl::OkStatus();
    VARVE_ASSIGN_OR_RETURN(const Source source,
                           Find(open.ino, from, to, /*clip=*/false));
    AddExtents(source.cover, map);
    return absl::OkStatus();
  };
  uint64_t position = begin;
  for (const DirtyContent::Slice& slice : content.Cover(begin, end)) {
    VARVE_RETURN_IF_ERROR(fill(position, slice.offset));
    position = slice.offset + slice.length;
    if (slice.kind != DirtyContent::Piece::Kind::kHole) {
      AddRange(slice.offset, position, map);
    }
  }
  VARVE_RETURN_IF_ERROR(fill(position, end));
  return map;
}

absl::StatusOr<ContentReader::Found> ContentReader::FindNextCommitted(
    uint64_t ino, uint64_t offset, uint64_t limit, bool data) const {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
  if (inode.is_directory()) return PosixError(EISDIR);
  Found found{.offset = limit, .size = inode.attributes.size};
  const uint64_t end = std::min(limit, found.size);
  if (offset >= end) {
    if (!data) found.offset = offset;
    return found;
  }
  const TreeReader& reader = core_.ReaderOf(inode);
  VARVE_ASSIGN_OR_RETURN(
      const uint64_t next,
      data ? reader.NextData(inode, offset) : reader.NextHole(inode, offset));
  if (!data) {
    found.offset = std::min(next, end);
  } else if (next < end) {
    found.offset = next;
  }
  return found;
}

absl::StatusOr<ContentReader::Found> ContentReader::FindNextLocked(
    OpenInode& open, uint64_t offset, bool data) {
  Found found{.offset = offset, .size = open.content.size()};
  while (found.offset < found.size) {
    const DirtyContent::Gap at = open.content.At(found.offset);
    if (at.piece != nullptr) {
      const bool is_data = at.piece->kind != DirtyContent::Piece::Kind::kHole;
      if (is_data == data) return found;
      found.offset = at.end;
      continue;
    }
    // Committed content below the base limit, and a hole from there on.
    const uint64_t end = std::min(at.end, found.size);
    const uint64_t base_end = std::min(end, open.content.base_limit());
    if (found.offset < base_end) {
      VARVE_ASSIGN_OR_RETURN(
          const Found committed,
          FindNextCommitted(open.ino, found.offset, base_end, data));
      found.offset = committed.offset;
      if (found.offset < base_end) return found;
    }
    if (!data && found.offset < end) return found;
    found.offset = end;
  }
  found.offset = std::min(found.offset, found.size);
  return found;
}

absl::StatusOr<ContentReader::Found> ContentReader::FindNext(uint64_t ino,
                                                             OpenInode* open,
                                                             uint64_t offset,
                                                             bool data) {
  if (open != nullptr && open->dirty.load(std::memory_order_acquire)) {
    absl::ReaderMutexLock lock(&open->mu);
    if (open->content.dirty()) return FindNextLocked(*open, offset, data);
  }
  return FindNextCommitted(ino, offset, kMaxFileSize, data);
}

absl::Status ContentReader::VerifyAll(uint64_t ino) {
  VARVE_ASSIGN_OR_RETURN(const Source source,
                         Find(ino, 0, kMaxFileSize, /*clip=*/true));
  absl::flat_hash_set<uint64_t> seen;
  for (const Extent& extent : source.cover) {
    if (extent.is_hole() || !seen.insert(extent.payload_offset()).second) {
      continue;
    }
    VARVE_RETURN_IF_ERROR(DamageOf(ino, extent, checks_.CheckWhole(extent)));
  }
  return absl::OkStatus();
}

}  // namespace varve::fs
