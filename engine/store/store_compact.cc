// Compaction: the live entries copied into a file of their own, which then
// takes the store's place.

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "engine/entry/byte_source.h"
#include "engine/entry/layout.h"
#include "engine/io/io_util.h"
#include "engine/store/store_impl.h"

namespace varve {
namespace {

constexpr size_t kChunk = size_t{1} << 20;

absl::Status Damaged(uint64_t metadata_offset) {
  return ErrorWithCode(
      absl::StatusCode::kDataLoss, EIO,
      absl::StrFormat("cannot compact: the entry with metadata at offset %d "
                      "is damaged",
                      metadata_offset));
}

absl::Status InTheWay(const std::string& path) {
  return SystemError(
      EEXIST,
      absl::StrCat(path,
                   " is in the way: a compaction writes a file of that name. "
                   "Remove it if one that was cut short has left it behind, or "
                   "move it away"));
}

// Copies entries into a new file, one behind the other.
class EntryCopier {
 public:
  EntryCopier(const Generation& from, File& to)
      : mapping_(from.mapping()),
        source_(ByteSource::FromFile(from.file(), from.tail())),
        to_(to) {
    buffer_.reserve(kChunk);
  }

  uint64_t tail() const { return tail_; }
  const std::vector<IndexUpdate>& index() const { return index_; }

  // Copies the entry and verifies it on the way.
  absl::Status Copy(uint64_t metadata_offset) {
    const std::optional<EntryLocation> entry =
        LocateEntryAt({mapping_->data(), static_cast<size_t>(source_->size())},
                      metadata_offset);
    if (!entry.has_value()) return Damaged(metadata_offset);

    static constexpr std::byte kZeros[kPayloadAlignment] = {};
    // Without a pad in front of it, a single NUL is a tombstone. Varve never
    // writes such a value, but another program's store may hold one.
    if (entry->payload_size == 1 && entry->crc32 == kTombstoneCrc32 &&
        Align64(tail_) == tail_) {
      VARVE_RETURN_IF_ERROR(AddTombstone(entry->key_hash));
    }
    VARVE_RETURN_IF_ERROR(Add({kZeros, Align64(tail_) - tail_}));
    uint32_t crc = 0;
    for (uint64_t at = entry->payload_offset; at < metadata_offset;) {
      const size_t size = std::min<uint64_t>(kChunk, metadata_offset - at);
      const auto from = source_->Check(at);
      const std::byte* const payload =
          from.has_value() ? source_->At(*from, size) : nullptr;
      if (payload == nullptr) return Damaged(metadata_offset);
      crc = Crc32(crc, {payload, size});
      VARVE_RETURN_IF_ERROR(Add({payload, size}));
      at += size;
    }
    if (crc != entry->crc32) return Damaged(metadata_offset);

    index_.push_back({entry->key_hash, written_ + buffer_.size()});
    std::byte metadata[kMetadataSize];
    EncodeMetadata({entry->key_hash, tail_, crc}, metadata);
    VARVE_RETURN_IF_ERROR(Add(metadata));
    tail_ = written_ + buffer_.size();
    return absl::OkStatus();
  }

  absl::Status Flush() {
    VARVE_RETURN_IF_ERROR(WriteFully(to_, written_, buffer_));
    written_ += buffer_.size();
    buffer_.clear();
    return absl::OkStatus();
  }

 private:
  absl::Status AddTombstone(uint64_t key_hash) {
    std::byte tombstone[kTombstoneSize] = {};
    EncodeMetadata({key_hash, tail_, kTombstoneCrc32}, &tombstone[1]);
    VARVE_RETURN_IF_ERROR(Add(tombstone));
    tail_ += kTombstoneSize;
    return absl::OkStatus();
  }

  absl::Status Add(absl::Span<const std::byte> bytes) {
    if (buffer_.size() + bytes.size() > kChunk) VARVE_RETURN_IF_ERROR(Flush());
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    return absl::OkStatus();
  }

  const std::shared_ptr<const Mapping> mapping_;
  // Payloads are read and not mapped: a failing disk must be an error.
  const std::unique_ptr<ByteSource> source_;
  File& to_;
  std::vector<std::byte> buffer_;  // not written yet
  uint64_t written_ = 0;
  uint64_t tail_ = 0;
  std::vector<IndexUpdate> index_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<Generation>> StoreImpl::BuildCompacted() {
  const Generation& from = *generation_;
  // The offsets come from the index and not from the chain, which may have
  // broken since opening.
  std::vector<uint64_t> offsets = from.index().Offsets();
  VARVE_RETURN_IF_ERROR(from.CheckIndexIntact());
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<File> file, MakeReplacementFile());
  // Lock the file before it becomes the store, so that no other writer can get
  // in between.
  VARVE_RETURN_IF_ERROR(file->LockExclusive(absl::ZeroDuration()));

