// The I/O seam: the only interface through which Varve touches a store file.
//
// The interface is as narrow and as raw as the system calls behind it: reads
// and writes may be short, and may fail with EINTR. So a test can make any
// single call fail, shorten it or record it. io_util.h has the loops that read
// and write whole ranges. RealFileSystem() is the implementation that programs
// use.
//
// Errors are SystemError statuses (status.h) that name the path.

#ifndef VARVE_ENGINE_IO_FILE_H_
#define VARVE_ENGINE_IO_FILE_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"

namespace varve {

// A read-only shared mapping of a file. It covers `length` bytes of address
// space and may reach far beyond the end of the file: bytes become readable as
// the file grows over them. The destructor unmaps it. Immutable, hence
// thread-safe. bus_guard.h says what happens where the file has become shorter
// or cannot be read.
class Mapping {
 public:
  virtual ~Mapping() = default;
  const std::byte* data() const { return data_; }
  uint64_t length() const { return length_; }

  // Removes the mapping's pages from the memory of the process. They stay in
  // the host's cache, from where a thread that touches one gets it back.
  // Thread-safe.
  virtual void ReleasePages() const {}

  // If the host has all bytes of the range in its memory, maps them and returns
  // true: as long as the host keeps them, reading them takes no disk and raises
  // no SIGBUS. Otherwise, and where the host cannot tell, returns false and has
  // read nothing. (Linux says that it has everything of a file that the process
  // neither owns nor may write to, and then reads what it does not have; false
  // if that fails.) Thread-safe.
  virtual bool MapIfInMemory(uint64_t /*offset*/, uint64_t /*length*/) const {
    return false;
  }

 protected:
  Mapping(const std::byte* data, uint64_t length)
      : data_(data), length_(length) {}

 private:
  const std::byte* const data_;
  const uint64_t length_;
};

// The attributes of a file at the moment of the call.
struct FileInfo {
  uint64_t device = 0;
  uint64_t inode = 0;
  uint64_t size = 0;       // bytes
  uint64_t allocated = 0;  // bytes that the host has allocated
  uint32_t mode = 0;       // type and permission bits, as st_mode
  uint32_t owner = 0;
  uint32_t group = 0;
  uint64_t links = 1;  // names that lead to it; 0 once it is deleted
};

// Whether both describe the same file, whatever names lead to it.
inline bool IsSameFile(const FileInfo& a, const FileInfo& b) {
  return a.device == b.device && a.inode == b.inode;
}

// The space of the file system that a file is on.
struct SpaceOnDisk {
  uint64_t total = 0;      // bytes
  uint64_t free = 0;       // for root
  uint64_t available = 0;  // for us

  // Some file systems do not say (network file systems, ramfs). All fields are
  // zero then.
  bool is_known() const { return total > 0; }
  // Whether so many bytes fit; true if the space is unknown.
  bool HasRoomFor(uint64_t bytes) const {
    return !is_known() || bytes <= available;
  }
};

// An extended attribute.
struct FileXattr {
  std::string name;
  std::string value;
};

// One open file. Thread-safe. The destructor closes it and so gives up its
// lock.
class File {
 public:
  virtual ~File() = default;

  // Reads up to out.size() bytes at `offset`; returns the number read, which
  // may be short, and is 0 at the end of the file.
  virtual absl::StatusOr<size_t> ReadAt(uint64_t offset,
                                        absl::Span<std::byte> out) = 0;

  // Writes the pieces one after the other at `offset`; returns the number of
  // bytes written, which may be short. At most IOV_MAX (1024) pieces.
  virtual absl::StatusOr<size_t> WriteAt(
      uint64_t offset, absl::Span<const struct iovec> pieces) = 0;

  // Makes data and size durable (fdatasync).
  virtual absl::Status Sync() = 0;

