// Store: a key/value store in one append-only file, of the format of the Rust
// crate simd-r-drive (0.15 and later). Usable without the mount.
//
// The store knows keys only by their 64-bit hash. Two keys with one hash are
// one key to it: the newer write wins, and reads of either return it. Callers
// that cannot live with that must keep names of their own, as fs/ does.
//
// Thread rules: every method may be called from any thread at any time. One
// writer lock serialises appends (it is held across the write system call);
// readers take no lock that an append holds. A store that much is appended to
// has a thread of its own, which has the host begin to write it to the disk.
//
// Durability: an append survives the death of the process once it has
// returned, and a power cut once a later Sync() has returned.
//
// Errors common to all writes: FAILED_PRECONDITION (EROFS) if the store is
// open read-only or a sync has failed before; INVALID_ARGUMENT for an empty
// payload or one that is a single NUL byte (it could not be told from a
// tombstone); otherwise the SystemError of the seam. A failed append changes
// nothing: neither the file up to its tail, nor index, nor tail.
//
// A full disk: while a store is open for writing it has the host keep some
// blocks behind its end (reserve.h), so that what frees space can be appended
// still: deletions, and batches that say so. All other appends fail first.

#ifndef VARVE_ENGINE_STORE_STORE_H_
#define VARVE_ENGINE_STORE_STORE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <istream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/entry/entry.h"
#include "engine/io/file.h"
#include "engine/mend/mend.h"

namespace varve {

struct OpenOptions {
  OpenMode mode = OpenMode::kReadWrite;
  uint32_t permissions = 0600;  // of a file that is created
  // How long to wait for another writer's lock before giving up.
  absl::Duration lock_wait = absl::ZeroDuration();
  FileSystem* file_system = RealFileSystem();  // not owned
  // Tells recovery what is known to have been synced: if `entry` (whose
  // checksum has been verified) vouches for a durable prefix of the file,
  // returns the length of that prefix, else 0. When set, entries above the
  // newest prefix vouched for are verified at open, and the store is cut at
  // the first bad one; when not set, only the last entry is verified.
  std::function<uint64_t(const EntryView& entry)> durable_tail;
  // The key hash of index images (WriteIndexImage) that are to be trusted: it
  // must be one that nobody else can choose. The newest image that is sound
  // spares opening all entries below it. What is damaged there is found when it
  // is read, or by ForEachInChain(). When not set, or with mends, the whole
  // chain is walked.
  std::optional<uint64_t> index_image_key;
  // Other bytes than those of the file; only for stores that are read.
  std::vector<Mend> mends;
  // Told whenever an append finds the disk or the quota full, be it that it
  // fails or that it uses the reserve. Called with the writer lock held: must
  // not call the store, nor wait. May be empty.
  std::function<void()> on_shortage = nullptr;
};

// What opening a store found and did.
struct RecoveryReport {
  uint64_t file_size = 0;     // as found
  uint64_t tail = 0;          // as recovered
  uint64_t torn_bytes = 0;    // file_size - tail
  std::string sidecar;        // where the torn bytes went; empty if none did
  uint64_t durable_tail = 0;  // as vouched for by entries
  std::vector<Mend> mends;    // those given, and those of links
};

// What has become of the name under which a store was opened.
enum class FileLocation {
  kInPlace,  // leads to the store's file
  kMoved,    // does not; the file has another one
  kDeleted,  // does not; the file has none, and is gone once it is closed
};

struct BatchItem {
  EntryKey key;
  absl::Span<const std::byte> payload;
};

class Batch;
struct BatchState;
class Stream;
class StoreImpl;
class StreamState;

class Store {
 public:
  // Opens, creates and, where needed, recovers a store (docs/format.md,
  // "Recovery"). A read-only open never writes, never truncates, takes no
  // lock that a writer waits for, and sees the committed prefix at the time of
  // the open. Errors: NOT_FOUND, ALREADY_EXISTS; FAILED_PRECONDITION
  // (EWOULDBLOCK) naming the pid of the writer that holds the lock; DATA_LOSS
  // if the file is not empty and holds no valid entry, or is damaged where
  // writing on would hide it (it is left untouched); SystemError.
  //
  // A read-only open mends damaged links in memory; recovery() tells.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path,
                                                     OpenOptions options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const RecoveryReport& recovery() const;
  const std::string& path() const;
  // The same with symbolic links resolved, as of the open: where the file is.
  const std::string& file_path() const;
  // Where a compaction writes the file that is to replace this one.
  std::string replacement_path() const;
  bool read_only() const;  // opened so, or turned so by a failure()
  // Why the store serves only reads although it was opened for writing, or why
  // it cannot serve all of them: a sync has failed, or the file is shorter than
  // it was.
  absl::Status failure() const;

