// DeletedTree: names that a tree had at former moments and has no more, each
// with what it led to when it was last there: inode, extended attributes, and
// where the content lies. All that is copied, so no past tree has to be opened
// to look at it.
//
// DeletedNames fills it. A name is either held, with what it led to; or it is a
// directory of the newest tree in which something is held.
//
// Not thread-safe.

#ifndef VARVE_FS_HISTORY_DELETED_TREE_H_
#define VARVE_FS_HISTORY_DELETED_TREE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/btree/overlay.h"
#include "fs/btree/stored_tree.h"
#include "fs/tree/items.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {

class DeletedTree {
 public:
  // Each name has a number. It is never used for another name, nor for another
  // file under the same name. It is above those of all inodes, so that no
  // message takes it for one.
  static constexpr uint64_t kFirst = kMaxId / 2;
  // The number of the root.
  static constexpr uint64_t kRoot = kFirst;

  // What a name shows. `tree` has the inode with its content and attributes
  // under the number `inode.ino`. It is `id` if the name is held; else it is a
  // directory of the newest tree. Valid until the tree is changed.
  struct Found {
    uint64_t id = 0;
    absl::string_view name;
    InodeItem inode;
    const TreeReader* tree = nullptr;
    // Tells apart what has the same number in two mounts.
    uint32_t generation = 0;

    bool is_held() const { return inode.ino == id; }
  };

  // Once it takes more than `most_bytes`, it drops the oldest names.
  explicit DeletedTree(size_t most_bytes);
  DeletedTree(const DeletedTree&) = delete;
  DeletedTree& operator=(const DeletedTree&) = delete;

  // About how many bytes of memory it takes.
  size_t memory() const;

  // --- Changes ---
  // DATA_LOSS if a node of `tree` is damaged.

  // The name at `path` led to `inode` of `tree`, and `moment` is the last to
  // have it. If `deep`, that holds for all that lay below it, too.
  absl::Status Add(absl::string_view path, const TreeReader& tree,
                   const InodeItem& inode, uint64_t moment, bool deep);
  // What was added at `path` was only replaced: `tree`, that of the next
  // moment, has this inode there. That name, and those below it that the tree
  // has, too, are dropped.
  absl::Status Remove(absl::string_view path, const TreeReader& tree,
                      const InodeItem& inode);
  // Drops the path, and what lies below it, of moments from which it was
  // purged.
  void Purge(const PurgedPath& purged);
  // Drops the oldest names if there are too many. No more names may have been
  // added for older moments than before.
  void Trim();
  // Everything is about to be added once more, because it has moved, or some of
  // it is no longer kept. Names that come again between these two calls, for
  // the same moment, keep their numbers.
  void BeginAnew();
  void EndAnew();

  // --- Looking at it ---
  // `newest` is the newest tree. DATA_LOSS if a node of it is damaged.

  // What the name shows; nothing if it is not there any more.
  absl::StatusOr<std::optional<Found>> Find(uint64_t id,
                                            const TreeReader& newest) const;
  // A name in a directory; nothing if there is none.
  absl::StatusOr<std::optional<Found>> FindIn(uint64_t directory,
                                              absl::string_view name,
                                              const TreeReader& newest) const;
  // Calls `visit` with the names in a directory whose numbers are above
  // `after`, until it returns false. Those that the newest tree has again are
  // left out, unless something below them is deleted; FindIn() finds them, so
  // that who copies a tree back to where it was can go on.
  absl::Status ForEachIn(uint64_t directory, uint64_t after,
                         const TreeReader& newest,
                         absl::FunctionRef<bool(const Found&)> visit) const;
  // The number of the directory that it lies in; its own for the root, and for
  // what is not there any more.
  uint64_t ParentOf(uint64_t id) const;

 private:
  struct Name {
    uint64_t id = 0;
    Name* parent = nullptr;  // null for the root
    std::string text;
    // The last moment that had what is held. Between BeginAnew() and EndAnew()
    // also of what was.
    uint64_t moment = 0;
    // How many names have been dropped from this directory without its moment
    // having changed.
    uint32_t dropped = 0;
    bool is_directory = true;
    bool is_held = false;
    absl::btree_map<uint64_t, Name*> children;  // by number
  };
  // A name is found by its directory and its text.
  struct Place {
    const Name* parent;
    absl::string_view text;

    friend bool operator==(const Place&, const Place&) = default;
    template <typename H>
    friend H AbslHashValue(H h, const Place& place) {
      return H::combine(std::move(h), place.parent, place.text);
    }
  };
  static Place PlaceOf(const Place& place) { return place; }
  static Place PlaceOf(const Name* name) { return {name->parent, name->text}; }
  struct HashPlace {
    using is_transparent = void;
    template <typename T>
    size_t operator()(const T& of) const {
      return absl::HashOf(PlaceOf(of));
    }
  };
  struct SamePlace {
    using is_transparent = void;
    template <typename A, typename B>
    bool operator()(const A& a, const B& b) const {
      return PlaceOf(a) == PlaceOf(b);
    }
  };

  Name* FindName(const Name& parent, absl::string_view text) const;
  Name& MakeName(Name& parent, absl::string_view text);
  static std::string PathOf(const Name& name);
  // Makes it hold what the inode is.
  absl::Status Hold(Name& name, const TreeReader& tree, const InodeItem& inode,
                    uint64_t moment);
  void LetGo(Name& name);
  void GiveNumber(Name& name);
  // Removes the name if it neither holds nor has anything, and then its
  // directory if that has become such a one.
  void Prune(Name* name);
  // Lets go of what lies below the name and was last there before a moment, and
  // removes what then holds nothing.
  void DropBelow(Name& top, uint64_t before);
  // Removes everything below the name.
  void Clear(Name& name);
  absl::Status AddBelow(Name& top, const TreeReader& tree, uint64_t ino,
                        uint64_t moment);
  absl::StatusOr<std::optional<Found>> Show(const Name& name,
                                            const TreeReader& newest) const;

  const size_t most_bytes_;
  Overlay items_;
  const StoredTree nothing_;
  const LayeredTree layers_;
  const TreeReader reader_;  // of what is held, by the numbers of names
  absl::flat_hash_map<uint64_t, std::unique_ptr<Name>> names_;  // by number
  absl::flat_hash_set<Name*, HashPlace, SamePlace> places_;
  Name* root_ = nullptr;
  uint64_t next_id_ = kRoot;
};

}  // namespace varve::fs

#endif  // VARVE_FS_HISTORY_DELETED_TREE_H_
