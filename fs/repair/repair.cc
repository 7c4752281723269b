#include "fs/repair/repair.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/io/io_util.h"
#include "engine/io/resolved_path.h"
#include "engine/store/store.h"
#include "fs/base/error.h"
#include "fs/compaction/compaction_monitor.h"
#include "fs/compaction/translation.h"
#include "fs/compaction/tree_copier.h"
#include "fs/log/checkpoint.h"
#include "fs/log/core.h"
#include "fs/log/loader.h"
#include "fs/log/store_identity.h"
#include "fs/mend/mender.h"
#include "fs/volume/volume.h"

namespace varve::fs {
namespace {

constexpr uint64_t kChunk = uint64_t{1} << 20;

// One of the names that a damaged file has.
struct DamagedName {
  uint64_t parent = 0;
  std::string name;
  std::string path;
};

struct DamagedFile {
  Attributes attributes;
  std::vector<std::pair<std::string, std::string>> xattrs;
  std::vector<DamagedName> names;
  std::vector<Extent> extents;
};

class Repair {
 public:
  Repair(FileSystem& file_system, const std::string& path)
      : file_system_(file_system), path_(path), copy_path_(path + ".repair") {}

  absl::StatusOr<RepairReport> Run() {
    VARVE_ASSIGN_OR_RETURN(
        const std::unique_ptr<File> lock,
        file_system_.Open(path_, OpenMode::kReadWrite, /*permissions=*/0));
    VARVE_RETURN_IF_ERROR(lock->LockExclusive(absl::ZeroDuration()));
    VARVE_RETURN_IF_ERROR(LoadSource());
    VARVE_RETURN_IF_ERROR(MakeCopyFile(*lock));
    absl::Status status = Copy();
    if (status.ok()) status = KeepDamagedFiles();
    if (status.ok()) status = Exchange();
    if (!status.ok()) {
      // What could not be finished is of no use; the first error is the one to
      // tell.
      core_.store.reset();
      file_system_.Remove(copy_path_).IgnoreError();
      return status;
    }
    return std::move(report_);
  }

 private:
  // Loads the tree from the damaged store, as far as it can be read.
  absl::Status LoadSource() {
    VARVE_ASSIGN_OR_RETURN(std::vector<Mend> mends,
                           FindMends(file_system_, path_));
    for (const Mend& mend : mends) report_.notes.push_back(mend.reason);
    VARVE_ASSIGN_OR_RETURN(const auto identity,
                           FindIdentity(file_system_, path_, mends));
    if (!identity.has_value()) {
      return DamageError(absl::StrCat(path_, " holds no tree to be repaired"));
    }
    core_.identity = *identity;
    OpenOptions options;
    options.mode = OpenMode::kRead;
    options.file_system = &file_system_;
    options.mends = std::move(mends);
    options.durable_tail = DurableTailOf(*identity);
    VARVE_ASSIGN_OR_RETURN(core_.store, Store::Open(path_, std::move(options)));
    VARVE_ASSIGN_OR_RETURN(const LoadResult loaded,
                           LoadTree(core_, LoadMode::kWhatIsLeft));
    report_.notes.insert(report_.notes.end(), loaded.notes.begin(),
                         loaded.notes.end());
    source_ = std::move(core_.store);
    absl::MutexLock lock(&core_.commit_mu);
    core_.snapshots.clear();
    absl::ReaderMutexLock tree_lock(&core_.tree_mu);
    return core_.reader().ForEachSnapshot([this](const SnapshotItem& snapshot) {
      report_.notes.push_back(
          absl::StrCat("the snapshot '", snapshot.name,
                       "' is left in the damaged store, where it can be read"));
      return true;
    });
  }

  absl::Status MakeCopyFile(File& original) {
    VARVE_ASSIGN_OR_RETURN(const FileInfo info, original.Info());
    OpenOptions options;
    options.mode = OpenMode::kCreateNew;
    options.permissions = info.mode & 07777;
    options.file_system = &file_system_;
    auto store = Store::Open(copy_path_, options);
    if (absl::IsAlreadyExists(store.status())) {
      return SystemError(EEXIST, absl::StrCat(copy_path_,
                                              " is in the way: the repaired "
                                              "store is to be written there; "
                                              "move it away"));
    }
    VARVE_RETURN_IF_ERROR(store.status());
    core_.store = *std::move(store);
    VARVE_ASSIGN_OR_RETURN(
        const std::unique_ptr<File> copy,
        file_system_.Open(copy_path_, OpenMode::kReadWrite, 0));
    VARVE_RETURN_IF_ERROR(KeepOwner(info, *copy));
    return KeepXattrs(original, *copy);
  }

