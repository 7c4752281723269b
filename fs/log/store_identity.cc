#include "fs/log/store_identity.h"

#include <algorithm>
#include <array>

#include "absl/functional/function_ref.h"
#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/entry/layout.h"
#include "fs/base/error.h"
#include "fs/format/commit_record.h"

namespace varve::fs {
namespace {

constexpr size_t kIdentitySizes[] = {Identity::kEncodedSize,
                                     Identity::kLongSize};

constexpr absl::string_view kCutShortType = "varve/cut-short";

// Calls `visit` for the newest entries of the file, at most so many, until it
// returns false. `head` is the first bytes of the payload, as far as the header
// of a record may reach. Ends early where the chain cannot be followed.
void VisitNewest(
    File& file, int entries,
    absl::FunctionRef<bool(const EntryLocation& entry, absl::string_view head)>
        visit) {
  const absl::StatusOr<FileInfo> info = file.Info();
  uint64_t end = info.ok() ? info->size : 0;
  for (int i = 0; i < entries && end >= kTombstoneSize; ++i) {
    std::byte foot[kTombstoneSize];
    auto size = file.ReadAt(end - sizeof(foot), absl::MakeSpan(foot));
    if (!size.ok() || *size < sizeof(foot)) return;
    const auto entry = LocateEntry(foot, end - kMetadataSize);
    if (!entry.has_value()) return;
    std::array<char, 256> payload;
    size =
        file.ReadAt(entry->payload_offset,
                    {reinterpret_cast<std::byte*>(payload.data()),
                     std::min<uint64_t>(payload.size(), entry->payload_size)});
    if (!size.ok() || !visit(*entry, {payload.data(), *size})) return;
    end = entry->prev_tail;
  }
}

// Whether one of the newest entries of the file is a record of the tree. Also
// false if a few small reads do not tell.
bool EndsInRecordOf(const Identity& identity, File& file) {
  constexpr int kEntries = 16;
  bool found = false;
  VisitNewest(
      file, kEntries, [&](const EntryLocation& entry, absl::string_view head) {
        const auto header = CommitReader::ReadHeader(head);
        found = header.ok() && identity.KeyHashFor(*header) == entry.key_hash;
        return !found;
      });
  return found;
}

// Bytes that look like an identity at the beginning of the file. In a store of
// ours they are the first entry. But they may also be the first bytes of a
// payload that is itself a store.
struct Candidate {
  Identity identity;
  bool is_confirmed = false;
};

absl::StatusOr<std::optional<Candidate>> FindCandidate(
    FileSystem& file_system, const std::string& path) {
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<File> file,
                         file_system.Open(path, OpenMode::kRead, 0));
  std::byte bytes[Identity::kLongSize + kMetadataSize];
  // If the read fails or is short, the caller opens the file as a store.
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

// Whether the chain has a record of the tree for which `is_it` returns true.
// Also true if the chain is broken: the record may lie beyond the break.
bool HoldsRecord(const Store& store, const Identity& identity,
                 absl::FunctionRef<bool(const CommitHeader&)> is_it) {
  bool found = false;
  const absl::Status walked = store.ForEachInChain([&](const EntryView& entry) {
    const auto header = identity.AsCommit(entry);
    found = header.has_value() && is_it(*header);
    return !found;
  });
  return found || !walked.ok();
}

bool IsUnderIdentityKey(const EntryView& entry) {
  static const uint64_t key_hash = HashKey(Identity::Key());
  return entry.key_hash() == key_hash && !entry.is_tombstone();
}

// The entry with which the file begins, if it has the form of an identity.
std::optional<EntryView> FirstIdentity(const Store& store) {
  for (const size_t payload_size : kIdentitySizes) {
    const auto first = store.EntryEndingAt(payload_size + kMetadataSize);
    if (first.ok() && first->location().prev_tail == 0 &&
        IsUnderIdentityKey(*first)) {
      return *first;
    }
  }
  return std::nullopt;
}

// Whether `entry`, which has the form of an identity, is one, and not bytes
// within another entry. If so, the chain has a record of its tree, which only a
// program that knows the secret can have written.
bool HasRecords(const EntryView& entry, const Store& store) {
  const absl::StatusOr<Identity> identity =
      Identity::Decode(entry.payload_text());
  return identity.ok() && HoldsRecord(store, *identity,
                                      [](const CommitHeader&) { return true; });
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
  // No key is looked up.
  options.defer_index = true;
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

absl::StatusOr<std::optional<Identity>> FindIdentityCopy(
    FileSystem& file_system, const std::string& path) {
  // A copy comes with each checkpoint, and there are some megabytes of commits
  // at most between two.
  constexpr int kEntries = 1 << 20;
  std::optional<Identity> copy;
  VARVE_ASSIGN_OR_RETURN(const std::optional<Candidate> candidate,
                         FindCandidate(file_system, path));
  if (candidate.has_value()) return copy;
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<File> file,
                         file_system.Open(path, OpenMode::kRead, 0));
  const uint64_t key_hash = HashKey(Identity::Key());
  VisitNewest(*file, kEntries,
              [&](const EntryLocation& entry, absl::string_view head) {
                if (entry.is_tombstone || entry.key_hash != key_hash ||
                    entry.payload_size != head.size() ||
                    !Identity::LooksLikeOne(head) ||
                    entry.crc32 != Crc32(0, AsBytes(head))) {
                  return true;
                }
                const auto identity = Identity::Decode(head);
                if (identity.ok()) copy = *identity;
                return false;
              });
  // Anybody may append an identity, but only this tree has its records.
  if (copy.has_value() && !EndsInRecordOf(*copy, *file)) copy.reset();
  return copy;
}

bool BeginsWithIdentity(const Store& store) {
  return FirstIdentity(store).has_value();
}

absl::StatusOr<EntryView> FindIdentityEntry(const Store& store) {
  // In a store of ours it is the first entry, and needs no search.
  const std::optional<EntryView> first = FirstIdentity(store);
  if (first.has_value() && HasRecords(*first, store)) return *first;
  std::optional<EntryView> oldest;
  VARVE_RETURN_IF_ERROR(store.ForEachInChain([&](const EntryView& entry) {
    if (IsUnderIdentityKey(entry)) oldest = entry;
    return true;
  }));
  if (!oldest.has_value()) return absl::NotFoundError("no identity");
  return *oldest;
}

absl::Status CheckNotCutShort(const Store& store, const Identity& identity) {
  const uint64_t size = store.recovery().file_size;
  if (size >= identity.least_length.value_or(0) ||
      HoldsRecord(store, identity, [](const CommitHeader& header) {
        return !header.is_segment();
      })) {
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
    // A record that was moved refers to the store as it was laid out before.
    if (!header.has_value() ||
        header->position != entry.location().payload_offset) {
      return 0;
    }
    // A store is synced before it is marked as closed, and once more
    // afterwards.
    return header->clean() ? entry.location().end() : header->durable_tail;
  };
}

}  // namespace varve::fs
