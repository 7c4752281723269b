#include "fs/volume/adoption.h"

#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "fs/volume/lookup.h"

namespace varve::fs {
namespace {

std::string Join(const std::vector<absl::string_view>& parts, size_t count) {
  return absl::StrJoin(parts.begin(),
                       parts.begin() + static_cast<ptrdiff_t>(count), "/");
}

}  // namespace

absl::StatusOr<Adoption::Start> Adoption::FindStart(
    const std::vector<absl::string_view>& parts) const {
  const auto not_a_directory = [&](size_t count) {
    return absl::AlreadyExistsError(
        absl::StrCat(Join(parts, count), " is not a directory"));
  };
  const auto taken = [] {
    return absl::AlreadyExistsError("a file with this name exists already");
  };
  Start start;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(LiveInode directory, core_.GetNamed(kRootIno));
    for (; start.depth < parts.size(); ++start.depth) {
      if (!directory.is_directory()) return not_a_directory(start.depth);
      VARVE_ASSIGN_OR_RETURN(const auto next,
                             FindName(core_, directory, parts[start.depth]));
      if (!next.has_value()) break;
      directory = next->inode;
    }
    if (start.depth == parts.size()) return taken();
    start.parent = directory.ino;
    VARVE_RETURN_IF_ERROR(CheckFree(core_, start.parent, parts[start.depth]));
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

absl::Status Adoption::Add(absl::string_view path, const EntryLocation& entry) {
  core_.commit_mu.AssertHeld();
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
  AddFile(parent, parts.back(), ino, entry);
  made_.emplace(std::string(path), Made{ino, /*is_directory=*/false});
  return absl::OkStatus();
}

absl::Status Adoption::AddAs(uint64_t parent, absl::string_view name,
                             const EntryLocation& entry) {
  core_.commit_mu.AssertHeld();
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_RETURN_IF_ERROR(CheckFree(core_, parent, name));
  }
  const uint64_t ino = commit_.NewIno();
  AddFile(parent, name, ino, entry);
  made_.emplace(std::string(name), Made{ino, /*is_directory=*/false});
  return absl::OkStatus();
}

void Adoption::AddFile(uint64_t parent, absl::string_view name, uint64_t ino,
                       const EntryLocation& entry) {
  PutInode put{
      .ino = ino,
      .attributes = NewAttributes(S_IFREG | 0644, caller_, commit_.time())};
  put.attributes.size = entry.payload_size;
  commit_.Add(put);
  commit_.Add(PutName{.parent = parent, .ino = ino, .name = name});
  commit_.Add(SetContent{.ino = ino, .extents = {ExtentOf(entry)}});
}

absl::Status Adoption::Finish() {
  core_.commit_mu.AssertHeld();
  return made_.empty() ? absl::OkStatus() : commit_.Finish();
}

}  // namespace varve::fs
