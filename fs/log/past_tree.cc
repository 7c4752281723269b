#include "fs/log/past_tree.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/format/commit_record.h"
#include "fs/log/frozen_tree.h"
#include "fs/tree/path_removal.h"

namespace varve::fs {
namespace {

absl::Status ApplyCommit(const EntryView& record, Timestamp time,
                         LiveTree& tree) {
  VARVE_ASSIGN_OR_RETURN(
      CommitReader reader,
      CommitReader::Open(record.payload_text(),
                         record.location().payload_offset, record.key_hash(),
                         record.checksum()));
  TreeEditor editor(tree.Edit());
  Change change;
  while (true) {
    VARVE_ASSIGN_OR_RETURN(const bool more, reader.Next(change));
    if (!more) break;
    VARVE_RETURN_IF_ERROR(editor.Apply(change, time));
  }
  tree.Publish(editor);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<PastTree>> PastTree::Open(
    Store* store, const Identity& identity, const MomentLocation& place,
    absl::Span<const PurgedPath> purged) {
  auto past = absl::WrapUnique(new PastTree());
  std::optional<TreeRoot> root;
  if (place.checkpoint != 0) {
    VARVE_ASSIGN_OR_RETURN(past->checkpoint_,
                           ReadCheckpoint(*store, identity, place.checkpoint));
    root = past->checkpoint_->root;
    past->time_ = root->time;
  }
  past->sequence_ = place.sequence;
  VARVE_ASSIGN_OR_RETURN(past->tree_,
                         LogTree::Open(store, root, identity.NameSeed()));
  VARVE_RETURN_IF_ERROR(past->Replay(*store, identity, place));
  VARVE_RETURN_IF_ERROR(past->Purge(purged));
  return past;
}

absl::Status PastTree::Purge(absl::Span<const PurgedPath> purged) {
  for (const PurgedPath& path : purged) {
    if (sequence_ >= path.before) continue;
    TreeEditor editor(tree_->live->Edit());
    VARVE_RETURN_IF_ERROR(Annotate(
        RemovePath(path.path, editor),
        absl::StrCat("taking what was purged out of moment ", sequence_)));
    tree_->live->Publish(editor);
  }
  return absl::OkStatus();
}

absl::Status PastTree::Replay(const Store& store, const Identity& identity,
                              const MomentLocation& place) {
  uint64_t last = 0;
  uint64_t begin = 0;
  if (checkpoint_.has_value()) {
    last = checkpoint_->header.sequence;
    begin = checkpoint_->root.log_begin;
  }
  struct Record {
    CommitHeader header;
    uint64_t end;
  };
  std::vector<Record> records;
  if (last < place.sequence) {
    VARVE_RETURN_IF_ERROR(
        WalkCommits(store, identity, begin, place.end,
                    [&](const CommitHeader& header,
                        const EntryView& record) -> absl::StatusOr<bool> {
                      records.push_back({header, record.location().end()});
                      return header.sequence != last + 1;
                    }));
  }
  std::reverse(records.begin(), records.end());
  for (const Record& record : records) {
    if (record.header.sequence != last + 1) {
      return DamageError(
          absl::StrCat("commit ", last + 1, " of a past moment is not there"));
    }
    ++last;
    VARVE_ASSIGN_OR_RETURN(const EntryView entry,
                           store.EntryEndingAt(record.end));
    VARVE_RETURN_IF_ERROR(store.Verify(entry.location()));
    VARVE_RETURN_IF_ERROR(Apply(entry, record.header));
  }
  sequence_ = last;
  if (last == place.sequence) return absl::OkStatus();
  return DamageError(
      absl::StrCat("commit ", last + 1, " of a past moment is not there"));
}

absl::Status PastTree::Apply(const EntryView& record,
                             const CommitHeader& header) {
  VARVE_RETURN_IF_ERROR(
      Annotate(ApplyCommit(record, header.time, *tree_->live),
               absl::StrCat("commit ", header.sequence, " of a past moment")));
  sequence_ = header.sequence;
  time_ = std::max(time_, header.time);
  return absl::OkStatus();
}

absl::Status PastTree::ForEachExtent(
    absl::FunctionRef<bool(const Extent&)> visit) const {
  return VisitExtents(reader().items(), visit);
}

}  // namespace varve::fs
