// ContentReader: reads ranges of files. Replies point directly into the store's
// mapping. Before the first byte of an entry is served, the entry is compared
// with its checksum, once per mount.

#ifndef VARVE_FS_CONTENT_CONTENT_READER_H_
#define VARVE_FS_CONTENT_CONTENT_READER_H_

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "fs/content/entry_checks.h"
#include "fs/content/open_files.h"
#include "fs/log/core.h"

namespace varve::fs {

// The answer to a read: pieces to be sent one after the other. The pieces are
// valid as long as this object. Moving the object keeps them valid. Not
// thread-safe.
class ReadReply {
 public:
  const std::vector<struct iovec>& pieces() const { return pieces_; }
  uint64_t size() const { return size_; }
  // The highest offset in the store at which a piece ends; 0 if no piece lies
  // in the store.
  uint64_t store_end() const { return store_end_; }
  // All bytes in one string. For tests; other code uses Copy().
  std::string ToString() const;
  // All bytes in one string. DATA_LOSS if some of them cannot be read from the
  // disk (see bus_guard.h).
  absl::StatusOr<std::string> Copy() const;
  // Whether some of the bytes cannot be read from the disk.
  bool HasLost() const;

  // Adds a range of the store. DATA_LOSS if it cannot be read from the disk.
  absl::Status AddStored(const Store& store, uint64_t offset, uint64_t length);
  void AddCopy(absl::string_view bytes);
  void AddZeros(uint64_t count);
  // Copies pieces so that there are at most `count`. DATA_LOSS as for Copy().
  absl::Status LimitPieces(size_t count);

 private:
  void AddPinned(const Store::PinnedBytes& bytes);
  void AddPiece(const void* data, size_t size);

  std::vector<struct iovec> pieces_;
  std::vector<std::shared_ptr<const Mapping>> pins_;
  std::vector<std::unique_ptr<std::string>> copies_;
  uint64_t size_ = 0;
  uint64_t store_end_ = 0;
};

// Thread-safe.
class ContentReader {
 public:
  explicit ContentReader(Core& core) : core_(core), checks_(core) {}

  // Reads up to `size` bytes at `offset` of a file, dirty content included.
  // `open` may be null if nothing of the file can be dirty. Short only at the
  // end of the file. Errors: ENOENT, EISDIR; DATA_LOSS, naming file and entry,
  // if the bytes are damaged.
  //
  // Comparing a large entry as a whole takes long. With `unchecked`, the read
  // fails instead if that is necessary, and sets it to the extent. The caller
  // then calls CheckLong() for it, without any lock, and tries again.
  absl::StatusOr<ReadReply> Read(uint64_t ino, OpenInode* open, uint64_t offset,
                                 uint64_t size,
                                 std::optional<Extent>* unchecked = nullptr);

  // The same, for a caller that holds open.mu.
  absl::StatusOr<ReadReply> ReadLocked(
      OpenInode& open, uint64_t offset, uint64_t size,
      std::optional<Extent>* unchecked = nullptr)
      ABSL_SHARED_LOCKS_REQUIRED(open.mu);

  // Reads from a file of another tree in the store, such as a past one, none of
  // whose bytes may be reclaimed meanwhile. Otherwise as Read().
  absl::StatusOr<ReadReply> ReadFrom(const TreeReader& tree, uint64_t ino,
                                     uint64_t offset, uint64_t size,
                                     std::optional<Extent>* unchecked);

  // Finds the ranges that are not holes between `begin` and `end` or the end of
  // the file. They are in order, and adjacent ones are merged. `open` as for
  // Read().
  struct Range {
    uint64_t begin;
    uint64_t end;
  };
  struct DataMap {
    uint64_t size = 0;  // of the file
    std::vector<Range> data;
  };
  absl::StatusOr<DataMap> MapData(uint64_t ino, OpenInode* open, uint64_t begin,
                                  uint64_t end = kMaxFileSize);
  absl::StatusOr<DataMap> MapDataLocked(OpenInode& open, uint64_t begin,
                                        uint64_t end = kMaxFileSize)
      ABSL_SHARED_LOCKS_REQUIRED(open.mu);

