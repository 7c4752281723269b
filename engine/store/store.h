// Store: a key/value store in one append-only file, in the format of the Rust
// crate simd-r-drive (0.15 and later). It can be used without the mount.
//
// The store knows keys only by their 64-bit hash. Two keys with the same hash
// are one key to it: the newer write wins, and reads of either key return it.
// Callers that cannot accept that must keep names of their own, as fs/ does.
//
// Thread rules: every method may be called from any thread at any time. One
// writer lock serialises appends (it is held across the write system call);
// readers take no lock that an append holds. A store that much is appended to
// has a thread of its own, which has the host begin to write it to the disk.
//
// Durability: an append survives the death of the process once the call has
// returned, and a power cut once a later Sync() has returned.
//
// Errors common to all writes: FAILED_PRECONDITION (EROFS) if the store is open
// read-only or a sync has failed before; INVALID_ARGUMENT for a payload that is
// empty or a single NUL byte (which would look like a tombstone); otherwise the
// SystemError of the seam. A failed append changes nothing: neither the file up
// to its tail, nor the index, nor the tail.
//
// A full disk: while a store is open for writing, the host keeps some blocks
// for it behind its end (reserve.h). Appends that free space, which are
// deletions and batches that call UseReserve(), can still use these blocks when
// all other appends fail.

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
#include "engine/entry/block_sums.h"
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
  // Tells recovery what is known to have been synced: returns the length of the
  // prefix that `entry` declares to be durable, or 0 if it declares nothing.
  // The checksum of `entry` has been verified. If set, opening verifies the
  // entries above the longest such prefix, and cuts the store at the first bad
  // one. If not set, opening verifies the last entry only.
  std::function<uint64_t(const EntryView& entry)> durable_tail;
  // The key hash of the index images (WriteIndexImage) to trust. It must be a
  // hash that nobody else can choose. Opening then walks the chain down to the
  // newest sound image only. Damage below it is found when an entry is read, or
  // by ForEachInChain(). If not set, or if there are mends, opening walks the
  // whole chain.
  std::optional<uint64_t> index_image_key;
  // Whether to build the index of keys only when it is first needed, by Find()
  // or any other function that looks keys up. Opening a store whose end is
  // sound then follows the chain only down to where `durable_tail` vouches for
  // it; damage below is found as with an image of the index. The first look-up
  // takes in return what opening has saved. Does not apply if there are mends.
  bool defer_index = false;
  // Mends to lay over the file. For read-only opens only.
  std::vector<Mend> mends;
  // Called whenever an append finds the disk or the quota full, whether it
  // fails or uses the reserve. The writer lock is held during the call, so the
  // function must not call the store, nor wait. May be empty.
  std::function<void()> on_space_pressure = nullptr;
};

// What opening a store found and did.
struct RecoveryReport {
  uint64_t file_size = 0;     // as found
  uint64_t tail = 0;          // as recovered
  uint64_t torn_bytes = 0;    // file_size - tail
  std::string sidecar;        // where the torn bytes went; empty if none did
  uint64_t durable_tail = 0;  // as vouched for by entries
  std::vector<Mend> mends;  // those given, and those of links found by recovery
};

