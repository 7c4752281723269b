#include "fs/fuse/control_directory.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

constexpr uint64_t kStatus = ControlDirectory::kFirstIno + 1;
constexpr uint64_t kStatusJson = ControlDirectory::kFirstIno + 2;
constexpr uint64_t kUnnamed = ControlDirectory::kFirstIno + 3;
constexpr uint64_t kFirstFile = ControlDirectory::kFirstIno + 4;
constexpr uint64_t kFirstUnnamed = ControlDirectory::kFirstIno + 32;

struct Member {
  absl::string_view name;
  uint64_t value;
};

std::string NameOf(uint64_t key_hash) {
  return absl::StrFormat("%016x", key_hash);
}

absl::string_view NameOf(FileLocation place) {
  switch (place) {
    case FileLocation::kInPlace:
      return "in place";
    case FileLocation::kMoved:
      return "moved or replaced";
    case FileLocation::kDeleted:
      return "deleted";
  }
  return "";
}

}  // namespace

ControlDirectory::ControlDirectory(Volume& volume, std::string status_members)
    : volume_(volume),
      status_members_(std::move(status_members)),
      started_(Timestamp::Now()),
      history_(volume, kFirstIno) {}

Stat ControlDirectory::DirectoryStat(uint64_t ino) {
  // The bytes of unnamed entries may have been anybody's. The status is for
  // all.
  const uint32_t permissions = ino == kUnnamed ? 0500 : 0555;
  Stat stat{
      .ino = ino, .attributes = {.mode = S_IFDIR | permissions}, .nlink = 2};
  stat.attributes.size = 4096;
  return stat;
}

Stat ControlDirectory::FileStat(uint64_t ino, uint64_t size) const {
  Stat stat{.ino = ino, .attributes = {.mode = S_IFREG | 0444}, .nlink = 1};
  // The bytes of unnamed entries may have been anybody's, so only the owner of
  // the root may read them.
  if (ino >= kFirstUnnamed) stat.attributes.mode = S_IFREG | 0400;
  const TextFile* const file = FindFile(ino);
  if (file != nullptr && file->is_private) {
    stat.attributes.mode = S_IFREG | 0400;
    stat.attributes.uid = geteuid();
  }
  stat.attributes.size = size;
  stat.attributes.mtime = stat.attributes.ctime = started_;
  stat.attributes.atime = stat.attributes.btime = started_;
  stat.blocks = (size + 511) / 512;
  return stat;
}

const ControlDirectory::TextFile* ControlDirectory::FindFile(
    uint64_t ino) const {
  const uint64_t place = ino - kFirstFile;
  return ino >= kFirstFile && place < files_.size() ? &files_[place] : nullptr;
}

absl::Status ControlDirectory::LoadUnnamed() {
  if (loaded_) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(const std::vector<EntryLocation> entries,
                         volume_.Unnamed());
  loaded_ = true;
  unnamed_.reserve(entries.size());
  for (const EntryLocation& entry : entries) {
    unnamed_.push_back({entry.key_hash, entry.payload_size});
  }
  std::sort(unnamed_.begin(), unnamed_.end(),
            [](const Unnamed& a, const Unnamed& b) {
              return a.key_hash < b.key_hash;
            });
  return absl::OkStatus();
}

absl::StatusOr<std::optional<size_t>> ControlDirectory::FindUnnamed(
    absl::string_view name) {
  VARVE_RETURN_IF_ERROR(LoadUnnamed());
  uint64_t key_hash = 0;
  if (!absl::SimpleHexAtoi(name, &key_hash) || NameOf(key_hash) != name) {
    return std::optional<size_t>();
  }
  const auto it = std::lower_bound(
      unnamed_.begin(), unnamed_.end(), key_hash,
      [](const Unnamed& a, uint64_t hash) { return a.key_hash < hash; });
  if (it == unnamed_.end() || it->key_hash != key_hash) {
    return std::optional<size_t>();
  }
  const auto place = static_cast<size_t>(it - unnamed_.begin());
  return named_.contains(place) ? std::optional<size_t>()
                                : std::optional(place);
}

