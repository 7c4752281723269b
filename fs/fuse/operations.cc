#include "fs/fuse/operations.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>

#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/fuse/call.h"
#include "fs/fuse/channel.h"
#include "fs/fuse/ioctl.h"

namespace varve::fs {
namespace {

// An entry of the control directory is never cached: it may be gone by the
// next look.
void ReplyControlEntry(FuseRequest& request, const absl::StatusOr<Stat>& stat) {
  if (!stat.ok()) return request.Done(stat.status());
  request.UncachedEntry(*stat);
}

void Init(void* userdata, struct fuse_conn_info* connection) {
  auto& context = *static_cast<FuseContext*>(userdata);
  const unsigned wanted =
      FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS |
      FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
      FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPENDIR_SUPPORT |
      FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK |
      FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_IOCTL_DIR;
  // libfuse wants both by itself. Nobody else changes files, so the kernel need
  // not look for changes. And after a direct write that it does not wait for,
  // it does not drop the pages that others have read meanwhile: they would be
  // stale for good.
  connection->want &=
      ~static_cast<unsigned>(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ASYNC_DIO);
  connection->want |= connection->capable & wanted;
  connection->max_readahead = 1 << 20;
  connection->time_gran = 1;
  if (context.on_ready) context.on_ready();
}

void Lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  Call call(req, "lookup");
  if (InControl(parent)) {
    return ReplyControlEntry(call.request, call.control.Lookup(parent, name));
  }
  if (IsControlName(parent, name)) {
    return call.request.UncachedEntry(call.control.Root());
  }
  const absl::StatusOr<Stat> stat = call.volume.Lookup(parent, name);
  if (!stat.ok() && ErrnoOf(stat.status()) == ENOENT) {
    return call.request.NoEntry();
  }
  call.request.Entry(stat);
}

void Forget(fuse_req_t req, fuse_ino_t ino, uint64_t count) {
  Call call(req, "forget");
  if (!InControl(ino)) call.volume.Forget(ino, count);
  call.request.Nothing();
}

void ForgetMany(fuse_req_t req, size_t count,
                struct fuse_forget_data* forgets) {
  Call call(req, "forget");
  for (size_t i = 0; i < count; ++i) {
    if (!InControl(forgets[i].ino)) {
      call.volume.Forget(forgets[i].ino, forgets[i].nlookup);
    }
  }
  call.request.Nothing();
}

void GetAttributes(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info*) {
  Call call(req, "getattr");
  if (InControl(ino)) {
    return call.request.Attributes(call.control.GetAttributes(ino));
  }
  call.request.Attributes(call.volume.GetAttributes(ino));
}

AttributeRequest ToRequest(const struct stat& from, int to_set) {
  AttributeRequest request;
  if (to_set & FUSE_SET_ATTR_MODE) request.mode = from.st_mode & 07777;
  if (to_set & FUSE_SET_ATTR_UID) request.uid = from.st_uid;
  if (to_set & FUSE_SET_ATTR_GID) request.gid = from.st_gid;
  if (to_set & FUSE_SET_ATTR_SIZE) {
    request.size = static_cast<uint64_t>(from.st_size);
  }
  const Timestamp now = Timestamp::Now();
  if (to_set & FUSE_SET_ATTR_ATIME_NOW) {
    request.atime = now;
  } else if (to_set & FUSE_SET_ATTR_ATIME) {
    request.atime = Timestamp::From(from.st_atim);
  }
  if (to_set & FUSE_SET_ATTR_MTIME_NOW) {
    request.mtime = now;
  } else if (to_set & FUSE_SET_ATTR_MTIME) {
    request.mtime = Timestamp::From(from.st_mtim);
  }
  return request;
}

void SetAttributes(fuse_req_t req, fuse_ino_t ino, struct stat* attributes,
                   int to_set, struct fuse_file_info* info) {
  Call call(req, "setattr");
  if (InControl(ino)) return call.request.Error(EPERM);
  const Handle* handle = info == nullptr ? nullptr : FileOf(info).handle.get();
  AttributeRequest request = ToRequest(*attributes, to_set);
  // With nothing to set, it is the kernel taking away privileges before a
  // write; the answer is how it learns the new mode.
  request.drop_privileges = RequestDropsPrivileges() || to_set == 0;
  request.drop_set_group_id =
      request.drop_privileges && DropsSetGroupId(call, ino);
  call.request.Attributes(call.volume.SetAttributes(ino, request, handle));
}

void ReadLink(fuse_req_t req, fuse_ino_t ino) {
  Call call(req, "readlink");
  if (InControl(ino)) return call.request.Error(EINVAL);
  call.volume.NoteAccess(ino);
  call.request.Link(call.volume.ReadSymlink(ino));
}

void MakeNode(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
              dev_t rdev) {
  Call call(req, "mknod");
  if (InControl(parent)) return call.request.Error(EPERM);
  call.request.Entry(call.volume.MakeNode(
      parent, name, mode, static_cast<uint32_t>(rdev), call.request.caller()));
}

void MakeDirectory(fuse_req_t req, fuse_ino_t parent, const char* name,
                   mode_t mode) {
  Call call(req, "mkdir");
  if (InControl(parent)) return call.request.Error(EPERM);
  call.request.Entry(
      call.volume.MakeDirectory(parent, name, mode, call.request.caller()));
}

void MakeSymlink(fuse_req_t req, const char* target, fuse_ino_t parent,
                 const char* name) {
  Call call(req, "symlink");
  if (InControl(parent)) return call.request.Error(EPERM);
  call.request.Entry(
      call.volume.MakeSymlink(parent, name, target, call.request.caller()));
}

void Link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char* name) {
  Call call(req, "link");
  if (InControl(ino) || InControl(parent)) return call.request.Error(EPERM);
  call.request.Entry(call.volume.Link(ino, parent, name));
}

void Unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  Call call(req, "unlink");
  if (InControl(parent)) return call.request.Error(EPERM);
  call.request.Done(call.volume.Unlink(parent, name));
}

void RemoveDirectory(fuse_req_t req, fuse_ino_t parent, const char* name) {
  Call call(req, "rmdir");
  if (InControl(parent) || IsControlName(parent, name)) {
    return call.request.Error(EPERM);
  }
  call.request.Done(call.volume.RemoveDirectory(parent, name));
}

// Moves an unnamed entry into the tree.
absl::Status NameEntry(Call& call, uint64_t parent, const char* name,
                       uint64_t new_parent, const char* new_name,
                       unsigned flags) {
  if (InControl(new_parent) || (flags & ~1u) != 0) return PosixError(EPERM);
  VARVE_ASSIGN_OR_RETURN(const Stat entry, call.control.Lookup(parent, name));
  const auto key_hash = call.control.KeyHashOf(entry.ino);
  if (!key_hash.has_value()) return PosixError(EPERM);
  VARVE_RETURN_IF_ERROR(call.volume.AdoptAs(*key_hash, new_parent, new_name,
                                            call.request.caller()));
  call.control.Named(*key_hash);
  return absl::OkStatus();
}

void Rename(fuse_req_t req, fuse_ino_t parent, const char* name,
            fuse_ino_t new_parent, const char* new_name, unsigned flags) {
  Call call(req, "rename");
  if (InControl(parent)) {
    return call.request.Done(
        NameEntry(call, parent, name, new_parent, new_name, flags));
  }
  if (InControl(new_parent) || IsControlName(parent, name) ||
      IsControlName(new_parent, new_name)) {
    return call.request.Error(EPERM);
  }
  call.request.Done(call.volume.Rename(parent, name, new_parent, new_name,
                                       flags, call.request.caller()));
}

void FsyncDirectory(fuse_req_t req, fuse_ino_t, int, struct fuse_file_info*) {
  Call call(req, "fsyncdir");
  call.request.Done(call.volume.SyncAll());
}

// Not supported, and thereby not needed: the kernel then opens directories by
// itself, and caches their listings.
void OpenDirectory(fuse_req_t req, fuse_ino_t, struct fuse_file_info*) {
  Call call(req, "opendir");
  call.request.Error(ENOSYS);
}

void ListDirectory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                   bool plus) {
  Call call(req, plus ? "readdirplus" : "readdir");
  std::string buffer(size, '\0');
  size_t used = 0;
  const auto add = [&](const Volume::Entry& entry) {
    const std::string name(entry.name.data(), entry.name.size());
    char* const at = buffer.data() + used;
    const size_t room = size - used;
    size_t needed;
    if (plus) {
      struct fuse_entry_param param = ToEntry(entry.stat);
      // "." and ".." are no lookups: their inode number is not remembered.
      if (name == "." || name == "..") param.ino = 0;
      if (InControl(ino)) param.entry_timeout = param.attr_timeout = 0;
      needed = fuse_add_direntry_plus(req, at, room, name.c_str(), &param,
                                      static_cast<off_t>(entry.cookie));
    } else {
      const struct stat attributes = ToSystemStat(entry.stat);
      needed = fuse_add_direntry(req, at, room, name.c_str(), &attributes,
                                 static_cast<off_t>(entry.cookie));
    }
    if (needed > room) return false;
    used += needed;
    return true;
  };
  const auto cookie = static_cast<uint64_t>(offset);
  if (cookie == 0 && !InControl(ino)) call.volume.NoteAccess(ino);
  const absl::Status status =
      InControl(ino) ? call.control.ReadDirectory(ino, cookie, add)
                     : call.volume.ReadDirectory(ino, cookie, plus, add);
  if (!status.ok()) return call.request.Done(status);
  call.request.Buffer({buffer.data(), used});
}

