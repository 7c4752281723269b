// CommitLog: what happened to the tree, commit by commit, as users see it.
//
// Not thread-safe.

#ifndef VARVE_FS_HISTORY_COMMIT_LOG_H_
#define VARVE_FS_HISTORY_COMMIT_LOG_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/store/store.h"
#include "fs/format/identity.h"
#include "fs/log/core.h"
#include "fs/log/moments.h"
#include "fs/log/past_tree.h"

namespace varve::fs {

// One thing that a commit did.
struct LoggedOperation {
  enum class Kind {
    kCreate,      // a file or directory got its first name
    kWrite,       // content was set or patched
    kDelete,      // a name was removed
    kRename,      // from `old_path`
    kLink,        // another name for a file
    kAttributes,  // mode, owner, size or times
    kXattr,       // extended attributes or an access control list
    kSnapshot,    // the snapshot `path` was made
    kDropSnapshot,
    kForget,  // moments before a number were forgotten
    kPolicy,  // the policy became `path`
    kPurge,   // `path` was taken out of all moments before
  };

  Kind kind = Kind::kWrite;
  std::string path;  // when it was done; relative to the root
  std::string old_path;
  uint64_t ino = 0;   // 0 for what concerns moments
  uint64_t size = 0;  // of the file afterwards
  bool is_directory = false;
};

// The word by which users know the kind.
absl::string_view NameOf(LoggedOperation::Kind kind);

struct LoggedCommit {
  uint64_t sequence = 0;
  Timestamp time;               // as its clock showed it
  std::optional<uint32_t> uid;  // who did it; nothing if that is not known
  uint32_t pid = 0;     // by which process; 0 if that was not to be noted
  std::string process;  // the name of its command
  std::vector<LoggedOperation> operations;
};

class CommitLog {
 public:
  // Reads commits from number `from` on, but none that is not kept: all moments
  // are from `kept_from` on. `checkpoint` is the newest one, at `tail` the
  // store ends. `store` and `identity` must outlive this, and the store must
  // not move.
  CommitLog(Store* store, const Identity* identity, uint64_t checkpoint,
            uint64_t tail, uint64_t kept_from, uint64_t from)
      : store_(store),
        identity_(identity),
        checkpoint_(checkpoint),
        tail_(tail),
        kept_from_(kept_from),
        from_(from) {}

  // The log of `core`, from number `from` on. Its store must stay where it is
  // as long as the log is in use: hold relocation_mu.
  static absl::StatusOr<CommitLog> Of(Core& core, uint64_t from)
      ABSL_LOCKS_EXCLUDED(core.commit_mu, core.tree_mu);

  // Calls `visit` with each commit, newest first, until it returns false. Those
  // that change nothing have no operations. DATA_LOSS if a record or a node is
  // damaged.
  absl::Status ForEach(
      absl::FunctionRef<absl::StatusOr<bool>(const LoggedCommit&)> visit);

 private:
  // The commits behind one checkpoint, and up to where the next one begins.
  struct Interval {
    MomentLocation base;
    uint64_t begin = 0;
    uint64_t end = 0;
    uint64_t previous = 0;  // checkpoint
  };
  absl::StatusOr<Interval> FindInterval(uint64_t checkpoint,
                                        uint64_t end) const;
  absl::StatusOr<std::vector<LoggedCommit>> Read(
      const Interval& interval) const;

  Store* const store_;
  const Identity* const identity_;
  const uint64_t checkpoint_;
  const uint64_t tail_;
  const uint64_t kept_from_;
  const uint64_t from_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_COMMIT_LOG_H_
