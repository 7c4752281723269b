// Volume: a directory tree kept in a store, with POSIX semantics and without
// FUSE. The FUSE adapter, the command-line tools and the tests all work through
// it.
//
// What each call promises: an operation that changes names, attributes or
// extended attributes has been appended to the store when it returns. Bytes
// that were written are appended by Flush (each close), Fsync, or the last
// Release; Fsync also makes them, and everything appended before, durable.
//
// Errors are PosixErrors (ErrnoOf gives the number) for requests that POSIX
// forbids, DATA_LOSS (EIO) for damage, and the engine's for failed I/O. A call
// that fails has changed nothing.
//
// Thread rules: all methods may be called from any thread at any time, except
// Close(), which needs to be the last. Permissions are not checked here: the
// kernel does (default_permissions).

#ifndef VARVE_FS_VOLUME_VOLUME_H_
#define VARVE_FS_VOLUME_VOLUME_H_

#include <fcntl.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/base/read_sections.h"
#include "engine/store/store.h"
#include "fs/base/wakeup.h"
#include "fs/compaction/compaction.h"
#include "fs/compaction/compaction_monitor.h"
#include "fs/compaction/compaction_policy.h"
#include "fs/content/content_reader.h"
#include "fs/content/content_writer.h"
#include "fs/content/copy_gate.h"
#include "fs/content/open_files.h"
#include "fs/content/scrubber.h"
#include "fs/content/unnamed_entries.h"
#include "fs/format/timestamp.h"
#include "fs/log/core.h"
#include "fs/volume/attribute_changes.h"
#include "fs/volume/inodes_in_use.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

struct LoadResult;
struct NewInode;

class Volume {
 public:
  // Opens the store, and makes a tree in it if it has none. What was recovered
  // is in store().recovery() and notes(). Errors: those of Store::Open;
  // UNIMPLEMENTED if a newer version is needed; DATA_LOSS if commits are
  // damaged or missing. Opened read-only, what is mended in memory (mender.h)
  // is no error, but a note.
  static absl::StatusOr<std::unique_ptr<Volume>> Open(const std::string& path,
                                                      VolumeOptions options);
  ~Volume();

  // Commits what is dirty, writes a checkpoint, and marks the store as cleanly
  // closed. The volume can only be destroyed after it.
  absl::Status Close();

  Store& store() { return *core_.store; }
  const Identity& identity() const { return core_.identity; }
  bool read_only() const { return core_.store->read_only(); }
  // Why the volume became read-only; OK if it did not.
  absl::Status failure() const {
    return damage_.ok() ? core_.store->failure() : damage_;
  }
  // Told of inodes that are no longer what was answered about them: content
  // that could not be committed was given up, or content has turned out to be
  // damaged. Called from any thread, not after it has been replaced.
  void set_on_stale(std::function<void(uint64_t ino)> on_stale)
      ABSL_LOCKS_EXCLUDED(stale_mu_) {
    absl::MutexLock lock(&stale_mu_);
    on_stale_ = std::move(on_stale);
  }
  // If the store must have been cut short, why; and whether it was closed.
  const absl::Status& cut_short() const { return cut_short_; }
  bool closed_properly() const { return closed_properly_; }
  // Where the store's file is now.
  absl::StatusOr<FileLocation> LocateFile();
  // Bytes that were written, and are in memory only; files that are open.
  uint64_t dirty_bytes() const { return writer_.dirty_bytes(); }
  size_t open_files() { return open_files_.count(); }
  Scrubber::Progress scrub_progress() const { return scrubber_.progress(); }
  // Sentences about what was unusual in opening the store, for the log.
  const std::vector<std::string>& notes() const { return notes_; }

  // --- Names (volume_names.cc) ---
  // Each of these that returns a Stat counts one kernel reference to the
  // inode, to be given back by Forget().

