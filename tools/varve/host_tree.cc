#include "tools/varve/host_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/format/acl.h"
#include "tools/varve/host.h"
#include "tools/varve/tree_path.h"

namespace varve::tools {
namespace {

using FileId = std::pair<uint64_t, uint64_t>;

constexpr size_t kStep = size_t{1} << 20;

FileId IdOf(const struct stat& stat) { return {stat.st_dev, stat.st_ino}; }

Node NodeOf(const struct stat& stat) {
  return {.mode = stat.st_mode,
          .uid = stat.st_uid,
          .gid = stat.st_gid,
          // The 32 bits of a device number in the kernel's encoding.
          .rdev = static_cast<uint32_t>(stat.st_rdev),
          .link_count = static_cast<uint32_t>(stat.st_nlink),
          .size = static_cast<uint64_t>(stat.st_size),
          .atime = fs::Timestamp::From(stat.st_atim),
          .mtime = fs::Timestamp::From(stat.st_mtim),
          .identity = IdOf(stat)};
}

FileId IdOfPath(const std::string& path) {
  struct stat stat;
  return ::stat(path.c_str(), &stat) == 0 ? IdOf(stat) : FileId(0, 0);
}

absl::StatusOr<struct stat> StatAt(int directory, const std::string& name) {
  struct stat stat;
  if (fstatat(directory, name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) != 0) {
    return fs::PosixError(errno);
  }
  return stat;
}

absl::StatusOr<Descriptor> OpenAt(int directory, const std::string& name,
                                  int flags, mode_t mode = 0) {
  flags |= O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  Descriptor fd(openat(directory, name.c_str(), flags, mode));
  if (!fd.valid()) return fs::PosixError(errno);
  return fd;
}

// Access times are copied, too, so reading must not change them, which works if
// the file is the caller's.
absl::StatusOr<Descriptor> OpenSource(int directory, const std::string& name,
                                      int flags) {
  auto fd = OpenAt(directory, name, flags | O_RDONLY | O_NOATIME);
  if (fs::ErrnoOf(fd.status()) != EPERM) return fd;
  return OpenAt(directory, name, flags | O_RDONLY);
}

// For calls that take no directory: a path to a name in the directory.
std::string PathAt(const Descriptor& directory, const std::string& name) {
  return absl::StrCat("/proc/self/fd/", directory.get(), "/", name);
}

absl::StatusOr<std::vector<std::string>> ListXattrsOf(const std::string& path) {
  while (true) {
    ssize_t size = llistxattr(path.c_str(), nullptr, 0);
    if (size == 0 || (size < 0 && errno == EOPNOTSUPP)) {
      return std::vector<std::string>();
    }
    if (size < 0) return fs::PosixError(errno);
    std::string text(static_cast<size_t>(size), '\0');
    size = llistxattr(path.c_str(), text.data(), text.size());
    if (size < 0 && errno == ERANGE) continue;  // it has grown meanwhile
    if (size < 0) return fs::PosixError(errno);
    text.resize(static_cast<size_t>(size));
    return std::vector<std::string>(
        absl::StrSplit(text, '\0', absl::SkipEmpty()));
  }
}

absl::StatusOr<std::optional<std::string>> GetXattrOf(const std::string& path,
                                                      const std::string& name) {
  while (true) {
    ssize_t size = lgetxattr(path.c_str(), name.c_str(), nullptr, 0);
    if (size < 0 && errno == ENODATA) return std::nullopt;
    if (size < 0) return fs::PosixError(errno);
    std::string value(static_cast<size_t>(size), '\0');
    size = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0 && errno == ENODATA) return std::nullopt;
    if (size < 0 && errno == ERANGE) continue;  // it has grown meanwhile
    if (size < 0) return fs::PosixError(errno);
    value.resize(static_cast<size_t>(size));
    return value;
  }
}

class HostSourceFile : public SourceFile {
 public:
  HostSourceFile(Descriptor fd, uint64_t size)
      : fd_(std::move(fd)), size_(size) {}

  absl::StatusOr<std::optional<uint64_t>> NextData(uint64_t offset) override {
    // Files whose content is made on reading, as in /proc, have no length.
    if (size_ == 0) return offset;
    const off_t data = lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
    if (data >= 0) return static_cast<uint64_t>(data);
    if (errno == ENXIO) return std::nullopt;
    if (errno == EINVAL) return offset;  // not supported here
    return fs::PosixError(errno);
  }

