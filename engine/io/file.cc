#include "engine/io/file.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/limits.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/descriptor.h"
#include "engine/base/page_size.h"
#include "engine/base/start_thread.h"
#include "engine/base/status.h"
#include "engine/io/bus_guard.h"
#include "engine/io/lock_holder.h"

namespace varve {
namespace {

constexpr auto kLockPoll = std::chrono::milliseconds(20);

// Repeats `call` while signals interrupt it.
template <typename Call>
auto Retry(const Call& call) {
  while (true) {
    const auto result = call();
    if (result != -1 || errno != EINTR) return result;
  }
}

FileInfo ToFileInfo(const struct stat& info) {
  return {.device = info.st_dev,
          .inode = info.st_ino,
          .size = static_cast<uint64_t>(info.st_size),
          .allocated = static_cast<uint64_t>(info.st_blocks) * 512,
          .mode = info.st_mode,
          .owner = info.st_uid,
          .group = info.st_gid,
          .links = info.st_nlink};
}

class RealMapping final : public Mapping {
 public:
  RealMapping(void* address, uint64_t length)
      : Mapping(static_cast<const std::byte*>(address), length),
        address_(address),
        guard_(std::in_place, address, length) {}
  ~RealMapping() override {
    // Before unmapping: afterwards the addresses may belong to another mapping.
    guard_.reset();
    munmap(address_, length());
  }

  void ReleasePages() const override {
    // A failure does no harm: this only affects how memory is accounted.
    madvise(address_, length(), MADV_DONTNEED);
  }

  bool MapIfInMemory(uint64_t offset, uint64_t size) const override {
    if (size == 0 || offset > length() || size > length() - offset) {
      return false;
    }
    const uint64_t before = offset % PageSize();
    void* const begin = static_cast<char*>(address_) + (offset - before);
    std::vector<unsigned char> pages((before + size - 1) / PageSize() + 1);
    if (mincore(begin, before + size, pages.data()) != 0) return false;
    const bool in_memory =
        std::all_of(pages.begin(), pages.end(),
                    [](unsigned char page) { return (page & 1) != 0; });
    // Fails where touching a page would raise a signal, because the file ends
    // before it or the host cannot read it, and before Linux 5.14.
    return in_memory && madvise(begin, before + size, MADV_POPULATE_READ) == 0;
  }

 private:
  void* const address_;
  std::optional<GuardedMapping> guard_;
};

class RealFile final : public File {
 public:
  RealFile(Descriptor fd, std::string path)
      : fd_(std::move(fd)), path_(std::move(path)) {}

