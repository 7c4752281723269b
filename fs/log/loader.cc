#include "fs/log/loader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/entry/layout.h"
#include "engine/io/bus_guard.h"
#include "fs/base/error.h"
#include "fs/format/change_pipe.h"
#include "fs/format/commit_record.h"

namespace varve::fs {
namespace {

// Records from this size on are worth a thread of their own, and one pass only.
constexpr size_t kLargeRecord = size_t{1} << 20;

constexpr size_t kIdentitySizes[] = {Identity::kEncodedSize,
                                     Identity::kLongSize};

constexpr absl::string_view kCutShortType = "varve/cut-short";

// A commit or checkpoint found in the chain.
struct Record {
  CommitHeader header;
  EntryLocation location;

  bool in_place() const { return header.position == location.payload_offset; }
};

// Whether one of the newest entries of the file is a record of that tree. False
// also where that cannot be told by a few small reads.
bool EndsInRecordOf(const Identity& identity, File& file) {
  constexpr int kEntries = 16;
  const absl::StatusOr<FileInfo> info = file.Info();
  uint64_t end = info.ok() ? info->size : 0;
  for (int i = 0; i < kEntries && end >= kTombstoneSize; ++i) {
    std::byte foot[kTombstoneSize];
    auto size = file.ReadAt(end - sizeof(foot), absl::MakeSpan(foot));
    if (!size.ok() || *size < sizeof(foot)) return false;
    const auto entry = LocateEntry(foot, end - kMetadataSize);
    if (!entry.has_value()) return false;
    std::array<char, 256> payload;  // as far as a header may reach
    size =
        file.ReadAt(entry->payload_offset,
                    {reinterpret_cast<std::byte*>(payload.data()),
                     std::min<uint64_t>(payload.size(), entry->payload_size)});
    if (!size.ok()) return false;
    const auto header = CommitReader::ReadHeader({payload.data(), *size});
    if (header.ok() && identity.KeyHashFor(*header) == entry->key_hash) {
      return true;
    }
    end = entry->prev_tail;
  }
  return false;
}

// What looks like an identity at the begin of the file. In a store of ours it
// is the first entry, but it may also be the first bytes of a value which is
// itself the file of a store.
struct Candidate {
  Identity identity;
  bool is_confirmed = false;
};

absl::StatusOr<std::optional<Candidate>> FindCandidate(
    FileSystem& file_system, const std::string& path) {
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<File> file,
                         file_system.Open(path, OpenMode::kRead, 0));
  std::byte bytes[Identity::kLongSize + kMetadataSize];
  // A read that fails or is cut short is no answer; the long way gives one.
  const auto size = file->ReadAt(0, absl::MakeSpan(bytes));
  if (!size.ok()) return std::nullopt;
  for (const size_t payload_size : kIdentitySizes) {
    if (*size < payload_size + kMetadataSize) continue;
    const Metadata metadata = DecodeMetadata(bytes + payload_size);
    const absl::Span<const std::byte> payload(bytes, payload_size);
    if (metadata.key_hash != HashKey(Identity::Key()) ||
        metadata.prev_tail != 0 || metadata.crc32 != Crc32(0, payload)) {
      continue;
    }
    VARVE_ASSIGN_OR_RETURN(
        const Identity identity,
        Identity::Decode({reinterpret_cast<const char*>(bytes), payload_size}));
    return Candidate{.identity = identity,
                     .is_confirmed = EndsInRecordOf(identity, *file)};
  }
  return std::nullopt;
}

// Whether a record of its tree is in the chain. A chain that is broken refutes
// nothing.
bool HoldsRecord(const Store& store, const Identity& identity) {
  bool found = false;
  const absl::Status walked = store.ForEachInChain([&](const EntryView& entry) {
    found = identity.AsCommit(entry).has_value();
    return !found;
  });
  return found || !walked.ok();
}

// Whether `entry`, which has the form of an identity, is not just bytes within
// another entry: a record of its tree is in the chain, and only who knows the
// secret can have put it there.
bool HasRecords(const EntryView& entry, const Store& store) {
  const absl::StatusOr<Identity> identity =
      Identity::Decode(entry.payload_text());
  return identity.ok() && HoldsRecord(store, *identity);
}

class Loader {
 public:
  Loader(Core& core, LoadMode mode)
      : core_(core),
        store_(*core.store),
        lenient_(mode == LoadMode::kWhatIsLeft) {}

