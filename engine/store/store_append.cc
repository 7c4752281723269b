// StoreImpl: all ways to append except streams.

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "engine/base/zeros.h"
#include "engine/store/store_impl.h"

namespace varve {

absl::Status NoSuchKey(uint64_t key_hash) {
  return absl::NotFoundError(
      absl::StrFormat("no entry with key hash %016x", key_hash));
}

absl::Status StoreImpl::CheckWritable() const {
  if (!read_only()) return absl::OkStatus();
  return ErrorWithNumber(
      EROFS,
      options_.mode == OpenMode::kRead
          ? absl::StrCat(path_, " is open for reading only")
          : absl::StrCat(path_, " serves only reads because of this failure: ",
                         failure().message()));
}

void StoreImpl::StartAppend(PendingAppend& pending,
                            const StreamState* finishing) {
  const uint64_t tail = generation_->tail();
  const uint64_t end = active_ == nullptr ? tail : active_->unsealed().end();
  pending.append.Start(tail, end);
  if (active_ != nullptr && active_ != finishing) SealActiveStream(pending);
}

StoreImpl::SumsKey StoreImpl::LookAtSumsKey(const EntryKeys& keys) const {
  if (!keys.sums_key_hash.has_value()) return SumsKey::kNone;
  if (keys.sums_key_is_reserved) return SumsKey::kReserved;
  const std::optional<uint64_t> offset = generation_->Find(*keys.sums_key_hash);
  if (!offset.has_value()) return SumsKey::kFree;
  const absl::StatusOr<EntryView> entry =
      generation_->ViewOf(*keys.sums_key_hash, *offset);
  return entry.ok() &&
                 BlockSums::DataKeyIn(entry->payload_text()) == keys.key_hash
             ? SumsKey::kOfKey
             : SumsKey::kOthers;
}

void StoreImpl::AddBlockSums(Append& append, const EntryKeys& keys,
                             const BlockSummer& summer) {
  if (summer.size() < kMinSummedSize) {
    // Most entries are small. The index is not built for what they leave.
    if (keys.sums_key_is_reserved || !generation_->has_index()) return;
    return HideBlockSums(append, keys);
  }
  const SumsKey there = LookAtSumsKey(keys);
  if (there == SumsKey::kNone || there == SumsKey::kOthers) return;
  append.AddOwned(*keys.sums_key_hash, summer.Encode(keys.key_hash));
}

void StoreImpl::HideBlockSums(Append& append, const EntryKeys& keys) {
  const SumsKey there = LookAtSumsKey(keys);
  if (there == SumsKey::kOfKey || there == SumsKey::kReserved) {
    append.AddTombstone(*keys.sums_key_hash);
  }
}

void StoreImpl::EndActiveStream(PendingAppend& pending, const EntryKeys& keys) {
  static constexpr std::byte kOne[] = {std::byte{1}};
  const StreamState::Unsealed unsealed = active_->unsealed();
  const BlockSummer* summer = &active_->summer();
  BlockSummer longer;
  // Streams of WriteFrom() hold a caller's value, which must stay exact.
  if (active_->fate() == PieceFate::kLive &&
      IsAllZeros({generation_->mapping()->data() + unsealed.offset,
                  static_cast<size_t>(unsealed.size)})) {
    pending.append.AddStreamBytes(kOne, /*is_first=*/false);
    longer = *summer;
    longer.Add(kOne);
    summer = &longer;
  }
  pending.ended_stream = active_;
  pending.ended_entry =
      pending.append.AddEndOfStream(keys.key_hash, summer->crc32());
  AddBlockSums(pending.append, keys, *summer);
}

void StoreImpl::SealActiveStream(PendingAppend& pending) {
  const bool is_live = active_->fate() == PieceFate::kLive;
  EndActiveStream(pending, is_live ? active_->FallbackKeys() : UnusedKeyHash());
  pending.ended_by_sealing = true;
  // The tombstone is in the same write, so that nobody sees a dead piece as an
  // entry. (A crash that tears the write apart right here could leave it as
  // one, under a key that means nothing.)
  if (!is_live) pending.append.AddTombstone(pending.ended_entry.key_hash);
}

absl::Status StoreImpl::WriteBytes(Append& append, bool may_use_reserve) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  // A write behind the end of the file would leave zeros in between.
  VARVE_RETURN_IF_ERROR(CheckLength(*generation_, append.write_offset()));
  VARVE_RETURN_IF_ERROR(FinishCuttingBack());
  // Everything else that can fail happens before the first byte is written.
  VARVE_RETURN_IF_ERROR(generation_->Reserve(append.updates().size()));
  VARVE_RETURN_IF_ERROR(generation_->EnsureMapped(append.end()));
  // So the cache misses of the index happen while the kernel copies.
  const size_t prefetched =
      generation_->has_index()
          ? std::min(append.updates().size(), kPrefetchAhead)
          : 0;
  for (const IndexUpdate& update : append.updates().first(prefetched)) {
    generation_->index().Prefetch(update.key_hash);
  }
  absl::Status status =
      reserve_.MakeRoom(generation_->file(), append.write_offset(),
                        append.end(), may_use_reserve);
  if (!status.ok() || reserve_.is_short()) TellSpacePressure();
  VARVE_RETURN_IF_ERROR(status);
  status = append.Write(generation_->file());
  if (!status.ok()) {
    CutBackTo(append.write_offset());
    if (IsOutOfSpace(status)) TellSpacePressure();
    return status;
  }
  generation_->set_written_end(append.end());
  write_out_.NoteEnd(append.end());
  return absl::OkStatus();
}

