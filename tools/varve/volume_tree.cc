#include "tools/varve/volume_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/format/acl.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/open_store.h"
#include "tools/varve/tree_path.h"

namespace varve::tools {
namespace {

constexpr uint64_t kStep = uint64_t{1} << 20;
// The device number for files of the store, so that they are never confused
// with files of the host.
constexpr uint64_t kNoDevice = ~uint64_t{0};

Node NodeOf(const fs::Stat& stat) {
  const fs::Attributes& a = stat.attributes;
  return {.mode = a.mode,
          .uid = a.uid,
          .gid = a.gid,
          .rdev = a.rdev,
          .link_count = stat.nlink,
          .size = a.size,
          .atime = a.atime,
          .mtime = a.mtime,
          .identity = {kNoDevice, stat.ino}};
}

// Volume::Lookup() without keeping the reference that it counts for the kernel.
absl::StatusOr<fs::Stat> Find(fs::Volume& volume, uint64_t parent,
                              const std::string& name) {
  auto stat = volume.Lookup(parent, name);
  if (stat.ok()) volume.Forget(stat->ino, 1);
  return stat;
}

absl::StatusOr<uint64_t> FindDirectory(fs::Volume& volume, uint64_t parent,
                                       const std::string& name) {
  VARVE_ASSIGN_OR_RETURN(const fs::Stat stat, Find(volume, parent, name));
  if (!S_ISDIR(stat.attributes.mode)) return fs::PosixError(ENOTDIR);
  return stat.ino;
}

class VolumeSourceFile : public SourceFile {
 public:
  VolumeSourceFile(fs::Volume& volume, std::unique_ptr<fs::Handle> handle)
      : volume_(volume), handle_(std::move(handle)) {}
  ~VolumeSourceFile() override {
    // The file was opened for reading, so nothing can be lost.
    volume_.Release(std::move(handle_)).IgnoreError();
  }

  absl::StatusOr<std::optional<uint64_t>> NextData(uint64_t offset) override {
    const auto data = volume_.Seek(*handle_, offset, SEEK_DATA);
    if (fs::ErrnoOf(data.status()) == ENXIO) return std::nullopt;
    if (!data.ok()) return data.status();
    return *data;
  }

  absl::StatusOr<absl::string_view> Read(uint64_t offset) override {
    VARVE_ASSIGN_OR_RETURN(const uint64_t hole,
                           volume_.Seek(*handle_, offset, SEEK_HOLE));
    VARVE_ASSIGN_OR_RETURN(
        const fs::ReadReply reply,
        volume_.Read(*handle_, offset, std::min(kStep, hole - offset)));
    VARVE_ASSIGN_OR_RETURN(bytes_, reply.Copy());
    return bytes_;
  }

  absl::StatusOr<uint64_t> NextHole(uint64_t offset) override {
    return volume_.Seek(*handle_, offset, SEEK_HOLE);
  }

  const fs::Handle* handle() const override { return handle_.get(); }

 private:
  fs::Volume& volume_;
  std::unique_ptr<fs::Handle> handle_;
  std::string bytes_;
};

class VolumeSourceDirectory : public SourceDirectory {
 public:
  VolumeSourceDirectory(fs::Volume& volume, uint64_t ino)
      : volume_(volume), ino_(ino) {}

  absl::StatusOr<std::vector<std::string>> Names() override {
    VARVE_ASSIGN_OR_RETURN(const auto children, ChildrenOf(volume_, ino_));
    std::vector<std::string> names;
    names.reserve(children.size());
    for (const Child& child : children) names.push_back(child.name);
    return names;
  }

  absl::StatusOr<Node> Look(const std::string& name) override {
    VARVE_ASSIGN_OR_RETURN(const fs::Stat stat, Find(volume_, ino_, name));
    return NodeOf(stat);
  }

  absl::StatusOr<std::unique_ptr<SourceDirectory>> Enter(
      const std::string& name) override {
    VARVE_ASSIGN_OR_RETURN(const uint64_t ino,
                           FindDirectory(volume_, ino_, name));
    return VolumeSource(volume_, ino);
  }

