#include "fs/history/commit_log.h"

#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/format/commit_record.h"

namespace varve::fs {
namespace {

using Kind = LoggedOperation::Kind;

std::string Joined(absl::string_view directory, absl::string_view name) {
  return absl::StrCat(directory, directory.empty() ? "" : "/", name);
}

// Tells what a commit did, from its changes and the trees before and after it.
class Describer {
 public:
  explicit Describer(PastTree& tree) : tree_(tree) {}

  absl::StatusOr<LoggedCommit> Describe(const CommitHeader& header,
                                        const EntryView& record);

 private:
  void Before(const Change& change);
  void After(const Change& change, LoggedCommit& commit);
  std::string PathOf(uint64_t ino) const;
  std::string PathIn(uint64_t directory, absl::string_view name) const {
    return Joined(PathOf(directory), name);
  }
  void Add(Kind kind, std::string path, uint64_t ino, LoggedCommit& commit,
           std::string old_path = "") const;
  // Adds it unless the commit says more about the inode already.
  void AddOnce(Kind kind, uint64_t ino, LoggedCommit& commit);

  struct Lost {
    std::string path;
    uint64_t ino = 0;
    bool is_directory = false;
    bool is_renamed = false;
  };

  PastTree& tree_;
  std::vector<Lost> lost_;  // names that the commit drops
  // Their places in `lost_`, by inode, the next one last.
  absl::flat_hash_map<uint64_t, std::vector<size_t>> lost_of_;
  // Inodes that it changes or names, and that were there before.
  absl::flat_hash_set<uint64_t> existing_;
  // Inodes of which something has been said.
  absl::flat_hash_set<uint64_t> told_;
};

// A path is for people to read. Where the tree is damaged, there is none.
std::string Describer::PathOf(uint64_t ino) const {
  const auto inode = tree_.reader().FindInode(ino);
  if (!inode.ok() || !inode->has_value()) return "?";
  const auto path = tree_.reader().PathOf(**inode);
  return path.ok() ? *path : "?";
}

void Describer::Before(const Change& change) {
  const TreeReader& reader = tree_.reader();
  const auto note = [&](uint64_t ino) {
    const auto inode = reader.FindInode(ino);
    if (inode.ok() && inode->has_value()) existing_.insert(ino);
  };
  if (const auto* put = std::get_if<PutInode>(&change)) {
    note(put->ino);
  } else if (const auto* named = std::get_if<PutName>(&change)) {
    note(named->ino);
  } else if (const auto* drop = std::get_if<DropName>(&change)) {
    Lost lost = {.path = PathIn(drop->parent, drop->name)};
    const auto name = reader.FindName(drop->parent, drop->name);
    if (name.ok() && name->has_value()) {
      lost.ino = (*name)->ino;
      lost.is_directory = S_ISDIR((*name)->mode_type());
    }
    lost_.push_back(std::move(lost));
  }
}

void Describer::Add(Kind kind, std::string path, uint64_t ino,
                    LoggedCommit& commit, std::string old_path) const {
  LoggedOperation operation = {.kind = kind,
                               .path = std::move(path),
                               .old_path = std::move(old_path),
                               .ino = ino};
  const auto inode = tree_.reader().FindInode(ino);
  if (inode.ok() && inode->has_value()) {
    operation.size = (*inode)->attributes.size;
    operation.is_directory = (*inode)->is_directory();
  }
  commit.operations.push_back(std::move(operation));
}

void Describer::AddOnce(Kind kind, uint64_t ino, LoggedCommit& commit) {
  if (!told_.insert(ino).second) return;
  Add(kind, PathOf(ino), ino, commit);
}

void Describer::After(const Change& change, LoggedCommit& commit) {
  if (const auto* put = std::get_if<PutName>(&change)) {
    std::string path = PathIn(put->parent, put->name);
    const bool is_told = !told_.insert(put->ino).second;
    if (const auto of = lost_of_.find(put->ino);
        of != lost_of_.end() && !of->second.empty()) {
      Lost& from = lost_[of->second.back()];
      of->second.pop_back();
      from.is_renamed = true;
      return Add(Kind::kRename, std::move(path), put->ino, commit, from.path);
    }
    Add(is_told || existing_.contains(put->ino) ? Kind::kLink : Kind::kCreate,
        std::move(path), put->ino, commit);
  } else if (const auto* author = std::get_if<NoteAuthor>(&change)) {
    commit.uid = author->uid;
    commit.pid = author->pid;
    commit.process = std::string(author->process);
  } else if (const auto* snapshot = std::get_if<PutSnapshot>(&change)) {
    Add(Kind::kSnapshot, std::string(snapshot->name), 0, commit);
  } else if (const auto* dropped = std::get_if<DropSnapshot>(&change)) {
    Add(Kind::kDropSnapshot, std::string(dropped->name), 0, commit);
  } else if (const auto* policy = std::get_if<SetPolicy>(&change)) {
    Add(Kind::kPolicy, std::string(policy->policy), 0, commit);
  } else if (const auto* forget = std::get_if<ForgetBefore>(&change)) {
    Add(Kind::kForget, absl::StrCat("seq:", forget->sequence), 0, commit);
  } else if (const auto* purge = std::get_if<PurgePath>(&change)) {
    Add(Kind::kPurge, std::string(purge->path), 0, commit);
  }
}

absl::StatusOr<LoggedCommit> Describer::Describe(const CommitHeader& header,
                                                 const EntryView& record) {
  LoggedCommit commit = {.sequence = header.sequence, .time = header.time};
  VARVE_ASSIGN_OR_RETURN(
      CommitReader reader,
      CommitReader::Open(record.payload_text(),
                         record.location().payload_offset, record.key_hash(),
                         record.checksum()));
  std::vector<Change> changes;
  while (true) {
    VARVE_ASSIGN_OR_RETURN(std::optional<Change> change, reader.Next());
    if (!change.has_value()) break;
    Before(*change);
    changes.push_back(*std::move(change));
  }
  for (size_t i = lost_.size(); i-- > 0;) lost_of_[lost_[i].ino].push_back(i);
  VARVE_RETURN_IF_ERROR(tree_.Apply(record, header));
  for (const Change& change : changes) After(change, commit);
  for (const Lost& lost : lost_) {
    if (lost.is_renamed) continue;
    commit.operations.push_back({.kind = Kind::kDelete,
                                 .path = lost.path,
                                 .ino = lost.ino,
                                 .is_directory = lost.is_directory});
    told_.insert(lost.ino);
  }
  for (const Change& change : changes) {
    if (const auto* set = std::get_if<SetContent>(&change)) {
      AddOnce(Kind::kWrite, set->ino, commit);
    } else if (const auto* patch = std::get_if<PatchContent>(&change)) {
      AddOnce(Kind::kWrite, patch->ino, commit);
    }
  }
  for (const Change& change : changes) {
    if (const auto* xattr = std::get_if<SetXattr>(&change)) {
      AddOnce(Kind::kXattr, xattr->ino, commit);
    } else if (const auto* drop = std::get_if<DropXattr>(&change)) {
      AddOnce(Kind::kXattr, drop->ino, commit);
    }
  }
  // All the others change attributes, too.
  for (const Change& change : changes) {
    if (const auto* put = std::get_if<PutInode>(&change)) {
      AddOnce(Kind::kAttributes, put->ino, commit);
    }
  }
  return commit;
}

}  // namespace

absl::string_view NameOf(LoggedOperation::Kind kind) {
  switch (kind) {
    case Kind::kCreate:
      return "create";
    case Kind::kWrite:
      return "write";
    case Kind::kDelete:
      return "delete";
    case Kind::kRename:
      return "rename";
    case Kind::kLink:
      return "link";
    case Kind::kAttributes:
      return "attributes";
    case Kind::kXattr:
      return "xattr";
    case Kind::kSnapshot:
      return "snapshot";
    case Kind::kDropSnapshot:
      return "drop-snapshot";
    case Kind::kForget:
      return "forget";
    case Kind::kPolicy:
      return "policy";
    case Kind::kPurge:
      return "purge";
  }
  return "";
}

absl::StatusOr<CommitLog> CommitLog::Of(Core& core, uint64_t from) {
  absl::MutexLock commit_lock(&core.commit_mu);
  absl::ReaderMutexLock lock(&core.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const uint64_t kept_from, core.reader().KeptFrom());
  return CommitLog(core.store.get(), &core.identity, core.checkpoint,
                   core.store->tail(), kept_from, from);
}

absl::StatusOr<CommitLog::Interval> CommitLog::FindInterval(
    uint64_t checkpoint, uint64_t end) const {
  Interval interval = {.end = end};
  if (checkpoint == 0) return interval;
  VARVE_ASSIGN_OR_RETURN(const Checkpoint found,
                         ReadCheckpoint(*store_, *identity_, checkpoint));
  interval.begin = found.root.log_begin;
  interval.base = {.sequence = found.header.sequence,
                   .checkpoint = checkpoint,
                   .end = interval.begin};
  interval.previous = found.root.previous;
  return interval;
}

absl::StatusOr<std::vector<LoggedCommit>> CommitLog::Read(
    const Interval& interval) const {
  struct Record {
    CommitHeader header;
    uint64_t end;
  };
  std::vector<Record> records;
  VARVE_RETURN_IF_ERROR(
      WalkCommits(*store_, *identity_, interval.begin, interval.end,
                  [&records](const CommitHeader& header,
                             const EntryView& record) -> absl::StatusOr<bool> {
                    records.push_back({header, record.location().end()});
                    return true;
                  }));
  VARVE_ASSIGN_OR_RETURN(const std::unique_ptr<PastTree> tree,
                         PastTree::Open(store_, *identity_, interval.base, {}));
  std::vector<LoggedCommit> commits;
  for (auto record = records.rbegin(); record != records.rend(); ++record) {
    VARVE_ASSIGN_OR_RETURN(const EntryView entry,
                           store_->EntryEndingAt(record->end));
    VARVE_RETURN_IF_ERROR(store_->Verify(entry.location()));
    VARVE_ASSIGN_OR_RETURN(commits.emplace_back(),
                           Describer(*tree).Describe(record->header, entry));
  }
  std::reverse(commits.begin(), commits.end());
  return commits;
}

absl::Status CommitLog::ForEach(
    absl::FunctionRef<absl::StatusOr<bool>(const LoggedCommit&)> visit) {
  uint64_t end = tail_;
  for (uint64_t at = checkpoint_;;) {
    VARVE_ASSIGN_OR_RETURN(const Interval interval, FindInterval(at, end));
    VARVE_ASSIGN_OR_RETURN(const std::vector<LoggedCommit> commits,
                           Read(interval));
    for (const LoggedCommit& commit : commits) {
      if (commit.sequence < from_) return absl::OkStatus();
      VARVE_ASSIGN_OR_RETURN(const bool goes_on, visit(commit));
      if (!goes_on) return absl::OkStatus();
    }
    const uint64_t before = interval.base.sequence;
    const bool is_kept = kept_from_ == 0 || before > kept_from_;
    if (at == 0 || before < from_ || !is_kept) return absl::OkStatus();
    end = interval.begin;
    at = interval.previous;
  }
}

}  // namespace varve::fs
