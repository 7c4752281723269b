#include "fs/log/root_reader.h"

#include <cstddef>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"
#include "engine/base/status.h"
#include "engine/entry/layout.h"
#include "fs/base/error.h"
#include "fs/format/commit_record.h"
#include "fs/log/segment_parity.h"

namespace varve::fs {

absl::StatusOr<TreeRoot> ReadRoot(const EntryView& checkpoint) {
  VARVE_ASSIGN_OR_RETURN(
      const CommitReader reader,
      CommitReader::Open(checkpoint.payload_text(),
                         checkpoint.location().payload_offset,
                         checkpoint.key_hash(), checkpoint.checksum()));
  if (!reader.header().has_root()) {
    return EarlyVersionError();
  }
  return DecodeTreeRoot(reader.body());
}

void FindSegments(const Store& store, const Identity& identity,
                  TreeRoot& root) {
  for (Segment& segment : root.segments) {
    const auto entry =
        store.Read(EntryKey::OfHash(identity.SegmentKeyHash(segment.number)));
    if (!entry.ok()) continue;  // reading a node of it reports that
    const absl::string_view payload = entry->payload_text();
    const auto reader =
        CommitReader::Open(payload, entry->location().payload_offset,
                           entry->key_hash(), entry->checksum());
    const size_t before = BytesBeforeNodes(segment.nodes_size);
    if (!reader.ok() ||
        reader->body().size() != before + segment.nodes_size +
                                     BytesBehindNodes(segment.nodes_size)) {
      continue;
    }
    segment.nodes_offset =
        entry->location().payload_offset + before +
        static_cast<uint64_t>(reader->body().data() - payload.data());
  }
}

std::vector<Segment> SegmentsOnlyBefore(const Store& store,
                                        const Identity& identity,
                                        const TreeRoot& root) {
  std::vector<Segment> retired;
  const auto entry = store.EntryEndingAt(root.previous + kMetadataSize);
  if (!entry.ok()) return retired;
  const auto header = identity.AsCommit(*entry);
  if (!header.has_value() || !header->is_checkpoint()) return retired;
  const auto before = ReadRoot(*entry);
  if (!before.ok()) return retired;
  absl::flat_hash_set<uint32_t> now;
  for (const Segment& segment : root.segments) now.insert(segment.number);
  for (const Segment& segment : before->segments) {
    if (!now.contains(segment.number)) retired.push_back(segment);
  }
  return retired;
}

}  // namespace varve::fs