void ControlDirectory::NoteNamed(uint64_t key_hash) {
  absl::MutexLock lock(&mu_);
  const auto place = FindUnnamed(NameOf(key_hash));
  if (place.ok() && place->has_value()) named_.insert(**place);
}

absl::StatusOr<Stat> ControlDirectory::Lookup(uint64_t parent,
                                              absl::string_view name) {
  if (IsAt(parent, name)) return DirectoryStat(kFirstIno);
  if (parent == kFirstIno) {
    if (name == "status") return GetAttributes(kStatus);
    if (name == "status.json") return GetAttributes(kStatusJson);
    if (name == "unnamed") return DirectoryStat(kUnnamed);
    if (const auto directory = HistoryDirectory::DirectoryNamed(name)) {
      return history_.GetAttributes(*directory);
    }
    for (size_t i = 0; i < files_.size(); ++i) {
      if (name == files_[i].name) return GetAttributes(kFirstFile + i);
    }
    return PosixError(ENOENT);
  }
  if (parent != kUnnamed) return PosixError(ENOTDIR);
  absl::MutexLock lock(&mu_);
  VARVE_ASSIGN_OR_RETURN(const std::optional<size_t> place, FindUnnamed(name));
  if (!place.has_value()) return PosixError(ENOENT);
  return FileStat(kFirstUnnamed + *place, unnamed_[*place].size);
}

absl::StatusOr<Stat> ControlDirectory::GetAttributes(uint64_t ino) {
  if (ino == kFirstIno || ino == kUnnamed) return DirectoryStat(ino);
  if (ino == kStatus || ino == kStatusJson) {
    VARVE_ASSIGN_OR_RETURN(const std::string text, TextOf(ino));
    return FileStat(ino, text.size());
  }
  if (FindFile(ino) != nullptr) return FileStat(ino, 0);
  absl::MutexLock lock(&mu_);
  const uint64_t index = ino - kFirstUnnamed;
  if (index >= unnamed_.size()) return PosixError(ENOENT);
  return FileStat(ino, unnamed_[index].size);
}

std::optional<uint64_t> ControlDirectory::KeyHashOf(uint64_t ino) {
  absl::MutexLock lock(&mu_);
  const uint64_t index = ino - kFirstUnnamed;
  if (ino < kFirstUnnamed || index >= unnamed_.size()) return std::nullopt;
  return unnamed_[index].key_hash;
}