  absl::Status Copy() {
    CompactionMonitor monitor;
    monitor.Begin({});
    Translation translation(&file_system_, copy_path_ + ".places");
    TreeCopier copier(
        *source_, core_, [this] { return core_.NewDataId(); }, monitor,
        translation);
    copier.set_on_damaged(
        [this](const InodeItem& inode) { return NoteDamaged(inode); });
    copier.set_drops_snapshots();
    VARVE_RETURN_IF_ERROR(copier.CopyTree());
    VARVE_RETURN_IF_ERROR(NoteDamagedSegments());
    VARVE_RETURN_IF_ERROR(CopyUnnamed(copier));
    MovedTree moved = copier.Moved();
    VARVE_RETURN_IF_ERROR(WriteFirstCheckpoints(
        core_, Timestamp::Now(),
        [&moved](AddItem add) { return moved.ForEachItem(add); }));
    absl::MutexLock lock(&core_.commit_mu);
    VARVE_RETURN_IF_ERROR(WriteLeastLength(file_system_, core_));
    VARVE_RETURN_IF_ERROR(core_.store->Sync().status());
    {
      absl::MutexLock tree_lock(&core_.tree_mu);
      core_.log_tree.reset();
    }
    core_.store.reset();  // from here on, it is a store as any other
    return absl::OkStatus();
  }

  // All nodes that are needed have been read by now.
  absl::Status NoteDamagedSegments() {
    return source_->ForEachInChain([this](const EntryView& entry) {
      const auto header = core_.identity.AsCommit(entry);
      if (header.has_value() && header->is_segment() &&
          !source_->Verify(entry.location()).ok()) {
        report_.notes.push_back(absl::StrCat(
            "the nodes of the tree at offset ", entry.location().payload_offset,
            " are damaged; nothing was lost with them"));
      }
      return true;
    });
  }

  absl::Status NoteDamaged(const InodeItem& inode) {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const TreeReader& tree = core_.reader();
    DamagedFile file{.attributes = inode.attributes};
    VARVE_ASSIGN_OR_RETURN(file.xattrs, tree.AllXattrs(inode.ino));
    std::vector<NamePlace> places;
    VARVE_RETURN_IF_ERROR(tree.ForEachLink(inode, [&places](NamePlace place) {
      places.push_back(place);
      return true;
    }));
    for (const NamePlace place : places) {
      VARVE_ASSIGN_OR_RETURN(const NameItem name, tree.GetName(place));
      VARVE_ASSIGN_OR_RETURN(std::string path, tree.PathOf(place));
      file.names.push_back({.parent = place.directory,
                            .name = std::string(name.text),
                            .path = std::move(path)});
    }
    VARVE_RETURN_IF_ERROR(tree.ForEachExtent(inode, 0, kMaxFileSize,
                                             [&file](const Extent& extent) {
                                               file.extents.push_back(extent);
                                               return true;
                                             }));
    damaged_.push_back(std::move(file));
    return absl::OkStatus();
  }

  // Entries that belong to no file, as another program may have put them there.
  absl::Status CopyUnnamed(TreeCopier& copier) {
    VolumeOptions options;
    options.read_only = true;
    options.whole_chain = true;
    options.file_system = &file_system_;
    const auto volume = Volume::Open(path_, options);
    // With commits missing nobody can tell which they are. They are kept with
    // the damaged store.
    if (!volume.ok()) return absl::OkStatus();
    const auto unnamed = (*volume)->Unnamed();
    if (!unnamed.ok()) return absl::OkStatus();
    std::vector<EntryLocation> sound;
    for (const EntryLocation& entry : *unnamed) {
      if (source_->Verify(entry).ok()) {
        sound.push_back(entry);
      } else {
        report_.notes.push_back(
            absl::StrCat("the unnamed entry at offset ", entry.payload_offset,
                         " is damaged, and only in the damaged store"));
      }
    }
    return copier.CopyEntries(sound);
  }

  // Finds older versions of damaged files by their keys.
  absl::Status FindOlder() {
    absl::flat_hash_set<uint64_t> keys;
    for (const DamagedFile& file : damaged_) {
      for (const DamagedName& name : file.names) {
        keys.insert(KeyHashOfPath(name.path));
      }
    }
    return source_->ForEachInChain([&](const EntryView& entry) {
      if (!entry.is_tombstone() && keys.contains(entry.key_hash()) &&
          !older_.contains(entry.key_hash()) &&
          source_->Verify(entry.location()).ok()) {
        older_.emplace(entry.key_hash(), entry);
      }
      return true;
    });
  }

  absl::Status KeepDamagedFiles() {
    VolumeOptions options;
    options.file_system = &file_system_;
    VARVE_ASSIGN_OR_RETURN(const auto volume,
                           Volume::Open(copy_path_, options));
    if (!damaged_.empty()) VARVE_RETURN_IF_ERROR(FindOlder());
    for (const DamagedFile& file : damaged_) {
      VARVE_RETURN_IF_ERROR(KeepDamaged(*volume, file));
    }
    return volume->Close();
  }