  absl::StatusOr<absl::string_view> Read(uint64_t offset) override {
    size_t limit = kStep;
    const off_t hole = lseek(fd_.get(), static_cast<off_t>(offset), SEEK_HOLE);
    if (hole > static_cast<off_t>(offset)) {
      limit = static_cast<size_t>(
          std::min<uint64_t>(limit, static_cast<uint64_t>(hole) - offset));
    }
    if (lseek(fd_.get(), static_cast<off_t>(offset), SEEK_SET) < 0) {
      return fs::PosixError(errno);
    }
    VARVE_ASSIGN_OR_RETURN(bytes_, ReadSome(fd_.get(), limit, "it"));
    return bytes_;
  }

 private:
  const Descriptor fd_;
  const uint64_t size_;
  std::string bytes_;
};

class HostSourceDirectory : public SourceDirectory {
 public:
  HostSourceDirectory(Descriptor fd, FileId store)
      : fd_(std::move(fd)), store_(store) {}

  absl::StatusOr<std::vector<std::string>> Names() override {
    VARVE_ASSIGN_OR_RETURN(const Descriptor again,
                           OpenSource(fd_.get(), ".", O_DIRECTORY));
    const int fd = dup(again.get());
    if (fd < 0) return fs::PosixError(errno);
    DIR* const stream = fdopendir(fd);
    if (stream == nullptr) {
      const absl::Status status = fs::PosixError(errno);
      close(fd);
      return status;
    }
    std::vector<std::string> names;
    errno = 0;
    while (const struct dirent* entry = readdir(stream)) {
      if (IsRealName(entry->d_name)) names.emplace_back(entry->d_name);
      errno = 0;
    }
    const int error = errno;
    closedir(stream);
    if (error != 0) return fs::PosixError(error);
    std::sort(names.begin(), names.end());
    return names;
  }

  absl::StatusOr<Node> Look(const std::string& name) override {
    VARVE_ASSIGN_OR_RETURN(const struct stat stat, StatAt(fd_.get(), name));
    if (IdOf(stat) == store_) {
      return ErrorWithNumber(EINVAL, "it is the store itself");
    }
    return NodeOf(stat);
  }

  absl::StatusOr<std::unique_ptr<SourceDirectory>> Enter(
      const std::string& name) override {
    VARVE_ASSIGN_OR_RETURN(Descriptor fd,
                           OpenSource(fd_.get(), name, O_DIRECTORY));
    return std::make_unique<HostSourceDirectory>(std::move(fd), store_);
  }

  absl::StatusOr<std::unique_ptr<SourceFile>> Open(
      const std::string& name) override {
    VARVE_ASSIGN_OR_RETURN(Descriptor fd, OpenSource(fd_.get(), name, 0));
    struct stat stat;
    if (fstat(fd.get(), &stat) != 0) return fs::PosixError(errno);
    return std::make_unique<HostSourceFile>(
        std::move(fd), static_cast<uint64_t>(stat.st_size));
  }

  absl::StatusOr<std::string> ReadSymlink(const std::string& name) override {
    std::string target(PATH_MAX, '\0');
    const ssize_t size =
        readlinkat(fd_.get(), name.c_str(), target.data(), target.size());
    if (size < 0) return fs::PosixError(errno);
    target.resize(static_cast<size_t>(size));
    return target;
  }

  absl::StatusOr<Xattrs> ReadXattrs(const std::string& name) override {
    const std::string path = PathAt(fd_, name);
    VARVE_ASSIGN_OR_RETURN(const auto names, ListXattrsOf(path));
    Xattrs xattrs;
    for (const std::string& xattr : names) {
      if (!IsKeptXattr(xattr)) continue;
      VARVE_ASSIGN_OR_RETURN(auto value, GetXattrOf(path, xattr));
      if (value.has_value()) xattrs.emplace_back(xattr, *std::move(value));
    }
    return xattrs;
  }

