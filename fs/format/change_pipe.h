// Decodes the changes of a record in a thread of its own, ahead of the thread
// that applies them. So opening a large tree takes the longer of the two times
// and not their sum.

#ifndef VARVE_FS_FORMAT_CHANGE_PIPE_H_
#define VARVE_FS_FORMAT_CHANGE_PIPE_H_

#include <array>
#include <cstddef>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "fs/format/change.h"
#include "fs/format/commit_record.h"

namespace varve::fs {

// Not thread-safe: one thread makes and uses the pipe.
class ChangePipe {
 public:
  // The memory of the reader's record must outlive the pipe. The caller's
  // thread decodes records of less than `min_size` bytes, as they are not worth
  // a thread of their own.
  explicit ChangePipe(CommitReader reader, size_t min_size);
  ChangePipe(const ChangePipe&) = delete;
  ChangePipe& operator=(const ChangePipe&) = delete;
  ~ChangePipe();

  // The next change, which the caller may change and which is valid until the
  // next call; null at the end. Errors are those of CommitReader::Next(), in
  // the same order. After UNIMPLEMENTED the next call continues behind the
  // unknown change.
  absl::StatusOr<Change*> Next();

 private:
  static constexpr size_t kBatchSize = 1024;
  static constexpr size_t kBatches = 16;

  // Some consecutive changes, and the result of trying to decode one more.
  struct Batch {
    std::vector<Change> changes;
    size_t count = 0;
    absl::Status status;
    bool last = false;  // the last batch of the record
  };

  void Fill(Batch& batch);
  void DecodeAll() ABSL_LOCKS_EXCLUDED(mu_);
  // Returns the batch that the caller has used up, if any, to the decoder, and
  // waits for the next one.
  void TakeBatch() ABSL_LOCKS_EXCLUDED(mu_);

  CommitReader reader_;  // used by the decoder, if there is one
  Change change_;        // used if there is no decoder

  // A ring. The batches from `done_` up to `filled_` belong to the caller, the
  // others to the decoder.
  std::array<Batch, kBatches> batches_;
  absl::Mutex mu_;
  size_t filled_ ABSL_GUARDED_BY(mu_) = 0;  // batches ever
  size_t done_ ABSL_GUARDED_BY(mu_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;

  // The caller's place.
  Batch* batch_ = nullptr;
  size_t next_ = 0;

  std::thread decoder_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_FORMAT_CHANGE_PIPE_H_
