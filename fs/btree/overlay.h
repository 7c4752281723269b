// Overlay: items that have changed since a stored tree was written, in memory.
// LayeredTree: a stored tree with overlays on it, read as one tree.
//
// Thread rules: like a standard container. A cursor must not be used after one
// of its overlays has changed.

#ifndef VARVE_FS_BTREE_OVERLAY_H_
#define VARVE_FS_BTREE_OVERLAY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/btree/stored_tree.h"

namespace varve::fs {

class Overlay {
 public:
  struct Change {
    std::optional<std::string> value;  // nothing if the item is erased
    bool is_new = false;               // no layer below has an item of this key
  };
  using Map = absl::btree_map<std::string, Change>;

  // `key` has at most kMaxKeySize bytes, and `value` at most kMaxValueSize.
  void Put(absl::string_view key, absl::string_view value);
  // The same for a key that no layer below has. Erasing such a key leaves
  // nothing behind, so items that come and go between two checkpoints do not
  // slow down later searches.
  void PutNew(absl::string_view key, absl::string_view value);
  void Erase(absl::string_view key);
  // Adds the changes of a newer overlay to this one.
  void Absorb(Overlay&& newer);

  const Map& items() const { return items_; }
  bool empty() const { return items_.empty(); }
  // About how many bytes of memory the overlay takes.
  size_t memory() const;

 private:
  void Set(std::string key, Change change);

  Map items_;
  size_t bytes_ = 0;  // of keys and values
};

class LayeredTree {
 public:
  // The overlays, newest first, and the stored tree below them. All must
  // outlive this object, and the values that it returns.
  LayeredTree(absl::InlinedVector<const Overlay*, 3> overlays,
              const StoredTree* stored)
      : overlays_(std::move(overlays)), stored_(stored) {}

  // As StoredTree::Get(). A value is valid until the layer that it comes from
  // changes or is destroyed.
  absl::StatusOr<std::optional<absl::string_view>> Get(
      absl::string_view key) const;

  // The last item whose key is in [low, key]; nothing if there is none.
  // DATA_LOSS as for Get().
  struct Found {
    std::string key;
    absl::string_view value;
  };
  absl::StatusOr<std::optional<Found>> FindAtOrBefore(
      absl::string_view key, absl::string_view low) const;

  // The layers: the overlays, newest first, and the stored tree.
  const absl::InlinedVector<const Overlay*, 3>& overlays() const {
    return overlays_;
  }
  const StoredTree& stored() const { return *stored_; }

 private:
  friend class LayeredCursor;
  absl::InlinedVector<const Overlay*, 3> overlays_;
  const StoredTree* stored_;
};

// Walks over the items of a layered tree in the order of their keys.
class LayeredCursor {
 public:
  // A cursor over the items whose keys begin with `prefix`. It never visits
  // others, not even to skip erased ones, of which there may be many. At first
  // it stands nowhere. `tree` must outlive it.
  explicit LayeredCursor(const LayeredTree* tree, absl::string_view prefix = {})
      : tree_(tree), prefix_(prefix), stored_(tree->stored_) {}

  // Moves to the first item whose key is not below `key`. `key` must begin with
  // the prefix or be below it. DATA_LOSS as for Get().
  absl::Status Seek(absl::string_view key);
  // Moves to the next item. The cursor must stand at one.
  absl::Status Next();

  // Whether the cursor stands at an item, and that item, valid until the cursor
  // moves.
  bool valid() const { return valid_; }
  absl::string_view key() const { return key_; }
  absl::string_view value() const { return value_; }

 private:
  // Moves to the smallest key that the layers stand at, skipping erased ones.
  absl::Status Settle();
  absl::Status PassOver(absl::string_view key);

  const LayeredTree* const tree_;
  const std::string prefix_;
  absl::InlinedVector<Overlay::Map::const_iterator, 3> at_;
  TreeCursor stored_;
  bool valid_ = false;
  std::string key_;
  absl::string_view value_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_BTREE_OVERLAY_H_
