// ControlDirectory: what is to be seen below `.varve` in the root of a mount.
// The directory can be reached by name and is listed nowhere.
//
//   .varve/status        the state of store and tree, for people
//   .varve/status.json   the same for programs
//   .varve/metrics       figures of the mount, for Prometheus
//   .varve/trace         where requests can be followed, one by one
//   .varve/unnamed/      the store's entries that have no name, read-only, each
//                        under the 16 hex digits of its key hash; moving one
//                        into the tree names it
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
#include "fs/volume/volume.h"

namespace varve::fs {

class ControlDirectory {
 public:
  // Inode numbers from here on are of this directory; the tree never gets
  // there.
  static constexpr uint64_t kFirstIno = kMaxId;
  static bool Owns(uint64_t ino) { return ino >= kFirstIno; }
  // Whether the name there is that of the directory itself.
  static bool IsAt(uint64_t parent, absl::string_view name) {
    return parent == kRootIno && name == kControlName;
  }

  // `status_members` as in FuseOptions.
  ControlDirectory(Volume& volume, std::string status_members);

  // A file whose text is made each time that it is opened. Its size is told as
  // 0, as in /proc. To be called before the first request is served.
  struct TextFile {
    std::string name;
    // Whether nobody but the user that the daemon runs as, and root, may read.
    bool is_private = false;
    std::function<absl::StatusOr<std::string>()> make;
  };
  void AddFile(TextFile file) { files_.push_back(std::move(file)); }

  // Of a name below it, or of its own in the root of the tree.
  absl::StatusOr<Stat> Lookup(uint64_t parent, absl::string_view name);
  absl::StatusOr<Stat> GetAttributes(uint64_t ino);
  // The key hash of an unnamed entry; nothing for any other inode.
  std::optional<uint64_t> KeyHashOf(uint64_t ino);
  // The text of one of the files, made anew; ENOENT for any other inode.
  absl::StatusOr<std::string> TextOf(uint64_t ino);
  // Calls `visit` with each name from behind `cookie` on, as
  // Volume::ReadDirectory does.
  absl::Status ReadDirectory(
      uint64_t ino, uint64_t cookie,
      const std::function<bool(const Volume::Entry&)>& visit);
  // Says that requests come through io_uring, and not through /dev/fuse.
  void set_over_io_uring() { over_io_uring_.store(true); }
  absl::string_view transport() const {
    return over_io_uring_.load() ? "io_uring" : "/dev/fuse";
  }
  // rename(2), if one of the names belongs to it. Moves an unnamed entry into
  // the tree; EPERM for all else.
  absl::Status Rename(uint64_t parent, absl::string_view name,
                      uint64_t new_parent, absl::string_view new_name,
                      unsigned flags, const Caller& caller);

 private:
  // One of perhaps millions.
  struct Unnamed {
    uint64_t key_hash;
    uint64_t size;
  };

  static Stat DirectoryStat(uint64_t ino);
  // Says that an unnamed entry has been named.
  void NoteNamed(uint64_t key_hash);
  Stat FileStat(uint64_t ino, uint64_t size) const;
  // The one of files_ that has the inode number; null if none has.
  const TextFile* FindFile(uint64_t ino) const;
  std::string StatusText(bool json, const SpaceInfo& space);
  void LoadUnnamed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The place in unnamed_ of the one of that name, if it has not been named.
  std::optional<size_t> FindUnnamed(absl::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status ListUnnamed(
      uint64_t first, const std::function<bool(const Volume::Entry&)>& visit);

  Volume& volume_;
  const std::string status_members_;
  const Timestamp started_;
  std::vector<TextFile> files_;  // constant while requests are served
  std::atomic<bool> over_io_uring_{false};
  absl::Mutex mu_;
  // As of the first look, by ascending key hash, which is the order of their
  // inode numbers, too.
  bool loaded_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<Unnamed> unnamed_ ABSL_GUARDED_BY(mu_);
  // Places of those that have been named since. They keep them, so that cookies
  // and inode numbers stay valid.
  absl::flat_hash_set<size_t> named_ ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_CONTROL_DIRECTORY_H_
