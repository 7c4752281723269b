#include "fs/compaction/log_shipper.h"

#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/compaction/part_copy.h"
#include "fs/log/commit.h"
#include "fs/log/content_key.h"

namespace varve::fs {

absl::StatusOr<std::vector<EntryLocation>> LogShipper::EntriesUpTo(
    uint64_t end) const {
  std::vector<EntryLocation> entries;
  for (uint64_t at = end; at > shipped_;) {
    VARVE_ASSIGN_OR_RETURN(const EntryView entry, live_.EntryEndingAt(at));
    entries.push_back(entry.location());
    at = entry.location().prev_tail;
  }
  std::reverse(entries.begin(), entries.end());
  return entries;
}

absl::Status LogShipper::ShipTo(uint64_t end) {
  VARVE_ASSIGN_OR_RETURN(const std::vector<EntryLocation> entries,
                         EntriesUpTo(end));
  const uint64_t image_key = core_.identity.IndexImageKeyHash();
  for (const EntryLocation& entry : entries) {
    // Skip tombstones, because the commits tell which keys to hide, and images
    // of the index, which mean nothing in another file.
    if (entry.is_tombstone || entry.key_hash == image_key) continue;
    VARVE_ASSIGN_OR_RETURN(const EntryView view,
                           live_.EntryEndingAt(entry.end()));
    // They are made anew with the entry that they belong to.
    if (core_.identity.IsBlockSums(view)) continue;
    VARVE_RETURN_IF_ERROR(live_.Verify(entry));
    const auto header = core_.identity.AsCommit(view);
    if (!header.has_value()) {
      entries_.push_back(entry);
    } else if (header->is_commit()) {
      VARVE_RETURN_IF_ERROR(ShipCommit({*header, entry}));
    }
    VARVE_RETURN_IF_ERROR(monitor_.Count(entry.size_on_disk()));
  }
  VARVE_RETURN_IF_ERROR(ShipEntries());
  pinned_.Release();
  shipped_ = end;
  return absl::OkStatus();
}

absl::Status LogShipper::ShipEntries() {
  for (const EntryLocation& entry : entries_) {
    VARVE_ASSIGN_OR_RETURN(
        const auto bytes,
        pinned_.BytesAt(entry.payload_offset, entry.payload_size));
    Batch batch = core_.store->BeginBatch();
    const EntryLocation now =
        batch.Add(core_.identity.ContentKeys(entry.key_hash), bytes);
    VARVE_RETURN_IF_ERROR(batch.Commit());
    VARVE_RETURN_IF_ERROR(
        translation_.Add(entry.payload_offset, ExtentOf(now)));
  }
  entries_.clear();
  return absl::OkStatus();
}

absl::Status LogShipper::FindKeysToHide(const Change& change,
                                        std::vector<EntryKeys>& keys) const {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  const TreeReader& tree = core_.reader();
  std::optional<InodeItem> inode;
  if (const auto* drop = std::get_if<DropInode>(&change)) {
    VARVE_ASSIGN_OR_RETURN(inode, tree.FindInode(drop->ino));
  } else if (const auto* set = std::get_if<SetContent>(&change)) {
    VARVE_ASSIGN_OR_RETURN(inode, tree.FindInode(set->ino));
  } else if (const auto* lost = std::get_if<DropName>(&change)) {
    VARVE_ASSIGN_OR_RETURN(const auto name,
                           tree.FindName(lost->parent, lost->name));
    if (!name.has_value()) return absl::OkStatus();
    VARVE_ASSIGN_OR_RETURN(inode, tree.FindInode(name->ino));
    // Only the first name decides the key.
    if (inode.has_value() && inode->first_name != name->place) inode.reset();
  }
  if (!inode.has_value()) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(const auto key, KeyOfContent(core_, *inode));
  if (key.has_value()) keys.push_back(*key);
  return absl::OkStatus();
}

absl::Status LogShipper::FindUnknown(const Change& change, uint64_t record_hash,
                                     std::vector<Extent>& unknown) const {
  const ExtentList* extents = ExtentsOf(change);
  if (extents == nullptr) return absl::OkStatus();
  for (const Extent& extent : *extents) {
    if (extent.is_hole() || extent.key_hash == record_hash) continue;
    const bool on_its_way =
        std::any_of(entries_.begin(), entries_.end(),
                    [&extent](const EntryLocation& entry) {
                      return entry.payload_offset == extent.payload_offset();
                    });
    if (on_its_way) continue;
    VARVE_RETURN_IF_ERROR(translation_.Translate(extent, &unknown).status());
  }
  return absl::OkStatus();
}

absl::Status LogShipper::ShipCommit(const Record& record) {
  const uint64_t offset = record.location.payload_offset;
  VARVE_ASSIGN_OR_RETURN(const auto payload,
                         pinned_.BytesAt(offset, record.location.payload_size));
  VARVE_ASSIGN_OR_RETURN(
      CommitReader reader,
      CommitReader::Open(
          {reinterpret_cast<const char*>(payload.data()), payload.size()},
          offset, record.location.key_hash, record.location.crc32));
  std::vector<Change> changes;
  std::vector<EntryKeys> hidden;
  std::vector<Extent> unknown;
  while (true) {
    VARVE_ASSIGN_OR_RETURN(std::optional<Change> change, reader.Next());
    if (!change.has_value()) break;
    VARVE_RETURN_IF_ERROR(FindKeysToHide(*change, hidden));
    VARVE_RETURN_IF_ERROR(
        FindUnknown(*change, record.location.key_hash, unknown));
    changes.push_back(*std::move(change));
  }
  absl::MutexLock commit_lock(&core_.commit_mu);
  if (record.header.sequence != core_.last_sequence + 1) {
    return absl::InternalError(
        absl::StrCat("commit ", record.header.sequence, " comes after commit ",
                     core_.last_sequence, " at ", record.location.end()));
  }
  core_.next_ino = std::max(core_.next_ino, record.header.next_ino);
  Commit commit(core_, record.header.time);
  absl::flat_hash_set<uint64_t> seen;
  for (const EntryKeys& keys : hidden) {
    if (seen.insert(keys.key_hash).second) commit.AddTombstone(keys);
  }
  VARVE_RETURN_IF_ERROR(AddContent(unknown, commit));
  core_.next_data_id.store(
      std::max(core_.next_data_id.load(), record.header.next_data_id));
  for (Change& change : changes) {
    VARVE_RETURN_IF_ERROR(AddTranslated(change, record, commit));
  }
  // A commit that marked the store as closed does not do so in the replacement,
  // which is in use.
  commit.set_flags(record.header.flags & ~CommitHeader::kClean);
  return commit.Finish();
}

absl::Status LogShipper::AddContent(const std::vector<Extent>& unknown,
                                    Commit& commit) {
  for (const EntryLocation& entry : entries_) {
    VARVE_ASSIGN_OR_RETURN(
        const auto bytes,
        pinned_.BytesAt(entry.payload_offset, entry.payload_size));
    VARVE_RETURN_IF_ERROR(translation_.Add(
        entry.payload_offset, commit.AddEntry(entry.key_hash, {bytes})));
  }
  entries_.clear();
  for (const Extent& extent : unknown) {
    VARVE_RETURN_IF_ERROR(pinned_.VerifyOnce(extent));
    VARVE_ASSIGN_OR_RETURN(const auto bytes, pinned_.BytesOf(extent));
    const PartCopy part(core_.identity, new_data_id_, bytes);
    const Extent place =
        part.ExtentIn(commit.AddEntry(part.key_hash(), part.pieces()));
    VARVE_RETURN_IF_ERROR(translation_.Add(extent.store_offset, place));
  }
  return absl::OkStatus();
}

absl::Status LogShipper::AddTranslated(Change& change, const Record& record,
                                       Commit& commit) {
  ExtentList* extents = ExtentsOf(change);
  if (extents == nullptr) {
    commit.Add(change);
    return absl::OkStatus();
  }
  ExtentList now;
  for (const Extent& extent : *extents) {
    if (!extent.is_hole() && extent.key_hash == record.location.key_hash) {
      // The bytes lie in the record itself. Such a patch has no other extents.
      VARVE_ASSIGN_OR_RETURN(const auto bytes, pinned_.BytesOf(extent));
      commit.AddInline(
          std::get<PatchContent>(change).ino, extent.file_offset,
          {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
      return absl::OkStatus();
    }
    std::vector<Extent> unknown;
    VARVE_ASSIGN_OR_RETURN(const std::vector<Extent> parts,
                           translation_.Translate(extent, &unknown));
    for (const Extent& part : parts) {
      now.push_back(part);
    }
    if (!unknown.empty()) {
      return absl::InternalError("an extent was not copied");
    }
  }
  *extents = std::move(now);
  commit.Add(change);
  return absl::OkStatus();
}

absl::Status LogShipper::CopyLoose(const std::vector<Extent>& extents) {
  std::vector<Extent> unknown;
  for (const Extent& extent : extents) {
    VARVE_RETURN_IF_ERROR(translation_.Translate(extent, &unknown).status());
  }
  for (const Extent& extent : unknown) {
    VARVE_RETURN_IF_ERROR(pinned_.VerifyOnce(extent));
    VARVE_ASSIGN_OR_RETURN(const auto bytes, pinned_.BytesOf(extent));
    const PartCopy part(core_.identity, new_data_id_, bytes);
    Batch batch = core_.store->BeginBatch();
    const EntryLocation now =
        batch.Add(core_.identity.ContentKeys(part.key_hash()), part.pieces());
    // The tombstone hides the entry from all but its users.
    batch.AddTombstone(
        core_.identity.KeysToHide(part.key_hash(), now.payload_size));
    VARVE_RETURN_IF_ERROR(batch.Commit());
    const Extent place = part.ExtentIn(ExtentOf(now));
    VARVE_RETURN_IF_ERROR(translation_.Add(extent.store_offset, place));
    VARVE_RETURN_IF_ERROR(monitor_.Count(extent.length));
  }
  pinned_.Release();
  return absl::OkStatus();
}

}  // namespace varve::fs
