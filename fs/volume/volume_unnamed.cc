// Operations on unnamed entries: those that another program wrote, and those
// that an unclean stop left behind.

#include <errno.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/volume/adoption.h"
#include "fs/volume/volume.h"

namespace varve::fs {
namespace {

// Whether it has not been deleted since it was found: then it may have been
// punched.
bool IsNewest(const Store& store, const EntryLocation& entry) {
  return store.Find(EntryKey::OfHash(entry.key_hash)) ==
         entry.metadata_offset();
}

}  // namespace

absl::StatusOr<std::vector<EntryLocation>> Volume::Unnamed() {
  VARVE_ASSIGN_OR_RETURN(UnnamedEntries::Found found, unnamed_.Find());
  return std::move(found.entries);
}

absl::StatusOr<ReadReply> Volume::ReadUnnamed(uint64_t key_hash,
                                              uint64_t offset, uint64_t size) {
  core_.store->NoteServed(size);
  while (true) {
    std::optional<Extent> unchecked;
    {
      absl::ReaderMutexLock relocation(&core_.relocation_mu);
      VARVE_ASSIGN_OR_RETURN(const EntryView entry,
                             core_.store->Read(EntryKey::OfHash(key_hash)));
      auto reply =
          reader_.ReadUnnamed(entry.location(), offset, size, unchecked);
      if (!unchecked.has_value()) return reply;
    }
    reader_.CheckLong(*unchecked);
  }
}

std::vector<absl::Status> Volume::Adopt(absl::Span<const std::string> keys,
                                        Caller caller) {
  while (true) {
    auto results = TryAdopt(keys, caller);
    if (results.has_value()) return *std::move(results);
  }
}

std::optional<std::vector<absl::Status>> Volume::TryAdopt(
    absl::Span<const std::string> keys, Caller caller) {
  // A record takes some hundred bytes besides what it says of each file.
  constexpr size_t kAtOnce = 1000;
  absl::flat_hash_map<uint64_t, EntryLocation> unnamed;
  const auto found = unnamed_.Find();
  if (!found.ok()) {
    return std::vector<absl::Status>(keys.size(), found.status());
  }
  for (const EntryLocation& entry : found->entries) {
    unnamed.emplace(entry.key_hash, entry);
  }
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  // Where a compaction has moved them just now, they have to be found again.
  if (core_.relocations != found->relocations) return std::nullopt;
  std::vector<absl::Status> results;
  const auto valid = [](absl::string_view part) { return IsValidName(part); };
  while (results.size() < keys.size()) {
    const size_t begin = results.size();
    absl::MutexLock commit_lock(&core_.commit_mu);
    Adoption adoption(core_, caller, options_.now());
    for (const std::string& key : keys.subspan(begin, kAtOnce)) {
      const std::vector<absl::string_view> parts = absl::StrSplit(key, '/');
      const auto it = unnamed.find(HashKey(key));
      if (it == unnamed.end() || !IsNewest(*core_.store, it->second)) {
        results.push_back(
            absl::NotFoundError("no unnamed entry of the store has this key"));
      } else if (!std::all_of(parts.begin(), parts.end(), valid)) {
        results.push_back(absl::InvalidArgumentError(
            "the key cannot be a path: each part between slashes needs 1 to "
            "255 bytes, no NUL, and must not be \".\" or \"..\""));
      } else {
        results.push_back(adoption.Add(key, it->second));
        if (results.back().ok()) unnamed.erase(it);
      }
    }
    const absl::Status finished = adoption.Finish();
    for (size_t i = begin; i < results.size(); ++i) results[i].Update(finished);
  }
  return results;
}

absl::Status Volume::AdoptAs(uint64_t key_hash, uint64_t parent,
                             absl::string_view name, Caller caller) {
  if (read_only()) return PosixError(EROFS);
  while (true) {
    VARVE_ASSIGN_OR_RETURN(const UnnamedEntries::Found found, unnamed_.Find());
    const auto it = std::find_if(
        found.entries.begin(), found.entries.end(),
        [key_hash](const EntryLocation& e) { return e.key_hash == key_hash; });
    if (it == found.entries.end()) return PosixError(ENOENT);
    absl::ReaderMutexLock relocation(&core_.relocation_mu);
    if (core_.relocations != found.relocations) continue;
    absl::MutexLock commit_lock(&core_.commit_mu);
    if (!IsNewest(*core_.store, *it)) return PosixError(ENOENT);
    Adoption adoption(core_, caller, options_.now());
    VARVE_RETURN_IF_ERROR(adoption.AddAs(parent, name, *it));
    return adoption.Finish();
  }
}

}  // namespace varve::fs
