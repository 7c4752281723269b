// The inside of Store, Batch and Stream. Private to engine/.
//
// Lock order:
//   StoreImpl::writer_mutex_          held across the write system call
//     StoreImpl::streams_mutex_
//       StreamState::mutex_
//     Generation::publish_mutex_      held while the index changes
//       Generation::Moment::mutex_
//     StoreImpl::sync_mutex_          never held across a system call
//     WriteOut::mutex_                the same
//
// Readers take none of these locks except Moment::mutex_ and, after losing
// several races, publish_mutex_.

#ifndef VARVE_ENGINE_STORE_STORE_IMPL_H_
#define VARVE_ENGINE_STORE_STORE_IMPL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <istream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "engine/base/read_sections.h"
#include "engine/entry/block_sums.h"
#include "engine/entry/entry.h"
#include "engine/io/reserve.h"
#include "engine/store/append.h"
#include "engine/store/generation.h"
#include "engine/store/store.h"
#include "engine/store/write_out.h"

namespace varve {

class StoreImpl;

// NOT_FOUND.
absl::Status NoSuchKey(uint64_t key_hash);

// What becomes of the pieces of a stream that are sealed before its end.
enum class PieceFate {
  kLive,  // entries under the fallback key
  kDead,  // deleted in the same append; pinned until they are joined
};

// The state of a stream, which its user shares with the writers that seal it.
class StreamState {
 public:
  // Bytes that belong to no entry yet.
  struct Unsealed {
    uint64_t offset = 0;
    uint64_t size = 0;
    uint64_t end() const { return offset + size; }
  };

  StreamState(StoreImpl& store, std::function<EntryKeys()> fallback_keys,
              PieceFate fate);
  // Cuts the unsealed bytes off the file.
  ~StreamState();
  StreamState(const StreamState&) = delete;
  StreamState& operator=(const StreamState&) = delete;

  StoreImpl& store() const { return store_; }
  PieceFate fate() const { return fate_; }
  EntryKeys FallbackKeys() const { return fallback_keys_(); }

  Unsealed unsealed() const;
  std::vector<EntryLocation> sealed() const;
  // The payloads of the sealed pieces of a stream with kDead.
  std::vector<EntryView> sealed_views() const;

  // For the writer, with the store's writer lock held.
  const BlockSummer& summer() const { return summer_; }  // of unsealed bytes
  // The bytes have been written behind the others.
  void Wrote(const Unsealed& unsealed, absl::Span<const std::byte> bytes);
  // Notes that the unsealed bytes have become an entry. `is_piece` says that it
  // was by sealing.
  void End(const EntryView& entry, bool is_piece);
  // Finds sealed pieces again after compaction has moved them.
  void Relocate(const Generation& generation);

 private:
  StoreImpl& store_;
  const std::function<EntryKeys()> fallback_keys_;
  const PieceFate fate_;
  BlockSummer summer_;  // protected by the store's writer lock

  mutable absl::Mutex mutex_;
  Unsealed unsealed_ ABSL_GUARDED_BY(mutex_);
  std::vector<EntryLocation> sealed_ ABSL_GUARDED_BY(mutex_);
  std::vector<EntryView> sealed_views_ ABSL_GUARDED_BY(mutex_);
};

// An append, and the stream whose bytes it makes an entry, if any.
struct PendingAppend {
  Append append;
  StreamState* ended_stream = nullptr;
  EntryLocation ended_entry;
  bool ended_by_sealing = false;
  // Whether it frees space, or is part of an operation that does.
  bool may_use_reserve = false;
};

class StoreImpl {
 public:
  // The results of opening, from which a StoreImpl starts.
  struct Opened {
    std::string path;
    OpenOptions options;
    std::shared_ptr<Generation> generation;
    RecoveryReport recovery;
  };
  explicit StoreImpl(Opened opened);
  ~StoreImpl();

  static absl::StatusOr<std::unique_ptr<StoreImpl>> Open(
      const std::string& path, OpenOptions options);

