// TreeRoot: what a checkpoint says of the tree that lies in the store: where
// its root is, which segments its nodes lie in, and which checkpoint came
// before.
//
// Thread-safe: there is no state.

#ifndef VARVE_FS_LOG_TREE_ROOT_H_
#define VARVE_FS_LOG_TREE_ROOT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/btree/node.h"

namespace varve::fs {

// A record of nodes.
struct Segment {
  uint32_t number = 0;
  uint64_t nodes_offset = 0;  // of its first node in the store
  uint32_t nodes_size = 0;    // bytes of nodes
  uint32_t live_bytes = 0;    // bytes of those that are in the tree

  // Whether only the checkpoint before the last needs it.
  bool is_retired() const { return live_bytes == 0; }

  friend bool operator==(const Segment&, const Segment&) = default;
};

struct TreeRoot {
  NodePointer root;
  // Metadata offset of the checkpoint before this one, from which the same tree
  // can be had by replaying commits; 0 if there is none.
  uint64_t previous = 0;
  // Commits that are not in the tree lie at or after this offset, though some
  // of them before the checkpoint: they came while it was written.
  uint64_t log_begin = 0;
  // Ids of data below this were drawn before.
  uint64_t first_data_id = 1;
  // The next number: above those of all segments of this tree. There may be
  // entries of such numbers, of a tree that was given up because of damage.
  uint32_t next_segment = 1;
  std::vector<Segment> segments;  // by number

  friend bool operator==(const TreeRoot&, const TreeRoot&) = default;
};

std::string EncodeTreeRoot(const TreeRoot& root);
// DATA_LOSS if it is malformed: among other things if the segments are not in
// order, or if one has more bytes that are live than it has. Its offsets may be
// beyond the end of a store whose entries another program has moved.
absl::StatusOr<TreeRoot> DecodeTreeRoot(absl::string_view bytes);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_TREE_ROOT_H_
