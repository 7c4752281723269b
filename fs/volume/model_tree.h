// ModelTree: what a volume should hold, as plain maps and strings. The model
// test applies every operation to both, and compares them. Not thread-safe.

#ifndef VARVE_FS_VOLUME_MODEL_TREE_H_
#define VARVE_FS_VOLUME_MODEL_TREE_H_

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "fs/format/timestamp.h"

namespace varve::fs {

struct ModelNode {
  uint64_t ino = 0;
  uint32_t mode = 0;  // type and permissions
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t links = 0;  // names; not counted for directories
  std::string
      content;  // of a file as its writers see it, or a symlink's target
  // Of a file: what a crash may bring back instead of `content`.
  std::string committed;
  bool dirty = false;  // changed through a handle since it was committed
  uint64_t round = 1;  // counts the commits of what was dirty
  // Times that were set explicitly and have not changed since.
  std::optional<Timestamp> atime;
  std::optional<Timestamp> mtime;
  std::map<std::string, std::string> xattrs;
  std::map<std::string, std::shared_ptr<ModelNode>> names;  // of a directory

  bool is_directory() const { return S_ISDIR(mode); }
  bool is_regular() const { return S_ISREG(mode); }
  bool is_symlink() const { return S_ISLNK(mode); }
};

using ModelNodePtr = std::shared_ptr<ModelNode>;

// Each operation returns the expected error number, or 0 for success. After an
// error, it has changed nothing.
class ModelTree {
 public:
  ModelTree();

  const ModelNodePtr& root() const { return root_; }
  ModelNodePtr Find(absl::string_view path) const;  // null if there is none
  std::vector<std::string> Paths() const;  // of everything but the root

  int Make(absl::string_view path, uint32_t mode, absl::string_view target);
  int Link(absl::string_view from, absl::string_view to);
  int Unlink(absl::string_view path);
  int RemoveDirectory(absl::string_view path);
  int Rename(absl::string_view from, absl::string_view to, uint32_t flags);

  static void Write(ModelNode& file, uint64_t offset, absl::string_view bytes);
  static void Resize(ModelNode& file, uint64_t size);
  static void Zero(ModelNode& file, uint64_t offset, uint64_t length);

  // Calls `visit` for each name, a directory before the names in it.
  void ForEach(
      const std::function<void(const std::string& path,
                               const ModelNodePtr& node)>& visit) const;

 private:
  struct Place {
    ModelNodePtr directory;  // null if there is none
    std::string name;
    ModelNodePtr node;  // null if the name is free
    bool not_a_directory = false;
  };
  Place Resolve(absl::string_view path) const;
  static int ErrorOf(const Place& place);  // of the directory's path
  static bool Contains(const ModelNode& directory, const ModelNode* node);
  static void Drop(const Place& place);

  ModelNodePtr root_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_MODEL_TREE_H_