absl::Status ControlDirectory::Rename(uint64_t parent, absl::string_view name,
                                      uint64_t new_parent,
                                      absl::string_view new_name,
                                      unsigned flags, const Caller& caller) {
  constexpr unsigned kAllowed = RENAME_NOREPLACE;
  if (!Owns(parent) || Owns(new_parent) || (flags & ~kAllowed) != 0) {
    return PosixError(EPERM);
  }
  VARVE_ASSIGN_OR_RETURN(const Stat entry, Lookup(parent, name));
  const std::optional<uint64_t> key_hash = KeyHashOf(entry.ino);
  if (!key_hash.has_value()) return PosixError(EPERM);
  VARVE_RETURN_IF_ERROR(
      volume_.AdoptAs(*key_hash, new_parent, new_name, caller));
  NoteNamed(*key_hash);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ControlDirectory::TextOf(uint64_t ino) {
  if (const TextFile* const file = FindFile(ino)) return file->make();
  if (ino != kStatus && ino != kStatusJson) return PosixError(ENOENT);
  VARVE_ASSIGN_OR_RETURN(const SpaceInfo space, volume_.GetSpace());
  return StatusText(ino == kStatusJson, space);
}

std::string ControlDirectory::StatusText(bool json, const SpaceInfo& space) {
  const Scrubber::Progress scrubbed = volume_.scrub_progress();
  std::vector<Member> members = {
      {"store_bytes", space.store_bytes},
      {"live_bytes", space.live_bytes},
      {"durable_bytes", volume_.store().durable_tail()},
      {"inodes", space.inodes},
      {"host_free_bytes", space.host_available},
      {"recovered_torn_bytes", volume_.store().recovery().torn_bytes},
      {"scrubbed_bytes", scrubbed.bytes},
      {"scrub_found_damaged", scrubbed.damaged},
  };
  // Of a damaged tree, the rest is to be had all the same.
  if (const auto history = volume_.history().GetSums(); history.ok()) {
    members.push_back({"history_bytes", history->bytes});
    members.push_back({"history_kept_from", history->kept_from});
    members.push_back({"snapshots", history->snapshots});
  }
  std::string text = json ? "{" : "";
  if (json && !status_members_.empty()) {
    absl::StrAppend(&text, status_members_, ", ");
  }
  absl::StrAppend(&text, json ? "\"uuid\": \"" : "uuid: ",
                  volume_.identity().UuidText(), json ? "\", " : "\n");
  absl::StrAppend(&text, json ? "\"read_only\": " : "read_only: ",
                  volume_.read_only() ? "true" : "false", json ? "" : "\n");
  if (const absl::Status failure = volume_.failure(); !failure.ok()) {
    // For JSON, leave out characters that would need to be escaped.
    std::string reason(failure.message());
    std::erase_if(reason, [](unsigned char c) {
      return c < ' ' || c == '"' || c == '\\';
    });
    absl::StrAppend(&text,
                    json ? ", \"read_only_reason\": \"" : "read_only_reason: ",
                    reason, json ? "\"" : "\n");
  }
  if (const auto place = volume_.LocateFile(); place.ok()) {
    absl::StrAppend(&text, json ? ", \"store_file\": \"" : "store_file: ",
                    NameOf(*place), json ? "\"" : "\n");
  }
  absl::StrAppend(&text,
                  json ? ", \"transport\": \"" : "transport: ", transport(),
                  json ? "\"" : "\n");
  for (const Member& member : members) {
    absl::StrAppend(&text, json ? ", \"" : "", member.name,
                    json ? "\": " : ": ", member.value, json ? "" : "\n");
  }
  if (json) text += "}\n";
  return text;
}

absl::Status ControlDirectory::ReadDirectory(
    uint64_t ino, uint64_t cookie,
    const std::function<bool(const Volume::Entry&)>& visit) {
  struct Listed {
    std::string name;
    Stat stat;
  };
  std::vector<Listed> all = {{".", DirectoryStat(ino)},
                             {"..", DirectoryStat(kFirstIno)}};
  if (ino == kFirstIno) {
    std::vector<std::string> names = {"status", "status.json", "unnamed"};
    for (const absl::string_view name : HistoryDirectory::kNames) {
      names.emplace_back(name);
    }
    for (const TextFile& file : files_) names.push_back(file.name);
    for (const std::string& name : names) {
      VARVE_ASSIGN_OR_RETURN(const Stat stat, Lookup(ino, name));
      all.push_back({name, stat});
    }
  } else if (ino != kUnnamed) {
    return PosixError(ENOTDIR);
  }
  for (uint64_t i = cookie; i < all.size(); ++i) {
    if (!visit({all[i].name, all[i].stat, i + 1})) return absl::OkStatus();
  }
  if (ino != kUnnamed) return absl::OkStatus();
  return ListUnnamed(std::max<uint64_t>(cookie, all.size()) - all.size(),
                     visit);
}

absl::Status ControlDirectory::ListUnnamed(
    uint64_t first, const std::function<bool(const Volume::Entry&)>& visit) {
  constexpr uint64_t kBehindDots = 2;
  absl::MutexLock lock(&mu_);
  VARVE_RETURN_IF_ERROR(LoadUnnamed());
  for (uint64_t i = first; i < unnamed_.size(); ++i) {
    if (named_.contains(i)) continue;
    const std::string name = NameOf(unnamed_[i].key_hash);
    const Stat stat = FileStat(kFirstUnnamed + i, unnamed_[i].size);
    if (!visit({name, stat, kBehindDots + i + 1})) break;
  }
  return absl::OkStatus();
}

}  // namespace varve::fs