  // --- Writing -------------------------------------------------------------

  absl::StatusOr<EntryLocation> Write(const EntryKey& key,
                                      absl::Span<const std::byte> payload);

  // Appends all items with one write; all or none.
  absl::Status WriteBatch(absl::Span<const BatchItem> items);

  // Appends everything that `source` yields until its end as one entry. If
  // another append needs the tail meanwhile, what has been read so far would
  // have to be sealed; instead the pieces are joined again by one copy, so
  // that the entry is always whole. Nothing is left behind when `source` is
  // empty, yields just one NUL, or fails (DATA_LOSS).
  absl::StatusOr<EntryLocation> WriteStream(const EntryKey& key,
                                            std::istream& source);

  // Copies the payload to `to` and deletes `from`, in one append. NOT_FOUND if
  // `from` is absent; INVALID_ARGUMENT if both have one hash.
  absl::Status Rename(const EntryKey& from, const EntryKey& to);

  // Copies one entry into another store; Transfer then deletes it here.
  // NOT_FOUND if absent. INVALID_ARGUMENT if `target` is this store.
  absl::Status Copy(const EntryKey& key, Store& target);
  absl::Status Transfer(const EntryKey& key, Store& target);

  // Appends a tombstone for each key that is present; absent keys write
  // nothing. Returns the number of keys deleted.
  absl::StatusOr<size_t> Delete(const EntryKey& key);
  absl::StatusOr<size_t> DeleteBatch(absl::Span<const EntryKey> keys);

  // Takes the writer lock and starts an append of any mix of entries and
  // tombstones that is all or nothing. The lock is held until the batch is
  // committed or destroyed. An active stream other than `finishing` (may be
  // null) is sealed first; an error in sealing is returned by Commit().
  Batch BeginBatch(Stream* finishing = nullptr);

  // Starts an entry of unknown length. At most one stream is active: it is
  // sealed, under the hash that `fallback_key_hash` returns (called with the
  // writer lock held; may look keys up, and must not call the store for
  // anything else), when any other append needs the tail, and goes on as a
  // further piece. The stream must not outlive the
  // store.
  std::unique_ptr<Stream> BeginStream(
      std::function<uint64_t()> fallback_key_hash);

  // Makes everything appended so far durable, and returns the length of the
  // durable prefix. Concurrent callers share one system call; there is none
  // if nothing is new. After a failure, which may be one of writing out early,
  // every further write and sync fails and the store only serves reads.
  absl::StatusOr<uint64_t> Sync();
  // Length of the prefix that is known to be durable.
  uint64_t durable_tail() const;

  // Appends the index as it is, as an entry of its own under `key_hash`, for
  // callers that open the store with OpenOptions::index_image_key. An active
  // stream is sealed. Takes 16 bytes of the file for each live key, and holds
  // the writer lock for about 0.1 s for each million of them.
  absl::Status WriteIndexImage(uint64_t key_hash);
  // Entries and tombstones since the newest image of the index that is known,
  // or of all the store: what opening it would have to index.
  uint64_t entries_since_image() const;
  // The image that this store's own index lies on. As long as the store is open
  // it must stay as it is, though it may be superseded.
  std::optional<EntryLocation> index_image_in_use() const;
  // That what the index has said so far was so: look-ups go by an image of it
  // in the file, which the disk may have spoilt since it was checked. For a
  // caller that is about to destroy what it did not find. DATA_LOSS if it is;
  // the store has to be opened anew then. Reads all of the image.
  absl::Status CheckIndex() const;

  // --- Reading -------------------------------------------------------------

