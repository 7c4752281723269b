// The changes of a TreeEditor that concern moments and not the tree.

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/tree/tree_editor.h"

namespace varve::fs {

absl::Status TreeEditor::Do(const PutSnapshot& change,
                            std::optional<Timestamp>) {
  VARVE_ASSIGN_OR_RETURN(const auto taken, reader_.FindSnapshot(change.name));
  if (taken.has_value()) {
    return DamageError(absl::StrCat("a change makes the snapshot ", change.name,
                                    ", which there is"));
  }
  staged_.Put(SnapshotKey(change.name),
              EncodeSnapshot({.name = change.name,
                              .sequence = change.sequence,
                              .time = change.time,
                              .flags = change.flags}));
  return absl::OkStatus();
}

absl::Status TreeEditor::Do(const DropSnapshot& change,
                            std::optional<Timestamp>) {
  VARVE_ASSIGN_OR_RETURN(const auto found, reader_.FindSnapshot(change.name));
  if (!found.has_value()) {
    return DamageError(absl::StrCat("a change drops the snapshot ", change.name,
                                    ", which does not exist"));
  }
  staged_.Erase(SnapshotKey(change.name));
  return absl::OkStatus();
}

absl::Status TreeEditor::Do(const ForgetBefore& change,
                            std::optional<Timestamp>) {
  VARVE_ASSIGN_OR_RETURN(const uint64_t before, reader_.KeptFrom());
  staged_.Put(KeptFromKey(), EncodeKeptFrom(std::max(before, change.sequence)));
  return absl::OkStatus();
}

absl::Status TreeEditor::Do(const SetPolicy& change, std::optional<Timestamp>) {
  staged_.Put(PolicyKey(), change.policy);
  return absl::OkStatus();
}

absl::Status TreeEditor::Do(const NoteAuthor&, std::optional<Timestamp>) {
  return absl::OkStatus();
}

absl::Status TreeEditor::Do(const PurgePath& change, std::optional<Timestamp>) {
  staged_.Put(PurgeKey(change.before, change.path), change.path);
  return absl::OkStatus();
}

}  // namespace varve::fs
