// DiffPaths: the difference of two moments of a directory tree as users see it:
// which paths were added, removed or renamed, and which files have changed.
//
// Its cost follows what differs (see DiffTrees()), but for a walk from each
// path to the root. So does its memory: some 100 bytes for each difference, and
// its paths; and for a moment, the names of one directory and the extents of
// one file that differ.
//
// Thread-safe: there is no state. The trees must not change during a call.

#ifndef VARVE_FS_TREE_TREE_DIFFERENCE_H_
#define VARVE_FS_TREE_TREE_DIFFERENCE_H_

#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/btree/tree_diff.h"
#include "fs/tree/items.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {

// One line of the difference. Each name of a file with several is a path of its
// own. Views are valid as long as the visitor that gets them runs.
struct PathDifference {
  enum class Kind : char {
    // The name is no more. If it was a directory, each name in it has a line of
    // its own, too.
    kRemoved = '-',
    // The name is new: that of a new file or directory, or another one of a
    // file that was there before.
    kAdded = '+',
    // The file or directory had another name before. What lay in a directory
    // went with it, unless it has a line of its own: a path whose `old_path` is
    // below that of the directory. A renamed file may be modified, too. (If a
    // file has lost and got several names, these are paired in the order of
    // their paths.)
    kRenamed = 'R',
    // The path is there before and after, or went with a renamed directory, and
    // something about the file or directory differs.
    kModified = 'M',
  };

  Kind kind = Kind::kModified;
  // Relative to the root, as for TreeReader::Resolve(). `path` is that in the
  // newer tree; of kRemoved, in the older. `old_path` is that in the older
  // tree; empty of kAdded. The two differ if the file or directory was renamed,
  // or one that it lies in. (A renamed file can have the same path twice: if
  // the directory that it was in was renamed, and it lies in another one that
  // has that path now.)
  absl::string_view path;
  absl::string_view old_path;
  // The inode at that path; `before` is nothing for kAdded, and `after` for
  // kRemoved.
  std::optional<InodeItem> before;
  std::optional<InodeItem> after;

  // What differs, of kRenamed and kModified.
  //
  // Content or target, with the size. Contents are compared as
  // CompareExtents() does.
  bool content = false;
  // Mode, owner, group, device number or, except of directories, mtime. (The
  // mtime of a directory changes whenever a name in it does, so it is no reason
  // for a line. Nor are atime, which changes by reading, and ctime, which
  // changes with anything.)
  bool attributes = false;
  // Names or values of extended attributes.
  bool xattrs = false;
  // Of kModified: the path leads to another inode of the same type, because the
  // file was removed and written anew. If nothing else differs, there is a line
  // for it only if a directory that the former one lay in was renamed or
  // removed: without it, the former would seem to have gone there, too.
  bool replaced = false;

  // The bytes of content, without holes, that `after` has and that the file did
  // not have at the same place before. Only the first line of a file that has
  // several names counts them, so that a sum is right.
  uint64_t new_bytes = 0;
};

struct PathDiffOptions {
  // Whether both trees lie in one store.
  NodeSharing sharing = NodeSharing::kNone;
  // If not empty: lists only what has this path, or a path below it, in one of
  // the trees. Of what was renamed, the other path may be anywhere.
  absl::string_view below = {};
};

// Calls `visit` with each difference, in the order of `path`, until it returns
// false. A directory comes before what lies in it, and that before anything
// else; names are ordered by their bytes. Of two differences with equal paths,
// the first is kRemoved. Returns the error that `visit` returns, and DATA_LOSS
// as TreeReader does.
//
// The trees must be two moments of one tree, in which an inode number is never
// used for another file: that is what tells that a file was renamed.
absl::Status DiffPaths(
    const TreeReader& before, const TreeReader& after,
    const PathDiffOptions& options,
    absl::FunctionRef<absl::StatusOr<bool>(const PathDifference&)> visit);

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_TREE_DIFFERENCE_H_