  absl::StatusOr<size_t> ReadAt(uint64_t offset,
                                absl::Span<std::byte> out) override {
    const ssize_t count =
        pread(fd_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (count < 0) return Error("cannot read ");
    return static_cast<size_t>(count);
  }

  absl::StatusOr<size_t> WriteAt(
      uint64_t offset, absl::Span<const struct iovec> pieces) override {
    const auto at = static_cast<off_t>(offset);
    const ssize_t count =
        pieces.size() == 1
            ? pwrite(fd_.get(), pieces[0].iov_base, pieces[0].iov_len, at)
            : pwritev(fd_.get(), pieces.data(), static_cast<int>(pieces.size()),
                      at);
    if (count >= 0) return static_cast<size_t>(count);
    // The caller's pages were mapped, so the fault is not the caller's: a page
    // of a mapped file cannot be read.
    if (errno == EFAULT) {
      return ErrorWithCode(
          absl::StatusCode::kDataLoss, EIO,
          absl::StrCat("cannot read the bytes to write to ", path_));
    }
    return Error("cannot write ");
  }

  absl::Status Sync() override {
    // Not repeated after EINTR: a second call could succeed although the first
    // one has dropped pages that it could not write.
    return fdatasync(fd_.get()) == 0 ? absl::OkStatus() : Error("cannot sync ");
  }

  absl::Status BeginWriteOut(uint64_t offset, uint64_t length) override {
    // Only to write, not to wait: a wait would hear of failures in writing what
    // was begun earlier, and the next sync would not be told any more.
    if (sync_file_range(fd_.get(), static_cast<off_t>(offset),
                        static_cast<off_t>(length),
                        SYNC_FILE_RANGE_WRITE) == 0) {
      return absl::OkStatus();
    }
    if (errno == ENOSYS || errno == ESPIPE) errno = EOPNOTSUPP;
    return Error("cannot begin to write out ");
  }

  absl::Status Truncate(uint64_t size) override {
    return Retry([&] {
             return ftruncate(fd_.get(), static_cast<off_t>(size));
           }) == 0
               ? absl::OkStatus()
               : Error("cannot truncate ");
  }

  absl::Status PunchHole(uint64_t offset, uint64_t length) override {
    return Retry([&] {
             return fallocate(
                 fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                 static_cast<off_t>(offset), static_cast<off_t>(length));
           }) == 0
               ? absl::OkStatus()
               : Error("cannot punch a hole into ");
  }

  absl::Status Preallocate(uint64_t offset, uint64_t length) override {
    return Retry([&] {
             return fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE,
                              static_cast<off_t>(offset),
                              static_cast<off_t>(length));
           }) == 0
               ? absl::OkStatus()
               : Error("cannot allocate space for ");
  }

  absl::StatusOr<FileInfo> Info() override {
    struct stat info;
    if (fstat(fd_.get(), &info) != 0) return Error("cannot stat ");
    return ToFileInfo(info);
  }

  absl::StatusOr<uint64_t> Size() override {
    // Nothing else uses the offset that this moves.
    const off_t size = lseek(fd_.get(), 0, SEEK_END);
    if (size < 0) return Error("cannot get the size of ");
    return static_cast<uint64_t>(size);
  }

  absl::StatusOr<std::vector<FileXattr>> Xattrs() override {
    std::string names(XATTR_LIST_MAX, '\0');
    const ssize_t size = flistxattr(fd_.get(), names.data(), names.size());
    if (size < 0 && errno == EOPNOTSUPP) return std::vector<FileXattr>();
    if (size < 0) return Error("cannot list the attributes of ");
    std::vector<FileXattr> result;
    for (size_t at = 0; at < static_cast<size_t>(size);) {
      FileXattr xattr{.name = names.c_str() + at, .value = {}};
      at += xattr.name.size() + 1;
      xattr.value.resize(XATTR_SIZE_MAX);
      const ssize_t length = fgetxattr(fd_.get(), xattr.name.c_str(),
                                       xattr.value.data(), xattr.value.size());
      if (length < 0) continue;  // gone, or not for us
      xattr.value.resize(static_cast<size_t>(length));
      result.push_back(std::move(xattr));
    }
    return result;
  }

  absl::Status SetXattr(const FileXattr& xattr) override {
    return fsetxattr(fd_.get(), xattr.name.c_str(), xattr.value.data(),
                     xattr.value.size(), 0) == 0
               ? absl::OkStatus()
               : Error("cannot set an attribute of ");
  }

  absl::Status SetOwner(uint32_t owner, uint32_t group) override {
    return fchown(fd_.get(), owner, group) == 0
               ? absl::OkStatus()
               : Error("cannot change the owner of ");
  }