// What has become of the path under which a store was opened.
enum class FileLocation {
  kInPlace,  // it leads to the store's file
  kMoved,    // it does not; the file has another name
  kDeleted,  // it does not; the file has no name and is gone once closed
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
  // "Recovery"). A read-only open never writes or truncates, takes no lock that
  // a writer waits for, and sees what had been committed at the time of the
  // open. Errors: NOT_FOUND, ALREADY_EXISTS; FAILED_PRECONDITION (EWOULDBLOCK)
  // naming the pid of the writer that holds the lock; DATA_LOSS if the file is
  // not empty and holds no valid entry, or if it is damaged and further appends
  // would hide the damage (the file stays untouched); SystemError.
  //
  // A read-only open mends damaged links in memory and lists them in
  // recovery().
  static absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path,
                                                     OpenOptions options);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const RecoveryReport& recovery() const;
  const std::string& path() const;
  // The same path with symbolic links resolved at the time of the open.
  const std::string& file_path() const;
  // Where a compaction writes the file that will replace this one.
  std::string replacement_path() const;
  bool read_only() const;  // opened so, or made so by a failure()
  // Why the store refuses writes although it was opened for writing, or why it
  // cannot serve all reads: a sync has failed, or the file has become shorter.
  // OK if there was no failure.
  absl::Status failure() const;

  // --- Writing -------------------------------------------------------------

  absl::StatusOr<EntryLocation> Write(const EntryKey& key,
                                      absl::Span<const std::byte> payload);

  // Appends all items with one write; all or none.
  absl::Status WriteBatch(absl::Span<const BatchItem> items);

  // Appends everything that `source` yields until its end as one entry. If
  // another append needs the tail meanwhile, the bytes so far become a piece,
  // and the pieces are joined by one copy at the end, so that the entry is
  // always whole. Leaves nothing behind if `source` is empty, yields just one
  // NUL, or fails (DATA_LOSS).
  absl::StatusOr<EntryLocation> WriteStream(const EntryKey& key,
                                            std::istream& source);

  // Copies the payload to `to` and deletes `from`, in one append. NOT_FOUND if
  // `from` is absent; INVALID_ARGUMENT if both have the same hash.
  absl::Status Rename(const EntryKey& from, const EntryKey& to);

  // Copy() copies one entry into another store. Transfer() does the same and
  // then deletes it here. NOT_FOUND if the key is absent. INVALID_ARGUMENT if
  // `target` is this store.
  absl::Status Copy(const EntryKey& key, Store& target);
  absl::Status Transfer(const EntryKey& key, Store& target);

  // Appends a tombstone for each key that is present. Absent keys write
  // nothing. Returns the number of deleted keys.
  absl::StatusOr<size_t> Delete(const EntryKey& key);
  absl::StatusOr<size_t> DeleteBatch(absl::Span<const EntryKey> keys);

  // Takes the writer lock and starts an append of any mix of entries and
  // tombstones that happens as a whole or not at all. The batch holds the lock
  // until it is committed or destroyed. Seals the active stream first, unless
  // that is `finishing` (which may be null). Commit() returns an error that
  // sealing met.
  Batch BeginBatch(Stream* finishing = nullptr);

  // Starts an entry of unknown length. At most one stream is active, which
  // means that it has bytes at the tail. When another append needs the tail,
  // the stream is sealed: its bytes so far become a piece, an entry under the
  // keys that `fallback_keys` returns, and the stream continues behind that
  // append. `fallback_keys` is called with the writer lock held; it may look up
  // keys, and must not call the store for anything else. The stream must not
  // outlive the store.
  std::unique_ptr<Stream> BeginStream(std::function<EntryKeys()> fallback_keys);

  // Makes everything appended so far durable, and returns the length of the
  // durable prefix. Concurrent callers share one system call; there is none
  // if nothing is new. After a failure, which may be one of writing out early,
  // every further write and sync fails and the store only serves reads.
  absl::StatusOr<uint64_t> Sync();
  // The length of the prefix that is known to be durable.
  uint64_t durable_tail() const;

  // Appends an image of the present index as an entry under `key_hash`, for
  // callers that open the store with OpenOptions::index_image_key. Seals an
  // active stream. Takes 16 bytes of the file for each live key, and holds the
  // writer lock for about 0.1 s for each million keys.
  absl::Status WriteIndexImage(uint64_t key_hash);
  // The number of entries and tombstones that opening the store would have to
  // index: those above the newest known image, or all if there is none. 0 if
  // the index is not in use (see OpenOptions::defer_index).
  uint64_t entries_since_image() const;
  // Builds an index that was deferred, if it is not there yet.
  void BuildIndex() const;
  // Whether the index is in use: false if it was deferred and nothing has
  // needed it.
  bool has_index() const;
  // The image that is the base of this store's index, if that is in use. Its
  // bytes must not be punched while the store is open, even if a newer image
  // has superseded it.
  std::optional<EntryLocation> index_image_in_use() const;
  // Checks that all answers of the index so far were right: look-ups use an
  // image in the file, which the disk may have damaged since it was checked.
  // For a caller that is about to destroy what it did not find in the index.
  // DATA_LOSS if the image is damaged; the store must then be opened anew.
  // Reads all of the image.
  absl::Status CheckIndex() const;

  // --- Reading -------------------------------------------------------------

  // The newest entry of the key. NOT_FOUND, without a message, if it is absent
  // or deleted: asking for what is not there costs next to nothing.
  absl::StatusOr<EntryView> Read(const EntryKey& key) const;
  // Like Read() for each key, with nothing where a key is absent. All answers
  // are from the same moment.
  std::vector<std::optional<EntryView>> ReadBatch(
      absl::Span<const EntryKey> keys) const;
  // The last entry of the chain, whether value or tombstone. NOT_FOUND in an
  // empty store.
  absl::StatusOr<EntryView> ReadLastEntry() const;
  absl::StatusOr<Metadata> ReadMetadata(const EntryKey& key) const;
  bool Exists(const EntryKey& key) const;
  // The metadata offset of the newest entry of the key; nothing if it is
  // absent.
  std::optional<uint64_t> Find(const EntryKey& key) const;

  // The entry whose metadata ends at `end`. OUT_OF_RANGE beyond the tail;
  // DATA_LOSS if the bytes cannot be an entry. Checks neither the checksum nor
  // whether the entry is in the chain.
  absl::StatusOr<EntryView> EntryEndingAt(uint64_t end) const;

  // Any bytes of the store, pinned, including those of a stream that is still
  // being written. OUT_OF_RANGE beyond what has been written. If a stream is
  // given up later, its unsealed bytes are cut off the file: touching them then
  // raises SIGBUS, pinned or not.
  struct PinnedBytes {
    std::shared_ptr<const Mapping> pin;
    absl::Span<const std::byte> bytes;
  };
  absl::StatusOr<PinnedBytes> View(uint64_t offset, uint64_t length) const;

  // Announces that the caller is about to read so many bytes through the
  // mapping. Pages that were read count as memory of the process, so the store
  // releases them now and then: at most some 100 MiB are resident at a time.
  void NoteServed(uint64_t bytes) const;

  // Checks whether another program has truncated the file. If so, the store
  // turns read-only for good, and reads of the lost bytes fail with DATA_LOSS
  // (EIO). Returns that error if the file is shorter than `end`, up to which
  // the store must have been written. Call it after using bytes of View():
  // behind the end of a file, the rest of the last page reads as zeros (a page
  // wholly behind the end raises SIGBUS; see bus_guard.h). Takes one lseek().
  absl::Status CheckLength(uint64_t end = 0);
  // Whether the path still leads to the store's file.
  absl::StatusOr<FileLocation> LocateFile() const;

  // Reads the payload and compares its checksum. Reads through the seam and not
  // through the mapping, so that a failing disk gives an error and not a
  // signal. DATA_LOSS (EIO), naming key hash and offsets, if it does not match.
  // OUT_OF_RANGE where no entry can be. Compact() moves entries, so a location
  // from before it means nothing afterwards.
  absl::Status Verify(const EntryLocation& entry) const;

  // The block sums of an entry: those directly behind it, else those under the
  // key; nothing if neither belong to it. What they say is not compared with
  // the payload.
  std::optional<BlockSums> FindBlockSums(const EntryLocation& entry,
                                         uint64_t sums_key_hash) const;
  // Compares the blocks of an entry from `first` on with their sums. What the
  // host has in its memory is compared in the mapping, where no disk can fail,
  // and anything else is read through the seam like Verify() does, and nothing
  // beyond these blocks. DATA_LOSS (EIO), naming the first block that does not
  // match; OUT_OF_RANGE where no block of an entry can be.
  absl::Status VerifyBlocks(const EntryLocation& entry, uint64_t first,
                            absl::Span<const uint32_t> sums) const;

  // The number of live keys; tombstones never count.
  size_t size() const;
  bool empty() const { return size() == 0; }
  uint64_t file_size() const;  // bytes of the file that are committed: the tail
  uint64_t tail() const { return file_size(); }

  // Calls `visit` for the entries that are live at the time of the call, newest
  // first, until it returns false. Ends early if the disk has damaged the chain
  // since the store was opened; ForEachInChain() reports such damage.
  void ForEach(const std::function<bool(const EntryView&)>& visit) const;
  // Calls `visit` for the same entries in no order, on all cores. `visit` must
  // be thread-safe.
  void ForEachParallel(
      const std::function<void(const EntryView&)>& visit) const;
  // Calls `visit` for every entry of the chain, including tombstones and
  // superseded entries, newest first, from the tail at the time of the call,
  // until it returns false. DATA_LOSS, naming the offset, if the chain is
  // broken.
  absl::Status ForEachInChain(
      const std::function<bool(const EntryView&)>& visit) const;

  // --- Compaction ----------------------------------------------------------

  // The number of bytes that Compact() would save.
  uint64_t EstimateCompactionSavings() const;

  // Replaces the file by one that holds just the live entries, oldest first.
  // Verifies each on the way; if one is damaged, the result is DATA_LOSS and
  // the store is as before. The new file is durable when this returns; a crash
  // leaves the old or the new file. Writers wait, readers do not, and views
  // stay valid. Seals an active stream. FAILED_PRECONDITION if another file has
  // taken the store's place.
  absl::Status Compact();

  // The next three are for a compaction that knows more about the entries than
  // the store does. This one creates an empty store beside this one, in a file
  // of the same name with ".compact" appended, with the same mode, owner and
  // extended attributes. Removes a file that has that name already: the caller
  // must have made sure that it may.
  absl::StatusOr<std::unique_ptr<Store>> MakeReplacement();
  // Puts the file of `replacement` in the place of this store's file.
  // `replacement` must have been synced, and nobody else may be using it; it is
  // destroyed in any case. Writers wait, readers do not, and views stay valid;
  // locations from before mean nothing afterwards. The pieces of streams are
  // found again by their key hashes. FAILED_PRECONDITION if another file has
  // taken the store's place, or if a stream is active (see Seal()). On failure
  // this store is as it was, and the file of `replacement` is removed. The
  // exchange is durable once the next Sync() has succeeded.
  absl::Status ReplaceBy(std::unique_ptr<Store> replacement);
  // Destroys a replacement that is not wanted, and removes its file.
  void Abandon(std::unique_ptr<Store> replacement);

  // Seals the active stream, if there is one.
  absl::Status Seal();

  // Makes programs that want to open the store for reading wait, until
  // LetReadersIn(). Returns false if a program has it open for reading now:
  // that program may still read entries that have died since.
  absl::StatusOr<bool> TryLockOutReaders();
  void LetReadersIn();
  // Releases the blocks of a range to the host; the range reads as zeros
  // afterwards. It must lie within one dead payload, and readers must be locked
  // out. UNIMPLEMENTED where the host cannot do this.
  absl::Status Punch(uint64_t offset, uint64_t length);
  // The attributes of the file. The blocks that are kept behind its end are not
  // counted.
  absl::StatusOr<FileInfo> Info() const;
  // The space of the host file system that the store lies on.
  absl::StatusOr<SpaceOnDisk> Space() const;

 private:
  explicit Store(std::unique_ptr<StoreImpl> impl);
  const std::unique_ptr<StoreImpl> impl_;
};

