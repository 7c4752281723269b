// CompactionRunner: runs the compactions of a volume, one at a time, in a
// thread of their own. It starts one when asked, when much of the store is
// dead, and when the disk is full.
//
// Thread-safe, except where a method says otherwise.

#ifndef VARVE_FS_COMPACTION_COMPACTION_RUNNER_H_
#define VARVE_FS_COMPACTION_COMPACTION_RUNNER_H_

#include <cstdint>
#include <functional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "engine/base/read_sections.h"
#include "fs/base/incidents.h"
#include "fs/base/wakeup.h"
#include "fs/compaction/compaction.h"
#include "fs/compaction/compaction_monitor.h"
#include "fs/compaction/compaction_policy.h"
#include "fs/content/content_reader.h"
#include "fs/content/copy_gate.h"
#include "fs/content/open_files.h"
#include "fs/content/unnamed_entries.h"
#include "fs/history/policy.h"
#include "fs/log/core.h"

namespace varve::fs {

class CompactionRunner {
 public:
  // All members must outlive the runner. `core.store` must be set before any
  // function is called.
  struct Context {
    Core& core;
    OpenFiles& open_files;
    ContentReader& reader;
    UnnamedEntries& unnamed;
    CopyGate& copy_gate;
    ReadSections& answers;  // requests being answered from the store's mapping
    const Incidents& incidents;
    FileSystem* file_system;
    std::function<Timestamp()> now;
  };

  CompactionRunner(Context context, const AutoCompaction& options)
      : context_(std::move(context)), policy_(options) {}
  ~CompactionRunner() { Stop(); }

  // Starts a compaction. If one is running, it goes on instead, whatever its
  // options. EROFS if the store is read-only.
  absl::Status Start(const CompactionOptions& options) ABSL_LOCKS_EXCLUDED(mu_);
  // Of the compaction that is running, or ran last.
  CompactionProgress progress() const { return monitor_.progress(); }
  // Makes a running compaction end soon, as CANCELLED. A copy leaves the store
  // as it was; holes punched so far stay.
  void Cancel() { monitor_.Cancel(); }
  // Waits for the end of a running compaction. Returns the result of the last
  // one.
  absl::Status WaitForEnd() { return monitor_.WaitForEnd(); }
  // Cancels a running compaction, and waits for its thread.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);

  // Starts a compaction if CompactionPolicy says that one is due; a copy only
  // if `may_copy`.
  void StartIfDue(bool may_copy = true);
  // Makes room on a full disk: starts punching, if that may gain something, and
  // makes a running copy give up. Only one thread may call this.
  PressureResponse MakeRoom();
  // Punches if that is due, for no longer than writing took so far. Only after
  // Stop().
  void PunchBeforeClosing();

  // Counts time that writing, closing and syncing of files took.
  void AddWritingTime(int64_t nanoseconds) {
    policy_.AddWritingTime(nanoseconds);
  }

 private:
  void Run(const CompactionOptions& options);
  absl::Status Punch(const CompactionOptions& options);
  absl::Status Copy(const CompactionOptions& options);
  CompactionPolicy::Due FindDue();
  uint64_t CountNeeded();  // live bytes
  // The store's policy; one that keeps nothing if it cannot be read.
  HistoryPolicy ReadHistoryPolicy();
  uint64_t AllocatedBytes();  // of the store on the disk; 0 if unknown

  const Context context_;
  CompactionMonitor monitor_;
  CompactionPolicy policy_;
  // When MakeRoom() punched last.
  Wakeup::Clock::time_point last_pressure_punch_ =
      Wakeup::Clock::time_point::min();
  absl::Mutex mu_;
  std::thread thread_ ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_COMPACTION_RUNNER_H_
