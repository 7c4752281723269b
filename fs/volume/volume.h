// Volume: a directory tree in a store, with POSIX semantics but without FUSE.
// The FUSE adapter, the command-line tools and the tests use it.
//
// When an operation on names, attributes or extended attributes returns, it has
// been appended to the store. Written bytes are committed by Flush() (each
// close), Fsync(), or the last Release(). Fsync() also makes them, and
// everything appended before, durable.
//
// Errors are PosixErrors (ErrnoOf() gives the number) for requests that POSIX
// forbids, DATA_LOSS (EIO) for damage, and those of the engine for failed I/O.
// A call that fails has changed nothing.
//
// Thread-safe, except that Close() must be the last call. The kernel checks
// permissions (default_permissions), so Volume does not.

#ifndef VARVE_FS_VOLUME_VOLUME_H_
#define VARVE_FS_VOLUME_VOLUME_H_

#include <fcntl.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "engine/base/read_sections.h"
#include "engine/store/store.h"
#include "fs/base/backoff.h"
#include "fs/base/incidents.h"
#include "fs/compaction/compaction.h"
#include "fs/compaction/compaction_runner.h"
#include "fs/content/content_reader.h"
#include "fs/content/content_writer.h"
#include "fs/content/copy_gate.h"
#include "fs/content/open_files.h"
#include "fs/content/scrubber.h"
#include "fs/content/unnamed_entries.h"
#include "fs/format/timestamp.h"
#include "fs/log/commit.h"
#include "fs/log/core.h"
#include "fs/log/past_tree.h"
#include "fs/tree/tree_difference.h"
#include "fs/volume/attribute_changes.h"
#include "fs/volume/deleted_files.h"
#include "fs/volume/file_watch.h"
#include "fs/volume/history.h"
#include "fs/volume/inodes_in_use.h"
#include "fs/volume/list_names.h"
#include "fs/volume/open_tree.h"
#include "fs/volume/past_files.h"
#include "fs/volume/syncer.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

struct NewInode;

class Volume {
 public:
  // Opens the store, and makes a tree in it if it has none. store().recovery()
  // and notes() say what was recovered. Errors: those of Store::Open();
  // UNIMPLEMENTED if a newer version is needed; DATA_LOSS if commits are
  // damaged or missing. If `options` ask for read-only, damage that can be
  // mended in memory (fs/mend) is a note instead of an error.
  static absl::StatusOr<std::unique_ptr<Volume>> Open(const std::string& path,
                                                      VolumeOptions options);
  ~Volume();

  // Commits dirty content, writes a checkpoint if that pays, and marks the
  // store as closed. Afterwards, the volume may only be destroyed.
  absl::Status Close();

  Store& store() { return *core_.store; }
  const Identity& identity() const { return core_.identity; }
  bool read_only() const { return core_.store->read_only(); }
  // Why the volume became read-only; OK if it did not.
  absl::Status failure() const {
    return opened_.damage.ok() ? core_.store->failure() : opened_.damage;
  }
  // Sets a function that is called with inodes whose content or attributes are
  // no longer what the volume answered: content that could not be committed was
  // dropped, or content has turned out to be damaged. It is called from any
  // thread, but not after it was replaced.
  void set_on_stale(std::function<void(uint64_t ino)> on_stale)
      ABSL_LOCKS_EXCLUDED(stale_mu_) {
    absl::MutexLock lock(&stale_mu_);
    on_stale_ = std::move(on_stale);
  }
  // The same for names that have come, gone or changed without a request of the
  // kernel.
  void set_on_names_stale(std::function<void(const StaleNames&)> on_stale)
      ABSL_LOCKS_EXCLUDED(stale_mu_) {
    absl::MutexLock lock(&stale_mu_);
    on_names_stale_ = std::move(on_stale);
  }
  // Why the store is believed to have been cut short (OK if it is not), and
  // whether it was closed properly.
  const absl::Status& cut_short() const { return opened_.cut_short; }
  bool closed_properly() const { return opened_.closed_properly; }
  // Where the store's file is now.
  absl::StatusOr<FileLocation> LocateFile() { return file_watch_.Locate(); }
  // The bytes of dirty content in memory, and the number of open files.
  uint64_t dirty_bytes() const { return writer_.dirty_bytes(); }
  size_t open_files() { return open_files_.count(); }
  Scrubber::Progress scrub_progress() const { return scrubber_.progress(); }
  // Sentences about anything unusual at opening the store, for the log.
  const std::vector<std::string>& notes() const { return opened_.notes; }

