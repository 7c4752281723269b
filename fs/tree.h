// Tree: all inodes and names of a store, in memory. It changes by Apply()ing
// changes only: those of commits read back at mount, and those of commits just
// appended. (The one exception are access times: see SetAccessTime().)
//
// Thread rules: like a standard container. Any number of threads may call
// const methods at once; Apply() and the other non-const ones need to be alone
// (Volume guards its tree with a reader/writer lock). Pointers to inodes and
// names stay valid until the change that drops them.

#ifndef VARVE_FS_TREE_H_
#define VARVE_FS_TREE_H_

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "fs/change.h"
#include "fs/extent.h"

namespace varve::fs {

inline constexpr uint64_t kRootIno = 1;
// Names of a file, as ext4 has it.
inline constexpr uint32_t kMaxLinks = 65000;

struct Inode;

// One name of an inode: an entry of a directory. Allocated with its name
// behind it.
struct Name {
  Inode* parent;
  Inode* inode;
  Name* next_link;  // the next name of the same inode
  Name** link;      // what points to this one in the list of these
  uint64_t cookie;  // place in the directory; grows with each new name
  uint8_t size;

  absl::string_view text() const {
    return {reinterpret_cast<const char*>(this + 1), size};
  }

  static Name* New(Inode* parent, Inode* inode, absl::string_view text);
  static void Delete(Name* name);
};

// The names in one directory: by text, and in the order of their cookies.
// Owns them.
class Directory {
 public:
  Directory() = default;
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  Name* Find(absl::string_view text) const;
  // Calls `visit` with the names whose cookie is larger than `cookie`, in
  // order, until it returns false.
  template <typename Visit>
  void ForEachAfter(uint64_t cookie, const Visit& visit) const {
    for (auto it = by_cookie_.upper_bound(cookie); it != by_cookie_.end();
         ++it) {
      const Name& name = **it;
      if (!visit(name)) return;
    }
  }
  void Insert(Name* name);  // sets its cookie
  void Remove(Name* name);  // and deletes it
  size_t size() const { return by_text_.size(); }
  bool empty() const { return by_text_.empty(); }

 private:
  struct TextHash {
    using is_transparent = void;
    size_t operator()(absl::string_view text) const {
      return absl::Hash<absl::string_view>{}(text);
    }
    size_t operator()(const Name* name) const { return (*this)(name->text()); }
  };
  struct TextEq {
    using is_transparent = void;
    static absl::string_view Text(absl::string_view text) { return text; }
    static absl::string_view Text(const Name* name) { return name->text(); }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Text(a) == Text(b);
    }
  };
  struct CookieLess {
    using is_transparent = void;
    static uint64_t Cookie(uint64_t cookie) { return cookie; }
    static uint64_t Cookie(const Name* name) { return name->cookie; }
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return Cookie(a) < Cookie(b);
    }
  };

  absl::flat_hash_set<Name*, TextHash, TextEq> by_text_;
  absl::btree_set<Name*, CookieLess> by_cookie_;
  uint64_t next_cookie_ = 3;  // 1 and 2 are "." and ".."
};

using XattrMap = absl::btree_map<std::string, std::string>;

// What an inode needs only when it is not a file of one whole entry.
struct InodeDetail {
  ExtentMap extents;     // of files and symlinks
  uint64_t patched = 0;  // bytes laid over the content since it was set
  Directory names;       // of directories
  XattrMap xattrs;
};

struct Inode {
  static constexpr uint64_t kNone = ~uint64_t{0};

  uint64_t ino = 0;
  Attributes attributes;
  uint32_t link_count = 0;  // names, and for directories the subdirectories'
  Name* names = nullptr;    // of this inode; the first one decides its path
  // If one entry is all the content: where its payload starts in the store, and
  // its key hash. Else kNone, and the content is in detail->extents.
  uint64_t whole_entry = kNone;
  uint64_t whole_entry_hash = 0;
  uint32_t whole_entry_crc32 = 0;
  std::unique_ptr<InodeDetail> detail;

  // Whether the entry in whole_entry has been compared with its checksum.
  mutable std::atomic<bool> verified{false};
  // How often the kernel has been told of this inode and not yet forgotten it.
  mutable std::atomic<uint32_t> kernel_references{0};

  bool is_directory() const { return S_ISDIR(attributes.mode); }
  bool is_regular() const { return S_ISREG(attributes.mode); }
  bool is_symlink() const { return S_ISLNK(attributes.mode); }
  bool is_root() const { return ino == kRootIno; }
  // The directory that holds this one; itself for the root.
  const Inode* parent() const { return names ? names->parent : this; }
  uint32_t nlink() const { return link_count; }
  // Bytes of its content that are not holes.
  uint64_t data_bytes() const {
    if (whole_entry != kNone) return attributes.size;
    return detail == nullptr ? 0 : detail->extents.data_bytes();
  }
  // The value of an extended attribute; null if it does not have it.
  const std::string* FindXattr(absl::string_view name) const;
  // The names in this directory.
  const Directory& directory() const { return detail->names; }
  // The extent of a whole_entry.
  Extent WholeExtent() const {
    return {.file_offset = 0,
            .length = attributes.size,
            .store_offset = whole_entry,
            .key_hash = whole_entry_hash,
            .entry_offset = 0,
            .entry_size = attributes.size,
            .entry_crc32 = whole_entry_crc32};
  }
};

