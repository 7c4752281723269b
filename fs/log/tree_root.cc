#include "fs/log/tree_root.h"

#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/format/change.h"
#include "fs/format/wire.h"

namespace varve::fs {
namespace {

constexpr uint64_t kMaxOffset = uint64_t{1} << 62;

void DecodeSnapshots(WireReader& in, std::vector<MomentLocation>& snapshots) {
  const uint64_t count = in.Varint();
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    MomentLocation place;
    place.sequence = in.Varint();
    place.checkpoint = in.Varint();
    place.end = in.Varint();
    const uint64_t before = snapshots.empty() ? 0 : snapshots.back().sequence;
    if (place.sequence <= before || place.checkpoint > kMaxOffset ||
        place.end > kMaxOffset) {
      in.Fail();
    }
    snapshots.push_back(place);
  }
}

}  // namespace

std::string EncodeTreeRoot(const TreeRoot& root) {
  std::string bytes;
  std::string pointer;
  EncodePointer(root.root, &pointer);
  WireWriter out(&bytes);
  out.SizedBytes(pointer);
  out.Varint(root.previous);
  out.Varint(root.log_begin);
  out.Varint(root.first_data_id);
  out.Varint(root.next_segment);
  out.Varint(root.segments.size());
  for (const Segment& segment : root.segments) {
    out.Varint(segment.number);
    out.Varint(segment.nodes_offset);
    out.Varint(segment.nodes_size);
    out.Varint(segment.live_bytes);
  }
  out.U64(root.time.packed());
  out.Varint(root.snapshots.size());
  for (const MomentLocation& place : root.snapshots) {
    out.Varint(place.sequence);
    out.Varint(place.checkpoint);
    out.Varint(place.end);
  }
  return bytes;
}

absl::StatusOr<TreeRoot> DecodeTreeRoot(absl::string_view bytes) {
  TreeRoot root;
  WireReader in(bytes);
  VARVE_ASSIGN_OR_RETURN(root.root, DecodePointer(in.SizedBytes()));
  root.previous = in.Varint();
  root.log_begin = in.Varint();
  root.first_data_id = in.Varint();
  root.next_segment = in.Varint32();
  const uint64_t count = in.Varint();
  uint32_t before = 0;  // no segment has this number
  for (uint64_t i = 0; i < count && in.ok(); ++i) {
    Segment segment;
    segment.number = in.Varint32();
    segment.nodes_offset = in.Varint();
    segment.nodes_size = in.Varint32();
    segment.live_bytes = in.Varint32();
    const bool in_order =
        segment.number > before && segment.number < root.next_segment;
    const bool is_possible = segment.nodes_offset <= kMaxOffset &&
                             segment.live_bytes <= segment.nodes_size;
    if (!in_order || !is_possible) in.Fail();
    before = segment.number;
    root.segments.push_back(segment);
  }
  if (in.ok() && in.at_end()) {
    return EarlyVersionError();
  }
  root.time = Timestamp::FromPacked(in.U64());
  DecodeSnapshots(in, root.snapshots);
  if (!in.ok() || !in.at_end() || root.previous > kMaxOffset ||
      root.log_begin > kMaxOffset || root.first_data_id > kMaxId) {
    return DamageError("the root of the tree is malformed");
  }
  return root;
}

}  // namespace varve::fs
