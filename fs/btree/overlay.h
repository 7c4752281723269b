// Overlay: items that have changed since a stored tree was written, in memory.
// LayeredTree: overlays over a stored tree, as the one tree that they make.
//
// Thread rules: like a standard container. Whoever changes an overlay must be
// alone; nobody may use a cursor over it meanwhile, or afterwards.

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
    std::optional<std::string> value;  // none: the item is erased
    bool is_new = false;               // no layer below has an item of this key
  };
  using Map = absl::btree_map<std::string, Change>;

  // `key` has at most kMaxKeySize bytes, and `value` at most kMaxValueSize.
  void Put(absl::string_view key, absl::string_view value);
  // The same for a key of which no layer below has an item: when it is erased,
  // nothing is left of it. So what comes and goes between two checkpoints costs
  // nothing to those who look for other items.
  void PutNew(absl::string_view key, absl::string_view value);
  void Erase(absl::string_view key);
  // Lays another overlay over this one.
  void Absorb(Overlay&& newer);

  const Map& items() const { return items_; }
  bool empty() const { return items_.empty(); }
  // Bytes of memory that the overlay takes, about.
  size_t memory() const;

 private:
  void Set(std::string key, Change change);

  Map items_;
  size_t bytes_ = 0;  // of keys and values
};

class LayeredTree {
 public:
  // The overlays, the newest first, and the tree below them. All must outlive
  // this, and the values that come from it.
  LayeredTree(absl::InlinedVector<const Overlay*, 3> overlays,
              const StoredTree* stored)
      : overlays_(std::move(overlays)), stored_(stored) {}

  // As StoredTree::Get(). A value lives as long as the layer it comes from, and
  // until that changes.
  absl::StatusOr<std::optional<absl::string_view>> Get(
      absl::string_view key) const;

  // The last item whose key is not above `key`, and not below `low`; nothing
  // if there is none. DATA_LOSS as for Get().
  struct Found {
    std::string key;
    absl::string_view value;
  };
  absl::StatusOr<std::optional<Found>> FindAtOrBefore(
      absl::string_view key, absl::string_view low) const;

 private:
  friend class LayeredCursor;
  absl::InlinedVector<const Overlay*, 3> overlays_;
  const StoredTree* stored_;
};

// Walks over the items of a layered tree in the order of their keys.
class LayeredCursor {
 public:
  // Over the items whose keys begin with `prefix`: others are not even passed
  // over, of which there may be many that are erased. Stands nowhere at first.
  // `tree` must outlive it.
  explicit LayeredCursor(const LayeredTree* tree, absl::string_view prefix = {})
      : tree_(tree), prefix_(prefix), stored_(tree->stored_) {}

  // To the first item whose key is not below `key`, which begins with the
  // prefix or is below it; DATA_LOSS as for Get().
  absl::Status Seek(absl::string_view key);
  // To the next item. The cursor must stand at one.
  absl::Status Next();

  // Whether it stands at an item, and what that is. Valid until the cursor
  // moves.
  bool valid() const { return valid_; }
  absl::string_view key() const { return key_; }
  absl::string_view value() const { return value_; }

 private:
  // Goes on to the first key, of those that the layers stand at, that is not
  // erased.
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
