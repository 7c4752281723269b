// FloorTree: files and directories in memory, answering as a FUSE file system
// must and doing nothing else. Every method may be called from any thread.
//
// Methods return 0 or an errno. A node is what the kernel calls an inode: 1 is
// the root, every other one the address of an Inode, which stays valid while
// the kernel has not forgotten all of its lookups or while a name leads to it.

#ifndef VARVE_TOOLS_BENCH_FLOOR_TREE_H_
#define VARVE_TOOLS_BENCH_FLOOR_TREE_H_

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse3/fuse_lowlevel.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"

namespace varve::bench {

// The owner of a new file, and the bits that its mode may not have.
struct FloorOwner {
  uid_t uid;
  gid_t gid;
  mode_t umask;
};

// The bytes of one file, in chunks, so that growing never copies much.
class FloorContent {
 public:
  size_t size() const { return size_; }
  void Resize(size_t size);
  void Write(size_t offset, absl::string_view bytes);
  // The bytes from `offset` on, at most `size`, as pieces. They stay valid
  // until the next change.
  std::vector<struct iovec> Pieces(size_t offset, size_t size) const;

 private:
  // A chunk may be shorter than its size; missing bytes read as zeros.
  std::vector<std::string> chunks_;
  size_t size_ = 0;
};

class FloorTree {
 public:
  // For ReadDirectory: takes an entry, or returns false if there is no room.
  using AddEntry =
      std::function<bool(absl::string_view name, const struct stat& attributes,
                         uint64_t node, uint64_t cookie)>;
  // For Read: sends the answer, while the pieces are valid.
  using SendPieces = std::function<void(const std::vector<struct iovec>&)>;

  FloorTree();
  FloorTree(const FloorTree&) = delete;
  FloorTree& operator=(const FloorTree&) = delete;

  // Methods that fill in an `entry` count a lookup of its node.
  int Lookup(uint64_t parent, absl::string_view name,
             struct fuse_entry_param& entry);
  void Forget(uint64_t node, uint64_t lookups);
  // Notes that the kernel has forgotten all nodes.
  void ForgetAll();

  struct stat Attributes(uint64_t node);
  // `to_set` is FUSE_SET_ATTR_... flags.
  struct stat SetAttributes(uint64_t node, const struct stat& from, int to_set);
  const std::string& Target(uint64_t node);

  // Makes a file of any type; `target` is for a symbolic link.
  int Make(uint64_t parent, absl::string_view name, mode_t mode, dev_t rdev,
           absl::string_view target, const FloorOwner& owner,
           struct fuse_entry_param& entry);
  int Link(uint64_t node, uint64_t parent, absl::string_view name,
           struct fuse_entry_param& entry);
  int Unlink(uint64_t parent, absl::string_view name);
  int RemoveDirectory(uint64_t parent, absl::string_view name);
  int Rename(uint64_t parent, absl::string_view name, uint64_t new_parent,
             absl::string_view new_name, unsigned flags);
  // Lists the entries after `cookie`. With `count_lookups`, counts a lookup for
  // each that `add` has taken, except "." and "..".
  void ReadDirectory(uint64_t node, uint64_t cookie, bool count_lookups,
                     const AddEntry& add);

  void Read(uint64_t node, size_t offset, size_t size, const SendPieces& send);
  void Write(uint64_t node, size_t offset, absl::string_view bytes);
  size_t Copy(uint64_t from, size_t from_offset, uint64_t to, size_t to_offset,
              size_t length);

 private:
  struct Inode;
  struct Child {
    std::string name;
    Inode* inode;
  };
  struct Inode {
    absl::Mutex mutex;  // taken after the tree's
    struct stat attributes ABSL_GUARDED_BY(mutex) = {};
    FloorContent content ABSL_GUARDED_BY(mutex);
    std::string target;  // does not change

    // The tree's mutex protects these. Children are listed by cookie.
    uint64_t lookups = 0;
    Inode* parent = nullptr;
    absl::flat_hash_map<std::string, uint64_t> cookies;
    std::map<uint64_t, Child> children;
    uint64_t next_cookie = 3;  // after "." and ".."
  };

  Inode& At(uint64_t node) {
    return node == FUSE_ROOT_ID ? root_ : *reinterpret_cast<Inode*>(node);
  }
  uint64_t NodeOf(const Inode& inode) const {
    return &inode == &root_ ? FUSE_ROOT_ID : reinterpret_cast<uint64_t>(&inode);
  }
  static bool IsDirectory(Inode& inode);
  static Inode* Find(const Inode& directory, absl::string_view name);
  static void CountLinks(Inode& inode, int change);
  void Enter(Inode& inode, struct fuse_entry_param& entry)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Add(Inode& directory, absl::string_view name, Inode& inode)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Remove(Inode& directory, absl::string_view name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FreeIfUnused(Inode& inode) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetBelow(Inode& directory) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;  // of all names and lookups
  uint64_t next_number_ ABSL_GUARDED_BY(mutex_) = 2;
  Inode root_;
};

}  // namespace varve::bench

#endif  // VARVE_TOOLS_BENCH_FLOOR_TREE_H_