  // --- Names (volume_names.cc) ---
  // Each operation that returns a Stat adds a kernel reference to the inode,
  // which Forget() removes.

  absl::StatusOr<Stat> Lookup(uint64_t parent, absl::string_view name);
  // Makes a file of any type but directory and symlink. `mode` has type and
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
  // `flags`: RENAME_EXCHANGE, or any of RENAME_NOREPLACE and RENAME_WHITEOUT.
  // `caller` owns the whiteout.
  absl::Status Rename(uint64_t parent, absl::string_view name,
                      uint64_t new_parent, absl::string_view new_name,
                      uint32_t flags, Caller caller = {});
  void Forget(uint64_t ino, uint64_t count);

  struct Entry {
    absl::string_view name;
    Stat stat;
    uint64_t cookie;  // where to go on behind this entry
  };
  // A cookie to start with.
  static constexpr uint64_t kBehindDots = kCookieBehindDots;
  // Calls `visit` for ".", ".." and the names behind `cookie` (0: all), until
  // it returns false. A name that exists throughout a listing is visited once,
  // even if it is renamed within the directory; one that is made meanwhile is
  // not visited. `visit` must not call the volume. If `reference`, adds a
  // kernel reference for each name, except the dots, for which `visit` returns
  // true.
  absl::Status ReadDirectory(uint64_t ino, uint64_t cookie, bool reference,
                             const std::function<bool(const Entry&)>& visit);

  // --- Attributes (volume_attributes.cc) ---

  absl::StatusOr<Stat> GetAttributes(uint64_t ino);
  // Notes that the file, directory or symlink is read. Returns whether that has
  // changed its access time. The change is only in memory until the inode's
  // next commit, the next checkpoint, or Close().
  bool NoteAccess(uint64_t ino);
  // `handle` is null if the request names a path. Then a change of size is
  // committed at once, else with the file's content.
  absl::StatusOr<Stat> SetAttributes(uint64_t ino,
                                     const AttributeRequest& request,
                                     const Handle* handle);
  absl::StatusOr<std::string> ReadSymlink(uint64_t ino);
  absl::StatusOr<SpaceInfo> GetSpace();

  // --- Extended attributes (volume_xattrs.cc) ---
  // The namespaces user, trusted and security, and access control lists.

  // `flags`: XATTR_CREATE, XATTR_REPLACE. An access control list also sets the
  // mode, and clears set-group-id if `drop_set_group_id`.
  absl::Status SetXattr(uint64_t ino, absl::string_view name,
                        absl::string_view value, int flags,
                        bool drop_set_group_id = false);
  absl::StatusOr<std::string> GetXattr(uint64_t ino, absl::string_view name);
  // All names, each followed by a NUL. Those in the namespace trusted only if
  // `trusted`.
  absl::StatusOr<std::string> ListXattrs(uint64_t ino, bool trusted = true);
  absl::Status RemoveXattr(uint64_t ino, absl::string_view name);

  // --- Files (volume_files.cc) ---

