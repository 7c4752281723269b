// History: the moments of a volume. Names them, says how long they are kept,
// tells what happened between them, and brings something back.
//
// Thread-safe.

#ifndef VARVE_FS_VOLUME_HISTORY_H_
#define VARVE_FS_VOLUME_HISTORY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "fs/base/incidents.h"
#include "fs/history/automatic_snapshots.h"
#include "fs/history/commit_log.h"
#include "fs/history/history_plan.h"
#include "fs/history/moment_names.h"
#include "fs/history/purge.h"
#include "fs/log/commit.h"
#include "fs/log/core.h"
#include "fs/log/past_tree.h"
#include "fs/tree/tree_difference.h"
#include "fs/volume/open_tree.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

class History {
 public:
  // What it uses of its volume. Everything must outlive it.
  struct Context {
    Core& core;
    const VolumeOptions& options;
    const OpenReport& opened;
    const Incidents& incidents;
    std::function<absl::StatusOr<StoreStatistics>()> statistics;
    // Has the kernel forget what a restore changes.
    std::function<void(const StaleNames&)> tell_stale;
  };

  explicit History(Context context)
      : context_(std::move(context)), core_(context_.core) {}

  // Where the moment lies that the text names (history/moment_names.h), until
  // the next compaction.
  absl::StatusOr<MomentLocation> FindMoment(absl::string_view text)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // Names the moment `at`, so that it is kept. EEXIST; EINVAL or ENAMETOOLONG
  // for an impossible name; otherwise as FindMoment().
  absl::StatusOr<Snapshot> CreateSnapshot(absl::string_view name,
                                          absl::string_view at = "now");
  // The same of the newest moment. Also returns the attributes that the root
  // has in it, without opening the tree of that moment.
  absl::StatusOr<std::pair<Snapshot, Stat>> CreateSnapshotNow(
      absl::string_view name);
  // ENOENT; EBUSY if it is held.
  absl::Status DeleteSnapshot(absl::string_view name);
  // ENOENT, EEXIST, EINVAL for an impossible name.
  absl::Status RenameSnapshot(absl::string_view name,
                              absl::string_view new_name);
  // Keeps it from being deleted, or no longer. ENOENT.
  absl::Status HoldSnapshot(absl::string_view name, bool hold);
  // All of them, by name.
  absl::StatusOr<std::vector<Snapshot>> Snapshots();
  absl::StatusOr<std::optional<Snapshot>> FindSnapshot(absl::string_view name);
  // Makes a path what it was at a past moment, in one commit that copies no
  // bytes. Errors: those of FindMoment() and Restorer::Plan().
  absl::StatusOr<RestoreReport> Restore(const RestoreRequest& request)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // Which moments have this path, or have had it. EINVAL if it is no path below
  // the root; otherwise as FindMomentsWithPath().
  absl::StatusOr<MomentsWithPath> FindMomentsWith(absl::string_view path)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // Takes the path out of all moments so far, but not out of the present. Once
  // this returns, nobody can read its past; a compaction returns the space.
  // Returns the moments that have had it. ENOENT if none has.
  absl::StatusOr<MomentsWithPath> Purge(absl::string_view path)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  absl::StatusOr<HistoryPolicy> GetPolicy();
  // All moments from this number on are kept.
  absl::StatusOr<uint64_t> KeptFrom();
  absl::Status SetPolicy(const HistoryPolicy& policy);
  // Makes and removes automatic snapshots as the policy has it; a volume that
  // may be written does so by itself at every sync_interval. See
  // UpdateAutomaticSnapshots().
  absl::Status ApplyPolicy() ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  absl::StatusOr<HistorySums> GetSums();
  // Takes time in proportion to what has changed between kept moments.
  // DATA_LOSS if their trees cannot be read.
  absl::StatusOr<HistoryUsage> GetUsage()
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // Calls `visit` with each extent that kept moments before the window, or its
  // first one, have and that is not a hole; what one shares with the one before
  // may be left out. Returns the offset behind which the store belongs to the
  // window. DATA_LOSS if a tree cannot be read.
  absl::StatusOr<uint64_t> ForEachPastExtent(
      absl::FunctionRef<void(const Extent&)> visit)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // Calls `visit` with the commits from number `from` on that are kept, newest
  // first, until it returns false. No compaction can end meanwhile.
  absl::Status ReadLog(
      uint64_t from,
      absl::FunctionRef<absl::StatusOr<bool>(const LoggedCommit&)> visit)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // Calls `visit` with what differs between two moments (see DiffPaths()) at
  // and below a path, "" for the root. No compaction can end meanwhile. Errors:
  // those of FindMoment() and DiffPaths().
  absl::Status Diff(
      absl::string_view before, absl::string_view after,
      absl::string_view below,
      absl::FunctionRef<absl::StatusOr<bool>(const PathDifference&)> visit)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);

  // How many changes of this session have named moments, or let go of some.
  uint64_t changes() const { return core_.moment_changes.load(); }

 private:
  bool read_only() const { return core_.store->read_only(); }
  absl::StatusOr<RestoreReport> RestoreFrom(const PastTree& past,
                                            const RestoreRequest& request,
                                            StaleNames* names)
      ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu);
  absl::StatusOr<std::unique_ptr<PastTree>> OpenMoment(absl::string_view text)
      ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu);
  absl::StatusOr<HistoryPlan> PlanKept()
      ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu);
  // Calls `commit` with commit_mu held, which makes a moment or returns false;
  // and sees to it that the moment can be opened quickly. An error may come
  // after `commit` has succeeded.
  absl::Status CommitMoment(absl::FunctionRef<absl::StatusOr<bool>()> commit)
      ABSL_LOCKS_EXCLUDED(core_.checkpoint_mu, core_.relocation_mu,
                          core_.commit_mu);
  absl::Status CheckNoSnapshot(absl::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu);
  // Makes the snapshot, of this commit if it has no number yet.
  absl::StatusOr<Snapshot> CommitSnapshot(Snapshot snapshot)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu);
  absl::StatusOr<bool> IsKept(uint64_t sequence)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu);
  // Drops the snapshot of this name in a commit to which `change` adds more.
  absl::Status ChangeSnapshot(
      absl::string_view name,
      absl::FunctionRef<absl::Status(const Snapshot&, Commit&)> change);

  const Context context_;
  Core& core_;  // that of the context
  // Taken before checkpoint_mu.
  absl::Mutex automatic_mu_;
  NewestAutomatic newest_automatic_ ABSL_GUARDED_BY(automatic_mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_HISTORY_H_
