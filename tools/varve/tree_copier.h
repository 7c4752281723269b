// Copying trees between a store and the host, and within a store, with all
// that belongs to them. What a tree is read from and what it is written to are
// interfaces, so that the rules of cp(1) are followed in one place.
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

// A file of any type, as it is to be copied.
struct Node {
  uint32_t mode = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t rdev = 0;  // as Attributes has it
  uint32_t link_count = 1;
  uint64_t size = 0;
  fs::Timestamp atime;
  fs::Timestamp mtime;
  // Which file it is: of links to one file, both agree.
  std::pair<uint64_t, uint64_t> identity;

  bool is_directory() const { return S_ISDIR(mode); }
};

// Names and values. Access control lists are among them.
using Xattrs = std::vector<std::pair<std::string, std::string>>;

// Whether it is an attribute that a store keeps; others are about the host.
bool IsKeptXattr(absl::string_view name);

// A regular file that is being read.
class SourceFile {
 public:
  virtual ~SourceFile() = default;
  // Where the next data at or behind `offset` begins; nothing if all that
  // follows is a hole.
  virtual absl::StatusOr<std::optional<uint64_t>> NextData(uint64_t offset) = 0;
  // Some of the data there, at least a byte but at the end of the file. Valid
  // until the next call.
  virtual absl::StatusOr<absl::string_view> Read(uint64_t offset) = 0;
  // Where the data at `offset` ends. A source that cannot tell says that it
  // never does.
  virtual absl::StatusOr<uint64_t> NextHole(uint64_t /*offset*/) {
    return ~uint64_t{0};
  }
  // Of a file in the store that is written to: its bytes can be shared.
  virtual const fs::Handle* handle() const { return nullptr; }
};

class SourceDirectory {
 public:
  virtual ~SourceDirectory() = default;
  virtual absl::StatusOr<std::vector<std::string>> Names() = 0;
  // No link is followed.
  virtual absl::StatusOr<Node> Look(const std::string& name) = 0;
  virtual absl::StatusOr<std::unique_ptr<SourceDirectory>> Enter(
      const std::string& name) = 0;
  virtual absl::StatusOr<std::unique_ptr<SourceFile>> Open(
      const std::string& name) = 0;
  virtual absl::StatusOr<std::string> ReadSymlink(const std::string& name) = 0;
  virtual absl::StatusOr<Xattrs> ReadXattrs(const std::string& name) = 0;
};

// What is given to a copy.
struct Dress {
  Node node;
  Xattrs xattrs;
  // Owner, times and attributes, too. Otherwise only the mode, and only of what
  // is new.
  bool all = true;
};

class TargetDirectory {
 public:
  virtual ~TargetDirectory() = default;
  // What has that name; no link is followed.
  virtual absl::StatusOr<std::optional<Node>> Look(const std::string& name) = 0;
  virtual absl::StatusOr<std::unique_ptr<TargetDirectory>> Enter(
      const std::string& name) = 0;
  // Whether nothing can be written any more: the copying ends.
  virtual bool is_broken() const { return false; }
  // For the user alone, until Finish(), which gets the same dress.
  virtual absl::Status MakeDirectory(const std::string& name,
                                     const Dress& dress) = 0;
  // A regular file that is new, or new content of one that is there. If it
  // fails, no new file stays.
  virtual absl::Status CopyFile(const std::string& name, bool exists,
                                const Dress& dress, SourceFile& from,
                                Progress& progress) = 0;
  virtual absl::Status MakeSymlink(const std::string& name,
                                   const std::string& target,
                                   const Dress& dress) = 0;
  // A device, FIFO or socket.
  virtual absl::Status MakeSpecial(const std::string& name,
                                   const Dress& dress) = 0;
  // Another name for a file that was copied before, with the same dress:
  // `earlier` is its path from where the copying began.
  virtual absl::Status Link(const std::string& earlier, const std::string& name,
                            const Dress& dress) = 0;
  // Of a directory, when all is in it.
  virtual absl::Status Finish(const std::string& name, const Dress& dress) = 0;
  virtual absl::Status Unlink(const std::string& name) = 0;
};

struct CopyOptions {
  bool all_attributes = true;
  bool no_clobber = false;  // what exists stays as it is, and is no failure
  uint32_t umask = 0;       // unless all_attributes
};

class TreeCopier {
 public:
  explicit TreeCopier(const CopyOptions& options)
      : options_(options), failures_([this] { progress_.Clear(); }) {}

  // Copies what is called `name` in `from`, with all that is in it, to be
  // called `new_name` in `to`. `path` is how the user calls the source.
  // Failures are told, and the rest is copied nevertheless.
  void Copy(SourceDirectory& from, const std::string& name, TargetDirectory& to,
            const std::string& new_name, const std::string& path);

  Failures& failures() { return failures_; }

 private:
  // What is to be copied, and where to.
  struct Item {
    std::string name;
    std::string new_name;
    std::string path;      // for messages
    std::string new_path;  // from where the copying began
  };
  struct Level;

  absl::StatusOr<Dress> DressOf(SourceDirectory& from, const Item& item,
                                const Node& node) const;
  // A directory is entered, and becomes a level of its own.
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
  // Where files with several names have been copied to.
  absl::flat_hash_map<std::pair<uint64_t, uint64_t>, std::string> copied_;
};

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_TREE_COPIER_H_
