// Copies trees between a store and the host, and within a store, with all
// attributes. Source and target are interfaces, so that one place implements
// the rules of cp(1).
//
// Not thread-safe.

#ifndef VARVE_TOOLS_VARVE_TREE_COPIER_H_
#define VARVE_TOOLS_VARVE_TREE_COPIER_H_

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/format/timestamp.h"
#include "fs/volume/volume.h"
#include "tools/varve/failures.h"
#include "tools/varve/progress.h"

namespace varve::tools {

// The attributes of a file of any type.
struct Node {
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t rdev = 0;  // as in fs::Attributes
  uint32_t link_count = 1;
  uint64_t size = 0;
  fs::Timestamp atime;
  fs::Timestamp mtime;
  // Identifies the file. All links to one file have the same identity.
  std::pair<uint64_t, uint64_t> identity;

  bool is_directory() const { return S_ISDIR(mode); }
};

// Names and values, including access control lists.
using Xattrs = std::vector<std::pair<std::string, std::string>>;

// Whether a store keeps attributes of this name. Others belong to the host.
bool IsKeptXattr(absl::string_view name);

// A regular file that is being read.
class SourceFile {
 public:
  virtual ~SourceFile() = default;
  // The beginning of the next data at or behind `offset`; nothing if only a
  // hole follows.
  virtual absl::StatusOr<std::optional<uint64_t>> NextData(uint64_t offset) = 0;
  // Some of the data at `offset`: at least a byte, except at the end of the
  // file. Valid until the next call.
  virtual absl::StatusOr<absl::string_view> Read(uint64_t offset) = 0;
  // The end of the data at `offset`. A source that does not know returns the
  // largest number.
  virtual absl::StatusOr<uint64_t> NextHole(uint64_t /*offset*/) {
    return ~uint64_t{0};
  }
  // The handle, if the file is in the target's store, so that its bytes can be
  // shared.
  virtual const fs::Handle* handle() const { return nullptr; }
};

class SourceDirectory {
 public:
  virtual ~SourceDirectory() = default;
  virtual absl::StatusOr<std::vector<std::string>> Names() = 0;
  // Does not follow a link.
  virtual absl::StatusOr<Node> Look(const std::string& name) = 0;
  virtual absl::StatusOr<std::unique_ptr<SourceDirectory>> Enter(
      const std::string& name) = 0;
  virtual absl::StatusOr<std::unique_ptr<SourceFile>> Open(
      const std::string& name) = 0;
  virtual absl::StatusOr<std::string> ReadSymlink(const std::string& name) = 0;
  virtual absl::StatusOr<Xattrs> ReadXattrs(const std::string& name) = 0;
};

// The attributes that a copy gets.
struct Dress {
  Node node;
  Xattrs xattrs;
  // Whether the copy gets owner, times and extended attributes. Otherwise only
  // a new file gets the mode, and nothing else.
  bool all = true;
};

class TargetDirectory {
 public:
  virtual ~TargetDirectory() = default;
  // The file of that name; nothing if there is none. Does not follow a link.
  virtual absl::StatusOr<std::optional<Node>> Look(const std::string& name) = 0;
  virtual absl::StatusOr<std::unique_ptr<TargetDirectory>> Enter(
      const std::string& name) = 0;
  // Whether nothing can be written any more, so that copying ends.
  virtual bool is_broken() const { return false; }
  // Makes a directory that only the user can enter until Finish(), which gets
  // the same dress.
  virtual absl::Status MakeDirectory(const std::string& name,
                                     const Dress& dress) = 0;
  // Makes a new regular file or, if `exists`, gives an existing one new
  // content. On failure no new file is left.
  virtual absl::Status CopyFile(const std::string& name, bool exists,
                                const Dress& dress, SourceFile& from,
                                Progress& progress) = 0;
  virtual absl::Status MakeSymlink(const std::string& name,
                                   const std::string& target,
                                   const Dress& dress) = 0;
  // A device, FIFO or socket.
  virtual absl::Status MakeSpecial(const std::string& name,
                                   const Dress& dress) = 0;
  // Makes another name for a file that was copied before, with the same dress.
  // `earlier` is its path from where the copying began.
  virtual absl::Status Link(const std::string& earlier, const std::string& name,
                            const Dress& dress) = 0;
  // Ends a directory once everything is in it.
  virtual absl::Status Finish(const std::string& name, const Dress& dress) = 0;
  virtual absl::Status Unlink(const std::string& name) = 0;
};

struct CopyOptions {
  bool all_attributes = true;
  bool no_clobber =
      false;           // existing files stay as they are, without a failure
  uint32_t umask = 0;  // unless all_attributes
};

class TreeCopier {
 public:
  explicit TreeCopier(const CopyOptions& options)
      : options_(options), failures_([this] { progress_.Clear(); }) {}

  // Copies `name` in `from`, with everything in it, to `new_name` in `to`.
  // `path` is the user's name of the source. Prints failures and copies the
  // rest.
  void Copy(SourceDirectory& from, const std::string& name, TargetDirectory& to,
            const std::string& new_name, const std::string& path);

  Failures& failures() { return failures_; }

 private:
  // A file to copy and its target.
  struct Item {
    std::string name;
    std::string new_name;
    std::string path;      // for messages
    std::string new_path;  // from where the copying began
  };
  struct Level;

  absl::StatusOr<Dress> DressOf(SourceDirectory& from, const Item& item,
                                const Node& node) const;
  // Copies one file. Enters a directory, which becomes a new level.
  absl::Status CopyOne(SourceDirectory& from, TargetDirectory& to,
                       const Item& item, std::vector<Level>& levels);
  absl::Status CopyLeaf(SourceDirectory& from, TargetDirectory& to,
                        const Item& item, const Dress& dress,
                        const std::optional<Node>& existing);
  absl::Status EnterBoth(SourceDirectory& from, TargetDirectory& to,
                         const Item& item, const Dress& dress, bool exists,
                         std::vector<Level>& levels);

  const CopyOptions options_;
  Progress progress_{"copying"};
  Failures failures_;
  // The targets of files with several names.
  absl::flat_hash_map<std::pair<uint64_t, uint64_t>, std::string> copied_;
};

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_TREE_COPIER_H_