  // O_TRUNC in `flags` empties the file. That is committed together with what
  // is written next.
  absl::StatusOr<std::unique_ptr<Handle>> Open(uint64_t ino, int flags);
  absl::StatusOr<std::pair<Stat, std::unique_ptr<Handle>>> Create(
      uint64_t parent, absl::string_view name, uint32_t mode, int flags,
      Caller caller);
  // Makes a file without a name (O_TMPFILE). It is gone after its last close
  // unless Link() gives it a name. Its defaults come from the directory
  // `parent`.
  absl::StatusOr<std::pair<Stat, std::unique_ptr<Handle>>> CreateUnnamed(
      uint64_t parent, uint32_t mode, int flags, Caller caller);
  absl::StatusOr<ReadReply> Read(const Handle& handle, uint64_t offset,
                                 uint64_t size);
  // `from_map`: the bytes were written through a memory mapping, by any
  // process.
  absl::Status Write(const Handle& handle, uint64_t offset,
                     absl::string_view bytes, bool from_map = false);
  // Clears set-user-id, set-group-id (if the file's group may execute it, or if
  // `drop_set_group_id`) and the capabilities of a file, as a write by an
  // ordinary user does.
  absl::Status DropPrivileges(uint64_t ino, bool drop_set_group_id = false);
  // Commits the content if any of it was changed through this handle.
  absl::Status Flush(const Handle& handle);
  // Commits the content, whichever handle changed it, and syncs.
  absl::Status Fsync(const Handle& handle);
  absl::Status SyncAll();  // makes everything appended so far durable
  // Ends the open. Flush() has reported errors to the caller; an error of
  // Release() is for the log.
  absl::Status Release(std::unique_ptr<Handle> handle)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // The same for the only writer, but drops dirty content.
  absl::Status Abandon(std::unique_ptr<Handle> handle);
  absl::Status Fallocate(const Handle& handle, int mode, uint64_t offset,
                         uint64_t length);
  // SEEK_DATA and SEEK_HOLE.
  absl::StatusOr<uint64_t> Seek(const Handle& handle, uint64_t offset,
                                int whence);
  // Copies by sharing bytes that are in the store already. Returns the number
  // of bytes, which may be less than `length`.
  absl::StatusOr<uint64_t> CopyRange(const Handle& from, uint64_t from_offset,
                                     const Handle& to, uint64_t to_offset,
                                     uint64_t length);

  // --- Compaction ---

  CompactionRunner& compactions() { return compactions_; }
  const CompactionRunner& compactions() const { return compactions_; }
  absl::StatusOr<StoreStatistics> GetStatistics();

  // --- Entries without a name (volume_unnamed.cc) ---

  // The live entries that belong to no file and were in the store when the
  // volume was opened, newest first. DATA_LOSS if a node of the tree is
  // damaged.
  absl::StatusOr<std::vector<EntryLocation>> Unnamed();
  absl::StatusOr<ReadReply> ReadUnnamed(uint64_t key_hash, uint64_t offset,
                                        uint64_t size);
  // Makes files of the unnamed entries with these keys, with the keys as paths,
  // and directories as needed. Returns a status for each key: NOT_FOUND if no
  // unnamed entry has its hash; ALREADY_EXISTS if the path is taken;
  // INVALID_ARGUMENT if the key cannot be a path.
  std::vector<absl::Status> Adopt(absl::Span<const std::string> keys,
                                  Caller caller);
  // Makes a file with this name of the unnamed entry. ENOENT, EEXIST…
  absl::Status AdoptAs(uint64_t key_hash, uint64_t parent,
                       absl::string_view name, Caller caller);

  // --- The past ---

  // Moments: naming them, looking at them, and bringing something back.
  History& history() { return history_; }
  // The files and directories of past moments.
  PastFiles& past_files() { return past_files_; }
  // What has been deleted.
  DeletedFiles& deleted_files() { return deleted_files_; }

  // --- For tools ---

  // Calls `visit` with the tree, which does not change during the call.
  void WithTree(absl::FunctionRef<void(const TreeReader&)> visit);
  TreeTotals totals();
  // While a read section lives, no bytes that were served before are punched.
  const ReadSections& answers() const { return answers_; }
  // For reading and verifying committed content.
  ContentReader& reader() { return reader_; }

 private:
  explicit Volume(VolumeOptions options);