 private:
  const Descriptor fd_;
  const FileId store_;
};

// Writes the data of `from` and leaves out its holes.
absl::Status WriteContent(int fd, uint64_t size, SourceFile& from,
                          Progress& progress) {
  uint64_t end = 0;
  while (true) {
    VARVE_ASSIGN_OR_RETURN(const auto data, from.NextData(end));
    if (!data.has_value()) {
      end = std::max(end, size);  // a hole at the end
      break;
    }
    VARVE_ASSIGN_OR_RETURN(const absl::string_view bytes, from.Read(*data));
    if (bytes.empty()) break;
    if (lseek(fd, static_cast<off_t>(*data), SEEK_SET) < 0) {
      return fs::PosixError(errno);
    }
    VARVE_RETURN_IF_ERROR(WriteAll(fd, bytes, "the copy"));
    end = *data + bytes.size();
    progress.AddBytes(bytes.size());
  }
  if (ftruncate(fd, static_cast<off_t>(end)) != 0) {
    return fs::PosixError(errno);
  }
  return absl::OkStatus();
}

class HostTargetDirectory : public TargetDirectory {
 public:
  // `root` is the directory where the copying began; null means this one.
  HostTargetDirectory(Descriptor fd, FileId store, HostTargetDirectory* root)
      : fd_(std::move(fd)),
        store_(store),
        root_(root == nullptr ? this : root) {}

  absl::StatusOr<std::optional<Node>> Look(const std::string& name) override {
    const auto stat = StatAt(fd_.get(), name);
    if (fs::ErrnoOf(stat.status()) == ENOENT) return std::nullopt;
    if (!stat.ok()) return stat.status();
    if (IdOf(*stat) == store_) {
      return ErrorWithNumber(EINVAL, "the store itself is in its place");
    }
    return NodeOf(*stat);
  }

  absl::StatusOr<std::unique_ptr<TargetDirectory>> Enter(
      const std::string& name) override {
    VARVE_ASSIGN_OR_RETURN(Descriptor fd,
                           OpenAt(fd_.get(), name, O_RDONLY | O_DIRECTORY));
    return std::make_unique<HostTargetDirectory>(std::move(fd), store_, root_);
  }

  absl::Status MakeDirectory(const std::string& name,
                             const Dress& /*dress*/) override {
    return Check(mkdirat(fd_.get(), name.c_str(), 0700));
  }

  absl::Status CopyFile(const std::string& name, bool exists,
                        const Dress& dress, SourceFile& from,
                        Progress& progress) override {
    const int flags = exists ? O_WRONLY | O_TRUNC : O_WRONLY | O_CREAT | O_EXCL;
    VARVE_ASSIGN_OR_RETURN(Descriptor fd, OpenAt(fd_.get(), name, flags, 0600));
    absl::Status status =
        WriteContent(fd.get(), dress.node.size, from, progress);
    status.Update(CloseWritten(std::move(fd), "the copy"));
    if (status.ok() && (dress.all || !exists)) status = Finish(name, dress);
    if (!status.ok() && !exists) {
      // Return the first failure.
      static_cast<void>(unlinkat(fd_.get(), name.c_str(), 0));
    }
    return status;
  }

  absl::Status MakeSymlink(const std::string& name, const std::string& target,
                           const Dress& dress) override {
    VARVE_RETURN_IF_ERROR(
        Check(symlinkat(target.c_str(), fd_.get(), name.c_str())));
    return Finish(name, dress);
  }

  absl::Status MakeSpecial(const std::string& name,
                           const Dress& dress) override {
    VARVE_RETURN_IF_ERROR(
        Check(mknodat(fd_.get(), name.c_str(),
                      (dress.node.mode & S_IFMT) | 0600, dress.node.rdev)));
    return Finish(name, dress);
  }

  absl::Status Link(const std::string& earlier, const std::string& name,
                    const Dress& /*dress*/) override {
    return Check(
        linkat(root_->fd_.get(), earlier.c_str(), fd_.get(), name.c_str(), 0));
  }

  absl::Status Finish(const std::string& name, const Dress& dress) override;

  absl::Status Unlink(const std::string& name) override {
    return Check(unlinkat(fd_.get(), name.c_str(), 0));
  }

 private:
  static absl::Status Check(int result) {
    return result == 0 ? absl::OkStatus() : fs::PosixError(errno);
  }
  absl::Status SetXattrs(const std::string& name, const Xattrs& wanted);