  absl::StatusOr<LoadResult> Load() ABSL_LOCKS_EXCLUDED(core_.commit_mu);

 private:
  absl::Status FindRecords();
  absl::Status WalkChain(bool whole);
  absl::Status Replay(const Record& record)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu, core_.tree_mu);
  absl::Status ApplyChanges(const Record& record, bool verified)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(core_.commit_mu, core_.tree_mu);
  // The record to start from: the newest checkpoint, or the first commit.
  size_t FirstRecord() const;
  // Whether to go on in spite of damage, which is noted.
  bool GoOn(const absl::Status& status);
  // Whether what looks like a record lies among the entries of the record that
  // was met before it, which comes later in the file: none of ours does.
  bool LiesInBatchOfNewest(const EntryLocation& location) const;
  // Of a walk along the whole chain: notes what a relocated store needs to know
  // of an entry that is no record.
  void NoteEntry(const EntryView& entry, bool record_follows);
  // Notes what they name, and finds where it lies now.
  void LookAtExtents(Change& change, bool in_checkpoint);
  void Resolve(Extent& extent) const;

  Core& core_;
  Store& store_;
  const bool lenient_;
  LoadResult result_;
  std::vector<Record> records_;
  // Values that are not the newest of their key: what extents may mean all the
  // same. By key hash, size and checksum; where their metadata lies.
  using Described = std::tuple<uint64_t, uint64_t, uint32_t>;
  absl::flat_hash_map<Described, uint64_t> superseded_;
};

void Loader::NoteEntry(const EntryView& entry, bool record_follows) {
  const uint64_t key_hash = entry.key_hash();
  const std::optional<uint64_t> newest =
      store_.Find(EntryKey::OfHash(key_hash));
  if (!entry.is_tombstone()) {
    const uint64_t offset = entry.location().metadata_offset();
    if (newest != offset) {
      superseded_.emplace(Described(key_hash, entry.size(), entry.checksum()),
                          offset);
    }
  } else if (!record_follows && !newest.has_value()) {
    // Ours would be followed by the record that it belongs to, and a
    // compaction leaves none.
    result_.deleted.insert(key_hash);
  }
}

absl::Status Loader::WalkChain(bool whole) {
  records_.clear();
  result_.behind.clear();
  bool record_follows = false;   // one that is in its place
  std::optional<uint64_t> stop;  // nothing below is needed
  const uint64_t image_key = core_.identity.IndexImageKeyHash();
  return store_.ForEachInChain([&](const EntryView& entry) {
    if (stop.has_value() && !whole && entry.location().end() <= *stop) {
      return false;
    }
    const std::optional<CommitHeader> header = core_.identity.AsCommit(entry);
    // Content of a file that a later record speaks of.
    if (header.has_value() && LiesInBatchOfNewest(entry.location())) {
      return true;
    }
    if (!header.has_value()) {
      // An image of the index may follow the last record, as nobody's work.
      if (records_.empty() && entry.key_hash() != image_key) {
        result_.behind.push_back(entry.location());
      }
      if (whole) NoteEntry(entry, record_follows);
      return true;
    }
    records_.push_back({*header, entry.location()});
    record_follows |= records_.back().in_place();
    // Of a newer version, only replaying it tells what is wrong with it.
    if (header->version > kRecordVersion) return true;
    if (!records_.back().in_place()) result_.relocated = true;
    // Another program's compactions may happen to leave the last records where
    // they were, but then hardly the first entry.
    if (header->is_checkpoint() && header->batch_begin == 0) {
      const absl::StatusOr<EntryView> identity = FindIdentityEntry(store_);
      result_.relocated |= identity.ok() && identity->location().prev_tail > 0;
    }
    if (!stop.has_value()) {
      stop = header->is_checkpoint() ? entry.location().prev_tail
                                     : header->checkpoint;
    }
    return true;
  });
}