  absl::Status KeepDamaged(Volume& volume, const DamagedFile& file) {
    const DamagedName& first = file.names.front();
    const absl::string_view path = first.path;
    VARVE_ASSIGN_OR_RETURN(
        const std::string damaged_name,
        Write(volume, file, ".damaged", [&](const Handle& to) {
          return WriteDamaged(volume, file, to);
        }));
    report_.files.push_back(absl::StrCat("\"", path,
                                         "\" is damaged: its bytes "
                                         "as they are are in \"",
                                         damaged_name, "\" beside it"));
    auto older = older_.end();
    for (const DamagedName& name : file.names) {
      if (older == older_.end()) older = older_.find(KeyHashOfPath(name.path));
    }
    if (older != older_.end()) {
      VARVE_ASSIGN_OR_RETURN(
          const std::string older_name,
          Write(volume, file, ".older", [&](const Handle& to) {
            return volume.Write(to, 0, older->second.payload_text());
          }));
      report_.files.push_back(absl::StrCat("an older version of \"", path,
                                           "\" is sound, and in \"", older_name,
                                           "\" beside it"));
    }
    for (const DamagedName& name : file.names) {
      VARVE_RETURN_IF_ERROR(volume.Unlink(name.parent, name.name));
    }
    return absl::OkStatus();
  }

  // Makes a file with the attributes of `file`, beside it. Returns its name.
  absl::StatusOr<std::string> Write(
      Volume& volume, const DamagedFile& file, absl::string_view suffix,
      const std::function<absl::Status(const Handle&)>& write) {
    const DamagedName& beside = file.names.front();
    const Attributes& a = file.attributes;
    const std::string base = absl::StrCat(
        beside.name.substr(0, kMaxNameSize - suffix.size() - 8), suffix);
    std::string name = base;
    for (int number = 1;; ++number) {
      auto made = volume.Create(beside.parent, name, a.mode & 0777, O_RDWR,
                                {.uid = a.uid, .gid = a.gid});
      if (!made.ok() && ErrnoOf(made.status()) == EEXIST) {
        name = absl::StrCat(base, ".", number);
        continue;
      }
      VARVE_RETURN_IF_ERROR(made.status());
      absl::Status status = write(*made->second);
      if (status.ok()) status = volume.Flush(*made->second);
      status.Update(volume.Release(std::move(made->second)));
      VARVE_RETURN_IF_ERROR(status);
      const uint64_t ino = made->first.ino;
      for (const auto& [attribute, value] : file.xattrs) {
        VARVE_RETURN_IF_ERROR(volume.SetXattr(ino, attribute, value, 0));
      }
      VARVE_RETURN_IF_ERROR(
          volume.SetAttributes(ino, {.mtime = a.mtime}, nullptr).status());
      return name;
    }
  }

  absl::Status WriteDamaged(Volume& volume, const DamagedFile& file,
                            const Handle& to) {
    VARVE_RETURN_IF_ERROR(volume.Fallocate(
        to, 0, 0, std::max<uint64_t>(file.attributes.size, 1)));
    for (const Extent& extent : file.extents) {
      for (uint64_t done = 0; done < extent.length;) {
        const uint64_t length = std::min(kChunk, extent.length - done);
        const auto bytes = source_->View(extent.store_offset + done, length);
        // Not there at all: zeros.
        if (bytes.ok()) {
          VARVE_RETURN_IF_ERROR(volume.Write(
              to, extent.file_offset + done,
              {reinterpret_cast<const char*>(bytes->bytes.data()), length}));
        }
        done += length;
      }
    }
    return absl::OkStatus();
  }

  // At every moment there is a store under its name, and the damaged one under
  // some name.
  absl::Status Exchange() {
    std::string kept = path_ + ".damaged";
    absl::Status status = file_system_.Link(path_, kept);
    for (int number = 1; absl::IsAlreadyExists(status); ++number) {
      kept = absl::StrCat(path_, ".damaged.", number);
      status = file_system_.Link(path_, kept);
    }
    VARVE_RETURN_IF_ERROR(status);
    status = file_system_.Rename(copy_path_, path_);
    if (!status.ok()) {
      file_system_.Remove(kept).IgnoreError();  // the store has its name still
      return status;
    }
    report_.kept = std::move(kept);
    return file_system_.SyncDirectoryOf(path_);
  }

  FileSystem& file_system_;
  const std::string path_;
  const std::string copy_path_;
  Core core_;  // its store is the copy, once the tree is loaded
  std::unique_ptr<Store> source_;
  std::vector<DamagedFile> damaged_;
  absl::flat_hash_map<uint64_t, EntryView> older_;  // by key hash
  RepairReport report_;
};

}  // namespace

absl::StatusOr<RepairReport> RepairStore(FileSystem& file_system,
                                         const std::string& path) {
  // The file is what is replaced, not a link to it.
  return Repair(file_system, ResolvedPath(path)).Run();
}

}  // namespace varve::fs
