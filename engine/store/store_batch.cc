// Batch and its locking.

#include <utility>

#include "engine/base/status.h"
#include "engine/store/store_impl.h"

namespace varve {

Batch::Batch(std::unique_ptr<BatchState> state) : state_(std::move(state)) {}
Batch::Batch(Batch&&) noexcept = default;

// The thread-safety analysis cannot follow a lock that an object takes in one
// function and releases in another. The state keeps track in `locked`.
Batch Store::BeginBatch(Stream* finishing) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  StoreImpl& store = *impl_;
  store.writer_mutex().Lock();
  StreamState* stream =
      finishing == nullptr ? nullptr : finishing->state_.get();
  if (stream != nullptr && !store.IsActive(*stream)) stream = nullptr;
  auto state = std::make_unique<BatchState>(store, stream);
  store.StartAppend(state->pending, stream);
  state->begin = state->pending.append.tail();
  return Batch(std::move(state));
}

void BatchState::Unlock() ABSL_NO_THREAD_SAFETY_ANALYSIS {
  if (!locked) return;
  locked = false;
  store.writer_mutex().Unlock();
}

Batch::~Batch() {
  if (state_ != nullptr) state_->Unlock();
}

uint64_t Batch::begin() const { return state_->begin; }

uint64_t Batch::end() const {
  // What is not finished is sealed before anything else is added.
  state_->SealIfUnfinished();
  return state_->pending.append.tail();
}

void BatchState::SealIfUnfinished() {
  if (finishing == nullptr) return;
  store.writer_mutex().AssertHeld();
  store.SealActiveStream(pending);
  finishing = nullptr;
}

EntryLocation Batch::Add(const EntryKeys& keys,
                         absl::Span<const absl::Span<const std::byte>> pieces) {
  state_->SealIfUnfinished();
  if (state_->status.ok()) state_->status = CheckPayload(pieces);
  Append& append = state_->pending.append;
  if (!keys.sums_key_hash.has_value()) {
    return append.Add(keys.key_hash, pieces, Crc32OfPieces(pieces));
  }
  BlockSummer summer;
  for (const absl::Span<const std::byte> piece : pieces) summer.Add(piece);
  const EntryLocation entry = append.Add(keys.key_hash, pieces, summer.crc32());
  state_->store.writer_mutex().AssertHeld();
  state_->store.AddBlockSums(append, keys, summer);
  return entry;
}

EntryLocation Batch::Add(const EntryKeys& keys,
                         absl::Span<const std::byte> payload) {
  return Add(keys, absl::MakeConstSpan(&payload, 1));
}

EntryLocation Batch::AddTombstone(const EntryKeys& keys) {
  state_->SealIfUnfinished();
  const EntryLocation tombstone =
      state_->pending.append.AddTombstone(keys.key_hash);
  state_->store.writer_mutex().AssertHeld();
  state_->store.HideBlockSums(state_->pending.append, keys);
  return tombstone;
}

std::optional<EntryLocation> Batch::FinishStream(const EntryKeys& keys) {
  if (state_->finishing == nullptr) return std::nullopt;
  state_->store.writer_mutex().AssertHeld();
  state_->store.EndActiveStream(state_->pending, keys);
  state_->finishing = nullptr;
  return state_->pending.ended_entry;
}

void Batch::UseReserve() { state_->pending.may_use_reserve = true; }

absl::Status Batch::Commit() {
  if (!state_->locked) {
    return absl::FailedPreconditionError("the batch has been committed");
  }
  state_->store.writer_mutex().AssertHeld();
  if (state_->status.ok()) {
    state_->status = state_->store.Commit(state_->pending);
  }
  state_->Unlock();
  return state_->status;
}

}  // namespace varve
