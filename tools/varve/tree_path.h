// Finds files in the tree of a store by path, as the kernel would. Follows
// symbolic links, but not out of the store.
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

// The place to which a path leads: a name in an existing directory.
struct PathEntry {
  uint64_t parent = 0;
  std::string name;  // "." for the root
  // The file of that name; nothing if there is none.
  std::optional<fs::Stat> found;
  // Whether the path ended with a slash, so that only a directory may have or
  // get the name.
  bool is_directory = false;
};

// Whether to follow a symbolic link in the last part of a path.
enum class LastLink { kFollow, kKeep };

// Paths are relative to the root; a leading slash changes nothing. A slash at
// the end asks for a directory, and follows a link. The name is "." or ".." if
// that is how the path ends. ENOENT, ENOTDIR, ELOOP; ExitStatus::kRefused for a
// link that leads out of the store.
absl::StatusOr<PathEntry> FindPathEntry(fs::Volume& volume,
                                        absl::string_view path,
                                        LastLink last_link);

// The same, but ENOENT if there is no file of that name.
absl::StatusOr<fs::Stat> FindExisting(fs::Volume& volume,
                                      absl::string_view path,
                                      LastLink last_link);

// Whether the name can be made, moved and removed: true unless it is "." or
// "..".
bool IsRealName(absl::string_view name);

// A file in a directory.
struct Child {
  std::string name;
  fs::Stat stat;
};
absl::StatusOr<std::vector<Child>> ChildrenOf(fs::Volume& volume, uint64_t ino);

// Makes all missing directories on the way to the last part of the path.
absl::Status MakeParents(fs::Volume& volume, absl::string_view path,
                         uint32_t mode);

// Checks that `target` is a directory if `count` files will be put there.
// `command` is for the message.
absl::Status CheckTarget(fs::Volume& volume, size_t count,
                         const std::string& target, bool no_directory,
                         absl::string_view command);

// "cannot <verb> \"<path>\"", for Explain().
std::string Cannot(absl::string_view verb, absl::string_view path);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_TREE_PATH_H_