// An append under construction; see Store::BeginBatch(). Holds the writer lock.
// Not thread-safe. Does not copy payloads: they must stay valid until Commit()
// has returned.
class Batch {
 public:
  Batch(Batch&&) noexcept;
  Batch& operator=(Batch&&) = delete;
  ~Batch();  // without Commit(), appends nothing

  // The offset at which the first entry of this batch starts (its prev_tail).
  uint64_t begin() const;
  // Where the entries added so far end; the prev_tail of the next one.
  uint64_t end() const;

  // Adds one entry, whose payload is the concatenation of `pieces`, and its
  // block sums if `keys` has a key for them. Returns where it will lie once
  // committed. An invalid payload (empty or a single NUL) makes Commit() fail.
  //
  // To write sums, this looks up their key, unless it is reserved: if something
  // else lies under that key, no sums are written. Sums of an older entry of
  // the same key are replaced. If the new entry is too small to have sums, they
  // are hidden if the index is there.
  EntryLocation Add(const EntryKeys& keys,
                    absl::Span<const absl::Span<const std::byte>> pieces);
  EntryLocation Add(const EntryKeys& keys, absl::Span<const std::byte> payload);
  // Deletes the key, and its block sums if `keys` has a key for them and, where
  // that is not reserved, they lie there. Returns the tombstone of the key.
  EntryLocation AddTombstone(const EntryKeys& keys);

