// Finding things in the tree of a store by path, as the kernel would: symbolic
// links are followed, but not out of the store.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_TREE_PATH_H_
#define VARVE_TOOLS_VARVE_TREE_PATH_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/volume/volume.h"

namespace varve::tools {

// What a path leads to: a name in a directory that exists.
struct PathEntry {
  uint64_t parent = 0;
  std::string name;  // "." for the root
  // What has that name; nothing if it is free.
  std::optional<fs::Stat> found;
  // The path ended with a slash: only a directory may have, or get, that name.
  bool is_directory = false;
};

// Whether a symbolic link that is the last part of a path is followed.
enum class LastLink { kFollow, kKeep };

// Paths are relative to the root; a leading slash changes nothing. A slash at
// the end asks for a directory, and follows a link. The name is "." or ".." if
// that is how the path ends. ENOENT, ENOTDIR, ELOOP; ExitStatus::kRefused for a
// link that leads out of the store.
absl::StatusOr<PathEntry> FindPathEntry(fs::Volume& volume,
                                        absl::string_view path,
                                        LastLink last_link);

// The same, but ENOENT unless there is something of that name.
absl::StatusOr<fs::Stat> FindExisting(fs::Volume& volume,
                                      absl::string_view path,
                                      LastLink last_link);

// Neither "." nor "..": what can be made, moved and removed.
bool IsRealName(absl::string_view name);

// What is in a directory, by name.
struct Child {
  std::string name;
  fs::Stat stat;
};
absl::StatusOr<std::vector<Child>> ChildrenOf(fs::Volume& volume, uint64_t ino);

// Makes the directories on the way to the last part of the path that do not
// exist.
absl::Status MakeParents(fs::Volume& volume, absl::string_view path,
                         uint32_t mode);

// That `target` is a directory if `count` things are to be put there. Of
// `command`, for the message.
absl::Status CheckTarget(fs::Volume& volume, size_t count,
                         const std::string& target, bool no_directory,
                         absl::string_view command);

// "cannot <verb> \"<path>\"", for Explain().
std::string Cannot(absl::string_view verb, absl::string_view path);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_TREE_PATH_H_