  absl::StatusOr<std::unique_ptr<SourceFile>> Open(
      const std::string& name) override {
    VARVE_ASSIGN_OR_RETURN(const fs::Stat stat, Find(volume_, ino_, name));
    VARVE_ASSIGN_OR_RETURN(auto handle, volume_.Open(stat.ino, O_RDONLY));
    auto file = std::make_unique<VolumeSourceFile>(volume_, std::move(handle));
    // Check this before the first byte is written.
    VARVE_RETURN_IF_ERROR(volume_.reader().VerifyAll(stat.ino));
    return file;
  }

  absl::StatusOr<std::string> ReadSymlink(const std::string& name) override {
    VARVE_ASSIGN_OR_RETURN(const fs::Stat stat, Find(volume_, ino_, name));
    return volume_.ReadSymlink(stat.ino);
  }

  absl::StatusOr<Xattrs> ReadXattrs(const std::string& name) override {
    VARVE_ASSIGN_OR_RETURN(const fs::Stat stat, Find(volume_, ino_, name));
    VARVE_ASSIGN_OR_RETURN(const std::string names,
                           volume_.ListXattrs(stat.ino));
    Xattrs xattrs;
    for (const absl::string_view xattr :
         absl::StrSplit(names, '\0', absl::SkipEmpty())) {
      VARVE_ASSIGN_OR_RETURN(std::string value,
                             volume_.GetXattr(stat.ino, xattr));
      xattrs.emplace_back(std::string(xattr), std::move(value));
    }
    return xattrs;
  }

 private:
  fs::Volume& volume_;
  const uint64_t ino_;
};

class VolumeTargetDirectory : public TargetDirectory {
 public:
  VolumeTargetDirectory(fs::Volume& volume, uint64_t root, uint64_t ino)
      : volume_(volume), root_(root), ino_(ino) {}

  absl::StatusOr<std::optional<Node>> Look(const std::string& name) override {
    const auto stat = Find(volume_, ino_, name);
    if (fs::ErrnoOf(stat.status()) == ENOENT) return std::nullopt;
    if (!stat.ok()) return stat.status();
    return NodeOf(*stat);
  }

  absl::StatusOr<std::unique_ptr<TargetDirectory>> Enter(
      const std::string& name) override {
    VARVE_ASSIGN_OR_RETURN(const uint64_t ino,
                           FindDirectory(volume_, ino_, name));
    return std::make_unique<VolumeTargetDirectory>(volume_, root_, ino);
  }

  absl::Status MakeDirectory(const std::string& name,
                             const Dress& /*dress*/) override {
    return Made(volume_.MakeDirectory(ino_, name, 0700, CurrentCaller()));
  }

  absl::Status CopyFile(const std::string& name, bool exists,
                        const Dress& dress, SourceFile& from,
                        Progress& progress) override {
    return exists ? CopyIntoExisting(name, dress, from, progress)
                  : CopyIntoNew(name, dress, from, progress);
  }

  absl::Status MakeSymlink(const std::string& name, const std::string& target,
                           const Dress& dress) override {
    VARVE_RETURN_IF_ERROR(
        Made(volume_.MakeSymlink(ino_, name, target, CurrentCaller())));
    return Finish(name, dress);
  }

  absl::Status MakeSpecial(const std::string& name,
                           const Dress& dress) override {
    VARVE_RETURN_IF_ERROR(
        Made(volume_.MakeNode(ino_, name, (dress.node.mode & S_IFMT) | 0600,
                              dress.node.rdev, CurrentCaller())));
    return Finish(name, dress);
  }

  absl::Status Link(const std::string& earlier, const std::string& name,
                    const Dress& dress) override;

  absl::Status Finish(const std::string& name, const Dress& dress) override {
    VARVE_ASSIGN_OR_RETURN(const fs::Stat stat, Find(volume_, ino_, name));
    return DressUp(stat.ino, dress);
  }

  absl::Status Unlink(const std::string& name) override {
    return volume_.Unlink(ino_, name);
  }

