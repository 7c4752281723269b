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

void BatchState::SealIfUnfinished() {
  if (finishing == nullptr) return;
  store.writer_mutex().AssertHeld();
  store.SealActiveStream(pending);
  finishing = nullptr;
}

EntryLocation Batch::Add(uint64_t key_hash,
                         absl::Span<const absl::Span<const std::byte>> pieces) {
  state_->SealIfUnfinished();
  if (state_->status.ok()) state_->status = CheckPayload(pieces);
  return state_->pending.append.Add(key_hash, pieces, Crc32OfPieces(pieces));
}

EntryLocation Batch::Add(uint64_t key_hash,
                         absl::Span<const std::byte> payload) {
  return Add(key_hash, absl::MakeConstSpan(&payload, 1));
}

EntryLocation Batch::AddTombstone(uint64_t key_hash) {
  state_->SealIfUnfinished();
  return state_->pending.append.AddTombstone(key_hash);
}

std::optional<EntryLocation> Batch::FinishStream(uint64_t key_hash) {
  if (state_->finishing == nullptr) return std::nullopt;
  state_->store.writer_mutex().AssertHeld();
  state_->store.EndActiveStream(state_->pending, key_hash);
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
