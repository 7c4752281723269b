#include "fs/volume/takeover.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "engine/base/status.h"
#include "fs/content/content_reader.h"
#include "fs/log/commit.h"

namespace varve::fs {
namespace {

class Takeover {
 public:
  Takeover(Core& core, const LoadResult& loaded, Timestamp now)
      : core_(core), loaded_(loaded), now_(now) {
    for (const EntryLocation& entry : loaded.behind) {
      // The key may be one of the tree's own, whose entries are not files.
      if (core_.identity.Reserves(entry.key_hash, {})) continue;
      newest_.emplace(entry.key_hash, entry);  // behind is newest first
    }
  }

  bool nothing_to_look_at() const {
    return newest_.empty() && !loaded_.relocated;
  }
  // Plans the changes. core.tree_mu must be held, at least shared. The plan is
  // valid until the tree changes.
  absl::Status Plan();
  const std::vector<Change>& changes() const { return changes_; }
  // Entries under other keys that were the content of files until now.
  const std::vector<Extent>& replaced() const { return replaced_; }

 private:
  // An entry that may be the new content of a file.
  struct Candidate {
    InodeItem inode;
    EntryLocation entry;
    // Whether it may also be an old version of the file.
    bool doubtful = false;
  };

  absl::Status FindOwned() ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  absl::Status Look(const InodeItem& inode)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // The same for one of the file's names. `written` is the best candidate so
  // far.
  absl::Status LookAtName(const InodeItem& inode, NamePlace place,
                          std::optional<Candidate>& written)
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // The entry that another program wrote under the key of one of the file's
  // paths; nothing if there is none.
  absl::StatusOr<std::optional<Candidate>> Written(const InodeItem& inode,
                                                   uint64_t key_hash) const
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  bool IsDeleted(const InodeItem& inode, uint64_t key_hash) const;
  // Whether some of the file's bytes lie in an entry of this key.
  absl::StatusOr<bool> LiesUnder(const InodeItem& inode,
                                 uint64_t key_hash) const
      ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  // Drops the doubtful candidates that a record in the chain names.
  void DropOldVersions();
  void AddContent(const Candidate& candidate);

