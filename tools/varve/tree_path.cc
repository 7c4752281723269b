#include "tools/varve/tree_path.h"

#include <errno.h>
#include <sys/stat.h>

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/open_store.h"

namespace varve::tools {
namespace {

constexpr int kMaxLinks = 40;  // as the kernel has it

// A "." matters only at the end, where it asks for a directory.
std::vector<std::string> Split(absl::string_view path) {
  std::vector<std::string> parts;
  for (const absl::string_view part :
       absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (!parts.empty() && parts.back() == ".") parts.pop_back();
    parts.emplace_back(part);
  }
  return parts;
}

// Volume::Lookup() without keeping the reference that it counts for the kernel.
absl::StatusOr<fs::Stat> Look(fs::Volume& volume, uint64_t parent,
                              absl::string_view name) {
  auto stat = volume.Lookup(parent, name);
  if (stat.ok()) volume.Forget(stat->ino, 1);
  return stat;
}

}  // namespace

absl::StatusOr<PathEntry> FindPathEntry(fs::Volume& volume,
                                        absl::string_view path,
                                        LastLink last_link) {
  const std::vector<std::string> parts = Split(path);
  std::deque<std::string> to_go(parts.begin(), parts.end());
  PathEntry place{.parent = fs::kRootIno, .name = "."};
  place.is_directory = absl::EndsWith(path, "/");
  VARVE_ASSIGN_OR_RETURN(place.found, volume.GetAttributes(fs::kRootIno));
  int links = 0;
  while (!to_go.empty()) {
    // The part before must be an existing directory.
    if (!place.found.has_value()) return fs::PosixError(ENOENT);
    if (!S_ISDIR(place.found->attributes.mode)) {
      return fs::PosixError(ENOTDIR);
    }
    const uint64_t directory = place.found->ino;
    std::string name = std::move(to_go.front());
    to_go.pop_front();
    auto stat = Look(volume, directory, name);
    if (!stat.ok() && fs::ErrnoOf(stat.status()) != ENOENT) {
      return stat.status();
    }
    if (stat.ok() && S_ISLNK(stat->attributes.mode) &&
        (!to_go.empty() || last_link == LastLink::kFollow ||
         place.is_directory)) {
      if (++links > kMaxLinks) return fs::PosixError(ELOOP);
      VARVE_ASSIGN_OR_RETURN(const std::string target,
                             volume.ReadSymlink(stat->ino));
      if (absl::StartsWith(target, "/")) {
        return ExitError(ExitStatus::kRefused,
                         absl::StrCat("the symbolic link \"", name,
                                      "\" leads out of the store"));
      }
      const std::vector<std::string> more = Split(target);
      // "x/" as a target means a directory, too.
      if (to_go.empty()) place.is_directory |= absl::EndsWith(target, "/");
      to_go.insert(to_go.begin(), more.begin(), more.end());
      continue;  // from the same directory
    }
    place.parent = directory;
    place.name = std::move(name);
    place.found.reset();
    if (stat.ok()) place.found = *stat;
  }
  if (place.is_directory && place.found.has_value() &&
      !S_ISDIR(place.found->attributes.mode)) {
    return fs::PosixError(ENOTDIR);
  }
  return place;
}

absl::StatusOr<fs::Stat> FindExisting(fs::Volume& volume,
                                      absl::string_view path,
                                      LastLink last_link) {
  VARVE_ASSIGN_OR_RETURN(const PathEntry place,
                         FindPathEntry(volume, path, last_link));
  if (!place.found.has_value()) return fs::PosixError(ENOENT);
  return *place.found;
}

bool IsRealName(absl::string_view name) {
  return !name.empty() && name != "." && name != "..";
}

absl::StatusOr<std::vector<Child>> ChildrenOf(fs::Volume& volume,
                                              uint64_t ino) {
  std::vector<Child> children;
  VARVE_RETURN_IF_ERROR(volume.ReadDirectory(
      ino, fs::Volume::kBehindDots, /*reference=*/false,
      [&children](const fs::Volume::Entry& entry) {
        children.push_back({std::string(entry.name), entry.stat});
        return true;
      }));
  std::sort(children.begin(), children.end(),
            [](const Child& a, const Child& b) { return a.name < b.name; });
  return children;
}

absl::Status MakeParents(fs::Volume& volume, absl::string_view path,
                         uint32_t mode) {
  std::vector<std::string> parts = Split(path);
  if (!parts.empty()) parts.pop_back();
  std::string so_far;
  for (const std::string& part : parts) {
    absl::StrAppend(&so_far, "/", part);
    VARVE_ASSIGN_OR_RETURN(const PathEntry place,
                           FindPathEntry(volume, so_far, LastLink::kFollow));
    if (place.found.has_value()) continue;
    VARVE_ASSIGN_OR_RETURN(
        const fs::Stat made,
        volume.MakeDirectory(place.parent, place.name, mode, CurrentCaller()));
    volume.Forget(made.ino, 1);
  }
  return absl::OkStatus();
}

absl::Status CheckTarget(fs::Volume& volume, size_t count,
                         const std::string& target, bool no_directory,
                         absl::string_view command) {
  if (count <= 1) return absl::OkStatus();
  if (no_directory) {
    return ExitError(ExitStatus::kUsage,
                     absl::StrCat("with -T there is one OLD and one NEW (see ",
                                  "varve ", command, " --help)"));
  }
  const auto stat = FindExisting(volume, target, LastLink::kFollow);
  if (stat.ok() && S_ISDIR(stat->attributes.mode)) return absl::OkStatus();
  const int error = stat.ok() ? ENOTDIR : fs::ErrnoOf(stat.status());
  return Explain(fs::PosixError(error),
                 absl::StrCat("target \"", target, "\""));
}

std::string Cannot(absl::string_view verb, absl::string_view path) {
  return absl::StrCat("cannot ", verb, " \"", path, "\"");
}

}  // namespace varve::tools
