// HistoryDirectory: the past in the directory `.varve`.
//
//   .varve/snapshots/NAME    the tree of a snapshot; making, renaming and
//                            removing directories here does so to snapshots
//   .varve/at/TIME           that of any moment that is kept, never listed:
//                            TIME as history/moment_names.h has it
//   .varve/gmt/@GMT-…        the same, as Samba asks for it; snapshots are
//                            listed, and the window's hours and days
//   .varve/deleted           the names that some moment has and the present has
//                            not: see volume/deleted_files.h
//
// The trees are read-only. Each look-up of a name in these three directories
// shows the tree under inode numbers of its own: so no file in it is taken for
// a hard link of another, and no directory has two names. The kernel may cache
// what is in a tree, as it never changes, but not how one gets there. Of what
// is deleted, it may cache the content of files alone. A span such as 2h means
// the same moment while somebody works with it, so that a copy of such a tree
// is the copy of one moment.
//
// Thread-safe.

#ifndef VARVE_FS_FUSE_HISTORY_DIRECTORY_H_
#define VARVE_FS_FUSE_HISTORY_DIRECTORY_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "fs/content/content_reader.h"
#include "fs/volume/volume.h"

namespace varve::fs {

class HistoryDirectory {
 public:
  // The inode numbers of the four directories begin here.
  static constexpr uint64_t kSnapshots = kMaxId + 16;
  static constexpr uint64_t kAt = kSnapshots + 1;
  static constexpr uint64_t kGmt = kSnapshots + 2;
  static constexpr uint64_t kDeleted = kSnapshots + 3;

  // Whether the inode belongs to a past tree, or is deleted.
  static bool IsPast(uint64_t ino) {
    return (ino & kPast) != 0 || ino == kDeleted;
  }
  // Whether nothing about it ever changes, so that the kernel may cache it.
  static bool IsConstant(uint64_t ino) {
    return (ino & (kPast | kIsDeleted)) == kPast;
  }
  // Whether it is past, or is one of the four directories.
  static bool Owns(uint64_t ino) {
    return IsPast(ino) || (ino >= kSnapshots && ino <= kDeleted);
  }
  // The names of the four, in the order of their numbers.
  static constexpr absl::string_view kNames[] = {"snapshots", "at", "gmt",
                                                 "deleted"};
  // The directory of this name in `.varve`; nothing if it is none of the four.
  static std::optional<uint64_t> DirectoryNamed(absl::string_view name);

  // `parent` is the inode number of `.varve`.
  HistoryDirectory(Volume& volume, uint64_t parent);

  // Makes all inodes of past trees stale, because the trees have changed. A
  // path that is looked up again leads to what is there now.
  void ForgetTrees() ABSL_LOCKS_EXCLUDED(mu_);

  absl::StatusOr<Stat> Lookup(uint64_t parent, absl::string_view name);
  absl::StatusOr<Stat> GetAttributes(uint64_t ino);
  // As Volume::ReadDirectory() does. Outside of past trees, of the names only
  // the types are given, and no references are added.
  absl::Status ReadDirectory(
      uint64_t ino, uint64_t cookie, bool reference,
      const std::function<bool(const Volume::Entry&)>& visit);
  // An inode of a past tree, as PastFiles names it; or if `moment` is 0, which
  // is the number of none, what DeletedFiles names `ino`.
  struct PastInode {
    uint64_t moment = 0;
    uint64_t ino = 0;
  };
  // For inodes that are past: as the functions of PastFiles and DeletedFiles.
  // ESTALE also after a remount. Open() is where it is noticed that the moment
  // is not kept any more, as the kernel may have everything else.
  absl::StatusOr<PastInode> Open(uint64_t ino);
  absl::StatusOr<std::string> ReadSymlink(uint64_t ino);
  absl::StatusOr<std::string> GetXattr(uint64_t ino, absl::string_view name);
  absl::StatusOr<std::string> ListXattrs(uint64_t ino, bool trusted);
  absl::StatusOr<ReadReply> Read(const PastInode& past, uint64_t offset,
                                 uint64_t size);
  absl::StatusOr<uint64_t> Seek(const PastInode& past, uint64_t offset,
                                int whence);

