// What is told to a Volume, and told by it, as plain values.

#ifndef VARVE_FS_VOLUME_VOLUME_TYPES_H_
#define VARVE_FS_VOLUME_VOLUME_TYPES_H_

#include <cstdint>
#include <functional>
#include <optional>

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
  kRelative,  // relatime: if the file has changed since, or after a day
  kAlways,    // strictatime
};

// Of a symlink, in bytes.
inline constexpr uint64_t kMaxTargetSize = 4095;

struct VolumeOptions {
  bool read_only = false;
  bool create = false;  // make the store if there is no such file
  // If the store is damaged where writing on would hide it, open it read-only
  // instead of failing; failure() says why.
  bool read_damaged = false;
  // Look at all of the chain when the store is opened, also where an image of
  // the index would spare it.
  bool whole_chain = false;
  // How many entries are added before the index is written into the store.
  uint64_t min_entries_for_image = kMinEntriesForImage;
  AccessTimes access_times = AccessTimes::kRelative;
  bool directory_access_times = true;  // without: nodiratime
  absl::Duration lock_wait = absl::ZeroDuration();
  // Dirty bytes that may be in memory, over all files.
  uint64_t dirty_budget = uint64_t{64} << 20;
  FileSystem* file_system = RealFileSystem();  // not owned
  std::function<Timestamp()> now = &Timestamp::Now;
  // How often what was appended is made durable although nobody asks.
  absl::Duration sync_interval = absl::Seconds(5);
  AutoCompaction auto_compaction;
  // When to begin comparing, in the background, entries with their checksums
  // that are too large for that when they are read. Never, if infinite.
  absl::Duration scrub_after = absl::InfiniteDuration();
  // Told of failures that no caller hears of: in background work, and in what
  // follows a close. Called from any thread; may be empty.
  std::function<void(const absl::Status&)> on_incident = nullptr;
  // Owner of a root directory that has to be made.
  uint32_t root_uid = 0;
  uint32_t root_gid = 0;
};

struct Stat {
  uint64_t ino = 0;
  Attributes attributes;
  uint32_t nlink = 0;
  uint64_t blocks = 0;  // of 512 bytes
};

// The user that asks.
struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
  // Permissions that what it makes does not get, unless the directory has a
  // default access control list.
  uint32_t umask = 0;
};

// Those of an inode that somebody makes.
Attributes NewAttributes(uint32_t mode, Caller owner, Timestamp now);

struct AttributeRequest {
  std::optional<uint32_t> mode;  // permission bits
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size;
  std::optional<Timestamp> atime;
  std::optional<Timestamp> mtime;
  // Also take away what a change of size takes away. A change of owner always
  // does.
  bool drop_privileges = false;
  // Of a file that its group may not execute, too: the caller is not of its
  // group.
  bool drop_set_group_id = false;
};

struct SpaceInfo {
  uint64_t host_total = 0;  // bytes
  uint64_t host_free = 0;
  uint64_t host_available = 0;
  uint64_t store_bytes = 0;  // length of the store
  uint64_t live_bytes = 0;   // data of all files, clones counted each
  uint64_t inodes = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_VOLUME_TYPES_H_
