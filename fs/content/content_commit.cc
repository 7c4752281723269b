// The part of ContentWriter that commits: makes entries of the pieces of a
// dirty file, and the changes that describe them.

#include <errno.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "engine/base/status.h"
#include "engine/base/zeros.h"
#include "fs/base/error.h"
#include "fs/content/content_writer.h"
#include "fs/log/content_key.h"

namespace varve::fs {
namespace {

using Piece = DirtyContent::Piece;

// The first commit after a file of up to this size was opened writes it whole,
// as one plain entry.
constexpr uint64_t kSmallFile = 4096;
// The most bytes of all patches inside one commit record.
constexpr uint64_t kMaxInlineTotal = uint64_t{256} << 10;

// A payload of zeros must not become an entry; see IsAllZeros().
bool AreAllZeros(const std::vector<absl::Span<const std::byte>>& pieces) {
  return std::all_of(
      pieces.begin(), pieces.end(),
      [](absl::Span<const std::byte> piece) { return IsAllZeros(piece); });
}

// Pieces in memory that will lie one behind the other in one entry.
struct Gathered {
  std::vector<absl::Span<const std::byte>> bytes;
  std::vector<Extent> extents;  // only offsets in file and entry, and lengths
  uint64_t size = 0;

  void Add(uint64_t file_offset, const Piece& piece) {
    bytes.push_back(AsBytes(piece.bytes));
    extents.push_back({.file_offset = file_offset,
                       .length = piece.length,
                       .entry_offset = size});
    size += piece.length;
  }
};

}  // namespace

Extent ExtentIn(const EntryLocation& entry, uint64_t store_offset,
                uint64_t file_offset, uint64_t length) {
  return ExtentOf(entry).Part(store_offset - entry.payload_offset, length,
                              file_offset);
}

absl::StatusOr<std::optional<ContentWriter::Target>> ContentWriter::FindTarget(
    uint64_t ino) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  const absl::StatusOr<LiveInode> inode = core_.GetNamed(ino);
  if (!inode.ok() && ErrnoOf(inode.status()) == ENOENT) {
    return std::optional<Target>();
  }
  VARVE_RETURN_IF_ERROR(inode.status());
  Target target;
  target.attributes = inode->attributes;
  VARVE_ASSIGN_OR_RETURN(const std::string path, core_.reader().PathOf(*inode));
  target.path_hash = KeyHashOfPath(path);
  if (inode->whole_entry.has_value()) {
    target.old_key = inode->whole_entry->key_hash;
  }
  target.data_bytes = inode->data_bytes();
  return std::optional(std::move(target));
}

absl::StatusOr<ContentWriter::Target> ContentWriter::FindUnnamedTarget(
    uint64_t ino, uint64_t parent, absl::string_view name) {
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
  VARVE_ASSIGN_OR_RETURN(const LiveInode directory, core_.GetNamed(parent));
  VARVE_ASSIGN_OR_RETURN(const std::string path,
                         core_.reader().PathIn(directory, name));
  Target target{.new_parent = parent, .new_name = name};
  target.attributes = inode.attributes;
  target.path_hash = KeyHashOfPath(path);
  VARVE_ASSIGN_OR_RETURN(target.new_xattrs,
                         core_.ReaderOf(inode).AllXattrs(ino));
  return target;
}

bool ContentWriter::FreesSpace(OpenInode& open, const Target& target) {
  return open.stream == nullptr && open.data_bytes < target.data_bytes &&
         open.content.memory_bytes() <= kSmallFile;
}

absl::Status ContentWriter::Commit(OpenInode& open) {
  if (!open.dirty.load(std::memory_order_acquire)) return absl::OkStatus();
  absl::MutexLock lock(&open.mu);
  return CommitLocked(open);
}

absl::Status ContentWriter::CommitUnlessEmptied(OpenInode& open) {
  if (!open.dirty.load(std::memory_order_acquire)) return absl::OkStatus();
  absl::MutexLock lock(&open.mu);
  if (open.content.only_emptied()) return absl::OkStatus();
  return CommitLocked(open);
}

absl::Status ContentWriter::PrepareCommit(OpenInode& open) {
  if (core_.store->read_only()) return PosixError(EROFS);
  // If a stream is open for the file, all of its bytes go there.
  if (open.stream != nullptr && open.content.memory_bytes() > 0) {
    return Spill(open);
  }
  return absl::OkStatus();
}

void ContentWriter::Committed(OpenInode& open) {
  dirty_bytes_.fetch_sub(open.content.memory_cost());
  open.content.Reset(open.content.size());
  open.stream.reset();
  open.committed = true;
  open.join_pieces_at = OpenInode::kManyPieces;
  open.round.fetch_add(1);
  open.dirty.store(false, std::memory_order_release);
}

