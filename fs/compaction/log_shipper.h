// LogShipper: while a store is being compacted, copies the commits appended to
// it to its replacement, one by one, with the entries that their extents name.
// Not thread-safe.

#ifndef VARVE_FS_COMPACTION_LOG_SHIPPER_H_
#define VARVE_FS_COMPACTION_LOG_SHIPPER_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/store/store.h"
#include "fs/compaction/compaction_monitor.h"
#include "fs/compaction/pinned_source.h"
#include "fs/compaction/translation.h"
#include "fs/format/commit_record.h"
#include "fs/log/commit.h"
#include "fs/log/core.h"

namespace varve::fs {

class LogShipper {
 public:
  // `core` has the replacement and its tree; `live` is the store in use. All
  // commits below the offset `begin` of `live` are in the replacement already.
  LogShipper(Store& live, Core& core, uint64_t begin,
             std::function<uint64_t()> new_data_id, CompactionMonitor& monitor,
             Translation& translation)
      : live_(live),
        pinned_(live),
        core_(core),
        shipped_(begin),
        new_data_id_(std::move(new_data_id)),
        monitor_(monitor),
        translation_(translation) {}

  // Ships everything below `end`, where an entry must end.
  absl::Status ShipTo(uint64_t end);
  uint64_t shipped() const { return shipped_; }

  // Copies the bytes of these extents that are not in the replacement yet. The
  // extents are in use but in no commit, so the copies go into entries that are
  // dead there.
  absl::Status CopyLoose(const std::vector<Extent>& extents);

 private:
  struct Record {
    CommitHeader header;
    EntryLocation location;
  };

  absl::StatusOr<std::vector<EntryLocation>> EntriesUpTo(uint64_t end) const;
  absl::Status ShipCommit(const Record& record);
  // Adds the entries that have come since the last commit, and copies of what
  // its extents refer to and is not there yet.
  absl::Status AddContent(const std::vector<Extent>& unknown, Commit& commit);
  absl::Status AddTranslated(Change& change, const Record& record,
                             Commit& commit);
  // Copies the entries that no commit has named so far.
  absl::Status ShipEntries();
  // Finds the keys whose newest entry the change makes dead.
  absl::Status FindKeysToHide(const Change& change,
                              std::vector<EntryKeys>& keys) const;
  // What the extents of a change refer to that is not there yet.
  absl::Status FindUnknown(const Change& change, uint64_t record_hash,
                           std::vector<Extent>& unknown) const;

  Store& live_;
  PinnedSource pinned_;
  Core& core_;
  uint64_t shipped_;
  const std::function<uint64_t()> new_data_id_;
  CompactionMonitor& monitor_;
  Translation& translation_;
  std::vector<EntryLocation> entries_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_LOG_SHIPPER_H_
