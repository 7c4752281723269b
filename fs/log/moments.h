// Moments: finding past states of the tree in the log.
//
// A moment is the state after one commit, and has that commit's number. The
// tree of a moment is that of the last checkpoint that does not go beyond it,
// with the commits since then applied. Checkpoints lead back from one to the
// one before, so a moment is found without walking along the whole log.
//
// The time of a moment is the latest time of all commits up to it: it never
// goes back, whatever the clock does.
//
// Thread-safe, except as the annotations say.

#ifndef VARVE_FS_LOG_MOMENTS_H_
#define VARVE_FS_LOG_MOMENTS_H_

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/store/store.h"
#include "fs/format/commit_record.h"
#include "fs/format/identity.h"
#include "fs/log/core.h"
#include "fs/log/tree_root.h"

namespace varve::fs {

// A checkpoint in the store.
struct Checkpoint {
  EntryLocation location;
  CommitHeader header;
  TreeRoot root;
};

// Reads the checkpoint whose metadata lies at this offset, in a store that is
// not relocated. Its `root.previous` is 0 if it does not lead back, so that
// following it comes to an end. DATA_LOSS if there is none, or it is damaged.
absl::StatusOr<Checkpoint> ReadCheckpoint(const Store& store,
                                          const Identity& identity,
                                          uint64_t metadata_offset);

// Calls `visit` with the commits between two places where entries end, newest
// first, until it returns false. Nothing has been compared with its checksum.
absl::Status WalkCommits(
    const Store& store, const Identity& identity, uint64_t begin, uint64_t end,
    absl::FunctionRef<absl::StatusOr<bool>(const CommitHeader& header,
                                           const EntryView& record)>
        visit);

class MomentFinder {
 public:
  // Finds moments in what the store holds below `tail`. `checkpoint` is the
  // metadata offset of the newest checkpoint there; 0 if there is none. The
  // store must not be relocated. It and the identity must outlive this object.
  MomentFinder(const Store* store, const Identity* identity,
               uint64_t checkpoint, uint64_t tail)
      : store_(store),
        identity_(identity),
        checkpoint_(checkpoint),
        tail_(tail) {}

  // The place of the moment after the commit of this number. NOT_FOUND if there
  // is no such commit; DATA_LOSS if what leads there is damaged, or is no
  // longer there because the moment is not kept.
  absl::StatusOr<MomentLocation> Find(uint64_t sequence) const;

  // The last moment whose time is not above this one; nothing if all are
  // later. Looks at commits from the number `from` on alone.
  absl::StatusOr<std::optional<MomentLocation>> FindAt(Timestamp time,
                                                       uint64_t from) const;

 private:
  // The newest checkpoint for which `fits`, and the end of the commits that it
  // may lack and that come before the next one; no checkpoint if none fits.
  struct Base {
    std::optional<Checkpoint> checkpoint;
    uint64_t end = 0;

    // The moment that the checkpoint has; of the empty tree if there is none.
    MomentLocation place() const;
    // Where the commits begin that the checkpoint lacks.
    uint64_t begin() const {
      return checkpoint.has_value() ? checkpoint->root.log_begin : 0;
    }
  };
  absl::StatusOr<Base> FindBase(
      absl::FunctionRef<bool(const Checkpoint&)> fits) const;

  const Store* const store_;
  const Identity* const identity_;
  const uint64_t checkpoint_;
  const uint64_t tail_;
};

// The finder for the moments of `core`. Its store must stay where it is as long
// as the finder is in use: hold relocation_mu.
MomentFinder FinderOf(Core& core) ABSL_LOCKS_EXCLUDED(core.commit_mu);

// Finds the places of those snapshots of the tree that have none in
// core.snapshots, and removes places that no snapshot has. A snapshot that
// cannot be found, because of damage, has none afterwards. DATA_LOSS if a node
// of the tree is damaged.
absl::Status FindSnapshotLocations(Core& core)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu)
        ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_MOMENTS_H_