 private:
  // Releases the reference that was counted for the kernel.
  absl::Status Made(const absl::StatusOr<fs::Stat>& made) {
    if (made.ok()) volume_.Forget(made->ino, 1);
    return made.status();
  }
  absl::Status CopyIntoNew(const std::string& name, const Dress& dress,
                           SourceFile& from, Progress& progress);
  absl::Status CopyIntoExisting(const std::string& name, const Dress& dress,
                                SourceFile& from, Progress& progress);
  absl::Status WriteContent(const fs::Handle& handle, const Node& node,
                            SourceFile& from, Progress& progress);
  absl::Status DressUp(uint64_t ino, const Dress& dress);
  absl::Status SetXattrs(uint64_t ino, const Xattrs& wanted);

  fs::Volume& volume_;
  const uint64_t root_;  // where the copying began
  const uint64_t ino_;
};

absl::Status VolumeTargetDirectory::WriteContent(const fs::Handle& handle,
                                                 const Node& node,
                                                 SourceFile& from,
                                                 Progress& progress) {
  uint64_t end = 0;
  while (true) {
    VARVE_ASSIGN_OR_RETURN(const auto data, from.NextData(end));
    if (!data.has_value()) {
      end = std::max(end, node.size);  // a hole at the end
      break;
    }
    if (from.handle() != nullptr) {
      VARVE_ASSIGN_OR_RETURN(const uint64_t hole,
                             volume_.Seek(*from.handle(), *data, SEEK_HOLE));
      VARVE_ASSIGN_OR_RETURN(const uint64_t count,
                             volume_.CopyRange(*from.handle(), *data, handle,
                                               *data, hole - *data));
      if (count == 0) break;
      end = *data + count;
      progress.AddBytes(count);
      continue;
    }
    VARVE_ASSIGN_OR_RETURN(const absl::string_view bytes, from.Read(*data));
    if (bytes.empty()) break;
    VARVE_RETURN_IF_ERROR(volume_.Write(handle, *data, bytes));
    end = *data + bytes.size();
    progress.AddBytes(bytes.size());
  }
  return volume_.SetAttributes(handle.inode->ino, {.size = end}, &handle)
      .status();
}

// The file has no name until it is whole, so that one commit makes all of it.
absl::Status VolumeTargetDirectory::CopyIntoNew(const std::string& name,
                                                const Dress& dress,
                                                SourceFile& from,
                                                Progress& progress) {
  VARVE_ASSIGN_OR_RETURN(
      auto created,
      volume_.CreateUnnamed(ino_, 0600, O_WRONLY, CurrentCaller()));
  const uint64_t ino = created.first.ino;
  absl::Status status =
      WriteContent(*created.second, dress.node, from, progress);
  if (status.ok()) status = DressUp(ino, dress);
  if (status.ok()) status = Made(volume_.Link(ino, ino_, name));
  status.Update(status.ok() ? volume_.Release(std::move(created.second))
                            : volume_.Abandon(std::move(created.second)));
  volume_.Forget(ino, 1);
  return status;
}

absl::Status VolumeTargetDirectory::CopyIntoExisting(const std::string& name,
                                                     const Dress& dress,
                                                     SourceFile& from,
                                                     Progress& progress) {
  VARVE_ASSIGN_OR_RETURN(const fs::Stat stat, Find(volume_, ino_, name));
  VARVE_ASSIGN_OR_RETURN(auto handle,
                         volume_.Open(stat.ino, O_WRONLY | O_TRUNC));
  absl::Status status = WriteContent(*handle, dress.node, from, progress);
  if (!status.ok()) {
    status.Update(volume_.Abandon(std::move(handle)));
    return status;
  }
  VARVE_RETURN_IF_ERROR(volume_.Release(std::move(handle)));
  return dress.all ? DressUp(stat.ino, dress) : absl::OkStatus();
}

absl::Status VolumeTargetDirectory::Link(const std::string& earlier,
                                         const std::string& name,
                                         const Dress& /*dress*/) {
  uint64_t ino = root_;
  for (const absl::string_view part :
       absl::StrSplit(earlier, '/', absl::SkipEmpty())) {
    VARVE_ASSIGN_OR_RETURN(const fs::Stat stat,
                           Find(volume_, ino, std::string(part)));
    ino = stat.ino;
  }
  return Made(volume_.Link(ino, ino_, name));
}

absl::Status VolumeTargetDirectory::SetXattrs(uint64_t ino,
                                              const Xattrs& wanted) {
  // For example an access list that a new file has inherited.
  VARVE_ASSIGN_OR_RETURN(const std::string names, volume_.ListXattrs(ino));
  for (const absl::string_view old :
       absl::StrSplit(names, '\0', absl::SkipEmpty())) {
    if (std::none_of(wanted.begin(), wanted.end(),
                     [old](const auto& x) { return x.first == old; })) {
      VARVE_RETURN_IF_ERROR(volume_.RemoveXattr(ino, old));
    }
  }
  for (const auto& [name, value] : wanted) {
    VARVE_RETURN_IF_ERROR(Explain(volume_.SetXattr(ino, name, value, 0),
                                  absl::StrCat("attribute ", name)));
  }
  return absl::OkStatus();
}

absl::Status VolumeTargetDirectory::DressUp(uint64_t ino, const Dress& dress) {
  const Node& node = dress.node;
  fs::AttributeRequest request;
  if (!S_ISLNK(node.mode)) request.mode = node.mode & 07777;
  if (!dress.all) {
    if (!request.mode.has_value()) return absl::OkStatus();
    return volume_.SetAttributes(ino, request, nullptr).status();
  }
  request.uid = node.uid;
  request.gid = node.gid;
  request.atime = node.atime;
  request.mtime = node.mtime;
  // After a change of owner, which removes capabilities.
  VARVE_RETURN_IF_ERROR(volume_.SetAttributes(ino, request, nullptr).status());
  return SetXattrs(ino, dress.xattrs);
}

}  // namespace

std::unique_ptr<SourceDirectory> VolumeSource(fs::Volume& volume,
                                              uint64_t ino) {
  return std::make_unique<VolumeSourceDirectory>(volume, ino);
}

std::unique_ptr<TargetDirectory> VolumeTarget(fs::Volume& volume,
                                              uint64_t ino) {
  return std::make_unique<VolumeTargetDirectory>(volume, ino, ino);
}

void RemoveTree(fs::Volume& volume, uint64_t parent, const std::string& name,
                const fs::Stat& stat, const std::string& path,
                Progress& progress, Failures& failures) {
  struct Level {
    uint64_t parent;
    std::string name;
    std::string path;
    uint64_t ino;
    std::vector<Child> children;
    size_t next = 0;
    bool complete = true;  // everything in it was removed
  };
  // A list instead of recursion, as a tree may be too deep for the stack.
  std::vector<Level> levels;
  const auto note = [&](const absl::Status& status, const std::string& what) {
    if (!status.ok() && !levels.empty()) levels.back().complete = false;
    failures.Note(Explain(status, Cannot("remove", what)));
  };
  const auto remove = [&](uint64_t in, const std::string& child,
                          const fs::Stat& its, const std::string& its_path) {
    progress.AddFile();
    if (!S_ISDIR(its.attributes.mode)) {
      note(volume.Unlink(in, child), its_path);
      return;
    }
    auto children = ChildrenOf(volume, its.ino);
    if (!children.ok()) {
      note(children.status(), its_path);
      return;
    }
    levels.push_back({in, child, its_path, its.ino, *std::move(children)});
  };
  remove(parent, name, stat, path);
  while (!levels.empty()) {
    Level& level = levels.back();
    if (level.next < level.children.size()) {
      const Child child = std::move(level.children[level.next++]);
      const std::string child_path = JoinPath(level.path, child.name);
      remove(level.ino, child.name, child.stat, child_path);
      continue;
    }
    const Level done = std::move(level);
    levels.pop_back();
    if (!done.complete) {
      // It is not empty, and the reason has been noted.
      if (!levels.empty()) levels.back().complete = false;
      continue;
    }
    note(volume.RemoveDirectory(done.parent, done.name), done.path);
  }
}

}  // namespace varve::tools
