// The changes of a record, decoded by a thread of its own ahead of the thread
// that applies them: opening a large tree then takes the longer of the two
// times and not their sum.

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

// For one thread.
class ChangePipe {
 public:
  // What the reader's record lies in must outlive the pipe. Records of less
  // than `min_size` bytes are not worth a thread, and decoded by the caller.
  explicit ChangePipe(CommitReader reader, size_t min_size);
  ChangePipe(const ChangePipe&) = delete;
  ChangePipe& operator=(const ChangePipe&) = delete;
  ~ChangePipe();

  // The next change, which is the caller's until the next call; null at the
  // end. Errors: those of CommitReader::Next(), and in their place; after
  // UNIMPLEMENTED the next call goes on.
  absl::StatusOr<Change*> Next();

 private:
  static constexpr size_t kBatchSize = 1024;
  static constexpr size_t kBatches = 16;

  // Some changes in a row, and what came of asking for one more.
  struct Batch {
    std::vector<Change> changes;
    size_t count = 0;
    absl::Status status;
    bool last = false;  // nothing comes after it
  };

  void Fill(Batch& batch);
  void DecodeAll() ABSL_LOCKS_EXCLUDED(mu_);
  // Gives back the batch that the caller has used up, if any, and waits for
  // the next one.
  void TakeBatch() ABSL_LOCKS_EXCLUDED(mu_);

  CommitReader reader_;  // of the decoder, if there is one
  Change change_;        // the caller's, if there is none

  // A ring: those from `done_` up to `filled_` are the caller's, the others
  // the decoder's.
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