bool Loader::LiesInBatchOfNewest(const EntryLocation& location) const {
  if (records_.empty()) return false;
  const Record& later = records_.back();
  return later.in_place() && later.header.version <= kRecordVersion &&
         later.header.batch_begin > 0 &&
         location.payload_offset >= later.header.batch_begin;
}

absl::Status Loader::FindRecords() {
  VARVE_RETURN_IF_ERROR(WalkChain(/*whole=*/lenient_));
  if (result_.relocated && !lenient_) {
    VARVE_RETURN_IF_ERROR(WalkChain(/*whole=*/true));
  }
  // Nothing can be told from the order of the entries any more.
  if (result_.relocated) result_.behind.clear();
  std::sort(records_.begin(), records_.end(),
            [](const Record& a, const Record& b) {
              // A checkpoint bears the number of the last commit that it holds.
              return std::pair(a.header.sequence, a.header.is_checkpoint()) <
                     std::pair(b.header.sequence, b.header.is_checkpoint());
            });
  return absl::OkStatus();
}

void Loader::Resolve(Extent& extent) const {
  if (extent.is_hole()) return;
  const auto matches = [&](uint64_t metadata_offset) {
    const auto entry = store_.EntryEndingAt(metadata_offset + kMetadataSize);
    return entry.ok() && entry->key_hash() == extent.key_hash &&
           entry->size() == extent.entry_size &&
           entry->checksum() == extent.entry_crc32;
  };
  if (matches(extent.entry_metadata_offset())) return;
  std::optional<uint64_t> found =
      store_.Find(EntryKey::OfHash(extent.key_hash));
  if (!found.has_value() || !matches(*found)) {
    const auto it = superseded_.find(
        Described(extent.key_hash, extent.entry_size, extent.entry_crc32));
    // If it is not there, reading it will say so.
    if (it == superseded_.end()) return;
    found = it->second;
  }
  extent.store_offset = *found - extent.entry_size + extent.entry_offset;
}

void Loader::LookAtExtents(Change& change, bool in_checkpoint) {
  ExtentList* extents = ExtentsOf(change);
  if (extents == nullptr) return;
  for (Extent& extent : *extents) {
    if (result_.relocated) Resolve(extent);
    if (!in_checkpoint) result_.named.insert(extent.key_hash);
  }
}

absl::Status Loader::Replay(const Record& record) {
  const EntryLocation& location = record.location;
  // What is lenient goes on after damage, and must know of it before.
  if (lenient_ || location.payload_size < kLargeRecord) {
    VARVE_RETURN_IF_ERROR(store_.Verify(location));
    return ApplyChanges(record, /*verified=*/true);
  }
  // Otherwise nothing will come of the tree if there is damage.
  const absl::Status applied = ApplyChanges(record, /*verified=*/false);
  if (applied.ok()) return applied;
  // What is wrong with the bytes says more than what has come of that.
  const absl::Status intact = store_.Verify(location);
  return intact.ok() ? applied : intact;
}