  absl::StatusOr<Stat> Lookup(uint64_t parent, absl::string_view name);
  // A file of any type but directory and symlink. `mode` has type and
  // permissions.
  absl::StatusOr<Stat> MakeNode(uint64_t parent, absl::string_view name,
                                uint32_t mode, uint32_t rdev, Caller caller);
  absl::StatusOr<Stat> MakeDirectory(uint64_t parent, absl::string_view name,
                                     uint32_t mode, Caller caller);
  absl::StatusOr<Stat> MakeSymlink(uint64_t parent, absl::string_view name,
                                   absl::string_view target, Caller caller);
  absl::StatusOr<Stat> Link(uint64_t ino, uint64_t parent,
                            absl::string_view name);
  absl::Status Unlink(uint64_t parent, absl::string_view name);
  absl::Status RemoveDirectory(uint64_t parent, absl::string_view name);
  // `flags`: RENAME_EXCHANGE, or any of RENAME_NOREPLACE and RENAME_WHITEOUT;
  // a whiteout is `caller`'s.
  absl::Status Rename(uint64_t parent, absl::string_view name,
                      uint64_t new_parent, absl::string_view new_name,
                      uint32_t flags, Caller caller = {});
  void Forget(uint64_t ino, uint64_t count);

  struct Entry {
    absl::string_view name;
    Stat stat;
    uint64_t cookie;  // where to go on behind this entry
  };
  static constexpr uint64_t kBehindDots = 2;  // a cookie to start with
  // Calls `visit` for ".", ".." and the names behind `cookie` (0: all), until
  // it returns false. Who stays is seen once, renamed in the directory or not;
  // who comes is not seen. `visit` must not call the volume. Counts a kernel
  // reference, if `reference`, for each that it accepts but the dots.
  absl::Status ReadDirectory(uint64_t ino, uint64_t cookie, bool reference,
                             const std::function<bool(const Entry&)>& visit);

  // --- Attributes (volume_attributes.cc) ---

  absl::StatusOr<Stat> GetAttributes(uint64_t ino);
  // Says that somebody reads the file, directory or symlink. Returns whether
  // that has changed its access time. The change is in memory, and kept with
  // the inode's next commit, the next checkpoint or Close().
  bool NoteAccess(uint64_t ino);
  // `handle` is null if the request came by path; a change of size is then
  // committed at once, and else with the file's content.
  absl::StatusOr<Stat> SetAttributes(uint64_t ino,
                                     const AttributeRequest& request,
                                     const Handle* handle);
  absl::StatusOr<std::string> ReadSymlink(uint64_t ino);
  absl::StatusOr<SpaceInfo> GetSpace();

  // --- Extended attributes (volume_xattrs.cc) ---
  // Of the namespaces user, trusted and security, and access control lists.

  // `flags`: XATTR_CREATE, XATTR_REPLACE. An access list sets the mode, too,
  // and takes away set-group-id if `drop_set_group_id`.
  absl::Status SetXattr(uint64_t ino, absl::string_view name,
                        absl::string_view value, int flags,
                        bool drop_set_group_id = false);
  absl::StatusOr<std::string> GetXattr(uint64_t ino, absl::string_view name);
  // All names, each followed by a NUL; those of the namespace trusted only if
  // `trusted`.
  absl::StatusOr<std::string> ListXattrs(uint64_t ino, bool trusted = true);
  absl::Status RemoveXattr(uint64_t ino, absl::string_view name);

  // --- Files (volume_files.cc) ---