  // Ends the `finishing` stream of BeginBatch() as an entry of these keys. Must
  // come before any Add. Returns nothing if the stream has no unsealed bytes.
  // If the batch is never committed, the stream stays as it was.
  std::optional<EntryLocation> FinishStream(const EntryKeys& keys);

  // Declares that the append frees space or is part of an operation that does.
  // It may then use the reserve when the disk is full.
  void UseReserve();

  // Appends everything with one write, updates index and tail, and releases the
  // lock. On failure nothing has changed.
  absl::Status Commit();

 private:
  friend class Store;
  explicit Batch(std::unique_ptr<BatchState> state);
  std::unique_ptr<BatchState> state_;
};

// An entry that is being written bit by bit; see Store::BeginStream(). Not
// thread-safe itself, but other threads may use the store at the same time.
class Stream {
 public:
  // Cuts unsealed bytes off the file again. Takes the writer lock, so the
  // thread must not hold a Batch.
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // Appends bytes. Returns their offset in the store, which does not change
  // until a compaction (Store::View() can read them at once). On failure the
  // stream is as long as before, and the call may be repeated.
  //
  // INVALID_ARGUMENT for no bytes, and for a single NUL byte while
  // unsealed_size() is 0, which would look like a tombstone if it were sealed.
  // Another append may seal the stream at any time. So callers hold back a
  // single byte and write it together with the next ones, or store it elsewhere
  // if it is the last.
  absl::StatusOr<uint64_t> Write(absl::Span<const std::byte> bytes);

  // The pieces that have been sealed so far, in order, where they lie now
  // (Compact() moves them). An entry made by Batch::FinishStream() is not among
  // them. A thread may call this and the two functions below while it holds a
  // Batch.
  std::vector<EntryLocation> sealed() const;
  // The number of bytes that are in no sealed piece, and where they start.
  uint64_t unsealed_size() const;
  uint64_t unsealed_offset() const;

 private:
  friend class Store;
  explicit Stream(std::unique_ptr<StreamState> state);
  const std::unique_ptr<StreamState> state_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_STORE_STORE_H_
