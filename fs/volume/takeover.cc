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

// Whether some of the file's bytes lie in an entry of that key.
bool LiesUnder(const ExtentMap& content, uint64_t key_hash) {
  return std::any_of(content.extents().begin(), content.extents().end(),
                     [key_hash](const auto& item) {
                       return item.second.key_hash == key_hash;
                     });
}

class Takeover {
 public:
  Takeover(Core& core, const LoadResult& loaded, Timestamp now)
      : core_(core), loaded_(loaded), now_(now) {
    for (const EntryLocation& entry : loaded.behind) {
      // A path may have the hash of a key of ours, whose entries are no files.
      if (core_.identity.Reserves(entry.key_hash, {})) continue;
      newest_.emplace(entry.key_hash, entry);  // behind is newest first
    }
  }

  bool nothing_to_look_at() const {
    return newest_.empty() && !loaded_.relocated;
  }
  // With core.tree_mu held, at least shared.
  void Plan();
  const std::vector<Change>& changes() const { return changes_; }
  // Entries of other keys that were files' content until now.
  const std::vector<Extent>& replaced() const { return replaced_; }

 private:
  // A value that may be the new content of a file.
  struct Candidate {
    const Inode* inode;
    EntryLocation entry;
    // It may also be an old version of the file.
    bool doubtful = false;
  };

  void FindOwned() ABSL_SHARED_LOCKS_REQUIRED(core_.tree_mu);
  void Look(const Inode& inode);
  // What was written under the key of one of a file's paths.
  std::optional<Candidate> Written(const Inode& inode, const ExtentMap& content,
                                   uint64_t key_hash) const;
  bool IsDeleted(const Inode& inode, uint64_t key_hash) const;
  // Drops the doubtful candidates that a record in the chain names.
  void DropOldVersions();
  void AddContent(const Candidate& candidate);

  Core& core_;
  const LoadResult& loaded_;
  const Timestamp now_;
  // The newest word of the other program on each key.
  absl::flat_hash_map<uint64_t, EntryLocation> newest_;
  // Payload offsets of the entries that files lie in. Where an extent's entry
  // is gone, something else may lie by now, which nobody owns.
  absl::flat_hash_set<uint64_t> owned_;
  std::vector<Candidate> candidates_;
  std::vector<Change> drops_;
  std::vector<Change> changes_;
  std::vector<Extent> replaced_;
};

void Takeover::FindOwned() {
  core_.tree.ForEach([this](const Inode& inode) {
    if (inode.is_directory()) return;
    const ExtentMap content = Tree::ContentOf(inode);
    for (const auto& [offset, extent] : content.extents()) {
      if (VerifyEntryOf(*core_.store, extent, /*checksum=*/false).ok()) {
        owned_.insert(extent.payload_offset());
      }
    }
  });
}

std::optional<Takeover::Candidate> Takeover::Written(const Inode& inode,
                                                     const ExtentMap& content,
                                                     uint64_t key_hash) const {
  if (!loaded_.relocated) {
    const auto it = newest_.find(key_hash);
    if (it == newest_.end() || it->second.is_tombstone) return std::nullopt;
    return Candidate{.inode = &inode, .entry = it->second};
  }
  // Nothing can be told from the order of entries; but what lies under the
  // file's own key and is not what was committed is new.
  const bool is_plain =
      inode.whole_entry != Inode::kNone && inode.whole_entry_hash == key_hash;
  if (!is_plain && inode.attributes.size > 0 && !LiesUnder(content, key_hash)) {
    return std::nullopt;
  }
  const absl::StatusOr<EntryView> entry =
      core_.store->Read(EntryKey::OfHash(key_hash));
  if (!entry.ok() || owned_.contains(entry->location().payload_offset) ||
      core_.identity.Reserves(key_hash, entry->payload_text())) {
    return std::nullopt;
  }
  return Candidate{
      .inode = &inode, .entry = entry->location(), .doubtful = !is_plain};
}

bool Takeover::IsDeleted(const Inode& inode, uint64_t key_hash) const {
  if (inode.whole_entry == Inode::kNone || inode.whole_entry_hash != key_hash) {
    return false;
  }
  if (loaded_.relocated) return loaded_.deleted.contains(key_hash);
  const auto it = newest_.find(key_hash);
  return it != newest_.end() && it->second.is_tombstone;
}