  const RecoveryReport& recovery() const { return recovery_; }
  const std::string& path() const { return path_; }
  bool read_only() const { return read_only_.load(std::memory_order_acquire); }

  // --- Reading (any thread, without a lock) --------------------------------

  // Calls `use` with the generation in use, which stays alive during the call.
  // Must be brief: compaction spins until the call is over.
  template <typename Use>
  auto WithGeneration(const Use& use) const {
    const ReadSections::Section section(sections_);
    return use(*current_.load(std::memory_order_seq_cst));
  }

  // The generation in use, which stays alive as long as the caller keeps the
  // pointer.
  std::shared_ptr<const Generation> Pin() const {
    return WithGeneration([](const Generation& generation) {
      return generation.shared_from_this();
    });
  }

  // --- Appending -----------------------------------------------------------

  absl::Mutex& writer_mutex() ABSL_LOCK_RETURNED(writer_mutex_) {
    return writer_mutex_;
  }

  // Starts an append, sealing the active stream unless it is `finishing`.
  void StartAppend(PendingAppend& pending,
                   const StreamState* finishing = nullptr)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  // Makes an entry of the bytes of the active stream.
  void EndActiveStream(PendingAppend& pending, const EntryKeys& keys)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  // Adds the block sums of the entry added last, of which `summer` has seen the
  // payload. If it is too small to have any, hides older ones, unless the index
  // would have to be built for that.
  void AddBlockSums(Append& append, const EntryKeys& keys,
                    const BlockSummer& summer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  // Deletes the block sums of what lies under these keys, if there are some; of
  // a reserved key in any case.
  void HideBlockSums(Append& append, const EntryKeys& keys)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  void SealActiveStream(PendingAppend& pending)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  // Writes the append and makes it take effect, or changes nothing.
  absl::Status Commit(PendingAppend& pending)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);

