#include "fs/format/change_pipe.h"

#include <utility>

#include "engine/base/start_thread.h"
#include "engine/base/status.h"

namespace varve::fs {

ChangePipe::ChangePipe(CommitReader reader, size_t min_size)
    : reader_(std::move(reader)) {
  if (reader_.payload_size() < min_size) return;
  for (Batch& batch : batches_) batch.changes.resize(kBatchSize);
  // Without a thread, the caller of Next() decodes the changes.
  StartThread(decoder_, [this] { DecodeAll(); });
}

ChangePipe::~ChangePipe() {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
  }
  if (decoder_.joinable()) decoder_.join();
}

void ChangePipe::Fill(Batch& batch) {
  batch.status = absl::OkStatus();
  for (batch.count = 0; batch.count < kBatchSize; ++batch.count) {
    const absl::StatusOr<bool> more = reader_.Next(batch.changes[batch.count]);
    if (more.ok() && *more) continue;
    batch.status = more.status();
    batch.last = !absl::IsUnimplemented(batch.status);
    return;
  }
}

void ChangePipe::DecodeAll() {
  // Once all are full, wait until half of them are free: waking a thread takes
  // as long as decoding some hundred changes.
  bool full = false;
  const auto may_go_on = [this, &full] {
    mu_.AssertReaderHeld();
    return stopped_ || filled_ - done_ <= (full ? kBatches / 2 : kBatches - 1);
  };
  bool last = false;
  while (!last) {
    size_t number;
    {
      absl::MutexLock lock(&mu_, absl::Condition(&may_go_on));
      if (stopped_) return;
      number = filled_;
    }
    Batch& batch = batches_[number % kBatches];
    Fill(batch);
    last = batch.last;
    absl::MutexLock lock(&mu_);
    ++filled_;
    full = filled_ - done_ == kBatches;
  }
}

void ChangePipe::TakeBatch() {
  const auto is_filled = [this] {
    mu_.AssertReaderHeld();
    return filled_ > done_;
  };
  absl::MutexLock lock(&mu_);
  if (batch_ != nullptr) ++done_;
  mu_.Await(absl::Condition(&is_filled));
  batch_ = &batches_[done_ % kBatches];
  next_ = 0;
}

absl::StatusOr<Change*> ChangePipe::Next() {
  if (!decoder_.joinable()) {
    VARVE_ASSIGN_OR_RETURN(const bool more, reader_.Next(change_));
    return more ? &change_ : nullptr;
  }
  while (batch_ == nullptr || next_ == batch_->count) {
    if (batch_ != nullptr && !batch_->status.ok()) {
      // Report an error after which reading can continue only once.
      return batch_->last ? batch_->status
                          : std::exchange(batch_->status, absl::OkStatus());
    }
    if (batch_ != nullptr && batch_->last) return nullptr;
    TakeBatch();
  }
  return &batch_->changes[next_++];
}

}  // namespace varve::fs