absl::Status StoreImpl::Commit(PendingAppend& pending) {
  if (pending.append.empty()) return CheckWritable();
  VARVE_RETURN_IF_ERROR(WriteBytes(pending.append, pending.may_use_reserve));
  generation_->Publish(pending.append.updates(), pending.append.tail());
  if (pending.ended_stream != nullptr) {
    active_ = nullptr;
    pending.ended_stream->End(
        EntryView(generation_->mapping(), pending.ended_entry),
        pending.ended_by_sealing);
  }
  return absl::OkStatus();
}

void StoreImpl::CutBackTo(uint64_t end) {
  generation_->set_written_end(end);
  write_out_.NoteEnd(end);
  // If the file has become shorter than that, this would make it longer.
  must_cut_back_ = !CheckLength(*generation_, end).ok() ||
                   !generation_->file().Truncate(end).ok();
  reserve_.Lose();
  if (!must_cut_back_) reserve_.TopUp(generation_->file(), end);
}

// The remains of a failed append must be gone before anything is written over
// their start. Otherwise, if the new entry happens to be as long as the first
// one that failed, a crash could leave an old entry right behind it, which
// would be taken for an entry of the store.
absl::Status StoreImpl::FinishCuttingBack() {
  if (!must_cut_back_) return absl::OkStatus();
  const uint64_t end = generation_->written_end();
  VARVE_RETURN_IF_ERROR(CheckLength(*generation_, end));
  VARVE_RETURN_IF_ERROR(generation_->file().Truncate(end));
  reserve_.Lose();
  must_cut_back_ = false;
  return absl::OkStatus();
}

absl::StatusOr<EntryLocation> StoreImpl::WriteWithChecksum(
    uint64_t key_hash, absl::Span<const std::byte> payload, uint32_t crc32) {
  VARVE_RETURN_IF_ERROR(CheckPayload({payload}));
  absl::MutexLock lock(&writer_mutex_);
  PendingAppend pending;
  StartAppend(pending);
  const EntryLocation entry = pending.append.Add(key_hash, {payload}, crc32);
  VARVE_RETURN_IF_ERROR(Commit(pending));
  return entry;
}

absl::StatusOr<EntryLocation> StoreImpl::Write(
    uint64_t key_hash, absl::Span<const std::byte> payload) {
  return WriteWithChecksum(key_hash, payload, Crc32(0, payload));
}

