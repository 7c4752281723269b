#include "fs/history/deleted_names.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/tree/tree_difference.h"

namespace varve::fs {
namespace {

absl::Status MissingCommit(uint64_t sequence) {
  return DamageError(
      absl::StrCat("commit ", sequence, " of the log is not there"));
}

}  // namespace

bool DeletedNames::IsKept() const {
  return is_complete_ && basis_.has_value() &&
         basis_->relocations == core_.relocations &&
         moment_changes_ == core_.moment_changes.load();
}

absl::StatusOr<DeletedNames::Present> DeletedNames::ReadPresent() const {
  // Read first: what is forgotten from here on is looked for at the next use.
  Present present = {.moment_changes = core_.moment_changes.load()};
  absl::MutexLock commit_lock(&core_.commit_mu);
  present.checkpoint = core_.checkpoint;
  present.tail = core_.store->tail();
  present.last_sequence = core_.last_sequence;
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(present.kept_from, core_.reader().KeptFrom());
  VARVE_ASSIGN_OR_RETURN(present.purged, core_.reader().PurgedPaths());
  for (const MomentLocation& place : core_.snapshots) {
    if (place.sequence < present.kept_from) present.snapshots.push_back(place);
  }
  return present;
}

absl::StatusOr<bool> DeletedNames::Update() {
  if (IsKept() && end_ == core_.store->tail()) return true;
  VARVE_ASSIGN_OR_RETURN(const Present present, ReadPresent());
  absl::StatusOr<bool> is_all = UpdateFrom(present);
  if (!is_all.ok()) basis_.reset();
  if (is_all.ok() && *is_all) moment_changes_ = present.moment_changes;
  return is_all;
}

absl::StatusOr<bool> DeletedNames::UpdateFrom(const Present& present) {
  Basis basis = {.relocations = core_.relocations,
                 .kept_from = present.kept_from,
                 .snapshots = present.snapshots,
                 .purged = present.purged};
  if (basis_ != basis) {
    VARVE_RETURN_IF_ERROR(BeginAnew(present, std::move(basis)));
  }
  if (!places_.empty()) {
    VARVE_RETURN_IF_ERROR(TakeMoment());
  } else {
    if (commits_.empty()) VARVE_RETURN_IF_ERROR(FindCommits(present));
    VARVE_RETURN_IF_ERROR(TakeCommits());
  }
  tree_.Trim();
  if (!places_.empty() || !commits_.empty() || end_ < present.tail) {
    return false;
  }
  if (at_->sequence() != present.last_sequence) {
    return MissingCommit(at_->sequence() + 1);
  }
  VARVE_RETURN_IF_ERROR(at_->tree()->segments.CheckLength());
  for (const PurgedPath& path : present.purged) tree_.Purge(path);
  if (!is_complete_) {
    tree_.EndAnew();
    is_complete_ = true;
  }
  return true;
}

absl::Status DeletedNames::BeginAnew(const Present& present, Basis basis) {
  tree_.BeginAnew();
  is_complete_ = false;
  at_.reset();
  end_ = commits_end_ = newest_checkpoint_ = 0;
  commits_.clear();
  checkpoints_.clear();
  places_ = present.snapshots;
  MomentLocation oldest;
  if (present.kept_from > 0) {
    VARVE_ASSIGN_OR_RETURN(oldest,
                           MomentFinder(core_.store.get(), &core_.identity,
                                        present.checkpoint, present.tail)
                               .Find(present.kept_from));
  }
  places_.push_back(oldest);
  std::reverse(places_.begin(), places_.end());
  basis_ = std::move(basis);
  return absl::OkStatus();
}

absl::Status DeletedNames::TakeMoment() {
  const MomentLocation place = places_.back();
  places_.pop_back();
  // The last one is the window's first, to which commits are applied.
  absl::Span<const PurgedPath> purged = basis_->purged;
  if (places_.empty()) purged = {};
  VARVE_ASSIGN_OR_RETURN(
      std::unique_ptr<PastTree> next,
      PastTree::Open(core_.store.get(), core_.identity, place, purged));
  if (at_ != nullptr) VARVE_RETURN_IF_ERROR(Compare(*at_, *next));
  at_ = std::move(next);
  end_ = place.end;
  return absl::OkStatus();
}

absl::Status DeletedNames::Compare(const PastTree& before,
                                   const PastTree& after) {
  using Kind = PathDifference::Kind;
  std::vector<std::string> gone;
  const absl::Status compared = DiffPaths(
      before.reader(), after.reader(), {.sharing = NodeSharing::kOneStore},
      [&](const PathDifference& line) -> absl::StatusOr<bool> {
        const bool is_renamed = line.kind == Kind::kRenamed;
        if (line.kind == Kind::kRemoved || is_renamed) {
          // What was removed with a directory has lines of its own; what went
          // elsewhere with one has none.
          VARVE_RETURN_IF_ERROR(tree_.Add(line.old_path, before.reader(),
                                          *line.before, before.sequence(),
                                          /*deep=*/is_renamed));
          gone.emplace_back(line.old_path);
        }
        return true;
      });
  VARVE_RETURN_IF_ERROR(compared);
  // What was only replaced was never gone.
  for (const std::string& path : gone) {
    VARVE_RETURN_IF_ERROR(RemoveIfThere(path, after.reader()));
  }
  return absl::OkStatus();
}

absl::Status DeletedNames::FindCommits(const Present& present) {
  if (checkpoints_.empty() && present.checkpoint != newest_checkpoint_) {
    for (uint64_t at = present.checkpoint; at != 0;) {
      VARVE_ASSIGN_OR_RETURN(const Checkpoint found,
                             ReadCheckpoint(*core_.store, core_.identity, at));
      const MomentLocation place = {.sequence = found.header.sequence,
                                    .checkpoint = at,
                                    .end = found.root.log_begin};
      if (place.end <= end_) {
        // Unless there are others, it is the newest, and came after what it
        // stands for was taken in.
        if (checkpoints_.empty() && place.sequence <= at_->sequence()) {
          VARVE_RETURN_IF_ERROR(Rebase(
              {.sequence = at_->sequence(), .checkpoint = at, .end = end_}));
        }
        break;
      }
      checkpoints_.push_back(place);
      at = found.root.previous;
    }
    newest_checkpoint_ = present.checkpoint;
  }
  commits_end_ = checkpoints_.empty() ? present.tail : checkpoints_.back().end;
  return WalkCommits(
      *core_.store, core_.identity, end_, commits_end_,
      [this, &present](const CommitHeader& header,
                       const EntryView& record) -> absl::StatusOr<bool> {
        // Of a mount of the past, the log goes on behind it.
        if (header.sequence <= present.last_sequence) {
          commits_.push_back({header, record.location().end()});
        }
        return true;
      });
}

absl::Status DeletedNames::TakeCommits() {
  constexpr size_t kMostCommits = 5000;
  for (size_t i = 0; i < kMostCommits && !commits_.empty(); ++i) {
    const Record record = commits_.back();
    commits_.pop_back();
    VARVE_RETURN_IF_ERROR(TakeCommit(record));
    end_ = record.end;
  }
  if (!commits_.empty()) return absl::OkStatus();
  end_ = commits_end_;
  if (checkpoints_.empty() || checkpoints_.back().end > end_) {
    return absl::OkStatus();
  }
  const MomentLocation place = checkpoints_.back();
  checkpoints_.pop_back();
  return Rebase(place);
}

absl::Status DeletedNames::Rebase(const MomentLocation& place) {
  if (place.sequence != at_->sequence()) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(
      at_, PastTree::Open(core_.store.get(), core_.identity, place, {}));
  return absl::OkStatus();
}

absl::StatusOr<std::vector<DropName>> DeletedNames::ReadDropped(
    const EntryView& record) {
  VARVE_ASSIGN_OR_RETURN(
      CommitReader reader,
      CommitReader::Open(record.payload_text(),
                         record.location().payload_offset, record.key_hash(),
                         record.checksum()));
  std::vector<DropName> dropped;
  while (true) {
    VARVE_ASSIGN_OR_RETURN(const std::optional<Change> change, reader.Next());
    if (!change.has_value()) return dropped;
    if (const auto* drop = std::get_if<DropName>(&*change)) {
      dropped.push_back(*drop);
    }
  }
}

absl::StatusOr<std::optional<std::string>> DeletedNames::AddDropped(
    const DropName& drop) {
  const TreeReader& before = at_->reader();
  VARVE_ASSIGN_OR_RETURN(const auto directory, before.FindInode(drop.parent));
  if (!directory.has_value()) return std::optional<std::string>();
  VARVE_ASSIGN_OR_RETURN(const auto name,
                         before.FindName(drop.parent, drop.name));
  // One that the same commit has put never was.
  if (!name.has_value()) return std::optional<std::string>();
  VARVE_ASSIGN_OR_RETURN(const InodeItem inode, before.GetInode(name->ino));
  VARVE_ASSIGN_OR_RETURN(std::string path,
                         before.PathIn(*directory, drop.name));
  VARVE_RETURN_IF_ERROR(
      tree_.Add(path, before, inode, at_->sequence(), /*deep=*/true));
  return std::optional(std::move(path));
}

absl::Status DeletedNames::TakeCommit(const Record& record) {
  if (record.header.sequence <= at_->sequence()) return absl::OkStatus();
  if (record.header.sequence != at_->sequence() + 1) {
    return MissingCommit(at_->sequence() + 1);
  }
  VARVE_ASSIGN_OR_RETURN(const EntryView entry,
                         core_.store->EntryEndingAt(record.end));
  VARVE_RETURN_IF_ERROR(core_.store->Verify(entry.location()));
  VARVE_ASSIGN_OR_RETURN(const auto dropped, ReadDropped(entry));
  std::vector<std::string> paths;
  for (const DropName& drop : dropped) {
    VARVE_ASSIGN_OR_RETURN(auto path, AddDropped(drop));
    if (path.has_value()) paths.push_back(*std::move(path));
  }
  VARVE_RETURN_IF_ERROR(at_->Apply(entry, record.header));
  // What it has only replaced was never gone.
  for (const std::string& path : paths) {
    VARVE_RETURN_IF_ERROR(RemoveIfThere(path, at_->reader()));
  }
  return absl::OkStatus();
}

absl::Status DeletedNames::RemoveIfThere(absl::string_view path,
                                         const TreeReader& tree) {
  VARVE_ASSIGN_OR_RETURN(const auto inode, tree.Resolve(path));
  return inode.has_value() ? tree_.Remove(path, tree, *inode)
                           : absl::OkStatus();
}

}  // namespace varve::fs