  // Has the host begin to write the range to the disk, and does not wait until
  // it is there: a later Sync() will find less to do. UNIMPLEMENTED where the
  // host cannot. After any other failure bytes may be lost, and Sync() need not
  // say so again.
  virtual absl::Status BeginWriteOut(uint64_t offset, uint64_t length) = 0;

  virtual absl::Status Truncate(uint64_t size) = 0;

  // Releases the blocks of the range to the host and leaves the size as it is.
  // UNIMPLEMENTED where the host file system cannot do this.
  virtual absl::Status PunchHole(uint64_t offset, uint64_t length) = 0;

  // Has the host allocate blocks for the range, which may lie behind the end of
  // the file. Size and bytes stay as they are. Truncate() releases the blocks
  // behind the end, even if it leaves the size as it is. UNIMPLEMENTED where
  // the host file system cannot do this. After any other failure a part of the
  // range may have blocks.
  virtual absl::Status Preallocate(uint64_t offset, uint64_t length) = 0;

  virtual absl::StatusOr<FileInfo> Info() = 0;
  // The size alone, which is cheaper than Info(): once somebody has looked at
  // the times of a file, Linux gives the next write a time of its own and has
  // to write the inode.
  virtual absl::StatusOr<uint64_t> Size();

  // Gives the file to another user and group (fchown).
  virtual absl::Status SetOwner(uint32_t owner, uint32_t group) = 0;

  // The extended attributes that can be read; none where the host has none.
  virtual absl::StatusOr<std::vector<FileXattr>> Xattrs() = 0;
  virtual absl::Status SetXattr(const FileXattr& xattr) = 0;

  // Maps `length` bytes of the file from offset 0.
  virtual absl::StatusOr<std::unique_ptr<Mapping>> Map(uint64_t length) = 0;

  // Takes the exclusive (OFD) lock, waiting for up to `patience`.
  // FAILED_PRECONDITION (with EWOULDBLOCK) if another open file still holds it;
  // the message names the pid of the holder if that can be found out.
  virtual absl::Status LockExclusive(absl::Duration patience) = 0;

  // Takes a shared lock (flock) for as long as the file is open. Readers see a
  // consistent store without it. The lock tells a writer that they exist,
  // before it punches holes into payloads that only a reader of an earlier
  // state can still need. Waits while a writer locks readers out. Does nothing
  // where the host has no such locks.
  virtual absl::Status LockForReading() = 0;
  // Makes new readers wait until LetReadersIn(). Returns false if there are
  // readers now.
  virtual absl::StatusOr<bool> TryLockOutReaders() = 0;
  virtual void LetReadersIn() = 0;
};

enum class OpenMode {
  kRead,       // must exist; never written to
  kReadWrite,  // must exist
  kCreate,     // opened if it exists, else created
  kCreateNew,  // ALREADY_EXISTS if it exists
};

// The host file system. Thread-safe.
class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // Opens a regular file; INVALID_ARGUMENT (EISDIR, EINVAL) for anything else.
  // A created file gets `permissions` whatever the umask.
  virtual absl::StatusOr<std::unique_ptr<File>> Open(const std::string& path,
                                                     OpenMode mode,
                                                     uint32_t permissions) = 0;
  virtual absl::StatusOr<FileInfo> Info(const std::string& path) = 0;
  virtual absl::StatusOr<SpaceOnDisk> Space(const std::string& path) = 0;
  virtual absl::Status Rename(const std::string& from,
                              const std::string& to) = 0;
  // Gives the file a second name; ALREADY_EXISTS if that is taken.
  virtual absl::Status Link(const std::string& from, const std::string& to) = 0;
  virtual absl::Status Remove(const std::string& path) = 0;

  // Makes earlier creations, renames and removals in the directory of `path`
  // durable.
  virtual absl::Status SyncDirectoryOf(const std::string& path) = 0;
};

// The kernel's file system. Never destroyed.
FileSystem* RealFileSystem();

}  // namespace varve

#endif  // VARVE_ENGINE_IO_FILE_H_