  // Whether `stream` has bytes at the tail that belong to no entry yet.
  bool IsActive(const StreamState& stream) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_) {
    return active_ == &stream;
  }
  Generation& generation() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_) {
    return *generation_;
  }

  absl::Status CheckWritable() const ABSL_LOCKS_EXCLUDED(sync_mutex_);

  absl::StatusOr<EntryLocation> Write(uint64_t key_hash,
                                      absl::Span<const std::byte> payload)
      ABSL_LOCKS_EXCLUDED(writer_mutex_);
  absl::StatusOr<EntryLocation> WriteFrom(uint64_t key_hash,
                                          std::istream& source)
      ABSL_LOCKS_EXCLUDED(writer_mutex_);
  absl::Status WriteBatch(absl::Span<const BatchItem> items)
      ABSL_LOCKS_EXCLUDED(writer_mutex_);
  absl::StatusOr<size_t> Delete(absl::Span<const uint64_t> key_hashes)
      ABSL_LOCKS_EXCLUDED(writer_mutex_);
  absl::Status Rename(uint64_t from, uint64_t to)
      ABSL_LOCKS_EXCLUDED(writer_mutex_);
  absl::Status CopyTo(uint64_t key_hash, StoreImpl& target, bool remove)
      ABSL_LOCKS_EXCLUDED(writer_mutex_);

  absl::Status WriteIndexImage(uint64_t key_hash)
      ABSL_LOCKS_EXCLUDED(writer_mutex_);

  // --- Streams -------------------------------------------------------------

  absl::StatusOr<uint64_t> WriteToStream(StreamState& stream,
                                         absl::Span<const std::byte> bytes)
      ABSL_LOCKS_EXCLUDED(writer_mutex_);
  void AddStream(StreamState* stream) ABSL_LOCKS_EXCLUDED(streams_mutex_);
  // Cuts the unsealed bytes off the file and forgets the stream.
  void RemoveStream(StreamState* stream) ABSL_LOCKS_EXCLUDED(writer_mutex_);

  // --- Durability ----------------------------------------------------------

  absl::StatusOr<uint64_t> Sync() ABSL_LOCKS_EXCLUDED(sync_mutex_);
  uint64_t durable_tail() const ABSL_LOCKS_EXCLUDED(sync_mutex_);

  // --- The file as others leave it (store_intact.cc) -----------------------

  void NoteServed(uint64_t bytes);
  // See Store. `generation` is the one in use or a former one.
  absl::Status CheckLength(const Generation& generation, uint64_t end)
      ABSL_LOCKS_EXCLUDED(sync_mutex_);
  absl::Status failure() const ABSL_LOCKS_EXCLUDED(sync_mutex_);
  absl::StatusOr<FileLocation> LocateFile() const;

  // --- Iteration and compaction --------------------------------------------

  void ForEach(const std::function<bool(const EntryView&)>& visit) const;
  void ForEachParallel(
      const std::function<void(const EntryView&)>& visit) const;
  absl::Status ForEachInChain(
      const std::function<bool(const EntryView&)>& visit) const;
  absl::Status Verify(const EntryLocation& entry) const;
  absl::Status VerifyBlocks(const EntryLocation& entry, uint64_t first,
                            absl::Span<const uint32_t> sums) const;
  std::optional<BlockSums> FindBlockSums(const EntryLocation& entry,
                                         uint64_t sums_key_hash) const;

  uint64_t EstimateCompactionSavings() const;
  absl::Status Compact() ABSL_LOCKS_EXCLUDED(writer_mutex_);

  // See Store.
  absl::StatusOr<std::unique_ptr<Store>> MakeReplacement();
  absl::Status ReplaceBy(StoreImpl& replacement)
      ABSL_LOCKS_EXCLUDED(writer_mutex_);
  void RemoveReplacement(StoreImpl& replacement);
  const std::string& file_path() const { return file_path_; }
  std::string replacement_path() const;
  // Called on a replacement by the store whose file it replaces. The reserve
  // moves to `reserve`.
  std::shared_ptr<Generation> TakeGeneration(Reserve& reserve)
      ABSL_LOCKS_EXCLUDED(writer_mutex_) {
    write_out_.Stop();
    absl::MutexLock lock(&writer_mutex_);
    reserve_.HandOver(reserve);
    return generation_;
  }
  absl::Status Seal() ABSL_LOCKS_EXCLUDED(writer_mutex_);
  absl::Status SealLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  absl::Status Punch(uint64_t offset, uint64_t length)
      ABSL_LOCKS_EXCLUDED(writer_mutex_);
  absl::StatusOr<FileInfo> Info() const ABSL_LOCKS_EXCLUDED(writer_mutex_);
  absl::StatusOr<SpaceOnDisk> Space() const;

 private:
  // What lies under the key for an entry's block sums.
  enum class SumsKey {
    kNone,      // there is no such key
    kFree,      // nothing
    kOfKey,     // sums of an entry of the same key
    kOthers,    // something else, which is not to be hidden
    kReserved,  // nothing else than that, so that was not looked at
  };
  SumsKey LookAtSumsKey(const EntryKeys& keys) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);

  // Cuts everything behind `end` off the file, after an append that failed or
  // was given up. If that fails, the next append first tries again.
  void CutBackTo(uint64_t end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  absl::Status FinishCuttingBack() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  absl::StatusOr<EntryLocation> WriteWithChecksum(
      uint64_t key_hash, absl::Span<const std::byte> payload, uint32_t crc32)
      ABSL_LOCKS_EXCLUDED(writer_mutex_);
  // Writes the bytes without making them take effect. After a failure cuts off
  // what was written.
  absl::Status WriteBytes(Append& append, bool may_use_reserve)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  void TellSpacePressure() const {
    if (options_.on_space_pressure) options_.on_space_pressure();
  }
  // Releases the reserve, unless an append is under way.
  void GiveReserveBack() ABSL_LOCKS_EXCLUDED(writer_mutex_);

  // A random hash that no key of the store has.
  uint64_t UnusedKeyHash() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  absl::StatusOr<EntryLocation> JoinStream(StreamState& stream,
                                           uint64_t key_hash,
                                           absl::Span<const std::byte> rest)
      ABSL_LOCKS_EXCLUDED(writer_mutex_);

  // Makes the store serve only reads from now on. failure() keeps the first
  // reason.
  void Fail(const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(sync_mutex_);
  absl::Status SyncNow(const Generation& generation, bool sync_directory);
  absl::Status BeginWriteOut(uint64_t offset, uint64_t length);

  // Creates the file of a replacement, with the mode, owner and attributes of
  // the store's file. Removes a file that is there already.
  absl::StatusOr<std::unique_ptr<File>> MakeReplacementFile();
  // Renames the file at `path`, which belongs to `next`, over the store's file
  // and makes `next` the generation in use. On failure nothing has changed.
  // `synced` gets the result of making the rename durable.
  absl::Status PutInPlace(const std::string& path,
                          std::shared_ptr<Generation> next,
                          absl::Status* synced)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  // Whether the store's path still leads to its file.
  absl::Status CheckNotReplaced() ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  absl::StatusOr<std::shared_ptr<Generation>> BuildCompacted()
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);
  void SwitchTo(std::shared_ptr<Generation> next)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(writer_mutex_);

  // Constant after construction.
  const std::string path_;       // as given
  const std::string file_path_;  // resolved
  const OpenOptions options_;
  const RecoveryReport recovery_;

  // Self-synchronising.
  mutable ReadSections sections_;
  std::atomic<Generation*> current_;  // generation_, for readers
  std::atomic<bool> read_only_;

  mutable absl::Mutex writer_mutex_;
  std::shared_ptr<Generation> generation_ ABSL_GUARDED_BY(writer_mutex_);
  // The stream with bytes at the tail that belong to no entry yet.
  StreamState* active_ ABSL_GUARDED_BY(writer_mutex_) = nullptr;
  // Whether the file may be longer than what is committed to it.
  bool must_cut_back_ ABSL_GUARDED_BY(writer_mutex_) = false;

  // Bytes that have been read through the mapping since its pages were last
  // released.
  std::atomic<uint64_t> served_{0};
  Reserve reserve_ ABSL_GUARDED_BY(writer_mutex_);

  absl::Mutex streams_mutex_ ABSL_ACQUIRED_AFTER(writer_mutex_);
  absl::flat_hash_set<StreamState*> streams_ ABSL_GUARDED_BY(streams_mutex_);

  mutable absl::Mutex sync_mutex_ ABSL_ACQUIRED_AFTER(writer_mutex_);
  bool syncing_ ABSL_GUARDED_BY(sync_mutex_) = false;
  // The generation to which durable_tail_ belongs, for comparison only.
  const Generation* synced_generation_ ABSL_GUARDED_BY(sync_mutex_);
  uint64_t durable_tail_ ABSL_GUARDED_BY(sync_mutex_);
  // Whether the directory must be synced, too: the name of a new file is
  // durable only then.
  bool must_sync_directory_ ABSL_GUARDED_BY(sync_mutex_);
  // Why the store can no longer write or sync; OK if it can.
  absl::Status failure_ ABSL_GUARDED_BY(sync_mutex_);

  // The last, for its thread uses the others.
  WriteOut write_out_;
};

// The inside of a Batch.
struct BatchState {
  BatchState(StoreImpl& store_in, StreamState* finishing_in)
      : store(store_in), finishing(finishing_in) {}

  void Unlock();
  // Seals the `finishing` stream if it has bytes and was not finished.
  void SealIfUnfinished();

  StoreImpl& store;
  // The stream that FinishStream() may still end, if it has bytes.
  StreamState* finishing;
  PendingAppend pending;
  uint64_t begin = 0;
  absl::Status status;
  bool locked = true;  // whether the batch holds the store's writer lock
};

}  // namespace varve

#endif  // VARVE_ENGINE_STORE_STORE_IMPL_H_