  Core& core_;
  const LoadResult& loaded_;
  const Timestamp now_;
  // The newest entry of the other program for each key.
  absl::flat_hash_map<uint64_t, EntryLocation> newest_;
  // Payload offsets of the entries of files. (If an extent's entry is gone,
  // another entry may lie at its offset. That one is not in this set.)
  absl::flat_hash_set<uint64_t> owned_;
  std::vector<Candidate> candidates_;
  std::vector<Change> drops_;
  std::vector<Change> changes_;
  std::vector<Extent> replaced_;
};

absl::Status Takeover::FindOwned() {
  return ForEachExtentInUse(core_, [this](const Extent& extent) {
    if (VerifyEntryOf(*core_.store, extent, /*checksum=*/false).ok()) {
      owned_.insert(extent.payload_offset());
    }
  });
}

absl::StatusOr<bool> Takeover::LiesUnder(const InodeItem& inode,
                                         uint64_t key_hash) const {
  bool lies_there = false;
  VARVE_RETURN_IF_ERROR(core_.reader().ForEachExtent(
      inode, 0, kMaxFileSize, [&](const Extent& extent) {
        lies_there = extent.key_hash == key_hash;
        return !lies_there;
      }));
  return lies_there;
}

absl::StatusOr<std::optional<Takeover::Candidate>> Takeover::Written(
    const InodeItem& inode, uint64_t key_hash) const {
  const std::optional<Candidate> nothing;
  if (!loaded_.relocated) {
    const auto it = newest_.find(key_hash);
    if (it == newest_.end() || it->second.is_tombstone) return nothing;
    return std::optional(Candidate{.inode = inode, .entry = it->second});
  }
  // The order of entries means nothing in a relocated store. But an entry under
  // the file's own key that is not the committed one is new.
  const bool is_plain =
      inode.whole_entry.has_value() && inode.whole_entry->key_hash == key_hash;
  if (!is_plain && inode.attributes.size > 0) {
    VARVE_ASSIGN_OR_RETURN(const bool lies_there, LiesUnder(inode, key_hash));
    if (!lies_there) return nothing;
  }
  const absl::StatusOr<EntryView> entry =
      core_.store->Read(EntryKey::OfHash(key_hash));
  if (!entry.ok() || owned_.contains(entry->location().payload_offset) ||
      core_.identity.Reserves(key_hash, entry->payload_text())) {
    return nothing;
  }
  return std::optional(Candidate{
      .inode = inode, .entry = entry->location(), .doubtful = !is_plain});
}

bool Takeover::IsDeleted(const InodeItem& inode, uint64_t key_hash) const {
  if (!inode.whole_entry.has_value() ||
      inode.whole_entry->key_hash != key_hash) {
    return false;
  }
  if (loaded_.relocated) return loaded_.deleted.contains(key_hash);
  const auto it = newest_.find(key_hash);
  return it != newest_.end() && it->second.is_tombstone;
}

absl::Status Takeover::LookAtName(const InodeItem& inode, NamePlace place,
                                  std::optional<Candidate>& written) {
  VARVE_ASSIGN_OR_RETURN(const std::string path, core_.reader().PathOf(place));
  const uint64_t key_hash = KeyHashOfPath(path);
  if (IsDeleted(inode, key_hash)) {
    VARVE_ASSIGN_OR_RETURN(const NameItem name, core_.reader().GetName(place));
    drops_.push_back(DropName{.parent = place.directory, .name = name.text});
    return absl::OkStatus();
  }
  VARVE_ASSIGN_OR_RETURN(const auto found, Written(inode, key_hash));
  // If the other program wrote under several names of the file, the last entry
  // counts.
  if (found.has_value() &&
      (!written.has_value() || written->entry.end() < found->entry.end())) {
    written = found;
  }
  return absl::OkStatus();
}

absl::Status Takeover::Look(const InodeItem& inode) {
  if (!inode.is_regular()) return absl::OkStatus();
  std::optional<Candidate> written;
  const size_t drops_before = drops_.size();
  absl::Status status;
  VARVE_RETURN_IF_ERROR(core_.reader().ForEachLink(inode, [&](NamePlace place) {
    core_.tree_mu.AssertReaderHeld();
    status = LookAtName(inode, place, written);
    return status.ok();
  }));
  VARVE_RETURN_IF_ERROR(status);
  const size_t dropped = drops_.size() - drops_before;
  if (dropped > 0 && dropped == inode.links) {
    drops_.push_back(DropInode{inode.ino});
  } else if (written.has_value()) {
    candidates_.push_back(*std::move(written));
  }
  return absl::OkStatus();
}

void Takeover::DropOldVersions() {
  // Identifies an entry: key hash, size and checksum.
  using Described = std::tuple<uint64_t, uint64_t, uint32_t>;
  absl::flat_hash_set<Described> doubtful;
  for (const Candidate& candidate : candidates_) {
    const EntryLocation& entry = candidate.entry;
    if (!candidate.doubtful) continue;
    doubtful.emplace(entry.key_hash, entry.payload_size, entry.crc32);
  }
  if (doubtful.empty()) return;
  absl::flat_hash_set<Described> named;
  const auto note = [&](const Change& change) {
    const ExtentList* extents = ExtentsOf(change);
    if (extents == nullptr) return;
    for (const Extent& extent : *extents) {
      const Described entry(extent.key_hash, extent.entry_size,
                            extent.entry_crc32);
      if (doubtful.contains(entry)) named.insert(entry);
    }
  };
  absl::Status status;
  status.Update(core_.store->ForEachInChain([&](const EntryView& entry) {
    if (!core_.identity.AsCommit(entry).has_value()) return true;
    auto reader = CommitReader::Open(entry.payload_text(),
                                     entry.location().payload_offset,
                                     entry.key_hash(), entry.checksum());
    status = reader.status();
    Change change;
    while (status.ok()) {
      const absl::StatusOr<bool> more = reader->Next(change);
      // Changes that this version does not know name no content.
      if (absl::IsUnimplemented(more.status())) continue;
      status = more.status();
      if (!status.ok() || !*more) break;
      note(change);
    }
    return status.ok();
  }));
  // A record that cannot be read may name any of the candidates.
  if (!status.ok()) named = doubtful;
  std::erase_if(candidates_, [&named](const Candidate& candidate) {
    const EntryLocation& entry = candidate.entry;
    return candidate.doubtful &&
           named.contains(
               Described(entry.key_hash, entry.payload_size, entry.crc32));
  });
}

void Takeover::AddContent(const Candidate& candidate) {
  const InodeItem& inode = candidate.inode;
  PutInode put{.ino = inode.ino, .attributes = inode.attributes};
  put.attributes.size = candidate.entry.payload_size;
  put.attributes.mtime = put.attributes.ctime = now_;
  changes_.push_back(put);
  changes_.push_back(
      SetContent{.ino = inode.ino, .extents = {ExtentOf(candidate.entry)}});
  if (inode.whole_entry.has_value() &&
      inode.whole_entry->key_hash != candidate.entry.key_hash) {
    replaced_.push_back(inode.WholeExtent());
  }
}

absl::Status Takeover::Plan() {
  core_.tree_mu.AssertReaderHeld();
  if (loaded_.relocated) VARVE_RETURN_IF_ERROR(FindOwned());
  absl::Status status;
  VARVE_RETURN_IF_ERROR(
      core_.reader().ForEachInode([&](const InodeItem& inode) {
        core_.tree_mu.AssertReaderHeld();
        status = Look(inode);
        return status.ok();
      }));
  VARVE_RETURN_IF_ERROR(status);
  DropOldVersions();
  for (const Candidate& candidate : candidates_) AddContent(candidate);
  changes_.insert(changes_.end(), drops_.begin(), drops_.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> TakeOver(Core& core, const LoadResult& loaded,
                              Timestamp now, const Incidents& incidents) {
  absl::MutexLock commit_lock(&core.commit_mu);
  Takeover takeover(core, loaded, now);
  if (takeover.nothing_to_look_at()) return false;
  {
    absl::ReaderMutexLock lock(&core.tree_mu);
    VARVE_RETURN_IF_ERROR(takeover.Plan());
  }
  if (takeover.changes().empty()) return false;
  if (core.store->read_only()) {
    absl::MutexLock lock(&core.tree_mu);
    TreeEditor editor = core.log_tree->live->Edit();
    for (const Change& change : takeover.changes()) {
      VARVE_RETURN_IF_ERROR(editor.Apply(change, now));
    }
    core.log_tree->live->Publish(editor);
    return true;
  }
  {
    // Append one record and nothing else, not even the commit that marks the
    // store as in use: until this record is there, the other program's entries
    // must stay directly behind the commit that marks the store as closed.
    core.clean = false;
    Commit commit(core, now);
    for (const Change& change : takeover.changes()) commit.Add(change);
    VARVE_RETURN_IF_ERROR(commit.Finish());
  }
  // Hide the old content of a file under its other names. If that fails, as on
  // a full disk, the takeover is still complete.
  std::vector<EntryKeys> hidden;
  for (const Extent& entry : takeover.replaced()) {
    if (core.store->Find(EntryKey::OfHash(entry.key_hash)) ==
        entry.entry_metadata_offset()) {
      hidden.push_back(
          core.identity.KeysToHide(entry.key_hash, entry.entry_size));
    }
  }
  if (hidden.empty()) return true;
  Commit commit(core, now);
  for (const EntryKeys& keys : hidden) commit.AddTombstone(keys);
  incidents.Report(commit.Finish());
  return true;
}

}  // namespace varve::fs
