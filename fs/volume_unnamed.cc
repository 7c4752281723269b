// Entries without a name: those that another program wrote, and those that an
// unclean stop left behind.

#include <errno.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/status.h"
#include "fs/commit.h"
#include "fs/data_id_finder.h"
#include "fs/error.h"
#include "fs/volume.h"

namespace varve::fs {
namespace {

// Payload offsets of all entries that some file's content lies in.
absl::flat_hash_set<uint64_t> EntriesInUse(const Tree& tree) {
  absl::flat_hash_set<uint64_t> in_use;
  tree.ForEach([&in_use](const Inode& inode) {
    Tree::ForEachEntryOf(inode,
                         [&in_use](uint64_t offset) { in_use.insert(offset); });
  });
  return in_use;
}

}  // namespace

std::vector<EntryLocation> Volume::Unnamed() {
  const auto arrangement = [this] {
    absl::ReaderMutexLock lock(&core_.arrangement_mu);
    return core_.arrangement;
  };
  // In a large store this takes its time: who wants to change where things lie
  // must not wait for it, and everybody else behind them.
  while (true) {
    const uint64_t before = arrangement();
    std::vector<EntryLocation> unnamed = FindUnnamed();
    if (arrangement() == before) return unnamed;
  }
}

std::vector<EntryLocation> Volume::FindUnnamed() {
  absl::flat_hash_set<uint64_t> in_use;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    in_use = EntriesInUse(core_.tree);
  }
  const uint64_t limit = core_.unnamed_limit.load();
  const uint64_t identity_key = HashKey(Identity::Key());
  const uint64_t checkpoint_key = core_.identity.CheckpointKeyHash();
  const uint64_t image_key = core_.identity.IndexImageKeyHash();
  std::vector<EntryLocation> unnamed;
  DataIdFinder finder(core_.identity, core_.next_data_id.load());
  core_.store->ForEach([&](const EntryView& entry) {
    const EntryLocation& location = entry.location();
    if (in_use.contains(location.payload_offset) ||
        location.key_hash == identity_key || location.key_hash == image_key) {
      return true;
    }
    if (const auto header = core_.identity.AsCommit(entry)) {
      finder.SeeRecord(*header, location);
    } else if (location.end() <= limit && location.key_hash != checkpoint_key) {
      unnamed.push_back(location);
      finder.Ask(location.key_hash);
    }
    return true;
  });
  // The rest of the tree's own: dead data.
  const auto ids = finder.Find();
  absl::ReaderMutexLock lock(&core_.tree_mu);
  std::erase_if(unnamed, [&](const EntryLocation& location) {
    core_.tree_mu.AssertReaderHeld();
    const auto found = ids.find(location.key_hash);
    return found != ids.end() &&
           !core_.tree.unfinished().Contains(found->second);
  });
  uint64_t bytes = 0;
  for (const EntryLocation& entry : unnamed) bytes += entry.size_on_disk();
  policy_.SetUnnamedBytes(bytes);
  return unnamed;
}

absl::StatusOr<ReadReply> Volume::ReadUnnamed(uint64_t key_hash,
                                              uint64_t offset, uint64_t size) {
  core_.store->NoteServed(size);
  absl::ReaderMutexLock arrangement(&core_.arrangement_mu);
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

void Volume::AddAdopted(Commit& commit, const EntryLocation& entry,
                        uint64_t ino, uint64_t parent, absl::string_view name,
                        Caller caller) {
  PutInode put{
      .ino = ino,
      .attributes = NewAttributes(S_IFREG | 0644, caller, commit.time())};
  put.attributes.size = entry.payload_size;
  commit.Add(put);
  commit.Add(PutName{.parent = parent, .ino = ino, .name = name});
  commit.Add(SetContent{.ino = ino, .extents = {ExtentOf(entry)}});
}

absl::Status Volume::AdoptPath(absl::string_view path,
                               const EntryLocation& entry, Caller caller) {
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  absl::MutexLock commit_lock(&core_.commit_mu);
  // The deepest directory on the way that exists.
  uint64_t parent = kRootIno;
  size_t depth = 0;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const Inode* directory = core_.tree.root();
    for (; depth < parts.size(); ++depth) {
      if (!directory->is_directory()) {
        return absl::AlreadyExistsError(
            absl::StrCat(Tree::PathOf(*directory), " is not a directory"));
      }
      const Inode* next = core_.tree.Lookup(*directory, parts[depth]);
      if (next == nullptr) break;
      directory = next;
    }
    if (depth == parts.size()) {
      return absl::AlreadyExistsError("there is a file of that name already");
    }
    parent = directory->ino;
    VARVE_RETURN_IF_ERROR(CheckFree(parent, parts[depth]));
  }
  Commit commit(core_, options_.now());
  std::vector<uint64_t> inos;  // of the directories and, last, the file
  for (size_t i = depth; i < parts.size(); ++i) inos.push_back(commit.NewIno());
  for (size_t i = depth; i + 1 < parts.size(); ++i) {
    const uint64_t ino = inos[i - depth];
    commit.Add(PutInode{
        .ino = ino,
        .attributes = NewAttributes(S_IFDIR | 0755, caller, commit.time())});
    commit.Add(PutName{.parent = parent, .ino = ino, .name = parts[i]});
    parent = ino;
  }
  AddAdopted(commit, entry, inos.back(), parent, parts.back(), caller);
  return commit.Finish();
}

std::vector<absl::Status> Volume::Adopt(absl::Span<const std::string> keys,
                                        Caller caller) {
  absl::flat_hash_map<uint64_t, EntryLocation> unnamed;
  absl::ReaderMutexLock arrangement(&core_.arrangement_mu);
  for (const EntryLocation& entry : FindUnnamed()) {
    unnamed.emplace(entry.key_hash, entry);
  }
  std::vector<absl::Status> results;
  for (const std::string& key : keys) {
    const auto valid = [](absl::string_view part) { return IsValidName(part); };
    const std::vector<absl::string_view> parts = absl::StrSplit(key, '/');
    const auto it = unnamed.find(HashKey(key));
    if (it == unnamed.end()) {
      results.push_back(
          absl::NotFoundError("no unnamed entry of the store has this key"));
    } else if (!std::all_of(parts.begin(), parts.end(), valid)) {
      results.push_back(absl::InvalidArgumentError(
          "the key cannot be a path: each part between slashes needs 1 to 255 "
          "bytes, no NUL, and must not be \".\" or \"..\""));
    } else {
      results.push_back(AdoptPath(key, it->second, caller));
      if (results.back().ok()) unnamed.erase(it);
    }
  }
  return results;
}

absl::Status Volume::AdoptAs(uint64_t key_hash, uint64_t parent,
                             absl::string_view name, Caller caller) {
  if (read_only()) return PosixError(EROFS);
  absl::ReaderMutexLock arrangement(&core_.arrangement_mu);
  const std::vector<EntryLocation> unnamed = FindUnnamed();
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