  // O_TRUNC in `flags` empties the file, which is committed with what is then
  // written.
  absl::StatusOr<std::unique_ptr<Handle>> Open(uint64_t ino, int flags);
  absl::StatusOr<std::pair<Stat, std::unique_ptr<Handle>>> Create(
      uint64_t parent, absl::string_view name, uint32_t mode, int flags,
      Caller caller);
  // A file without a name, to be given one by Link() or gone with its last
  // close (O_TMPFILE). `parent` is a directory whose defaults it gets.
  absl::StatusOr<std::pair<Stat, std::unique_ptr<Handle>>> CreateUnnamed(
      uint64_t parent, uint32_t mode, int flags, Caller caller);
  absl::StatusOr<ReadReply> Read(const Handle& handle, uint64_t offset,
                                 uint64_t size);
  // `from_map`: the bytes were written through a map, by whomever.
  absl::Status Write(const Handle& handle, uint64_t offset,
                     absl::string_view bytes, bool from_map = false);
  // Takes set-user-id, set-group-id (of a file that its group may execute, or
  // if `drop_set_group_id`) and the capabilities away from a file, as a write
  // by an ordinary user does.
  absl::Status DropPrivileges(uint64_t ino, bool drop_set_group_id = false);
  // Commits the content if any of it was changed through this handle.
  absl::Status Flush(const Handle& handle);
  // Commits all of it, whoever has changed it.
  absl::Status Fsync(const Handle& handle);
  absl::Status SyncAll();  // everything appended so far
  // Ends the open. Errors were told by Flush; what still fails is for the log.
  absl::Status Release(std::unique_ptr<Handle> handle)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // The same for the only writer; what is not committed is forgotten.
  absl::Status Abandon(std::unique_ptr<Handle> handle);
  absl::Status Fallocate(const Handle& handle, int mode, uint64_t offset,
                         uint64_t length);
  // SEEK_DATA and SEEK_HOLE.
  absl::StatusOr<uint64_t> Seek(const Handle& handle, uint64_t offset,
                                int whence);
  // Shares the bytes; nothing is copied that is in the store already. Returns
  // how many it were, which may be less than asked for.
  absl::StatusOr<uint64_t> CopyRange(const Handle& from, uint64_t from_offset,
                                     const Handle& to, uint64_t to_offset,
                                     uint64_t length);

  // --- Compaction (volume_compaction.cc) ---

  // Starts to win back the space of what is dead, in a thread of its own. If
  // one runs already, that one goes on, whatever its options. EROFS if the
  // volume is read-only.
  absl::Status StartCompaction(const CompactionOptions& options);
  // Of the one that runs, or ran last.
  CompactionProgress GetCompactionProgress() const;
  // Makes a running one end soon, as CANCELLED; the store is as it was.
  void CancelCompaction();
  // Waits for its end and returns how it went.
  absl::Status WaitForCompaction();
  absl::StatusOr<StoreStatistics> GetStatistics();

  // --- Entries without a name (volume_unnamed.cc) ---

  // The live entries of the store that belong to no file and were there when
  // the volume was opened, newest first.
  std::vector<EntryLocation> Unnamed();
  absl::StatusOr<ReadReply> ReadUnnamed(uint64_t key_hash, uint64_t offset,
                                        uint64_t size);
  // Gives unnamed entries the keys as paths, making directories as needed. A
  // status for each key: NOT_FOUND if no unnamed entry has its hash;
  // ALREADY_EXISTS if the path is taken; INVALID_ARGUMENT if it is none.
  std::vector<absl::Status> Adopt(absl::Span<const std::string> keys,
                                  Caller caller);
  // Makes the unnamed entry a file of that name. ENOENT, EEXIST…
  absl::Status AdoptAs(uint64_t key_hash, uint64_t parent,
                       absl::string_view name, Caller caller);

  // --- For tools ---

  // Calls `visit` with the tree, which stays as it is meanwhile.
  void WithTree(const std::function<void(const Tree&)>& visit);
  // While one lives, no bytes that were served before are given back to the
  // host.
  const ReadSections& answers() const { return answers_; }
  // For reading and verifying what is committed.
  ContentReader& reader() { return reader_; }

 private:
  explicit Volume(VolumeOptions options);

  // volume_open.cc
  static absl::StatusOr<std::unique_ptr<Volume>> OpenMended(
      const std::string& path, VolumeOptions options,
      const std::vector<Mend>& mends);
  absl::Status Load();
  absl::Status MakeTree();
  // What another program has done to the store while it was closed.
  absl::Status TakeOver(const LoadResult& loaded);
  // Entries of data that an unclean stop left without a commit.
  absl::Status KeepUnfinishedData(const LoadResult& loaded);
  absl::Status CheckpointIfDue();
  void SyncPeriodically();
  void SyncAndCheckpoint();
  void Report(const absl::Status& status) const;

  // volume_watch.cc
  // Reports what others have done to the store's file, once each.
  void WatchFile();
  // At the end: whether all that was written is in a deleted file.
  void ReportIfDeleted();