absl::Status Loader::ApplyChanges(const Record& record, bool verified) {
  const uint64_t offset = record.location.payload_offset;
  VARVE_ASSIGN_OR_RETURN(const Store::PinnedBytes bytes,
                         store_.View(offset, record.location.payload_size));
  VARVE_ASSIGN_OR_RETURN(
      CommitReader reader,
      CommitReader::Open({reinterpret_cast<const char*>(bytes.bytes.data()),
                          bytes.bytes.size()},
                         offset, record.location.key_hash,
                         record.location.crc32));
  std::optional<Timestamp> time;
  if (!record.header.is_checkpoint()) time = record.header.time;
  bool noted = false;
  if (!verified) reader.VerifyAsRead();
  ChangePipe changes(std::move(reader), kLargeRecord);
  core_.tree.BeginCommit();
  while (true) {
    const absl::StatusOr<Change*> next = changes.Next();
    if (!next.ok()) {
      // A reader may do without what it does not know; a writer may not.
      if (!absl::IsUnimplemented(next.status()) || !store_.read_only()) {
        return next.status();
      }
      // Once is enough: a record may hold many.
      if (!std::exchange(noted, true)) {
        result_.notes.push_back(std::string(next.status().message()));
      }
      continue;
    }
    if (*next == nullptr) return absl::OkStatus();
    Change& change = **next;
    LookAtExtents(change, record.header.is_checkpoint());
    // Whatever the header says, a number that is taken is not drawn again.
    if (const auto* put = std::get_if<PutInode>(&change)) {
      core_.next_ino = std::max(core_.next_ino, put->ino + 1);
    }
    const absl::Status applied = core_.tree.Apply(change, time);
    if (!applied.ok() && !GoOn(applied)) return applied;
  }
}

bool Loader::GoOn(const absl::Status& status) {
  if (!lenient_ || !absl::IsDataLoss(status)) return false;
  result_.notes.push_back(std::string(status.message()));
  return true;
}

size_t Loader::FirstRecord() const {
  for (size_t i = records_.size(); i > 0; --i) {
    const Record& record = records_[i - 1];
    if (record.header.is_checkpoint() &&
        (!lenient_ || store_.Verify(record.location).ok())) {
      return i - 1;
    }
  }
  return 0;
}

absl::StatusOr<LoadResult> Loader::Load() {
  VARVE_RETURN_IF_ERROR(FindRecords());
  absl::MutexLock commit_lock(&core_.commit_mu);
  absl::MutexLock tree_lock(&core_.tree_mu);
  uint64_t next_data_id = 1;
  // Who goes on after damage has to know which change it is.
  if (!lenient_) core_.tree.DeferCycleCheck();
  for (size_t i = FirstRecord(); i < records_.size(); ++i) {
    const Record& record = records_[i];
    const CommitHeader& header = record.header;
    const uint64_t expected =
        header.is_checkpoint() ? header.sequence : core_.last_sequence + 1;
    if (header.sequence != expected) {
      const absl::Status missing = DamageError(
          absl::StrCat("commit ", expected,
                       " is missing from the store (the next one found is ",
                       header.sequence, ")"));
      if (!GoOn(missing)) return missing;
    }
    const absl::Status replayed =
        Annotate(Replay(record),
                 absl::StrCat(header.is_checkpoint() ? "checkpoint" : "commit",
                              " ", header.sequence, " at offset ",
                              record.location.payload_offset));
    if (!replayed.ok() && !GoOn(replayed)) return replayed;
    core_.last_sequence = header.sequence;
    core_.next_ino = std::max(core_.next_ino, header.next_ino);
    next_data_id = std::max(next_data_id, header.next_data_id);
    if (header.is_checkpoint()) {
      core_.checkpoint = record.location.metadata_offset();
      core_.log_bytes = 0;
      result_.first_data_id = header.next_data_id;
    } else {
      core_.log_bytes += record.location.size_on_disk();
    }
    result_.clean = header.clean();
  }
  VARVE_RETURN_IF_ERROR(core_.tree.EndCycleCheck());
  core_.next_data_id.store(next_data_id);
  core_.clean = result_.clean;
  return std::move(result_);
}

}  // namespace