  // volume.cc
  static absl::StatusOr<std::unique_ptr<Volume>> OpenWith(
      const std::string& path, VolumeOptions options,
      const std::vector<Mend>& mends);
  // Opens a store that cannot be opened normally because of `damage`:
  // read-only, with damage mended in memory where possible.
  static absl::StatusOr<std::unique_ptr<Volume>> OpenDamaged(
      const std::string& path, VolumeOptions options,
      const absl::Status& damage);
  // Opens the tree and starts the threads.
  absl::Status Start(const std::string& path, const std::vector<Mend>& mends);
  void SyncAndCheckpoint() ABSL_LOCKS_EXCLUDED(core_.commit_mu);
  void ReportNodeDamage() ABSL_LOCKS_EXCLUDED(core_.commit_mu);

  // volume_names.cc
  // Gives a file of CreateUnnamed() a name, and commits what was written to it.
  absl::Status LinkUnnamed(uint64_t ino, uint64_t parent,
                           absl::string_view name)
      ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu);
  absl::StatusOr<uint64_t> Make(uint64_t parent, absl::string_view name,
                                const NewInode& made, Caller caller);
  absl::StatusOr<Stat> MakeAndReference(uint64_t parent, absl::string_view name,
                                        const NewInode& made, Caller caller);
  absl::Status Remove(uint64_t parent, absl::string_view name, bool directory);

  // volume_unnamed.cc
  // Nothing if a compaction has moved the entries meanwhile.
  std::optional<std::vector<absl::Status>> TryAdopt(
      absl::Span<const std::string> keys, Caller caller)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);

  // volume_attributes.cc
  absl::Status SetSize(uint64_t ino, uint64_t size, const Handle* handle)
      ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu);

  // volume_files.cc
  void TellStale(uint64_t ino) ABSL_LOCKS_EXCLUDED(stale_mu_);
  void TellStale(const StaleNames& names) ABSL_LOCKS_EXCLUDED(stale_mu_);
  // Opens the inode for `handle`, whose flags must be set.
  void OpenInto(Handle& handle, uint64_t ino);
  // The same, and empties the file if the flags ask for that. After an error,
  // the handle must be released if it has an inode.
  absl::Status OpenAndEmpty(Handle& handle, uint64_t ino)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // Ends one open. The last one commits dirty content.
  absl::Status CloseOne(OpenInode& open)
      ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu);

  const VolumeOptions options_;
  const Incidents incidents_{options_.on_incident};
  OpenReport opened_;  // constant once the volume is open
  Core core_;
  ReadSections answers_;  // requests being answered from the store's mapping
  CopyGate copy_gate_;
  UnnamedEntries unnamed_{core_};
  // Mutable, because it remembers which entries it has verified.
  mutable ContentReader reader_;
  ContentWriter writer_;
  Scrubber scrubber_;
  OpenFiles open_files_;
  InodesInUse inodes_{core_, open_files_};
  AttributeChanges attributes_{core_, open_files_, inodes_, options_};
  FileWatch file_watch_{core_, incidents_};
  PastFiles past_files_{core_, reader_};
  DeletedFiles deleted_files_{core_, reader_};
  History history_{
      {.core = core_,
       .options = options_,
       .opened = opened_,
       .incidents = incidents_,
       .statistics = [this] { return GetStatistics(); },
       .tell_stale = [this](const StaleNames& names) { TellStale(names); }}};
  CompactionRunner compactions_;
  Backoff checkpoint_backoff_;  // only for the syncer's thread
  Backoff policy_backoff_;      // the same
  bool closed_ = true;  // there is nothing to close until the store is open

  absl::Mutex stale_mu_;  // nothing is taken below it
  std::function<void(uint64_t ino)> on_stale_ ABSL_GUARDED_BY(stale_mu_);
  std::function<void(const StaleNames&)> on_names_stale_
      ABSL_GUARDED_BY(stale_mu_);

  Syncer syncer_;  // last, because its thread uses the members above
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_VOLUME_H_