  // volume_names.cc
  // Gives a file of CreateUnnamed() a name, with all that was written to it.
  absl::Status LinkUnnamed(uint64_t ino, uint64_t parent,
                           absl::string_view name)
      ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu);
  absl::StatusOr<uint64_t> Make(uint64_t parent, absl::string_view name,
                                const NewInode& made, Caller caller);
  absl::StatusOr<Stat> MakeAndReference(uint64_t parent, absl::string_view name,
                                        const NewInode& made, Caller caller);
  absl::Status Remove(uint64_t parent, absl::string_view name, bool directory);

  // volume_attributes.cc
  absl::Status SetSize(uint64_t ino, uint64_t size, const Handle* handle)
      ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu);

  // volume_files.cc
  void TellStale(uint64_t ino) ABSL_LOCKS_EXCLUDED(stale_mu_);
  // Makes `handle`, whose flags are set, one of the opens of the inode.
  void OpenInto(Handle& handle, uint64_t ino);
  // The same, and empties the file if the flags say so. After an error the
  // handle is to be released if it has an inode.
  absl::Status OpenAndEmpty(Handle& handle, uint64_t ino)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // Ends one open; the last one commits what is dirty.
  absl::Status CloseOne(OpenInode& open)
      ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu);

  // volume_compaction.cc
  void RunCompaction(const CompactionOptions& options);
  void StopCompaction();
  uint64_t CountLiveBytes();  // that somebody needs
  // What options and figures call for, and starting it (for the syncer).
  CompactionPolicy::Due FindDue();
  void CompactIfDue(bool may_copy = true);
  // Does what there is time for: no longer than the writing took.
  void PunchBeforeClosing();
  // Has that looked at soon, if the store has grown by much.
  void NoteGrowth();
  // Told by the engine that the disk is full, under the store's writer lock.
  void NoteSpacePressure() ABSL_LOCKS_EXCLUDED(syncer_mu_);
  // Punches, if that may win something.
  void PunchForSpace() ABSL_LOCKS_EXCLUDED(syncer_mu_);
  // Removes what a compaction that was cut short has left beside the store.
  void RemoveLeftover();

  const VolumeOptions options_;
  std::vector<std::string> notes_;
  Core core_;
  ReadSections answers_;  // requests answered from the store's map
  CopyGate copy_gate_;
  UnnamedEntries unnamed_{core_};
  // Mutable: it remembers what it has verified.
  mutable ContentReader reader_;
  ContentWriter writer_;
  Scrubber scrubber_;
  OpenFiles open_files_;
  InodesInUse inodes_{core_, open_files_};
  AttributeChanges attributes_{core_, open_files_, inodes_, options_};
  bool closed_ = false;

  CompactionMonitor compaction_;
  absl::Mutex compactor_mu_;
  std::thread compactor_ ABSL_GUARDED_BY(compactor_mu_);
  CompactionPolicy policy_;

  absl::Mutex stale_mu_;  // nothing is taken below it
  std::function<void(uint64_t ino)> on_stale_ ABSL_GUARDED_BY(stale_mu_);
  absl::Status damage_;          // why it was opened read-only; constant
  absl::Status cut_short_;       // constant, too
  bool closed_properly_ = true;  // as it was opened

  // What has been reported; for the syncer, and after it.
  FileLocation reported_place_ = FileLocation::kInPlace;
  bool reported_failure_ = false;

  // Nothing is taken below it.
  absl::Mutex syncer_mu_;
  bool stop_syncer_ ABSL_GUARDED_BY(syncer_mu_) = false;
  bool under_pressure_ ABSL_GUARDED_BY(syncer_mu_) = false;
  // The length of the store at which the syncer is to be woken.
  std::atomic<uint64_t> next_look_{0};
  Wakeup syncer_wakeup_;
  // Of the syncer: when it punched last for want of space, and when it may look
  // again.
  Wakeup::Clock::time_point last_pressure_punch_ =
      Wakeup::Clock::time_point::min();
  Wakeup::Clock::time_point next_pressure_punch_;
  // After one that failed.
  Wakeup::Clock::time_point next_checkpoint_;
  absl::Duration checkpoint_pause_;
  std::thread syncer_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_VOLUME_H_