absl::Status ContentWriter::CommitLocked(OpenInode& open) {
  if (!open.content.dirty()) return absl::OkStatus();
  VARVE_RETURN_IF_ERROR(open.failed_write);
  VARVE_RETURN_IF_ERROR(PrepareCommit(open));
  {
    absl::MutexLock commit_lock(&core_.commit_mu);
    VARVE_ASSIGN_OR_RETURN(const std::optional<Target> target,
                           FindTarget(open.ino));
    // A file without a name is not committed; its users see what is in memory.
    if (!target.has_value()) return absl::OkStatus();
    VARVE_RETURN_IF_ERROR(CommitTo(open, *target));
  }
  Committed(open);
  return absl::OkStatus();
}

absl::Status ContentWriter::CommitWithName(
    OpenInode& open, uint64_t parent, absl::string_view name,
    const std::function<absl::Status()>& check) {
  absl::MutexLock lock(&open.mu);
  VARVE_RETURN_IF_ERROR(Prepare(open));
  VARVE_RETURN_IF_ERROR(PrepareCommit(open));
  {
    absl::MutexLock commit_lock(&core_.commit_mu);
    absl::StatusOr<Target> target;
    {
      absl::ReaderMutexLock tree_lock(&core_.tree_mu);
      VARVE_RETURN_IF_ERROR(check());
      target = FindUnnamedTarget(open.ino, parent, name);
    }
    VARVE_RETURN_IF_ERROR(target.status());
    VARVE_RETURN_IF_ERROR(CommitTo(open, *target));
  }
  Committed(open);
  return absl::OkStatus();
}

bool ContentWriter::StreamIsWholeFile(OpenInode& open) {
  if (open.stream == nullptr || !open.stream->sealed().empty() ||
      open.stream->unsealed_size() != open.content.size()) {
    return false;
  }
  const auto bytes = core_.store->View(open.stream->unsealed_offset(),
                                       open.stream->unsealed_size());
  if (!bytes.ok() || IsAllZeros(bytes->bytes)) return false;
  for (const auto& [offset, piece] : open.content.pieces()) {
    if (piece.kind != Piece::Kind::kSpilled ||
        piece.store_offset != open.stream->unsealed_offset() + offset) {
      return false;
    }
  }
  return open.content.CoversWholeFile();
}

std::optional<std::string> ContentWriter::HeadOfStream(
    const Stream& stream) const {
  const auto bytes = core_.store->View(
      stream.unsealed_offset(),
      std::min<uint64_t>(stream.unsealed_size(), Identity::kRecordHead));
  if (!bytes.ok()) return std::nullopt;
  return HeadOf({bytes->bytes});
}

std::optional<Extent> ContentWriter::PlainExtent(OpenInode& open,
                                                 const Target& target,
                                                 fs::Commit& commit,
                                                 std::string& buffer) {
  DirtyContent& content = open.content;
  // An entry cannot be empty.
  if (content.size() == 0) return std::nullopt;
  const auto may_be_plain = [&](absl::string_view head) {
    return !core_.identity.Reserves(target.path_hash, head);
  };
  if (StreamIsWholeFile(open)) {
    const std::optional<std::string> head = HeadOfStream(*open.stream);
    if (!head.has_value() || !may_be_plain(*head)) return std::nullopt;
    const std::optional<EntryLocation> entry =
        commit.FinishStream(target.path_hash);
    if (!entry.has_value()) return std::nullopt;
    return ExtentOf(*entry);
  }
  if (open.stream != nullptr) return std::nullopt;
  if (content.CoversWholeFile()) {
    std::vector<absl::Span<const std::byte>> spans;
    for (const auto& [offset, piece] : content.pieces()) {
      if (piece.kind != Piece::Kind::kMemory) return std::nullopt;
      spans.push_back(AsBytes(piece.bytes));
    }
    if (AreAllZeros(spans) || !may_be_plain(HeadOf(spans))) return std::nullopt;
    return commit.AddEntry(target.path_hash, spans);
  }
  if (content.size() > kSmallFile || open.committed) return std::nullopt;
  const auto map = reader_.MapDataLocked(open, 0);
  if (!map.ok() || map->data.size() != 1 ||
      map->data[0].end - map->data[0].begin != content.size()) {
    return std::nullopt;
  }
  // If the committed content is damaged, it cannot be copied. It stays as it
  // is.
  const auto bytes = reader_.ReadLocked(open, 0, content.size());
  if (!bytes.ok()) return std::nullopt;
  absl::StatusOr<std::string> text = bytes->Copy();
  if (!text.ok()) return std::nullopt;
  buffer = *std::move(text);
  if (IsAllZeros(buffer) || !may_be_plain(buffer)) return std::nullopt;
  return commit.AddEntry(target.path_hash, {AsBytes(buffer)});
}

