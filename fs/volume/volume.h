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

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
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
#include "fs/log/core.h"
#include "fs/volume/attribute_changes.h"
#include "fs/volume/file_watch.h"
#include "fs/volume/inodes_in_use.h"
#include "fs/volume/open_tree.h"
#include "fs/volume/syncer.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

struct NewInode;

class Volume {
 public:
  // Opens the store, and makes a tree in it if it has none. What was recovered
  // is in store().recovery() and notes(). Errors: those of Store::Open;
  // UNIMPLEMENTED if a newer version is needed; DATA_LOSS if commits are
  // damaged or missing. Opened read-only, what is mended in memory (fs/mend)
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
    return opened_.damage.ok() ? core_.store->failure() : opened_.damage;
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
  const absl::Status& cut_short() const { return opened_.cut_short; }
  bool closed_properly() const { return opened_.closed_properly; }
  // Where the store's file is now.
  absl::StatusOr<FileLocation> LocateFile() { return file_watch_.Locate(); }
  // Bytes that were written, and are in memory only; files that are open.
  uint64_t dirty_bytes() const { return writer_.dirty_bytes(); }
  size_t open_files() { return open_files_.count(); }
  Scrubber::Progress scrub_progress() const { return scrubber_.progress(); }
  // Sentences about what was unusual in opening the store, for the log.
  const std::vector<std::string>& notes() const { return opened_.notes; }

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
  // it returns false. A name that stays is seen once, renamed in the directory
  // or not; one that comes meanwhile is not seen. `visit` must not call the
  // volume. Counts a kernel reference, if `reference`, for each that it accepts
  // but the dots.
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
  // `from_map`: the bytes were written through a map, by any process.
  absl::Status Write(const Handle& handle, uint64_t offset,
                     absl::string_view bytes, bool from_map = false);
  // Takes set-user-id, set-group-id (of a file that its group may execute, or
  // if `drop_set_group_id`) and the capabilities away from a file, as a write
  // by an ordinary user does.
  absl::Status DropPrivileges(uint64_t ino, bool drop_set_group_id = false);
  // Commits the content if any of it was changed through this handle.
  absl::Status Flush(const Handle& handle);
  // Commits all of it, through whichever handle it was changed.
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

  // --- Compaction ---

  CompactionRunner& compactions() { return compactions_; }
  const CompactionRunner& compactions() const { return compactions_; }
  absl::StatusOr<StoreStatistics> GetStatistics();

  // --- Entries without a name (volume_unnamed.cc) ---

  // The live entries of the store that belong to no file and were there when
  // the volume was opened, newest first. DATA_LOSS if it cannot be told.
  absl::StatusOr<std::vector<EntryLocation>> Unnamed();
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
  void WithTree(absl::FunctionRef<void(const TreeReader&)> visit);
  TreeTotals totals();
  // While one lives, no bytes that were served before are given back to the
  // host.
  const ReadSections& answers() const { return answers_; }
  // For reading and verifying what is committed.
  ContentReader& reader() { return reader_; }

 private:
  explicit Volume(VolumeOptions options);

  // volume.cc
  static absl::StatusOr<std::unique_ptr<Volume>> OpenWith(
      const std::string& path, VolumeOptions options,
      const std::vector<Mend>& mends);
  // Of a store that does not open as it is, because of `damage`: read-only,
  // with what can be mended in memory.
  static absl::StatusOr<std::unique_ptr<Volume>> OpenDamaged(
      const std::string& path, VolumeOptions options,
      const absl::Status& damage);
  // Opens the tree and starts the threads.
  absl::Status Start(const std::string& path, const std::vector<Mend>& mends);
  void SyncAndCheckpoint() ABSL_LOCKS_EXCLUDED(core_.commit_mu);
  void ReportNodeDamage() ABSL_LOCKS_EXCLUDED(core_.commit_mu);

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

  const VolumeOptions options_;
  const Incidents incidents_{options_.on_incident};
  OpenReport opened_;  // constant once the volume is open
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
  FileWatch file_watch_{core_, incidents_};
  CompactionRunner compactions_;
  Backoff checkpoint_backoff_;  // of the syncer's thread
  bool closed_ = true;          // nothing to close until all is open

  absl::Mutex stale_mu_;  // nothing is taken below it
  std::function<void(uint64_t ino)> on_stale_ ABSL_GUARDED_BY(stale_mu_);

  Syncer syncer_;  // the last, for it works with all of the above
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_VOLUME_H_