class Tree {
 public:
  Tree();
  ~Tree();

  // Makes the tree be as the change says. `time` is that of the commit, or
  // nothing while a checkpoint is read, when names do not touch times. On an
  // error (DATA_LOSS: the change contradicts the tree) nothing has changed.
  absl::Status Apply(const Change& change, std::optional<Timestamp> time);

  // Says when an inode was last read. It is not worth a commit, and kept by the
  // next change or checkpoint of it.
  void SetAccessTime(uint64_t ino, Timestamp time);

  const Inode* Find(uint64_t ino) const;
  const Inode* root() const { return Find(kRootIno); }
  // The inode of that name in a directory; null if there is none.
  const Inode* Lookup(const Inode& directory, absl::string_view name) const;
  // Resolves a path relative to the root ("a/b/c", "" is the root) without
  // following symlinks; null if it does not exist.
  const Inode* Resolve(absl::string_view path) const;

  // The path of a name, or the first path of an inode, without leading slash.
  static std::string PathOf(const Name& name);
  static std::string PathOf(const Inode& inode);
  // Whether `inode` is `directory` or lies below it.
  static bool IsWithin(const Inode& inode, const Inode& directory);

  // The path that a name in a directory has or would have.
  static std::string PathIn(const Inode& directory, absl::string_view name);

  // All of the content as extents (holes left out).
  static ExtentMap ContentOf(const Inode& inode);
  // Calls `visit` with the payload offset of each entry that content lies in;
  // with some of them more than once.
  template <typename Visit>
  static void ForEachEntryOf(const Inode& inode, const Visit& visit) {
    if (inode.whole_entry != Inode::kNone) visit(inode.whole_entry);
    if (inode.detail == nullptr) return;
    for (const auto& [offset, extent] : inode.detail->extents.extents()) {
      visit(extent.payload_offset());
    }
  }

  // Inodes, the root included, and the bytes of all file contents.
  uint64_t inode_count() const { return inodes_.size(); }
  uint64_t content_bytes() const { return content_bytes_; }
  // The same without holes.
  uint64_t data_bytes() const { return data_bytes_; }
  uint64_t name_count() const { return name_count_; }
  // Extents of files that lie in pieces.
  uint64_t extent_count() const { return extent_count_; }

  // Makes all content lie where `other`, which has the same inodes, says.
  // Takes what it needs from `other`, which is of no use afterwards.
  void TakePlaces(Tree& other);
  // Makes the content of an inode lie in these extents.
  static void SetPlaces(Inode& inode, const std::vector<Extent>& extents);

  // Every inode, parents before what is in them.
  void ForEach(const std::function<void(const Inode&)>& visit) const;

  // What Apply cannot see change by change: inodes that have no name. Returns
  // a sentence for each. (Cycles cannot come about: see PutName.)
  std::vector<std::string> CheckConsistency() const;

  // Ranges of data ids that an unclean stop left without a commit.
  const std::vector<KeepUnfinished>& unfinished() const { return unfinished_; }

  // Is called with each inode that a change makes.
  void set_on_make(std::function<void(Inode&)> on_make) {
    on_make_ = std::move(on_make);
  }
  // Keeps a dropped inode's content known for those who still have it open:
  // Drop hands it to `on_drop` instead of destroying it.
  void set_on_drop(std::function<void(std::unique_ptr<Inode>)> on_drop) {
    on_drop_ = std::move(on_drop);
  }

 private:
  absl::Status Do(const PutInode& change, std::optional<Timestamp> time);
  absl::Status Do(const DropInode& change, std::optional<Timestamp> time);
  absl::Status Do(const PutName& change, std::optional<Timestamp> time);
  absl::Status Do(const DropName& change, std::optional<Timestamp> time);
  absl::Status Do(const SetContent& change, std::optional<Timestamp> time);
  absl::Status Do(const PatchContent& change, std::optional<Timestamp> time);
  absl::Status Do(const SetXattr& change, std::optional<Timestamp> time);
  absl::Status Do(const DropXattr& change, std::optional<Timestamp> time);
  absl::Status Do(const KeepUnfinished& change, std::optional<Timestamp> time);

  Inode* FindMutable(uint64_t ino);
  void ReplaceContent(const SetContent& change, Inode& inode,
                      bool from_checkpoint);
  // Turns a whole entry into an ordinary extent, so that it can be patched.
  void ExpandWholeEntry(Inode& inode);
  // Counts size, data and extents of an inode in (+1) or out (-1), around a
  // change.
  void CountContent(const Inode& inode, int sign);

  absl::flat_hash_map<uint64_t, std::unique_ptr<Inode>> inodes_;
  uint64_t content_bytes_ = 0;
  uint64_t data_bytes_ = 0;
  uint64_t name_count_ = 0;
  uint64_t extent_count_ = 0;
  std::vector<KeepUnfinished> unfinished_;
  std::function<void(Inode&)> on_make_;
  std::function<void(std::unique_ptr<Inode>)> on_drop_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_H_
