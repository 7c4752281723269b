// Plain values that callers pass to a Volume, or get from it.

#ifndef VARVE_FS_VOLUME_VOLUME_TYPES_H_
#define VARVE_FS_VOLUME_VOLUME_TYPES_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engine/io/file.h"
#include "fs/compaction/compaction.h"
#include "fs/format/change.h"
#include "fs/format/timestamp.h"
#include "fs/log/core.h"

namespace varve::fs {

// When reading a file changes its access time, as options of mount(8).
enum class AccessTimes {
  kNever,     // noatime
  kRelative,  // relatime: if the file has changed since the last access, or
              // after a day
  kAlways,    // strictatime
};

// The longest target of a symlink, in bytes.
inline constexpr uint64_t kMaxTargetSize = 4095;

struct VolumeOptions {
  bool read_only = false;
  bool create = false;  // make the store if there is no such file
  // Open the tree of a past moment, read-only: a name as
  // history/moment_names.h has them; empty for the newest tree.
  std::string at;
  // If the store is damaged such that writing on would hide the damage, open it
  // read-only instead of failing. Volume::failure() then says why.
  bool read_damaged = false;
  // Walk the whole chain when the store is opened, even if an image of the
  // index makes that unnecessary.
  bool whole_chain = false;
  // How many new entries are needed before an image of the index is written.
  uint64_t min_entries_for_image = kMinEntriesForImage;
  AccessTimes access_times = AccessTimes::kRelative;
  bool directory_access_times = true;  // without: nodiratime
  absl::Duration lock_wait = absl::ZeroDuration();
  // The most dirty bytes in memory, of all files together.
  uint64_t dirty_budget = uint64_t{64} << 20;
  FileSystem* file_system = RealFileSystem();  // not owned
  std::function<Timestamp()> now = &Timestamp::Now;
  // How often appended entries are made durable without a request.
  absl::Duration sync_interval = absl::Seconds(5);
  AutoCompaction auto_compaction;
  // When to begin to compare large entries with their checksums in the
  // background (content/scrubber.h). Never, if infinite.
  absl::Duration scrub_after = absl::InfiniteDuration();
  // Called with failures that no caller gets: those of background work, and
  // those after a close. Called from any thread; may be empty.
  std::function<void(const absl::Status&)> on_incident = nullptr;
  // The owner of the root directory, if it has to be made.
  uint32_t root_uid = 0;
  uint32_t root_gid = 0;
};

struct Stat {
  uint64_t ino = 0;
  Attributes attributes;
  uint32_t nlink = 0;
  uint64_t blocks = 0;  // of 512 bytes
};

// The user that makes a request.
struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
  // The permissions that new inodes do not get, unless their directory has a
  // default access control list.
  uint32_t umask = 0;
};

// The attributes of a new inode.
Attributes NewAttributes(uint32_t mode, Caller owner, Timestamp now);

struct AttributeRequest {
  std::optional<uint32_t> mode;  // permission bits
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size;
  std::optional<Timestamp> atime;
  std::optional<Timestamp> mtime;
  // Also clear the privileges that a change of size clears. A change of owner
  // always does.
  bool drop_privileges = false;
  // Clear set-group-id even if the file's group may not execute it, because the
  // caller is not in that group.
  bool drop_set_group_id = false;
};

// A moment that has a name.
struct Snapshot {
  std::string name;
  uint64_t sequence = 0;  // of the last commit that it includes
  Timestamp time;
  bool held = false;       // it may not be deleted
  bool automatic = false;  // the policy made it
};

// What history costs, in bytes.
struct HistoryUsage {
  uint64_t allocated = 0;  // what the host has allocated for the store
  uint64_t live = 0;       // what a store with the newest tree alone would take
  // All moments from this number on are kept, with all that was appended from
  // there on.
  uint64_t kept_from = 0;
  uint64_t window = 0;
  // What each snapshot alone keeps, and would be free without it; in the order
  // of Volume::Snapshots().
  std::vector<std::pair<Snapshot, uint64_t>> snapshots;
};

// Names by the number of their directory; "" stands for the directory itself.
using StaleNames = std::vector<std::pair<uint64_t, std::string>>;

// What to bring back; see Restorer.
struct RestoreRequest {
  std::string at;    // a moment, as history/moment_names.h has them
  std::string from;  // a path at that moment, "" for the root
  std::string to;    // where it goes now
  // Also remove what is in a restored directory now and was not then.
  bool delete_others = false;
  bool dry_run = false;
};

struct RestoreReport {
  uint64_t made = 0;       // files and directories that were not there
  uint64_t replaced = 0;   // that were there, and had changed
  uint64_t unchanged = 0;  // files that had not
  uint64_t removed = 0;    // by delete_others
  uint64_t bytes = 0;      // of content that is there again
};

// In short, what is kept of the past; see HistoryUsage for all.
struct HistorySums {
  uint64_t bytes = 0;      // about how many the policy leaves to it
  uint64_t kept_from = 0;  // all moments from this number on are kept
  uint64_t snapshots = 0;
};

struct SpaceInfo {
  uint64_t host_total = 0;  // bytes
  uint64_t host_free = 0;
  uint64_t host_available = 0;
  uint64_t store_bytes = 0;  // length of the store
  uint64_t live_bytes = 0;   // data of all files; clones count separately
  uint64_t inodes = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_VOLUME_TYPES_H_