  // Images of the index are of no use in another file.
  std::erase(offsets, from.newest_image());
  if (options_.index_image_key.has_value()) {
    std::erase(offsets, from.Find(*options_.index_image_key).value_or(0));
  }
  std::sort(offsets.begin(), offsets.end());  // oldest first
  EntryCopier copier(from, *file);
  for (const uint64_t offset : offsets) {
    VARVE_RETURN_IF_ERROR(copier.Copy(offset));
  }
  VARVE_RETURN_IF_ERROR(copier.Flush());
  VARVE_RETURN_IF_ERROR(file->Sync());

  VARVE_ASSIGN_OR_RETURN(std::shared_ptr<const Mapping> mapping,
                         MapGenerously(*file, copier.tail()));
  auto next = std::make_shared<Generation>(std::move(file), mapping);
  VARVE_RETURN_IF_ERROR(next->Reserve(offsets.size()));
  next->set_written_end(copier.tail());
  next->Publish(copier.index(), copier.tail());
  return next;
}

absl::Status StoreImpl::CheckNotReplaced() {
  VARVE_ASSIGN_OR_RETURN(const FileInfo named,
                         options_.file_system->Info(file_path_));
  VARVE_ASSIGN_OR_RETURN(const FileInfo ours, generation_->file().Info());
  if (IsSameFile(named, ours)) {
    return absl::OkStatus();
  }
  return ErrorWithCode(
      absl::StatusCode::kFailedPrecondition, ESTALE,
      absl::StrCat("another file has taken the place of ", file_path_));
}

void StoreImpl::SwitchTo(std::shared_ptr<Generation> next) {
  write_out_.Restart(next->written_end());
  {
    absl::MutexLock lock(&sync_mutex_);
    // Before the switch: a thread that syncs the new generation must not find
    // the figures of the old one.
    synced_generation_ = next.get();
    durable_tail_ = next->tail();
    must_sync_directory_ = false;
  }
  current_.store(next.get(), std::memory_order_seq_cst);
  sections_.Synchronize();
  // Readers that have pinned the old generation or a view keep it alive.
  generation_ = std::move(next);
  must_cut_back_ = false;
  reserve_.Lose();
  absl::MutexLock lock(&streams_mutex_);
  for (StreamState* stream : streams_) stream->Relocate(*generation_);
}

absl::Status StoreImpl::PutInPlace(const std::string& path,
                                   std::shared_ptr<Generation> next,
                                   absl::Status* synced) {
  FileSystem& file_system = *options_.file_system;
  VARVE_RETURN_IF_ERROR(CheckNotReplaced());
  // Bytes that were lost during the copy may have been copied as zeros.
  VARVE_RETURN_IF_ERROR(CheckLength(*generation_, generation_->tail()));
  VARVE_RETURN_IF_ERROR(file_system.Rename(path, file_path_));
  // From here on the new file is the store, even if a later step fails.
  *synced = file_system.SyncDirectoryOf(file_path_);
  SwitchTo(std::move(next));
  if (!synced->ok()) {
    // A power cut may bring the old file back, without the appends that follow.
    absl::MutexLock lock(&sync_mutex_);
    Fail(*synced);
  }
  return absl::OkStatus();
}

absl::Status StoreImpl::Compact() {
  absl::MutexLock lock(&writer_mutex_);
  VARVE_RETURN_IF_ERROR(CheckWritable());
  VARVE_RETURN_IF_ERROR(SealLocked());

  const std::string path = replacement_path();
  // The file may belong to anybody.
  const absl::Status there = options_.file_system->Info(path).status();
  if (there.ok()) return InTheWay(path);
  if (!absl::IsNotFound(there)) return there;
  absl::StatusOr<std::shared_ptr<Generation>> next = BuildCompacted();
  absl::Status status = next.status();
  absl::Status synced;
  if (status.ok()) status = PutInPlace(path, *std::move(next), &synced);
  // A symbolic link that leads nowhere.
  if (absl::IsAlreadyExists(status)) return InTheWay(path);
  if (!status.ok()) {
    options_.file_system->Remove(path).IgnoreError();
    return status;
  }
  reserve_.TopUp(generation_->file(), generation_->written_end());
  return synced;
}

}  // namespace varve