  absl::StatusOr<std::unique_ptr<Mapping>> Map(uint64_t length) override {
    void* const address = mmap(nullptr, length, PROT_READ,
                               MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
    if (address == MAP_FAILED) return Error("cannot map ");
    return std::make_unique<RealMapping>(address, length);
  }

  absl::Status LockExclusive(absl::Duration patience) override {
    const auto deadline =
        std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(patience);
    // An OFD lock belongs to the open file, so that two stores of one process
    // exclude each other too, and closing another descriptor of the file does
    // not give the lock up.
    struct flock lock = {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    while (fcntl(fd_.get(), F_OFD_SETLK, &lock) != 0) {
      if (errno != EAGAIN && errno != EACCES) return Error("cannot lock ");
      const auto left = deadline - std::chrono::steady_clock::now();
      if (left <= left.zero()) return IsLocked();
      // sleep: the kernel offers no wait for an OFD lock that ends by itself.
      std::this_thread::sleep_for(std::min<decltype(left)>(kLockPoll, left));
    }
    return absl::OkStatus();
  }

  absl::Status IsLocked() {
    // This looks at every open file of the system, so it comes last.
    const std::optional<pid_t> holder = FindLockHolder(fd_.get());
    return ErrorWithNumber(
        EWOULDBLOCK,
        absl::StrCat(path_, " is in use by another writer, pid ",
                     holder.has_value() ? absl::StrCat(*holder) : "unknown"));
  }

  // These locks and OFD locks do not see each other.
  absl::Status LockForReading() override {
    if (Retry([&] { return flock(fd_.get(), LOCK_SH); }) == 0 ||
        errno == EOPNOTSUPP || errno == ENOLCK || errno == ENOSYS) {
      return absl::OkStatus();
    }
    return Error("cannot lock for reading ");
  }

  absl::StatusOr<bool> TryLockOutReaders() override {
    if (flock(fd_.get(), LOCK_EX | LOCK_NB) == 0) return true;
    if (errno == EWOULDBLOCK) return false;
    return Error("cannot lock readers out of ");
  }

  void LetReadersIn() override { flock(fd_.get(), LOCK_UN); }

 private:
  // The failure of the system call just made.
  absl::Status Error(absl::string_view what) const {
    return SystemError(errno, absl::StrCat(what, path_));
  }

  const Descriptor fd_;
  const std::string path_;
};

// Opens with flags that may create the file, unaffected by the umask. Fails
// with EPERM where a thread cannot have a umask of its own.
int OpenWithoutUmask(const std::string& path, int flags, mode_t permissions) {
  int fd = -1;
  int error = 0;
  // The umask belongs to the process; changing it would race with every other
  // thread that creates a file. Correcting the mode afterwards would leave a
  // moment in which it is wrong, and a crash would leave it wrong for good.
  std::thread thread;
  const bool started = StartThread(thread, [&] {
    if (unshare(CLONE_FS) != 0) {
      error = EPERM;
      return;
    }
    umask(0);
    fd = Retry([&] { return open(path.c_str(), flags, permissions); });
    error = errno;
  });
  if (started) thread.join();
  errno = started ? error : EAGAIN;
  return fd;
}

// Opens a file that does not exist yet.
int Create(const std::string& path, int flags, mode_t permissions) {
  const int fd = OpenWithoutUmask(path, flags, permissions);
  if (fd >= 0 || errno != EPERM) return fd;
  // Sandboxes forbid unshare(). The umask can only have taken bits away, so
  // the file is never more open than asked for.
  const Descriptor fallback(
      Retry([&] { return open(path.c_str(), flags, permissions); }));
  if (!fallback.valid()) return -1;
  struct stat info;
  if (fstat(fallback.get(), &info) == 0 && info.st_size == 0 &&
      (info.st_mode & 07777) != permissions) {
    fchmod(fallback.get(), permissions);
  }
  return fcntl(fallback.get(), F_DUPFD_CLOEXEC, 0);
}

absl::Status CheckRegular(const struct stat& info, const std::string& path) {
  if (S_ISREG(info.st_mode)) return absl::OkStatus();
  if (S_ISDIR(info.st_mode)) {
    return ErrorWithCode(absl::StatusCode::kInvalidArgument, EISDIR,
                         absl::StrCat(path, " is a directory, not a file"));
  }
  return ErrorWithCode(absl::StatusCode::kInvalidArgument, EINVAL,
                       absl::StrCat(path, " is not a regular file"));
}

class HostFileSystem final : public FileSystem {
 public:
  absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path,
                                             OpenMode mode,
                                             uint32_t permissions) override {
    // Check the type before opening: opening a device may start it, and opening
    // a FIFO waits.
    struct stat info;
    const bool exists = stat(path.c_str(), &info) == 0;
    if (exists) {
      VARVE_RETURN_IF_ERROR(CheckRegular(info, path));
    } else if (errno != ENOENT) {
      return SystemError(errno, absl::StrCat("cannot open ", path));
    }
    Descriptor fd(OpenDescriptor(path, mode, permissions, exists));
    if (!fd.valid()) {
      return SystemError(errno, absl::StrCat("cannot open ", path));
    }
    if (fstat(fd.get(), &info) != 0) {
      return SystemError(errno, absl::StrCat("cannot stat ", path));
    }
    // Check again, as the file may have been replaced in between.
    VARVE_RETURN_IF_ERROR(CheckRegular(info, path));
    return std::make_unique<RealFile>(std::move(fd), path);
  }

  absl::StatusOr<FileInfo> Info(const std::string& path) override {
    struct stat info;
    if (stat(path.c_str(), &info) != 0) {
      return SystemError(errno, absl::StrCat("cannot stat ", path));
    }
    return ToFileInfo(info);
  }

  absl::StatusOr<SpaceOnDisk> Space(const std::string& path) override {
    struct statvfs info;
    if (statvfs(path.c_str(), &info) != 0) {
      return SystemError(
          errno,
          absl::StrCat("cannot find out how much space there is for ", path));
    }
    const uint64_t unit = info.f_frsize;
    return SpaceOnDisk{.total = info.f_blocks * unit,
                       .free = info.f_bfree * unit,
                       .available = info.f_bavail * unit};
  }

  absl::Status Rename(const std::string& from, const std::string& to) override {
    if (rename(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
    return SystemError(errno, absl::StrCat("cannot rename ", from, " to ", to));
  }

  absl::Status Link(const std::string& from, const std::string& to) override {
    if (link(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
    return SystemError(errno, absl::StrCat("cannot link ", from, " to ", to));
  }

  absl::Status Remove(const std::string& path) override {
    if (unlink(path.c_str()) == 0) return absl::OkStatus();
    return SystemError(errno, absl::StrCat("cannot remove ", path));
  }

  absl::Status SyncDirectoryOf(const std::string& path) override {
    const size_t slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "."
                                  : slash == 0               ? "/"
                                               : path.substr(0, slash);
    const Descriptor fd(Retry([&] {
      return open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }));
    // Some file systems cannot sync a directory and return EINVAL.
    if (fd.valid() && (fsync(fd.get()) == 0 || errno == EINVAL)) {
      return absl::OkStatus();
    }
    return SystemError(errno, absl::StrCat("cannot sync ", directory));
  }

 private:
  static int OpenDescriptor(const std::string& path, OpenMode mode,
                            mode_t permissions, bool exists) {
    // O_NONBLOCK has no effect on a regular file, and keeps open() from waiting
    // for the other end of a FIFO that has just taken its place.
    const int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK |
                      (mode == OpenMode::kRead ? O_RDONLY : O_RDWR);
    if (mode == OpenMode::kCreateNew) {
      return Create(path, flags | O_CREAT | O_EXCL, permissions);
    }
    // O_CREAT only where needed: in directories such as /tmp the kernel refuses
    // it for existing files of other users.
    if (mode == OpenMode::kCreate && !exists) {
      return Create(path, flags | O_CREAT, permissions);
    }
    return Retry([&] { return open(path.c_str(), flags); });
  }
};

}  // namespace

absl::StatusOr<uint64_t> File::Size() {
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, Info());
  return info.size;
}

FileSystem* RealFileSystem() {
  static HostFileSystem* const file_system = new HostFileSystem;
  return file_system;
}

}  // namespace varve
