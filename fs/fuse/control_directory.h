// ControlDirectory: the directory `.varve` in the root of a mount. It can be
// reached by name and is never listed.
//
//   .varve/status        the state of store and tree, for people
//   .varve/status.json   the same for programs
//   .varve/metrics       figures of the mount, for Prometheus
//   .varve/trace         where requests can be followed, one by one
//   .varve/unnamed/      the store's entries that have no name, read-only, each
//                        under the 16 hex digits of its key hash; moving one
//                        into the tree names it
//   .varve/snapshots/, at/, gmt/, deleted/    the past; see HistoryDirectory
//
// Thread-safe.

#ifndef VARVE_FS_FUSE_CONTROL_DIRECTORY_H_
#define VARVE_FS_FUSE_CONTROL_DIRECTORY_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "fs/base/control_name.h"
#include "fs/fuse/history_directory.h"
#include "fs/volume/volume.h"

namespace varve::fs {

class ControlDirectory {
 public:
  // Inode numbers from here on belong to this directory. Those of the tree are
  // less.
  static constexpr uint64_t kFirstIno = kMaxId;
  static bool Owns(uint64_t ino) { return ino >= kFirstIno; }
  // Whether this is the name of the directory itself.
  static bool IsAt(uint64_t parent, absl::string_view name) {
    return parent == kRootIno && name == kControlName;
  }

  // `status_members` as in FuseOptions.
  ControlDirectory(Volume& volume, std::string status_members);

  // For requests about inodes that are HistoryDirectory's; the functions below
  // are for the others.
  HistoryDirectory& history() { return history_; }

  // A file whose text is made each time it is opened. Its size shows as 0, as
  // in /proc. Files must be added before the first request is served.
  struct TextFile {
    std::string name;
    // Whether only root and the daemon's user may read it.
    bool is_private = false;
    std::function<absl::StatusOr<std::string>()> make;
  };
  void AddFile(TextFile file) { files_.push_back(std::move(file)); }

  // Looks up a name below the directory, or its own name in the root of the
  // tree.
  absl::StatusOr<Stat> Lookup(uint64_t parent, absl::string_view name);
  absl::StatusOr<Stat> GetAttributes(uint64_t ino);
  // The key hash of an unnamed entry; nothing for any other inode.
  std::optional<uint64_t> KeyHashOf(uint64_t ino);
  // Makes the text of one of the files; ENOENT for any other inode.
  absl::StatusOr<std::string> TextOf(uint64_t ino);
  // Calls `visit` with each name behind `cookie`, as Volume::ReadDirectory()
  // does.
  absl::Status ReadDirectory(
      uint64_t ino, uint64_t cookie,
      const std::function<bool(const Volume::Entry&)>& visit);
  // Notes that requests come through io_uring and not through /dev/fuse.
  void set_over_io_uring() { over_io_uring_.store(true); }
  absl::string_view transport() const {
    return over_io_uring_.load() ? "io_uring" : "/dev/fuse";
  }
  // Handles rename(2) if one of the names belongs to the directory. Moves an
  // unnamed entry into the tree; EPERM for anything else.
  absl::Status Rename(uint64_t parent, absl::string_view name,
                      uint64_t new_parent, absl::string_view new_name,
                      unsigned flags, const Caller& caller);

 private:
  // An unnamed entry. There may be millions.
  struct Unnamed {
    uint64_t key_hash;
    uint64_t size;
  };

  static Stat DirectoryStat(uint64_t ino);
  // Notes that an unnamed entry has got a name.
  void NoteNamed(uint64_t key_hash);
  Stat FileStat(uint64_t ino, uint64_t size) const;
  // The element of files_ with this inode number; null if there is none.
  const TextFile* FindFile(uint64_t ino) const;
  std::string StatusText(bool json, const SpaceInfo& space);
  absl::Status LoadUnnamed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The place in unnamed_ of the one of that name, if it has not been named.
  absl::StatusOr<std::optional<size_t>> FindUnnamed(absl::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status ListUnnamed(
      uint64_t first, const std::function<bool(const Volume::Entry&)>& visit);

  Volume& volume_;
  const std::string status_members_;
  const Timestamp started_;
  HistoryDirectory history_;
  std::vector<TextFile> files_;  // constant while requests are served
  std::atomic<bool> over_io_uring_{false};
  absl::Mutex mu_;
  // The unnamed entries at the time of the first look, in the order of their
  // key hashes and of their inode numbers.
  bool loaded_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Unnamed> unnamed_ ABSL_GUARDED_BY(mu_);
  // The places of entries that have got a name since. They keep their places,
  // so that cookies and inode numbers stay valid.
  absl::flat_hash_set<size_t> named_ ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_CONTROL_DIRECTORY_H_
