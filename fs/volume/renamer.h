// Renamer: checks a rename, plans its changes of names and keys, and commits
// them. One object serves one rename. Not thread-safe.

#ifndef VARVE_FS_VOLUME_RENAMER_H_
#define VARVE_FS_VOLUME_RENAMER_H_

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/store/store.h"
#include "fs/content/content_reader.h"
#include "fs/log/commit.h"
#include "fs/log/core.h"
#include "fs/volume/lookup.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

class Renamer {
 public:
  // Both must outlive this object. `reader` verifies a file before its bytes
  // are copied to a new key.
  Renamer(Core& core, ContentReader& reader) : core_(core), reader_(reader) {}

  // As Volume::Rename(). If the disk is full and a name is replaced, uses the
  // store's reserve and copies nothing. The caller must hold commit_mu (whose
  // name there Clang's analysis takes for another mutex).
  absl::Status Rename(uint64_t parent, absl::string_view name,
                      uint64_t new_parent, absl::string_view new_name,
                      uint32_t flags, Caller caller, Timestamp now);

 private:
  // A rename that has passed all checks.
  struct Plan {
    LiveInode from_parent;
    LiveInode to_parent;
    absl::string_view from_name = {};
    absl::string_view to_name = {};
    FoundName moved;
    std::optional<FoundName> replaced;  // nothing if the new name is free
    bool exchange = false;
    bool whiteout = false;  // the old name becomes a whiteout
    bool nothing_to_do = false;

    // Whether the file under the new name loses its last name.
    bool removes() const {
      return replaced.has_value() && !exchange &&
             (replaced->inode.is_directory() || replaced->inode.nlink() == 1);
    }
  };
  // What happens to the content of a plain file that gets another path.
  struct Rekeying {
    uint64_t ino = 0;
    std::optional<EntryKeys> old_key{};  // a tombstone must hide it
    uint64_t new_hash = 0;               // the key of its new path
    Store::PinnedBytes payload{};        // bytes to write there; may be empty
    std::optional<Extent> copied{};
  };

  absl::StatusOr<Plan> MakePlan(uint64_t parent, absl::string_view name,
                                uint64_t new_parent, absl::string_view new_name,
                                uint32_t flags) const
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // OK if the moved inode may replace the one under the new name.
  absl::Status CheckReplaced(const Plan& plan) const
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // Plans for a file that gets this name in place of `file.place`.
  absl::StatusOr<Rekeying> PlanRekeying(const FoundName& file,
                                        const LiveInode& to_parent,
                                        absl::string_view to_name) const
      ABSL_LOCKS_EXCLUDED(core_.tree_mu);
  // The part of this plan that needs the tree.
  struct Target {
    Rekeying rekeying;
    bool is_plain = false;  // and still lies under another key
  };
  absl::StatusOr<Target> FindTarget(const LiveInode& inode,
                                    const LiveInode& to_parent,
                                    absl::string_view to_name) const
      ABSL_LOCKS_EXCLUDED(core_.tree_mu);
  absl::Status CommitPlan(const Plan& plan, Caller caller, Timestamp now,
                          bool from_reserve)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu);
  static void AddNames(const Plan& plan, Caller caller, Commit& commit);

  Core& core_;
  ContentReader& reader_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_RENAMER_H_
