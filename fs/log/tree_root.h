// TreeRoot: what a checkpoint says of the tree: where its root node is, which
// segments hold its nodes, which checkpoint came before, and where past moments
// lie that are kept.
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
#include "fs/format/timestamp.h"

namespace varve::fs {

// A segment: a record that holds nodes.
struct Segment {
  uint32_t number = 0;
  uint64_t nodes_offset = 0;  // of its first node, in the store
  uint32_t nodes_size = 0;    // bytes of nodes
  uint32_t live_bytes = 0;    // bytes of the nodes that the tree uses

  // Whether only the checkpoint before the last needs it.
  bool is_retired() const { return live_bytes == 0; }

  friend bool operator==(const Segment&, const Segment&) = default;
};

// Where a moment lies (moments.h): replaying the commits that end at or before
// `end` on the tree of the checkpoint gives it.
struct MomentLocation {
  uint64_t sequence = 0;    // of the last commit that it includes
  uint64_t checkpoint = 0;  // metadata offset; 0: the tree was empty
  uint64_t end = 0;

  friend bool operator==(const MomentLocation&,
                         const MomentLocation&) = default;
};

// Moments in the order of their numbers.
inline bool IsBefore(const MomentLocation& a, const MomentLocation& b) {
  return a.sequence < b.sequence;
}

struct TreeRoot {
  NodePointer root;
  // Metadata offset of the checkpoint before this one; 0 if there is none.
  // Replaying the commits since on top of it gives the same tree.
  uint64_t previous = 0;
  // Commits that the tree does not include lie at or after this offset. Some of
  // them may lie before the checkpoint, as they came while it was written.
  uint64_t log_begin = 0;
  // Data ids below this were drawn before the checkpoint.
  uint64_t first_data_id = 1;
  // The number of the next segment, above those of all segments of this tree.
  // The store may have segments with such numbers already, if a tree was given
  // up because of damage.
  uint32_t next_segment = 1;
  std::vector<Segment> segments;  // in the order of their numbers
  // The latest time of all commits that the tree includes.
  Timestamp time = Timestamp::FromPacked(0);
  // The snapshots that the tree has, in the order of their numbers.
  std::vector<MomentLocation> snapshots;

  friend bool operator==(const TreeRoot&, const TreeRoot&) = default;
};

std::string EncodeTreeRoot(const TreeRoot& root);
// UNIMPLEMENTED if an early version of Varve wrote it, which knew no moments.
// DATA_LOSS if it is malformed: for instance, if the segments are not in order,
// or one has more live bytes than bytes. Its offsets may lie beyond the end of
// a store whose entries another program has moved.
absl::StatusOr<TreeRoot> DecodeTreeRoot(absl::string_view bytes);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_TREE_ROOT_H_
