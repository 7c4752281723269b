#include "fs/compaction/tree_copier.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/base/zeros.h"
#include "engine/io/io_util.h"
#include "fs/content/content_reader.h"
#include "fs/log/commit.h"
#include "fs/log/content_key.h"

namespace varve::fs {
namespace {

// Files up to this size are gathered, and written together.
constexpr uint64_t kSmallFile = uint64_t{1} << 20;
// How much is gathered before it is written, and copied between two checks of
// the rate.
constexpr size_t kChunk = size_t{1} << 20;
constexpr size_t kMaxFilesAtOnce = 512;
constexpr size_t kMostGathered = 16384;  // extents
// Files that have less in common with others get a copy of their own, and are
// plain.
constexpr uint64_t kLeastShared = 4096;

constexpr std::byte kNotZero[] = {std::byte{1}};

}  // namespace

absl::Status TreeCopier::CopyTree() {
  Identity copied = core_.identity;
  copied.least_length = 0;  // not known before the end
  const std::string identity = copied.Encode();
  VARVE_RETURN_IF_ERROR(
      core_.store->Write(Identity::Key(), AsBytes(identity)).status());
  // After a power cut, IsLeftover() must recognize the file.
  VARVE_RETURN_IF_ERROR(core_.store->Sync().status());
  std::vector<uint64_t> directories = {kRootIno};
  while (!directories.empty()) {
    const uint64_t ino = directories.back();
    directories.pop_back();
    VARVE_RETURN_IF_ERROR(CopyDirectory(ino, directories));
  }
  VARVE_RETURN_IF_ERROR(Flush());
  return FlushPieces();
}

absl::Status TreeCopier::CopyDirectory(uint64_t ino,
                                       std::vector<uint64_t>& directories) {
  std::vector<std::pair<std::string, uint64_t>> files;
  std::vector<std::pair<std::string, uint64_t>> below;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const TreeReader& tree = core_.reader();
    absl::Status status;
    VARVE_RETURN_IF_ERROR(tree.ForEachNameAfter(
        {.directory = ino, .place = 0}, [&](const NameItem& name) {
          const absl::StatusOr<InodeItem> inode = tree.GetInode(name.ino);
          status = inode.status();
          if (!status.ok()) return false;
          if (inode->is_directory()) {
            below.emplace_back(name.text, name.ino);
          } else if (inode->first_name == name.place) {
            files.emplace_back(name.text, name.ino);
          }
          return true;
        }));
    VARVE_RETURN_IF_ERROR(status);
  }
  std::sort(files.begin(), files.end());
  std::sort(below.rbegin(), below.rend());  // the vector is popped from its end
  for (const auto& [name, child] : files) {
    VARVE_RETURN_IF_ERROR(CopyInode(child));
    monitor_.CountFile();
  }
  for (const auto& [name, child] : below) directories.push_back(child);
  return absl::OkStatus();
}

absl::StatusOr<std::string> TreeCopier::PathOf(const InodeItem& inode) const {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  return core_.reader().PathOf(inode);
}

MovedTree TreeCopier::Moved() const {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  return MovedTree(core_.log_tree, translation_, exceptions_);
}