absl::Status StoreImpl::WriteBatch(absl::Span<const BatchItem> items) {
  std::vector<uint32_t> checksums;
  checksums.reserve(items.size());
  for (const BatchItem& item : items) {
    VARVE_RETURN_IF_ERROR(CheckPayload({item.payload}));
    checksums.push_back(Crc32(0, item.payload));
  }
  if (items.empty()) return CheckWritable();
  absl::MutexLock lock(&writer_mutex_);
  PendingAppend pending;
  StartAppend(pending);
  for (size_t i = 0; i < items.size(); ++i) {
    pending.append.Add(items[i].key.hash(), {items[i].payload}, checksums[i]);
  }
  return Commit(pending);
}

absl::StatusOr<size_t> StoreImpl::Delete(
    absl::Span<const uint64_t> key_hashes) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  absl::MutexLock lock(&writer_mutex_);
  std::vector<uint64_t> present;
  absl::flat_hash_set<uint64_t> seen;
  for (const uint64_t key_hash : key_hashes) {
    // A key named twice is deleted once.
    if (generation_->Find(key_hash).has_value() &&
        (key_hashes.size() == 1 || seen.insert(key_hash).second)) {
      present.push_back(key_hash);
    }
  }
  if (present.size() < key_hashes.size()) {
    VARVE_RETURN_IF_ERROR(generation_->CheckIndexWhole());
  }
  if (present.empty()) return size_t{0};
  PendingAppend pending;
  pending.may_use_reserve = true;
  StartAppend(pending);
  for (const uint64_t key_hash : present) pending.append.AddTombstone(key_hash);
  VARVE_RETURN_IF_ERROR(Commit(pending));
  return present.size();
}

absl::Status StoreImpl::Rename(uint64_t from, uint64_t to) {
  if (from == to) {
    return absl::InvalidArgumentError(
        "the old and the new key have the same hash");
  }
  VARVE_RETURN_IF_ERROR(CheckWritable());
  absl::MutexLock lock(&writer_mutex_);
  const std::optional<uint64_t> offset = generation_->Find(from);
  if (!offset.has_value()) return NoSuchKey(from);
  VARVE_ASSIGN_OR_RETURN(const EntryView entry,
                         generation_->ViewOf(from, *offset));
  PendingAppend pending;
  StartAppend(pending);
  // Keep the old checksum, as in CopyTo(): if the payload is damaged, a new
  // checksum would hide that for ever.
  pending.append.Add(to, {entry.payload()}, entry.checksum());
  pending.append.AddTombstone(from);
  return Commit(pending);
}

absl::Status StoreImpl::CopyTo(uint64_t key_hash, StoreImpl& target,
                               bool remove) {
  if (&target == this) {
    return absl::InvalidArgumentError("source and target are the same store");
  }
  if (remove) VARVE_RETURN_IF_ERROR(CheckWritable());
  while (true) {
    // One store's lock at a time: transfers both ways must not deadlock.
    const std::shared_ptr<const Generation> source = Pin();
    const std::optional<uint64_t> offset = source->Find(key_hash);
    if (!offset.has_value()) return NoSuchKey(key_hash);
    VARVE_ASSIGN_OR_RETURN(const EntryView entry,
                           source->ViewOf(key_hash, *offset));
    VARVE_RETURN_IF_ERROR(
        target.WriteWithChecksum(key_hash, entry.payload(), entry.checksum())
            .status());
    if (!remove) return absl::OkStatus();
    absl::MutexLock lock(&writer_mutex_);
    // If the key was written again meanwhile, the copy is not the entry that
    // would be deleted.
    if (generation_ != source || generation_->Find(key_hash) != offset) {
      continue;
    }
    PendingAppend pending;
    pending.may_use_reserve = true;
    StartAppend(pending);
    pending.append.AddTombstone(key_hash);
    return Commit(pending);
  }
}

}  // namespace varve