void Takeover::Look(const Inode& inode) {
  if (!inode.is_regular() || inode.names == nullptr) return;
  const ExtentMap content =
      loaded_.relocated ? Tree::ContentOf(inode) : ExtentMap();
  std::optional<Candidate> written;
  uint32_t dropped = 0;
  for (const Name* name = inode.names; name; name = name->next_link()) {
    const uint64_t key_hash = KeyHashOfPath(Tree::PathOf(*name));
    if (IsDeleted(inode, key_hash)) {
      drops_.push_back(
          DropName{.parent = name->parent->ino, .name = name->text()});
      ++dropped;
    } else if (const auto found = Written(inode, content, key_hash);
               found.has_value() &&
               (!written.has_value() ||
                written->entry.end() < found->entry.end())) {
      // Written under several of its names, the last word counts.
      written = found;
    }
  }
  if (dropped == inode.link_count) {
    drops_.push_back(DropInode{inode.ino});
  } else if (written.has_value()) {
    candidates_.push_back(*written);
  }
}

void Takeover::DropOldVersions() {
  // Of an entry: its key hash, size and checksum.
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
      // What is not known here names no content.
      if (absl::IsUnimplemented(more.status())) continue;
      status = more.status();
      if (!status.ok() || !*more) break;
      note(change);
    }
    return status.ok();
  }));
  // What cannot be read may name any of them.
  if (!status.ok()) named = doubtful;
  std::erase_if(candidates_, [&named](const Candidate& candidate) {
    const EntryLocation& entry = candidate.entry;
    return candidate.doubtful &&
           named.contains(
               Described(entry.key_hash, entry.payload_size, entry.crc32));
  });
}

void Takeover::AddContent(const Candidate& candidate) {
  const Inode& inode = *candidate.inode;
  PutInode put{.ino = inode.ino, .attributes = inode.attributes};
  put.attributes.size = candidate.entry.payload_size;
  put.attributes.mtime = put.attributes.ctime = now_;
  changes_.push_back(put);
  changes_.push_back(
      SetContent{.ino = inode.ino, .extents = {ExtentOf(candidate.entry)}});
  if (inode.whole_entry != Inode::kNone &&
      inode.whole_entry_hash != candidate.entry.key_hash) {
    replaced_.push_back(inode.WholeExtent());
  }
}

void Takeover::Plan() {
  core_.tree_mu.AssertReaderHeld();
  if (loaded_.relocated) FindOwned();
  core_.tree.ForEach([this](const Inode& inode) { Look(inode); });
  DropOldVersions();
  for (const Candidate& candidate : candidates_) AddContent(candidate);
  changes_.insert(changes_.end(), drops_.begin(), drops_.end());
}

}  // namespace

absl::StatusOr<bool> TakeOver(Core& core, const LoadResult& loaded,
                              Timestamp now, const Incidents& incidents) {
  absl::MutexLock commit_lock(&core.commit_mu);
  Takeover takeover(core, loaded, now);
  if (takeover.nothing_to_look_at()) return false;
  {
    absl::ReaderMutexLock lock(&core.tree_mu);
    takeover.Plan();
  }
  if (takeover.changes().empty()) return false;
  if (core.store->read_only()) {
    absl::MutexLock lock(&core.tree_mu);
    core.tree.BeginCommit();
    for (const Change& change : takeover.changes()) {
      VARVE_RETURN_IF_ERROR(core.tree.Apply(change, now));
    }
    return true;
  }
  {
    // One record and nothing else: it is there whole or not at all, and until
    // then the other program's entries have to follow the mark.
    core.clean = false;
    Commit commit(core, now);
    for (const Change& change : takeover.changes()) commit.Add(change);
    VARVE_RETURN_IF_ERROR(commit.Finish());
  }
  // What was written under one name of a file must not be found in its old
  // form under another. If it is, on a full disk, that is no reason to fail.
  std::vector<uint64_t> hidden;
  for (const Extent& entry : takeover.replaced()) {
    if (core.store->Find(EntryKey::OfHash(entry.key_hash)) ==
        entry.entry_metadata_offset()) {
      hidden.push_back(entry.key_hash);
    }
  }
  if (hidden.empty()) return true;
  Commit commit(core, now);
  for (const uint64_t key_hash : hidden) commit.AddTombstone(key_hash);
  incidents.Report(commit.Finish());
  return true;
}

}  // namespace varve::fs