void ReadDirectory(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                   struct fuse_file_info*) {
  ListDirectory(req, ino, size, offset, /*plus=*/false);
}

void ReadDirectoryPlus(fuse_req_t req, fuse_ino_t ino, size_t size,
                       off_t offset, struct fuse_file_info*) {
  ListDirectory(req, ino, size, offset, /*plus=*/true);
}

void StatFileSystem(fuse_req_t req, fuse_ino_t) {
  Call call(req, "statfs");
  const absl::StatusOr<SpaceInfo> space = call.volume.GetSpace();
  if (!space.ok()) return call.request.Done(space.status());
  constexpr uint64_t kBlock = 4096;
  constexpr uint64_t kMaxBlocks = std::numeric_limits<uint64_t>::max() / kBlock;
  struct statvfs result = {};
  result.f_bsize = result.f_frsize = kBlock;
  // Clones share their bytes, so that the sum has no bound.
  result.f_blocks = space->live_bytes / kBlock +
                    std::min(space->host_free / kBlock,
                             kMaxBlocks - space->live_bytes / kBlock);
  result.f_bfree = space->host_free / kBlock;
  result.f_bavail = space->host_available / kBlock;
  result.f_ffree = result.f_favail = uint64_t{1} << 40;
  result.f_files = result.f_ffree + space->inodes;
  result.f_namemax = 255;
  call.request.Space(result);
}

void StoreXattr(fuse_req_t req, fuse_ino_t ino, const char* name,
                const char* value, size_t size, int flags) {
  Call call(req, "setxattr");
  if (InControl(ino)) return call.request.Error(EPERM);
  call.request.Done(call.volume.SetXattr(ino, name, {value, size}, flags,
                                         RequestDropsPrivileges()));
}

void GetXattr(fuse_req_t req, fuse_ino_t ino, const char* name, size_t size) {
  Call call(req, "getxattr");
  if (InControl(ino)) return call.request.Error(ENODATA);
  call.request.SizedBuffer(call.volume.GetXattr(ino, name), size);
}

void ListXattrs(fuse_req_t req, fuse_ino_t ino, size_t size) {
  Call call(req, "listxattr");
  if (InControl(ino)) return call.request.SizedBuffer(std::string(), size);
  call.request.SizedBuffer(
      call.volume.ListXattrs(ino, call.request.caller().uid == 0), size);
}

void RemoveXattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
  Call call(req, "removexattr");
  if (InControl(ino)) return call.request.Error(EPERM);
  call.request.Done(call.volume.RemoveXattr(ino, name));
}

}  // namespace

const struct fuse_lowlevel_ops& FuseOperations() {
  static const struct fuse_lowlevel_ops operations = [] {
    struct fuse_lowlevel_ops ops = {};
    ops.init = Init;
    ops.lookup = Lookup;
    ops.forget = Forget;
    ops.forget_multi = ForgetMany;
    ops.getattr = GetAttributes;
    ops.setattr = SetAttributes;
    ops.readlink = ReadLink;
    ops.mknod = MakeNode;
    ops.mkdir = MakeDirectory;
    ops.unlink = Unlink;
    ops.rmdir = RemoveDirectory;
    ops.symlink = MakeSymlink;
    ops.rename = Rename;
    ops.link = Link;
    ops.opendir = OpenDirectory;
    ops.readdir = ReadDirectory;
    ops.readdirplus = ReadDirectoryPlus;
    ops.fsyncdir = FsyncDirectory;
    ops.statfs = StatFileSystem;
    ops.setxattr = StoreXattr;
    ops.getxattr = GetXattr;
    ops.listxattr = ListXattrs;
    ops.removexattr = RemoveXattr;
    AddFileOperations(ops);
    AddIoctlOperations(ops);
    return ops;
  }();
  return operations;
}

}  // namespace varve::fs
