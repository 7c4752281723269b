// ContentReader: turns ranges of file content into bytes, straight from the
// store's map, after every entry involved has been checked once.

#ifndef VARVE_FS_CONTENT_CONTENT_READER_H_
#define VARVE_FS_CONTENT_CONTENT_READER_H_

#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "fs/content/open_files.h"
#include "fs/content/verified_entries.h"
#include "fs/log/core.h"

namespace varve::fs {

// The answer to a read: pieces to be sent one after the other. They are valid
// as long as this object, and may be moved with it.
class ReadReply {
 public:
  const std::vector<struct iovec>& pieces() const { return pieces_; }
  uint64_t size() const { return size_; }
  // Where in the store the last of them ends; 0 if none lies there.
  uint64_t store_end() const { return store_end_; }
  // The bytes in one piece. For tests; others use Copy().
  std::string ToString() const;
  // The same, or DATA_LOSS if some of them are lost (see bus_guard.h).
  absl::StatusOr<std::string> Copy() const;
  // Whether they are.
  bool HasLost() const;

  // DATA_LOSS if the bytes of the store are lost.
  absl::Status AddStored(const Store& store, uint64_t offset, uint64_t length);
  void AddCopy(absl::string_view bytes);
  void AddZeros(uint64_t count);
  // Makes sure that there are at most `count` pieces, by copying. DATA_LOSS as
  // for Copy().
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

// Compares the entry that the extent lies in with what the extent says of it
// and, if `checksum`, with its checksum. The failure says in which way they
// differ, and not where: DATA_LOSS; OUT_OF_RANGE where no entry can be.
absl::Status VerifyEntryOf(const Store& store, const Extent& extent,
                           bool checksum);

// Thread-safe.
class ContentReader {
 public:
  // Entries up to this size are compared with their checksum before the first
  // byte of them is served.
  static constexpr uint64_t kMaxVerifiedSize = uint64_t{64} << 20;

  explicit ContentReader(Core& core) : core_(core) {}

  // Up to `size` bytes at `offset` of a file as its writers see it; `open` may
  // be null if it is certain that nothing is dirty. Short only at the end of
  // the file. Errors: ENOENT, EISDIR; DATA_LOSS, naming file and entry, if the
  // bytes are damaged.
  absl::StatusOr<ReadReply> Read(uint64_t ino, OpenInode* open, uint64_t offset,
                                 uint64_t size);

  // The same for a caller that holds open.mu.
  absl::StatusOr<ReadReply> ReadLocked(OpenInode& open, uint64_t offset,
                                       uint64_t size)
      ABSL_SHARED_LOCKS_REQUIRED(open.mu);

  // Where there are bytes that are not holes, from file offset `begin` to `end`
  // or the end of the file: merged, in order. `open` as for Read().
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

  // The first offset at or after `offset` that is data (or not, if `data` is
  // false), and the size of the file; the size, too, if there is none. Takes
  // time in proportion to the pieces between the two. `open` as for Read().
  struct Found {
    uint64_t offset = 0;
    uint64_t size = 0;
  };
  absl::StatusOr<Found> FindNext(uint64_t ino, OpenInode* open, uint64_t offset,
                                 bool data);

  // The extents of [begin, end) of the committed content, holes included.
  absl::StatusOr<std::vector<Extent>> CommittedExtents(uint64_t ino,
                                                       uint64_t begin,
                                                       uint64_t end);

  // Forgets what has been checked: everything lies elsewhere now.
  void ForgetLocations() {
    verified_.Clear();
    absl::MutexLock lock(&mu_);
    damaged_.clear();
    any_damaged_.store(false);
  }

  // Is told of each file that lies in an entry too large to be checked before
  // it is read, when it is first read. To be set before anything is read.
  void set_on_large(std::function<void(uint64_t ino)> on_large) {
    on_large_ = std::move(on_large);
  }
  // From now on reading from this entry is an error, which is returned.
  absl::Status NoteDamaged(uint64_t ino, const Extent& extent);

  // Checks an entry that belongs to no file before it is first read, if it is
  // not too large for that.
  absl::Status VerifyUnnamed(const EntryLocation& entry);

  // Checks every entry that committed content of the inode lies in, whatever
  // its size.
  absl::Status VerifyAll(uint64_t ino);

  // The file, as messages name it.
  std::string Describe(uint64_t ino) const;
  // Its first path from the root, "/photos/cat.jpg"; empty if it has no name.
  std::string PathOf(uint64_t ino) const;

 private:
  // What has to be known of an inode to read it, copied under the tree's lock.
  struct Source {
    uint64_t size = 0;
    std::vector<Extent> cover;
  };
  // ENOENT for one without a name.
  absl::StatusOr<std::string> PathOfNamed(uint64_t ino) const;
  absl::StatusOr<Source> Find(uint64_t ino, uint64_t begin, uint64_t end,
                              bool clip) const;
  // FindNext() for what is committed; `limit` is returned if there is none
  // before it.
  absl::StatusOr<Found> FindNextCommitted(uint64_t ino, uint64_t offset,
                                          uint64_t limit, bool data) const;
  absl::StatusOr<Found> FindNextLocked(OpenInode& open, uint64_t offset,
                                       bool data)
      ABSL_SHARED_LOCKS_REQUIRED(open.mu);
  absl::Status AppendExtents(uint64_t ino, const Source& source,
                             ReadReply& reply);
  absl::Status VerifyOnce(uint64_t ino, const Extent& extent);
  absl::Status VerifyEntry(uint64_t ino, const Extent& extent, bool checksum);
  absl::Status DamageOf(uint64_t ino, const Extent& extent) const;
  absl::Status AddStored(uint64_t ino, uint64_t offset, uint64_t length,
                         ReadReply& reply) const;
  // The last look at a reply, and at whether the store is what it was.
  absl::Status Finish(uint64_t ino, ReadReply& reply) const;

  Core& core_;
  std::function<void(uint64_t ino)> on_large_;
  VerifiedEntries verified_;
  std::atomic<bool> any_damaged_{false};
  absl::Mutex mu_;
  // Payload offsets of entries that are known to be damaged.
  absl::flat_hash_set<uint64_t> damaged_ ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_CONTENT_READER_H_