absl::Status TreeCopier::VerifyAll(const InodeItem& inode,
                                   const ExtentMap& content) {
  absl::flat_hash_set<uint64_t> seen;
  for (const auto& [offset, extent] : content.extents()) {
    // What has been copied was sound.
    VARVE_ASSIGN_OR_RETURN(const uint64_t copied,
                           translation_.CountCopied(extent));
    if (copied == extent.length) continue;
    if (!seen.insert(extent.payload_offset()).second) continue;
    const absl::Status sound =
        VerifyEntryOf(source_, extent, /*checksum=*/true);
    if (sound.ok()) continue;
    VARVE_ASSIGN_OR_RETURN(const std::string path, PathOf(inode));
    return Annotate(
        sound,
        absl::StrCat("file \"", path, "\", the entry at offset ",
                     extent.payload_offset(),
                     ", is damaged; a copy of it would have a valid checksum"));
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> TreeCopier::CopiedBytes(const ExtentMap& content) {
  uint64_t bytes = 0;
  for (const auto& [offset, extent] : content.extents()) {
    if (gathered_.contains(extent.store_offset)) {
      VARVE_RETURN_IF_ERROR(Flush());
      VARVE_RETURN_IF_ERROR(FlushPieces());
    }
    VARVE_ASSIGN_OR_RETURN(const uint64_t copied,
                           translation_.CountCopied(extent));
    bytes += copied;
  }
  return bytes;
}

absl::Status WriteLeastLength(FileSystem& file_system, Core& core) {
  Identity identity = core.identity;
  identity.least_length = core.checkpoint_before + kMetadataSize;
  const std::string payload = identity.Encode();
  std::byte metadata[kMetadataSize];
  EncodeMetadata({.key_hash = HashKey(Identity::Key()),
                  .prev_tail = 0,
                  .crc32 = Crc32(0, AsBytes(payload))},
                 metadata);
  struct iovec pieces[] = {PieceOf(AsBytes(payload)), PieceOf(metadata)};
  VARVE_ASSIGN_OR_RETURN(
      const std::unique_ptr<File> file,
      file_system.Open(core.store->file_path(), OpenMode::kReadWrite, 0));
  return WriteFully(*file, 0, absl::MakeSpan(pieces));
}

absl::StatusOr<bool> TreeCopier::MustStayInPieces(const InodeItem& inode,
                                                  const ExtentMap& content) {
  const uint64_t size = inode.attributes.size;
  if (inode.is_symlink() || content.data_bytes() != size) return true;
  std::string head;
  bool zeros = true;
  for (const auto& [offset, extent] : content.extents()) {
    const auto bytes = pinned_.BytesOf(extent);
    if (!bytes.ok()) return true;
    head += HeadOf({*bytes});
    zeros = zeros && IsAllZeros(*bytes);
    if (!zeros && head.size() >= Identity::kRecordHead) break;
  }
  VARVE_ASSIGN_OR_RETURN(const std::string path, PathOf(inode));
  // Zeros cannot be an entry, and some paths have keys of the tree's own.
  return zeros || core_.identity.Reserves(KeyHashOfPath(path), head);
}

absl::Status TreeCopier::CopyInode(uint64_t ino) {
  InodeItem inode;
  ExtentMap content;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(inode, core_.reader().GetInode(ino));
    VARVE_RETURN_IF_ERROR(core_.reader().ForEachExtent(
        inode, 0, kMaxFileSize, [&content](const Extent& extent) {
          content.Overlay(extent);
          return true;
        }));
  }
  if (content.empty()) return absl::OkStatus();
  const absl::Status sound = VerifyAll(inode, content);
  if (!sound.ok() && on_damaged_ && absl::IsDataLoss(sound)) {
    VARVE_RETURN_IF_ERROR(on_damaged_(inode));
    exceptions_.emptied.insert(ino);
    return absl::OkStatus();
  }
  VARVE_RETURN_IF_ERROR(sound);
  VARVE_ASSIGN_OR_RETURN(const uint64_t copied, CopiedBytes(content));
  if (copied >= kLeastShared) return CopyClone(content);
  VARVE_ASSIGN_OR_RETURN(const bool in_pieces,
                         MustStayInPieces(inode, content));
  if (in_pieces) return CopyPieces(content);
  if (inode.attributes.size > kSmallFile) return CopyLarge(inode, content);
  return CopyPlain(inode, content);
}

absl::Status TreeCopier::CopyPlain(const InodeItem& inode,
                                   const ExtentMap& content) {
  VARVE_ASSIGN_OR_RETURN(const std::string path, PathOf(inode));
  PlainFile file{.ino = inode.ino, .key_hash = KeyHashOfPath(path)};
  for (const auto& [offset, extent] : content.extents()) {
    VARVE_ASSIGN_OR_RETURN(const auto bytes, pinned_.BytesOf(extent));
    file.old.push_back(extent);
    gathered_.insert(extent.store_offset);
    file.bytes.push_back(bytes);
  }
  plain_bytes_ += inode.attributes.size;
  plain_.push_back(std::move(file));
  if (plain_bytes_ < kChunk && plain_.size() < kMaxFilesAtOnce) {
    return absl::OkStatus();
  }
  return Flush();
}

void TreeCopier::ForgetGathered() {
  pinned_.Release();
  gathered_.clear();
}

absl::Status TreeCopier::Flush() {
  if (plain_.empty()) return absl::OkStatus();
  std::vector<Extent> now;
  {
    Batch batch = core_.store->BeginBatch();
    for (const PlainFile& file : plain_) {
      now.push_back(ExtentOf(
          batch.Add(core_.identity.ContentKeys(file.key_hash), file.bytes)));
    }
    VARVE_RETURN_IF_ERROR(batch.Commit());
  }
  for (size_t i = 0; i < plain_.size(); ++i) {
    VARVE_RETURN_IF_ERROR(NoteWhole(plain_[i].ino, plain_[i].old, now[i]));
  }
  const uint64_t bytes = plain_bytes_;
  plain_.clear();
  plain_bytes_ = 0;
  VARVE_RETURN_IF_ERROR(monitor_.Count(bytes));
  if (pieces_.empty()) {
    ForgetGathered();
  } else if (gathered_.size() > kMostGathered) {
    return FlushPieces();
  }
  return absl::OkStatus();
}

absl::Status TreeCopier::CopyLarge(const InodeItem& inode,
                                   const ExtentMap& content) {
  const std::unique_ptr<Stream> stream =
      core_.store->BeginStream([&identity = core_.identity, this] {
        return identity.ContentKeys(identity.DataKeyHash(new_data_id_()));
      });
  // Write small extents together, because a stream must not begin with a single
  // NUL.
  std::string gathered;
  const auto write = [&](absl::Span<const std::byte> bytes) -> absl::Status {
    VARVE_RETURN_IF_ERROR(stream->Write(bytes).status());
    return monitor_.Count(bytes.size());
  };
  const auto write_gathered = [&]() -> absl::Status {
    if (gathered.empty()) return absl::OkStatus();
    VARVE_RETURN_IF_ERROR(write(AsBytes(gathered)));
    gathered.clear();
    return absl::OkStatus();
  };
  for (const auto& [offset, extent] : content.extents()) {
    VARVE_ASSIGN_OR_RETURN(auto bytes, pinned_.BytesOf(extent));
    if (bytes.size() < kChunk) {
      gathered.append(reinterpret_cast<const char*>(bytes.data()),
                      bytes.size());
      if (gathered.size() >= kChunk) VARVE_RETURN_IF_ERROR(write_gathered());
      continue;
    }
    VARVE_RETURN_IF_ERROR(write_gathered());
    for (; !bytes.empty();
         bytes.remove_prefix(std::min(kChunk, bytes.size()))) {
      VARVE_RETURN_IF_ERROR(write(bytes.first(std::min(kChunk, bytes.size()))));
    }
  }
  VARVE_RETURN_IF_ERROR(write_gathered());
  Batch batch = core_.store->BeginBatch(stream.get());
  VARVE_ASSIGN_OR_RETURN(const std::string path, PathOf(inode));
  const auto entry =
      batch.FinishStream(core_.identity.ContentKeys(KeyHashOfPath(path)));
  VARVE_RETURN_IF_ERROR(batch.Commit());
  std::vector<Extent> old;
  for (const auto& [offset, extent] : content.extents()) old.push_back(extent);
  return NoteWhole(inode.ino, old, ExtentOf(*entry));
}

absl::Status TreeCopier::NoteWhole(uint64_t ino, absl::Span<const Extent> old,
                                   const Extent& now) {
  for (const Extent& extent : old) {
    VARVE_ASSIGN_OR_RETURN(const uint64_t copied,
                           translation_.CountCopied(extent));
    // That leads to what another file has, or to another part of this one.
    if (copied > 0) exceptions_.whole.emplace(ino, WholeEntryOf(now));
    VARVE_RETURN_IF_ERROR(translation_.Add(
        extent.store_offset, now.Part(extent.file_offset, extent.length, 0)));
  }
  return absl::OkStatus();
}

absl::Status TreeCopier::CopyPieces(const ExtentMap& content) {
  for (const auto& [offset, extent] : content.extents()) {
    VARVE_ASSIGN_OR_RETURN(const auto bytes, pinned_.BytesOf(extent));
    pieces_.push_back({extent, bytes});
    gathered_.insert(extent.store_offset);
    piece_bytes_ += extent.length;
  }
  return piece_bytes_ < kChunk && pieces_.size() < kMostGathered
             ? absl::OkStatus()
             : FlushPieces();
}

absl::Status TreeCopier::CopyClone(const ExtentMap& content) {
  ExtentMap rest;
  for (const auto& [offset, extent] : content.extents()) {
    std::vector<Extent> unknown;
    VARVE_RETURN_IF_ERROR(translation_.Translate(extent, &unknown).status());
    for (const Extent& part : unknown) rest.Overlay(part);
  }
  VARVE_RETURN_IF_ERROR(CopyPieces(rest));
  return FlushPieces();
}

absl::Status TreeCopier::FlushPieces() {
  if (pieces_.empty()) return absl::OkStatus();
  std::vector<absl::Span<const std::byte>> spans;
  for (const Piece& piece : pieces_) spans.push_back(piece.bytes);
  // Add a byte, so that the entry is not all zeros.
  if (std::all_of(
          spans.begin(), spans.end(),
          [](absl::Span<const std::byte> s) { return IsAllZeros(s); })) {
    spans.emplace_back(kNotZero);
  }
  Extent entry;
  {
    Batch batch = core_.store->BeginBatch();
    const uint64_t key_hash =
        DataKeyFor(core_.identity, new_data_id_, HeadOf(spans));
    entry = ExtentOf(batch.Add(core_.identity.ContentKeys(key_hash), spans));
    VARVE_RETURN_IF_ERROR(batch.Commit());
  }
  uint64_t at = 0;
  for (const Piece& piece : pieces_) {
    VARVE_RETURN_IF_ERROR(translation_.Add(
        piece.old.store_offset,
        entry.Part(at, piece.old.length, piece.old.file_offset)));
    at += piece.old.length;
  }
  const uint64_t bytes = piece_bytes_;
  pieces_.clear();
  piece_bytes_ = 0;
  VARVE_RETURN_IF_ERROR(monitor_.Count(bytes));
  if (plain_.empty()) {
    ForgetGathered();
  } else if (gathered_.size() > kMostGathered) {
    return Flush();
  }
  return absl::OkStatus();
}

absl::Status TreeCopier::CopyEntries(
    const std::vector<EntryLocation>& entries) {
  for (const EntryLocation& entry : entries) {
    VARVE_RETURN_IF_ERROR(source_.Verify(entry));
    VARVE_ASSIGN_OR_RETURN(
        const Store::PinnedBytes bytes,
        source_.View(entry.payload_offset, entry.payload_size));
    Batch batch = core_.store->BeginBatch();
    const EntryLocation now =
        batch.Add(core_.identity.ContentKeys(entry.key_hash), bytes.bytes);
    VARVE_RETURN_IF_ERROR(batch.Commit());
    VARVE_RETURN_IF_ERROR(
        translation_.Add(entry.payload_offset, ExtentOf(now)));
    VARVE_RETURN_IF_ERROR(monitor_.Count(entry.payload_size));
  }
  return absl::OkStatus();
}

}  // namespace varve::fs
