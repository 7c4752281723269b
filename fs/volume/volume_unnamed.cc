// Entries without a name: those that another program wrote, and those that an
// unclean stop left behind.

#include <errno.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/log/commit.h"
#include "fs/volume/volume.h"

namespace varve::fs {
namespace {

// Adds the changes that make a file of the entry.
void AddAdopted(Commit& commit, const EntryLocation& entry, uint64_t ino,
                uint64_t parent, absl::string_view name, Caller caller) {
  PutInode put{
      .ino = ino,
      .attributes = NewAttributes(S_IFREG | 0644, caller, commit.time())};
  put.attributes.size = entry.payload_size;
  commit.Add(put);
  commit.Add(PutName{.parent = parent, .ino = ino, .name = name});
  commit.Add(SetContent{.ino = ino, .extents = {ExtentOf(entry)}});
}

}  // namespace

std::vector<EntryLocation> Volume::Unnamed() { return unnamed_.Find(); }

absl::StatusOr<ReadReply> Volume::ReadUnnamed(uint64_t key_hash,
                                              uint64_t offset, uint64_t size) {
  core_.store->NoteServed(size);
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  VARVE_ASSIGN_OR_RETURN(const EntryView entry,
                         core_.store->ReadHashed(key_hash));
  const EntryLocation& location = entry.location();
  ReadReply reply;
  if (offset >= location.payload_size) return reply;
  VARVE_RETURN_IF_ERROR(reader_.VerifyUnnamed(location));
  VARVE_RETURN_IF_ERROR(
      reply.AddStored(*core_.store, location.payload_offset + offset,
                      std::min(size, location.payload_size - offset)));
  VARVE_RETURN_IF_ERROR(core_.store->CheckLength(reply.store_end()));
  return reply;
}

// Entries that become files by one commit.
class Volume::Adoption {
 public:
  Adoption(Volume& volume, Caller caller)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(volume.core_.commit_mu)
      : volume_(volume),
        caller_(caller),
        commit_(volume.core_, volume.options_.now()) {}

  // Both with the commit_mu held that the constructor demands.
  absl::Status Add(absl::string_view path, const EntryLocation& entry);
  // Makes them files, all or none.
  absl::Status Finish() {
    volume_.core_.commit_mu.AssertHeld();
    return made_.empty() ? absl::OkStatus() : commit_.Finish();
  }

 private:
  // Of an inode that the commit makes.
  struct Made {
    uint64_t ino;
    bool is_directory;
  };

  // The deepest directory on the way that exists or is made, and the number of
  // parts that lead to it.
  struct Start {
    uint64_t parent = kRootIno;
    size_t depth = 0;
  };
  absl::StatusOr<Start> FindStart(
      const std::vector<absl::string_view>& parts) const;
  static std::string Join(const std::vector<absl::string_view>& parts,
                          size_t count) {
    return absl::StrJoin(parts.begin(),
                         parts.begin() + static_cast<ptrdiff_t>(count), "/");
  }

  Volume& volume_;
  const Caller caller_;
  Commit commit_;
  absl::flat_hash_map<std::string, Made> made_;  // by path
};

absl::StatusOr<Volume::Adoption::Start> Volume::Adoption::FindStart(
    const std::vector<absl::string_view>& parts) const {
  const auto not_a_directory = [&](size_t count) {
    return absl::AlreadyExistsError(
        absl::StrCat(Join(parts, count), " is not a directory"));
  };
  const auto taken = [] {
    return absl::AlreadyExistsError("there is a file of that name already");
  };
  Start start;
  {
    absl::ReaderMutexLock lock(&volume_.core_.tree_mu);
    const Inode* directory = volume_.core_.tree.root();
    for (; start.depth < parts.size(); ++start.depth) {
      if (!directory->is_directory()) return not_a_directory(start.depth);
      const Inode* next =
          volume_.core_.tree.Lookup(*directory, parts[start.depth]);
      if (next == nullptr) break;
      directory = next;
    }
    if (start.depth == parts.size()) return taken();
    start.parent = directory->ino;
    VARVE_RETURN_IF_ERROR(volume_.CheckFree(start.parent, parts[start.depth]));
  }
  for (; start.depth < parts.size(); ++start.depth) {
    const auto it = made_.find(Join(parts, start.depth + 1));
    if (it == made_.end()) return start;
    if (!it->second.is_directory && start.depth + 1 < parts.size()) {
      return not_a_directory(start.depth + 1);
    }
    start.parent = it->second.ino;
  }
  return taken();
}

absl::Status Volume::Adoption::Add(absl::string_view path,
                                   const EntryLocation& entry) {
  volume_.core_.commit_mu.AssertHeld();
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  VARVE_ASSIGN_OR_RETURN(const Start start, FindStart(parts));
  uint64_t parent = start.parent;
  for (size_t i = start.depth; i + 1 < parts.size(); ++i) {
    const uint64_t ino = commit_.NewIno();
    commit_.Add(PutInode{
        .ino = ino,
        .attributes = NewAttributes(S_IFDIR | 0755, caller_, commit_.time())});
    commit_.Add(PutName{.parent = parent, .ino = ino, .name = parts[i]});
    made_.emplace(Join(parts, i + 1), Made{ino, /*is_directory=*/true});
    parent = ino;
  }
  const uint64_t ino = commit_.NewIno();
  AddAdopted(commit_, entry, ino, parent, parts.back(), caller_);
  made_.emplace(std::string(path), Made{ino, /*is_directory=*/false});
  return absl::OkStatus();
}

std::vector<absl::Status> Volume::Adopt(absl::Span<const std::string> keys,
                                        Caller caller) {
  // A record takes some hundred bytes besides what it says of each file.
  constexpr size_t kAtOnce = 1000;
  absl::flat_hash_map<uint64_t, EntryLocation> unnamed;
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  for (const EntryLocation& entry : unnamed_.FindInPlace()) {
    unnamed.emplace(entry.key_hash, entry);
  }
  std::vector<absl::Status> results;
  const auto valid = [](absl::string_view part) { return IsValidName(part); };
  while (results.size() < keys.size()) {
    const size_t begin = results.size();
    absl::MutexLock commit_lock(&core_.commit_mu);
    Adoption adoption(*this, caller);
    for (const std::string& key : keys.subspan(begin, kAtOnce)) {
      const std::vector<absl::string_view> parts = absl::StrSplit(key, '/');
      const auto it = unnamed.find(HashKey(key));
      if (it == unnamed.end()) {
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
  absl::ReaderMutexLock relocation(&core_.relocation_mu);
  const std::vector<EntryLocation> unnamed = unnamed_.FindInPlace();
  const auto it = std::find_if(
      unnamed.begin(), unnamed.end(),
      [key_hash](const EntryLocation& e) { return e.key_hash == key_hash; });
  if (it == unnamed.end()) return PosixError(ENOENT);
  absl::MutexLock commit_lock(&core_.commit_mu);
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_RETURN_IF_ERROR(CheckFree(parent, name));
  }
  Commit commit(core_, options_.now());
  AddAdopted(commit, *it, commit.NewIno(), parent, name, caller);
  return commit.Finish();
}

}  // namespace varve::fs