  // The newest entry of the key. NOT_FOUND, without a message, if it is absent
  // or deleted: asking for what is not there costs next to nothing.
  absl::StatusOr<EntryView> Read(const EntryKey& key) const;
  // Nothing where a key is absent; all answers are of one moment's index.
  std::vector<std::optional<EntryView>> ReadBatch(
      absl::Span<const EntryKey> keys) const;
  // The last entry of the chain, whatever it is. NOT_FOUND in an empty store.
  absl::StatusOr<EntryView> ReadLastEntry() const;
  absl::StatusOr<Metadata> ReadMetadata(const EntryKey& key) const;
  bool Exists(const EntryKey& key) const;
  // Metadata offset of the newest entry of the key; nothing if it is absent.
  std::optional<uint64_t> Find(const EntryKey& key) const;

  // The entry whose metadata ends at `end`. OUT_OF_RANGE beyond the tail,
  // DATA_LOSS where the bytes cannot be an entry. Not checked: whether the
  // chain passes there, and the checksum.
  absl::StatusOr<EntryView> EntryEndingAt(uint64_t end) const;

  // Any bytes of the store, pinned: also those of a stream still being
  // written. OUT_OF_RANGE beyond what has been written. Bytes of a stream that
  // is given up afterwards, unsealed, are cut off the file: touching them then
  // raises SIGBUS, pinned or not.
  struct PinnedBytes {
    std::shared_ptr<const Mapping> pin;
    absl::Span<const std::byte> bytes;
  };
  absl::StatusOr<PinnedBytes> View(uint64_t offset, uint64_t length) const;

  // Says that so many bytes are about to be read through the map. What has been
  // read so counts as memory of the process, so now and then its pages are
  // released: at most some 100 MiB are there at a time.
  void NoteServed(uint64_t bytes) const;

  // Looks whether somebody else has cut the file short: then the store turns
  // read-only, for good, and what is gone is DATA_LOSS (EIO) to every read.
  // Returns that, too, if the file is shorter than `end`, which must be that of
  // something that has been written. To be called once bytes of View() were
  // used, as behind the end of a file a map may well show zeros (a page of
  // which nothing is left raises SIGBUS; see bus_guard.h). Takes one lseek().
  absl::Status CheckLength(uint64_t end = 0);
  // Where the file is now.
  absl::StatusOr<FileLocation> LocateFile() const;

  // Reads the payload through the seam (never by the map, so that a failing
  // disk is an error and not a signal) and compares its checksum. DATA_LOSS
  // (EIO) naming key hash and offsets if it does not match. OUT_OF_RANGE where
  // no entry can be. Compact() moves entries: a location from before means
  // nothing afterwards.
  absl::Status Verify(const EntryLocation& entry) const;

  // The number of live keys; tombstones never count.
  size_t size() const;
  bool empty() const { return size() == 0; }
  uint64_t file_size() const;  // bytes of the file that are committed: the tail
  uint64_t tail() const { return file_size(); }

  // Calls `visit` for live entries, newest first, as of the time of the call,
  // until it returns false. Ends early if the disk has damaged the chain since
  // it was opened; ForEachInChain() tells.
  void ForEach(const std::function<bool(const EntryView&)>& visit) const;
  // The same entries in no order, on all cores; `visit` must be thread-safe.
  void ForEachParallel(
      const std::function<void(const EntryView&)>& visit) const;
  // Every entry of the chain, tombstones and superseded ones too, newest
  // first, from the tail at the time of the call, until `visit` returns false.
  // DATA_LOSS, naming the offset, if the chain is broken somewhere.
  absl::Status ForEachInChain(
      const std::function<bool(const EntryView&)>& visit) const;

  // --- Compaction ----------------------------------------------------------

  // Bytes that Compact() would save.
  uint64_t EstimateCompactionSavings() const;

  // Replaces the file by one that holds just the live entries, oldest first,
  // each verified on the way (DATA_LOSS, and the store is as before, if one is
  // damaged). Durable when it returns; a crash leaves the old or the new file.
  // Writers wait, readers do not; views stay valid. An active stream is sealed.
  // FAILED_PRECONDITION if another file has taken the store's place.
  absl::Status Compact();

  // For a compaction that knows more of the entries than the store does:
  // makes an empty store in a file beside this one's, named after it with
  // ".compact" behind, with its mode, owner and extended attributes. What is
  // there already is removed: the caller says that it may be.
  absl::StatusOr<std::unique_ptr<Store>> MakeReplacement();
  // Lets that one's file take the place of this one's. It must have been
  // synced, and no other use may be made of it; it is gone in any case. Writers
  // wait, readers do not, and views stay valid; locations from before mean
  // nothing afterwards. The pieces of streams are found again by their key
  // hashes. FAILED_PRECONDITION if another file has taken the store's place, or
  // a stream is active (see Seal()). On failure this store is as it was, and
  // the other file removed. That it is durable which file is the store, the
  // next Sync() says: if not, it fails.
  absl::Status ReplaceBy(std::unique_ptr<Store> replacement);
  // Removes a replacement that is not wanted.
  void Abandon(std::unique_ptr<Store> replacement);