  // Finds the first offset at or after `offset` that is in data (or in a hole,
  // if `data` is false); the file's size if there is none. Takes time in
  // proportion to the pieces up to there. `open` as for Read().
  struct Found {
    uint64_t offset = 0;
    uint64_t size = 0;
  };
  absl::StatusOr<Found> FindNext(uint64_t ino, OpenInode* open, uint64_t offset,
                                 bool data);

  // The extents that cover [begin, end) of the committed content, holes
  // included.
  absl::StatusOr<std::vector<Extent>> CommittedExtents(uint64_t ino,
                                                       uint64_t begin,
                                                       uint64_t end);

  // Reads a part of an entry that belongs to no file. `unchecked` as for
  // Read().
  absl::StatusOr<ReadReply> ReadUnnamed(const EntryLocation& entry,
                                        uint64_t offset, uint64_t size,
                                        std::optional<Extent>& unchecked);

  void CheckLong(const Extent& extent) { checks_.CheckLong(extent); }

  // Forgets which entries were checked, and which are damaged. Must be called
  // when all entries have moved.
  void ForgetLocations() { checks_.Forget(); }

  // Makes reading from this entry fail from now on, or if `blocks` (see
  // engine/entry/block_sums.h) is not empty, only from these. Returns the error
  // with which it fails.
  absl::Status NoteDamaged(uint64_t ino, const Extent& extent,
                           absl::Span<const uint64_t> blocks);

  // Checks every entry that holds committed content of the inode, whatever its
  // size.
  absl::Status VerifyAll(uint64_t ino);

  // How messages name the file.
  std::string Describe(uint64_t ino) const;
  // Its first path from the root, "/photos/cat.jpg"; empty if it has no name.
  std::string PathOf(uint64_t ino) const;

 private:
  // What is needed of an inode to read it, copied under the tree's lock.
  struct Source {
    uint64_t size = 0;
    std::vector<Extent> cover;
  };
  // The file's path; ENOENT if it has no name.
  absl::StatusOr<std::string> PathOfNamed(uint64_t ino) const;
  absl::StatusOr<Source> Find(uint64_t ino, uint64_t begin, uint64_t end,
                              bool clip) const;
  static absl::StatusOr<Source> FindIn(const TreeReader& tree,
                                       const InodeItem& inode, uint64_t begin,
                                       uint64_t end, bool clip);
  // FindNext() for the committed content; `limit` if there is none below it.
  absl::StatusOr<Found> FindNextCommitted(uint64_t ino, uint64_t offset,
                                          uint64_t limit, bool data) const;
  absl::StatusOr<Found> FindNextLocked(OpenInode& open, uint64_t offset,
                                       bool data)
      ABSL_SHARED_LOCKS_REQUIRED(open.mu);
  absl::Status AppendExtents(uint64_t ino, const Source& source,
                             std::optional<Extent>* unchecked,
                             ReadReply& reply);
  absl::StatusOr<ReadReply> ReadSource(uint64_t ino, const Source& source,
                                       std::optional<Extent>* unchecked);
  // Makes sure that the bytes may be served. Fails as Read() does.
  absl::Status Verify(uint64_t ino, const Extent& extent,
                      std::optional<Extent>* unchecked);
  // The failure of a check, with file and place.
  absl::Status DamageOf(uint64_t ino, const Extent& extent,
                        absl::Status status) const;
  absl::Status AddStored(uint64_t ino, uint64_t offset, uint64_t length,
                         ReadReply& reply) const;
  // Limits the pieces of a reply, and checks that the store has not become
  // shorter.
  absl::Status Finish(uint64_t ino, ReadReply& reply) const;

  Core& core_;
  EntryChecks checks_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_CONTENT_READER_H_