ContentWriter::Layout ContentWriter::LayOut(OpenInode& open,
                                            fs::Commit& commit) {
  Layout layout;
  std::vector<EntryLocation> entries;  // the entries of spilled bytes, in order
  if (open.stream != nullptr) {
    const auto last = commit.FinishStream(
        NewDataKeyHash(HeadOfStream(*open.stream).value_or("")));
    entries = open.stream->sealed();
    if (last.has_value()) entries.push_back(*last);
  }
  Gathered gathered;
  uint64_t inline_bytes = 0;
  for (const auto& item : open.content.pieces()) {
    const auto& [offset, piece] = item;
    switch (piece.kind) {
      case Piece::Kind::kHole:
        layout.extents.push_back(Extent::Hole(offset, piece.length));
        break;
      case Piece::Kind::kShared:
        layout.extents.push_back(piece.extent);
        layout.extents.back().shared = true;
        break;
      case Piece::Kind::kSpilled: {
        const auto entry = std::prev(
            std::upper_bound(entries.begin(), entries.end(), piece.store_offset,
                             [](uint64_t at, const EntryLocation& e) {
                               return at < e.payload_offset;
                             }));
        layout.extents.push_back(
            ExtentIn(*entry, piece.store_offset, offset, piece.length));
        break;
      }
      case Piece::Kind::kMemory:
        // A single byte is always inline: it might be a NUL.
        if (piece.length == 1 ||
            (piece.length <= kMaxInlineSize &&
             inline_bytes + piece.length <= kMaxInlineTotal)) {
          inline_bytes += piece.length;
          layout.inlined.push_back(&item);
        } else {
          gathered.Add(offset, piece);
        }
        break;
    }
  }
  if (AreAllZeros(gathered.bytes)) {
    for (const Extent& part : gathered.extents) {
      layout.extents.push_back(Extent::Hole(part.file_offset, part.length));
    }
    return layout;
  }
  const Extent entry =
      commit.AddEntry(NewDataKeyHash(HeadOf(gathered.bytes)), gathered.bytes);
  for (const Extent& part : gathered.extents) {
    layout.extents.push_back(
        entry.Part(part.entry_offset, part.length, part.file_offset));
  }
  return layout;
}

absl::Status ContentWriter::HideOldContent(uint64_t ino, fs::Commit& commit) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const auto inode, core_.reader().FindInode(ino));
  if (!inode.has_value()) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(const auto keys, KeyOfContent(core_, *inode));
  if (keys.has_value()) commit.AddTombstone(*keys);
  return absl::OkStatus();
}

void ContentWriter::AddInode(fs::Commit& commit, const PutInode& put,
                             const Target& target) {
  commit.Add(put);
  if (target.new_name.empty()) return;
  for (const auto& [name, value] : target.new_xattrs) {
    commit.Add(SetXattr{.ino = put.ino, .name = name, .value = value});
  }
  commit.Add(PutName{
      .parent = target.new_parent, .ino = put.ino, .name = target.new_name});
}

absl::Status ContentWriter::CommitTo(OpenInode& open, const Target& target) {
  DirtyContent& content = open.content;
  fs::Commit commit(core_, now_(), open.stream.get());
  if (FreesSpace(open, target)) commit.UseReserve();
  PutInode put{.ino = open.ino, .attributes = target.attributes};
  put.attributes.size = content.size();
  {
    // A file that gets its first name may have nothing dirty.
    absl::MutexLock lock(&open.stat_mu);
    if (content.dirty()) put.attributes.mtime = open.stat.mtime;
    put.attributes.ctime = std::max(open.stat.ctime, put.attributes.ctime);
  }
  std::string buffer;  // must outlive the commit
  if (const auto plain = PlainExtent(open, target, commit, buffer)) {
    if (target.old_key.has_value() && *target.old_key != plain->key_hash) {
      VARVE_RETURN_IF_ERROR(HideOldContent(open.ino, commit));
    }
    AddInode(commit, put, target);
    commit.Add(SetContent{.ino = open.ino, .extents = {*plain}});
    return commit.Finish();
  }
  Layout layout = LayOut(open, commit);
  const bool replaced = content.base_limit() == 0 || content.CoversWholeFile();
  if (replaced) VARVE_RETURN_IF_ERROR(HideOldContent(open.ino, commit));
  AddInode(commit, put, target);
  if (replaced) {
    commit.Add(SetContent{.ino = open.ino, .extents = layout.extents});
  } else {
    const uint64_t hole_end = std::min(target.attributes.size, content.size());
    PatchContent patch{.ino = open.ino};
    if (content.base_limit() < hole_end) {
      patch.extents.push_back(
          Extent::Hole(content.base_limit(), hole_end - content.base_limit()));
    }
    patch.extents.insert(patch.extents.end(), layout.extents.begin(),
                         layout.extents.end());
    if (!patch.extents.empty()) commit.Add(patch);
  }
  for (const auto* item : layout.inlined) {
    commit.AddInline(open.ino, item->first, item->second.bytes);
  }
  return commit.Finish();
}

}  // namespace varve::fs