absl::StatusOr<std::optional<Identity>> FindIdentity(
    FileSystem& file_system, const std::string& path,
    const std::vector<Mend>& mends) {
  VARVE_ASSIGN_OR_RETURN(const std::optional<Candidate> candidate,
                         FindCandidate(file_system, path));
  OpenOptions options;
  if (candidate.has_value()) {
    if (candidate->is_confirmed) return candidate->identity;
    options.durable_tail = DurableTailOf(candidate->identity);
    options.index_image_key = candidate->identity.IndexImageKeyHash();
  }
  options.mode = OpenMode::kRead;
  options.file_system = &file_system;
  options.mends = mends;
  VARVE_ASSIGN_OR_RETURN(const std::unique_ptr<Store> store,
                         Store::Open(path, options));
  const absl::StatusOr<EntryView> entry = FindIdentityEntry(*store);
  if (absl::IsNotFound(entry.status())) return std::nullopt;
  VARVE_RETURN_IF_ERROR(entry.status());
  VARVE_RETURN_IF_ERROR(store->Verify(entry->location()));
  return Identity::Decode(entry->payload_text());
}

absl::StatusOr<EntryView> FindIdentityEntry(const Store& store) {
  const uint64_t key_hash = HashKey(Identity::Key());
  const auto is_identity = [key_hash](const EntryView& entry) {
    return entry.key_hash() == key_hash && !entry.is_tombstone();
  };
  // In a store of ours it is the first of all, and need not be looked for.
  for (const size_t payload_size : kIdentitySizes) {
    auto first = store.EntryEndingAt(payload_size + kMetadataSize);
    if (first.ok() && first->location().prev_tail == 0 && is_identity(*first) &&
        HasRecords(*first, store)) {
      return first;
    }
  }
  std::optional<EntryView> oldest;
  VARVE_RETURN_IF_ERROR(store.ForEachInChain([&](const EntryView& entry) {
    if (is_identity(entry)) oldest = entry;
    return true;
  }));
  if (!oldest.has_value()) return absl::NotFoundError("no identity");
  return *oldest;
}

absl::Status CheckNotCutShort(const Store& store, const Identity& identity) {
  const uint64_t size = store.recovery().file_size;
  if (size >= identity.least_length.value_or(0) ||
      HoldsRecord(store, identity)) {
    return absl::OkStatus();
  }
  absl::Status status = DamageError(
      absl::StrCat(store.path(), " is CUT SHORT: it has ", size,
                   " bytes, and had at least ", *identity.least_length,
                   " when it was compacted; its tree is missing. Copy or "
                   "download it again"));
  status.SetPayload(kCutShortType, absl::Cord());
  return status;
}

bool IsCutShort(const absl::Status& status) {
  return status.GetPayload(kCutShortType).has_value();
}

std::function<uint64_t(const EntryView&)> DurableTailOf(Identity identity) {
  return [identity](const EntryView& entry) -> uint64_t {
    const std::optional<CommitHeader> header = identity.AsCommit(entry);
    // A record that was moved speaks of another arrangement of the store.
    if (!header.has_value() ||
        header->position != entry.location().payload_offset) {
      return 0;
    }
    // A store is synced before it is marked as closed, and then once more.
    return header->clean() ? entry.location().end() : header->durable_tail;
  };
}

absl::StatusOr<LoadResult> LoadTree(Core& core, LoadMode mode) {
  absl::StatusOr<LoadResult> result = Loader(core, mode).Load();
  // Where the file was cut short, or its disk fails, the map shows zeros; then
  // that is what there is to tell, and not what they were taken for.
  Store& store = *core.store;
  VARVE_RETURN_IF_ERROR(store.CheckLength(store.tail()));
  VARVE_ASSIGN_OR_RETURN(const Store::PinnedBytes all,
                         store.View(0, store.tail()));
  if (!HasLostBytes(all.bytes)) return result;
  // Perhaps it was content, and perhaps the newest commits: to go on writing
  // without them would be the end of them.
  const std::string message = absl::StrCat(
      store.path(), " cannot be read everywhere; its disk may be failing");
  if (!store.read_only()) return DamageError(message);
  if (result.ok()) result->notes.push_back(message);
  return result;
}

}  // namespace varve::fs