  const Descriptor fd_;
  const FileId store_;
  HostTargetDirectory* const root_;
};

absl::Status HostTargetDirectory::SetXattrs(const std::string& name,
                                            const Xattrs& wanted) {
  const std::string path = PathAt(fd_, name);
  const bool is_root = geteuid() == 0;
  // For example an access list that a new file has inherited.
  VARVE_ASSIGN_OR_RETURN(const auto names, ListXattrsOf(path));
  for (const std::string& old : names) {
    const bool goes =
        IsKeptXattr(old) && !absl::StartsWith(old, "security.") &&
        std::none_of(wanted.begin(), wanted.end(),
                     [&old](const auto& x) { return x.first == old; });
    if (goes && lremovexattr(path.c_str(), old.c_str()) != 0 &&
        (is_root || errno != EPERM)) {
      return SystemError(errno, absl::StrCat("attribute ", old));
    }
  }
  for (const auto& [xattr, value] : wanted) {
    if (lsetxattr(path.c_str(), xattr.c_str(), value.data(), value.size(), 0) ==
        0) {
      continue;
    }
    // Attributes that only root can set.
    if (!is_root && errno == EPERM && !absl::StartsWith(xattr, "user.")) {
      continue;
    }
    return SystemError(errno, absl::StrCat("attribute ", xattr));
  }
  return absl::OkStatus();
}

absl::Status HostTargetDirectory::Finish(const std::string& name,
                                         const Dress& dress) {
  const Node& node = dress.node;
  uint32_t mode = node.mode & 07777;
  if (dress.all && fchownat(fd_.get(), name.c_str(), node.uid, node.gid,
                            AT_SYMLINK_NOFOLLOW) != 0) {
    // Copies belong to the ordinary user who makes them, as with cp(1) and
    // tar(1). Such a file must not get the privileges of its original owner.
    if (errno != EPERM || geteuid() == 0) return fs::PosixError(errno);
    VARVE_ASSIGN_OR_RETURN(const struct stat stat, StatAt(fd_.get(), name));
    if (stat.st_uid != node.uid) mode &= ~static_cast<uint32_t>(S_ISUID);
    if (stat.st_gid != node.gid) mode &= ~static_cast<uint32_t>(S_ISGID);
  }
  // Before the mode, which may keep the owner from setting attributes, and
  // after the change of owner, which removes capabilities.
  if (dress.all) VARVE_RETURN_IF_ERROR(SetXattrs(name, dress.xattrs));
  if (!S_ISLNK(node.mode)) {
    VARVE_RETURN_IF_ERROR(Check(fchmodat(fd_.get(), name.c_str(), mode, 0)));
  }
  if (!dress.all) return absl::OkStatus();
  const struct timespec times[2] = {node.atime.ToTimespec(),
                                    node.mtime.ToTimespec()};
  return Check(utimensat(fd_.get(), name.c_str(), times, AT_SYMLINK_NOFOLLOW));
}

absl::StatusOr<Descriptor> OpenDirectory(const std::string& path) {
  Descriptor fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) {
    return SystemError(errno, absl::StrCat("cannot open ", path));
  }
  return fd;
}

}  // namespace

bool IsSameFile(const std::string& path, const std::string& store) {
  const FileId id = IdOfPath(path);
  return id != FileId(0, 0) && id == IdOfPath(store);
}

void AllowManyDescriptors() {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  // If this fails, copying a tree that is too deep will report it.
  static_cast<void>(setrlimit(RLIMIT_NOFILE, &limit));
}

absl::StatusOr<std::unique_ptr<SourceDirectory>> HostSource(
    const std::string& directory, const std::string& store) {
  VARVE_ASSIGN_OR_RETURN(Descriptor fd, OpenDirectory(directory));
  return std::make_unique<HostSourceDirectory>(std::move(fd), IdOfPath(store));
}

absl::StatusOr<std::unique_ptr<TargetDirectory>> HostTarget(
    const std::string& directory, const std::string& store) {
  VARVE_ASSIGN_OR_RETURN(Descriptor fd, OpenDirectory(directory));
  return std::make_unique<HostTargetDirectory>(std::move(fd), IdOfPath(store),
                                               nullptr);
}

}  // namespace varve::tools