  // Seals the active stream, if there is one.
  absl::Status Seal();

  // Keeps programs that would open the store for reading waiting, until
  // LetReadersIn(). False if one has it open so: what is dead by now may
  // be what it reads.
  absl::StatusOr<bool> TryLockOutReaders();
  void LetReadersIn();
  // Gives the blocks of a range back to the host, where they read as zeros
  // then. The range must lie within one dead payload, and readers be kept out.
  // UNIMPLEMENTED where the host cannot do that.
  absl::Status Punch(uint64_t offset, uint64_t length);
  // As the host has it, without the blocks that are kept behind the end.
  absl::StatusOr<FileInfo> Info() const;
  // Of the host file system that the store lies on.
  absl::StatusOr<SpaceOnDisk> Space() const;

 private:
  explicit Store(std::unique_ptr<StoreImpl> impl);
  const std::unique_ptr<StoreImpl> impl_;
};

// An append under construction; see Store::BeginBatch. Holds the writer lock.
// Not thread-safe. Payload bytes are not copied: they must stay valid until
// Commit() has returned.
class Batch {
 public:
  Batch(Batch&&) noexcept;
  Batch& operator=(Batch&&) = delete;
  ~Batch();  // without Commit(): nothing is appended

  // The offset at which the first entry of this batch starts (its prev_tail).
  uint64_t begin() const;

  // Adds one entry; its payload is the concatenation of `pieces`. Returns
  // where it will lie once committed. An invalid payload (empty, single NUL)
  // makes Commit() fail.
  EntryLocation Add(uint64_t key_hash,
                    absl::Span<const absl::Span<const std::byte>> pieces);
  EntryLocation Add(uint64_t key_hash, absl::Span<const std::byte> payload);
  EntryLocation AddTombstone(uint64_t key_hash);

  // Ends the `finishing` stream of BeginBatch as an entry of `key_hash`. Must
  // come before any Add. Nothing if the stream has no unsealed bytes. If the
  // batch is not committed in the end, the stream goes on as it was.
  std::optional<EntryLocation> FinishStream(uint64_t key_hash);

  // Says that the append frees space, or is part of what does: it may use the
  // blocks that are kept for that when the disk is full.
  void UseReserve();

  // Appends all with one write, then updates index and tail, and gives up the
  // lock. On failure nothing has changed.
  absl::Status Commit();

 private:
  friend class Store;
  explicit Batch(std::unique_ptr<BatchState> state);
  std::unique_ptr<BatchState> state_;
};

// An entry being written piece by piece; see Store::BeginStream. Not
// thread-safe itself, but may be used concurrently with all of Store.
class Stream {
 public:
  // Unfinished, unsealed bytes are cut off again. Takes the writer lock: not
  // while this thread holds a Batch.
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Appends bytes. Returns the absolute offset in the store at which they lie
  // for good (Store::View can read them at once). On failure the stream is as
  // long as before, and the call may be repeated.
  //
  // INVALID_ARGUMENT for no bytes, and for a single NUL byte while
  // unsealed_size() is 0: sealed, that would read as a tombstone. As another
  // append may seal the stream at any time, callers keep a single byte back
  // and write it together with the next ones, or keep it elsewhere if it is the
  // last.
  absl::StatusOr<uint64_t> Write(absl::Span<const std::byte> bytes);

  // The pieces that have been sealed so far, in order, as they lie now
  // (Compact() moves them). Those ended by Batch::FinishStream are not among
  // them. These three may be called while this thread holds a Batch.
  std::vector<EntryLocation> sealed() const;
  // Bytes written that are not in a sealed piece, and where they start.
  uint64_t unsealed_size() const;
  uint64_t unsealed_offset() const;

 private:
  friend class Store;
  explicit Stream(std::unique_ptr<StreamState> state);
  const std::unique_ptr<StreamState> state_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_STORE_STORE_H_