  // Removes `count` references of the kernel to an inode that is past. What is
  // deleted needs none.
  // Lookup(), MakeDirectory() and ReadDirectory() add one for each inode that
  // they return.
  void Forget(uint64_t ino, uint64_t count) ABSL_LOCKS_EXCLUDED(mu_);

  // Makes, removes and renames a snapshot, if `parent` is the directory of the
  // snapshots; else EROFS. Errors as for the operations of Volume.
  absl::StatusOr<Stat> MakeDirectory(uint64_t parent, absl::string_view name);
  absl::Status RemoveDirectory(uint64_t parent, absl::string_view name);
  absl::Status Rename(uint64_t parent, absl::string_view name,
                      uint64_t new_parent, absl::string_view new_name,
                      unsigned flags);

 private:
  // Inode numbers of past trees: kPast, 21 bits for the view, and 40 for the
  // number in the tree. Those of what is deleted: kPast, kIsDeleted, and the
  // number that it has in DeletedFiles.
  static constexpr uint64_t kPast = uint64_t{1} << 62;
  static constexpr uint64_t kIsDeleted = uint64_t{1} << 61;
  static constexpr int kTreeBits = 40;
  static constexpr uint64_t kTreeMask = (uint64_t{1} << kTreeBits) - 1;
  static constexpr uint64_t kMostViews = uint64_t{1} << 21;

  // The number that DeletedFiles has for the inode; nothing if that is not
  // deleted. And the other way round.
  static std::optional<uint64_t> DeletedId(uint64_t ino);
  static Stat AsDeleted(Stat stat);

  // A tree under a name. It lives as long as the kernel knows inodes of it.
  struct View {
    uint64_t number = 0;
    uint64_t parent = 0;  // one of the directories
    uint64_t moment = 0;
    // Tells views apart that have the same number one after the other, also
    // those of an earlier mount: it goes into the generation of all inodes.
    uint32_t generation = 0;
  };
  struct LiveView {
    View view;
    std::string key;          // directory, name and moment
    uint64_t references = 0;  // the kernel's, to all its inodes
  };
  // What a name such as "2h" was found to be, for as long as somebody works
  // with it.
  struct Meaning {
    uint64_t moment = 0;
    absl::Time found;
    absl::Time used;
  };

  // The view of that name and moment, made if there is none yet, with another
  // reference. ENFILE if there are too many.
  absl::StatusOr<View> OpenView(uint64_t parent, absl::string_view name,
                                uint64_t moment) ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<View> FindView(uint64_t ino) ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<PastInode> Find(uint64_t ino) ABSL_LOCKS_EXCLUDED(mu_);
  void Reference(const View& view) ABSL_LOCKS_EXCLUDED(mu_);
  // Gives the attributes the inode number that they have in the view. EOVERFLOW
  // if there is none.
  static absl::StatusOr<Stat> In(const View& view, Stat stat);
  absl::StatusOr<uint64_t> FindMoment(uint64_t parent, absl::string_view name);
  // What is meant by so long ago, under that name.
  absl::StatusOr<uint64_t> FindAgo(absl::string_view name, absl::Duration ago)
      ABSL_LOCKS_EXCLUDED(mu_);
  Stat DirectoryStat(uint64_t ino) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status ReadPast(const View& view, uint64_t ino, uint64_t cookie,
                        bool reference,
                        const std::function<bool(const Volume::Entry&)>& visit);
  absl::Status ReadDeleted(
      uint64_t id, uint64_t cookie,
      const std::function<bool(const Volume::Entry&)>& visit);
  // The names in one of the first three directories.
  absl::StatusOr<std::vector<std::string>> ListedIn(uint64_t ino);
  absl::StatusOr<std::vector<std::string>> GmtNames();

  Volume& volume_;
  const uint64_t parent_;
  absl::Mutex mu_;
  absl::flat_hash_map<uint64_t, LiveView> views_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<std::string, uint64_t> by_key_ ABSL_GUARDED_BY(mu_);
  uint64_t next_number_ ABSL_GUARDED_BY(mu_) = 0;
  absl::flat_hash_map<std::string, Meaning> meanings_ ABSL_GUARDED_BY(mu_);
  // When it was seen that snapshots have changed, and how often they had.
  Timestamp changed_ ABSL_GUARDED_BY(mu_);
  uint64_t changes_ ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_HISTORY_DIRECTORY_H_
