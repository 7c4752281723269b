// The table of FUSE operations, with a row for each. A handler turns one
// request into one call of the volume (or of the control directory) and answers
// it. To add an operation, add a handler and a row.

#include "fs/fuse/operations.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <memory>
#include <utility>

#include "absl/strings/string_view.h"
#include "fs/base/error.h"
#include "fs/fuse/channel.h"
#include "fs/fuse/control_handlers.h"
#include "fs/fuse/extensions.h"
#include "fs/fuse/ioctl.h"
#include "fs/fuse/open_file.h"
#include "fs/fuse/request.h"

namespace varve::fs {
namespace {

void Init(void* userdata, struct fuse_conn_info* connection) {
  auto& context = *static_cast<FuseContext*>(userdata);
  const unsigned wanted =
      FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS |
      FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO |
      FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPENDIR_SUPPORT |
      FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK |
      FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_IOCTL_DIR;
  // libfuse asks for both by default. Nobody else changes files, so the kernel
  // need not look for changes. And after a direct write for which it does not
  // wait, the kernel does not drop pages that others have read meanwhile: they
  // would be stale for good.
  connection->want &=
      ~static_cast<unsigned>(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ASYNC_DIO);
  connection->want |= connection->capable & wanted;
  connection->max_readahead = 1 << 20;
  // libfuse ends the session unless this equals the mount option.
  connection->max_read = context.max_read;
  connection->time_gran = 1;
  if (context.on_ready) context.on_ready();
}

// --- Names ---

void Lookup(FuseContext& context, EntryRequest& request, fuse_ino_t parent,
            const char* name) {
  const absl::StatusOr<Stat> stat = context.volume.Lookup(parent, name);
  if (!stat.ok() && ErrnoOf(stat.status()) == ENOENT) {
    return request.ReplyNoEntry();
  }
  request.Reply(stat);
}

// There is nothing to forget of inodes that the volume does not know.
void ForgetOne(FuseContext& context, fuse_ino_t ino, uint64_t count) {
  if (HistoryDirectory::IsPast(ino)) {
    context.control.history().Forget(ino, count);
  } else {
    context.volume.Forget(ino, count);
  }
}

void Forget(FuseContext& context, ForgetRequest&, fuse_ino_t ino,
            uint64_t count) {
  ForgetOne(context, ino, count);
}

void ForgetMany(FuseContext& context, ForgetRequest&, size_t count,
                struct fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) {
    ForgetOne(context, forgets[i].ino, forgets[i].nlookup);
  }
}

void MakeNode(FuseContext& context, EntryRequest& request, fuse_ino_t parent,
              const char* name, mode_t mode, dev_t rdev) {
  request.Reply(context.volume.MakeNode(
      parent, name, mode, static_cast<uint32_t>(rdev), request.caller()));
}

void MakeDirectory(FuseContext& context, EntryRequest& request,
                   fuse_ino_t parent, const char* name, mode_t mode) {
  request.Reply(
      context.volume.MakeDirectory(parent, name, mode, request.caller()));
}

void MakeSymlink(FuseContext& context, EntryRequest& request,
                 const char* target, fuse_ino_t parent, const char* name) {
  request.Reply(
      context.volume.MakeSymlink(parent, name, target, request.caller()));
}

void Link(FuseContext& context, EntryRequest& request, fuse_ino_t ino,
          fuse_ino_t parent, const char* name) {
  request.Reply(context.volume.Link(ino, parent, name));
}

void Unlink(FuseContext& context, DoneRequest& request, fuse_ino_t parent,
            const char* name) {
  request.Reply(context.volume.Unlink(parent, name));
}

void RemoveDirectory(FuseContext& context, DoneRequest& request,
                     fuse_ino_t parent, const char* name) {
  request.Reply(context.volume.RemoveDirectory(parent, name));
}

void Rename(FuseContext& context, DoneRequest& request, fuse_ino_t parent,
            const char* name, fuse_ino_t new_parent, const char* new_name,
            unsigned flags) {
  request.Reply(context.volume.Rename(parent, name, new_parent, new_name, flags,
                                      request.caller()));
}

// --- Directories ---

// ENOSYS makes the kernel open directories by itself and cache their listings.
void OpenDirectory(FuseContext&, OpenRequest& request, fuse_ino_t,
                   struct fuse_file_info*) {
  request.Fail(PosixError(ENOSYS));
}

void List(FuseContext& context, ListingRequest& request, fuse_ino_t ino,
          off_t offset, bool reference) {
  if (offset == 0) context.volume.NoteAccess(ino);
  request.Reply(context.volume.ReadDirectory(
      ino, static_cast<uint64_t>(offset), reference,
      [&](const Volume::Entry& entry) { return request.Add(entry); }));
}

void ReadDirectory(FuseContext& context, ListingRequest& request,
                   fuse_ino_t ino, size_t size, off_t offset,
                   struct fuse_file_info*) {
  request.Begin(size, ListingRequest::Form::kNames);
  List(context, request, ino, offset, /*reference=*/false);
}

void ReadDirectoryPlus(FuseContext& context, ListingRequest& request,
                       fuse_ino_t ino, size_t size, off_t offset,
                       struct fuse_file_info*) {
  request.Begin(size, ListingRequest::Form::kWithAttributes);
  List(context, request, ino, offset, /*reference=*/true);
}

void FsyncDirectory(FuseContext& context, DoneRequest& request, fuse_ino_t, int,
                    struct fuse_file_info*) {
  request.Reply(context.volume.SyncAll());
}

// --- Attributes ---

void GetAttributes(FuseContext& context, AttributesRequest& request,
                   fuse_ino_t ino, struct fuse_file_info*) {
  request.Reply(context.volume.GetAttributes(ino));
}

void GetStatx(FuseContext& context, StatxRequest& request, fuse_ino_t ino,
              StatxIn) {
  request.Reply(context.volume.GetAttributes(ino));
}

// Whether this request, which drops privileges, also clears the set-group-id
// bit of a file that its group may not execute.
bool DropsSetGroupId(FuseContext& context, const LibfuseRequest& request,
                     uint64_t ino) {
  const auto stat = context.volume.GetAttributes(ino);
  if (!stat.ok()) return false;
  const uint32_t mode = stat->attributes.mode;
  return (mode & S_ISGID) != 0 && (mode & S_IXGRP) == 0 && !S_ISDIR(mode) &&
         !request.CallerIsInGroup(stat->attributes.gid);
}

AttributeRequest ToVolume(const struct stat& from, int to_set) {
  AttributeRequest to;
  if (to_set & FUSE_SET_ATTR_MODE) to.mode = from.st_mode & 07777;
  if (to_set & FUSE_SET_ATTR_UID) to.uid = from.st_uid;
  if (to_set & FUSE_SET_ATTR_GID) to.gid = from.st_gid;
  if (to_set & FUSE_SET_ATTR_SIZE) {
    to.size = static_cast<uint64_t>(from.st_size);
  }
  const Timestamp now = Timestamp::Now();
  if (to_set & FUSE_SET_ATTR_ATIME_NOW) {
    to.atime = now;
  } else if (to_set & FUSE_SET_ATTR_ATIME) {
    to.atime = Timestamp::From(from.st_atim);
  }
  if (to_set & FUSE_SET_ATTR_MTIME_NOW) {
    to.mtime = now;
  } else if (to_set & FUSE_SET_ATTR_MTIME) {
    to.mtime = Timestamp::From(from.st_mtim);
  }
  return to;
}

void SetAttributes(FuseContext& context, AttributesRequest& request,
                   fuse_ino_t ino, struct stat* attributes, int to_set,
                   struct fuse_file_info* info) {
  const Handle* handle = info == nullptr ? nullptr : FileOf(info).handle.get();
  AttributeRequest to = ToVolume(*attributes, to_set);
  // A request that sets nothing comes from the kernel, which drops privileges
  // before a write and learns the new mode from the answer.
  to.drop_privileges = RequestDropsPrivileges() || to_set == 0;
  to.drop_set_group_id =
      to.drop_privileges && DropsSetGroupId(context, request, ino);
  request.Reply(context.volume.SetAttributes(ino, to, handle));
}

void ReadLink(FuseContext& context, LinkRequest& request, fuse_ino_t ino) {
  context.volume.NoteAccess(ino);
  request.Reply(context.volume.ReadSymlink(ino));
}

void StatFileSystem(FuseContext& context, SpaceRequest& request, fuse_ino_t) {
  request.Reply(context.volume.GetSpace());
}

// --- Extended attributes ---

void StoreXattr(FuseContext& context, DoneRequest& request, fuse_ino_t ino,
                const char* name, const char* value, size_t size, int flags) {
  request.Reply(context.volume.SetXattr(ino, name, {value, size}, flags,
                                        RequestDropsPrivileges()));
}

void GetXattr(FuseContext& context, XattrRequest& request, fuse_ino_t ino,
              const char* name, size_t size) {
  request.Reply(context.volume.GetXattr(ino, name), size);
}

void ListXattrs(FuseContext& context, XattrRequest& request, fuse_ino_t ino,
                size_t size) {
  request.Reply(context.volume.ListXattrs(ino, request.caller().uid == 0),
                size);
}

void RemoveXattr(FuseContext& context, DoneRequest& request, fuse_ino_t ino,
                 const char* name) {
  request.Reply(context.volume.RemoveXattr(ino, name));
}

// --- Open files ---

void Open(FuseContext& context, OpenRequest& request, fuse_ino_t ino,
          struct fuse_file_info* info) {
  absl::StatusOr<std::unique_ptr<Handle>> handle =
      context.volume.Open(ino, info->flags);
  if (!handle.ok()) return request.Fail(handle.status());
  if ((info->flags & O_TRUNC) != 0 && RequestDropsPrivileges()) {
    const absl::Status status = context.volume.DropPrivileges(
        ino, DropsSetGroupId(context, request, ino));
    // The file opens all the same. The bits stay, and the log says so.
    if (!status.ok() && context.log) context.log(status, "open");
  }
  PutHandle(*std::move(handle), info);
  NoteOpen(context, ino, info);
  request.Reply(*info);
}

void Create(FuseContext& context, CreateRequest& request, fuse_ino_t parent,
            const char* name, mode_t mode, struct fuse_file_info* info) {
  auto created =
      context.volume.Create(parent, name, mode, info->flags, request.caller());
  if (!created.ok()) return request.Fail(created.status());
  PutHandle(std::move(created->second), info);
  request.Reply(created->first, *info);
}

void CreateUnnamed(FuseContext& context, TmpfileRequest& request,
                   fuse_ino_t parent, fuse_create_in in) {
  Caller caller = request.caller();
  caller.umask = in.umask;
  auto created = context.volume.CreateUnnamed(
      parent, in.mode, static_cast<int>(in.flags), caller);
  if (!created.ok()) return request.Fail(created.status());
  auto file = std::make_unique<OpenFile>();
  file->handle = std::move(created->second);
  request.Reply(created->first, GiveFile(std::move(file)));
}

void Read(FuseContext& context, DataRequest& request, fuse_ino_t ino,
          size_t size, off_t offset, struct fuse_file_info* info) {
  OpenFile& file = FileOf(info);
  const ReadSections::Section answering(context.volume.answers());
  // Afterwards the kernel asks for the attributes anew.
  if (file.note_access.exchange(false)) context.volume.NoteAccess(ino);
  ReplyBytes(
      context, request,
      context.volume.Read(*file.handle, static_cast<uint64_t>(offset), size),
      ino);
}

void Write(FuseContext& context, WriteRequest& request, fuse_ino_t,
           const char* bytes, size_t size, off_t offset,
           struct fuse_file_info* info) {
  const Handle& handle = *FileOf(info).handle;
  absl::Status status;
  if (RequestDropsPrivileges()) {
    const uint64_t ino = handle.inode->ino;
    status = context.volume.DropPrivileges(
        ino, DropsSetGroupId(context, request, ino));
  }
  if (status.ok()) {
    // libfuse calls a write from the kernel's cache "writepage".
    status = context.volume.Write(handle, static_cast<uint64_t>(offset),
                                  {bytes, size}, info->writepage != 0);
  }
  if (!status.ok()) return request.Fail(status);
  request.Reply(size);
}

void Flush(FuseContext& context, DoneRequest& request, fuse_ino_t,
           struct fuse_file_info* info) {
  request.Reply(context.volume.Flush(*FileOf(info).handle));
}

void Release(FuseContext& context, DoneRequest& request, fuse_ino_t,
             struct fuse_file_info* info) {
  const std::unique_ptr<OpenFile> file = TakeFile(info);
  request.Reply(context.volume.Release(std::move(file->handle)));
}

void Fsync(FuseContext& context, DoneRequest& request, fuse_ino_t, int,
           struct fuse_file_info* info) {
  request.Reply(context.volume.Fsync(*FileOf(info).handle));
}

void Fallocate(FuseContext& context, DoneRequest& request, fuse_ino_t, int mode,
               off_t offset, off_t length, struct fuse_file_info* info) {
  request.Reply(context.volume.Fallocate(*FileOf(info).handle, mode,
                                         static_cast<uint64_t>(offset),
                                         static_cast<uint64_t>(length)));
}

void Seek(FuseContext& context, OffsetRequest& request, fuse_ino_t,
          off_t offset, int whence, struct fuse_file_info* info) {
  request.Reply(context.volume.Seek(*FileOf(info).handle,
                                    static_cast<uint64_t>(offset), whence));
}

void CopyRange(FuseContext& context, WriteRequest& request, fuse_ino_t ino,
               off_t from_offset, struct fuse_file_info* from, fuse_ino_t,
               off_t to_offset, struct fuse_file_info* to, size_t length, int) {
  const Handle& source = *FileOf(from).handle;
  const Handle& target = *FileOf(to).handle;
  if ((source.flags & O_NOATIME) == 0) NoteReading(context, ino);
  request.Reply(context.volume.CopyRange(
      source, static_cast<uint64_t>(from_offset), target,
      static_cast<uint64_t>(to_offset), length));
}

// --- The table ---

using Ops = struct fuse_lowlevel_ops;

constexpr Duration kMayBeLong = Duration::kMayBeLong;
constexpr ForControl kAlike = ForControl::kAlike;
constexpr ForControl kDone = ForControl::kDone;

// Each row has the opcode; the member of fuse_lowlevel_ops; the handler; how to
// treat an inode of the control directory (an error number, a handler of its
// own…); and which arguments name that inode, if not the first. Names are for
// the log.
constexpr Operation kOperations[] = {
    {.opcode = FUSE_INIT,
     .name = "init",
     .duration = Duration::kShort,
     .add = [](Ops& ops) { ops.init = Init; },
     .answer = nullptr},

    Row<FUSE_LOOKUP, &Ops::lookup, Lookup, LookupInControl, NameAt<0>>(
        "lookup"),
    Row<FUSE_FORGET, &Ops::forget, Forget, kAlike>("forget"),
    Row<FUSE_BATCH_FORGET, &Ops::forget_multi, ForgetMany, kAlike>("forget"),
    Row<FUSE_MKNOD, &Ops::mknod, MakeNode, EROFS>("mknod"),
    Row<FUSE_MKDIR, &Ops::mkdir, MakeDirectory, MakeDirectoryInControl>(
        "mkdir"),
    Row<FUSE_SYMLINK, &Ops::symlink, MakeSymlink, EROFS, InodeAt<1>>("symlink"),
    Row<FUSE_LINK, &Ops::link, Link, EROFS, AnyOf<InodeAt<0>, InodeAt<1>>>(
        "link"),
    Row<FUSE_UNLINK, &Ops::unlink, Unlink, EROFS>("unlink"),
    Row<FUSE_RMDIR, &Ops::rmdir, RemoveDirectory, RemoveDirectoryInControl,
        NameAt<0>>("rmdir"),
    // libfuse turns FUSE_RENAME, which has no flags, into this, too.
    Row<FUSE_RENAME2, &Ops::rename, Rename, RenameInControl,
        AnyOf<NameAt<0>, NameAt<2>>>("rename"),

    Row<FUSE_OPENDIR, &Ops::opendir, OpenDirectory, kAlike>("opendir"),
    Row<FUSE_READDIR, &Ops::readdir, ReadDirectory, ReadDirectoryInControl>(
        "readdir"),
    Row<FUSE_READDIRPLUS, &Ops::readdirplus, ReadDirectoryPlus,
        ReadDirectoryPlusInControl>("readdirplus"),
    Row<FUSE_FSYNCDIR, &Ops::fsyncdir, FsyncDirectory, kAlike>("fsyncdir",
                                                               kMayBeLong),

    Row<FUSE_GETATTR, &Ops::getattr, GetAttributes, GetAttributesInControl>(
        "getattr"),
    RawRow<kOpcodeStatx, StatxIn, GetStatx, GetStatxInControl>("statx"),
    Row<FUSE_SETATTR, &Ops::setattr, SetAttributes, EROFS>("setattr"),
    Row<FUSE_READLINK, &Ops::readlink, ReadLink, ReadLinkInControl>("readlink"),
    Row<FUSE_STATFS, &Ops::statfs, StatFileSystem, kAlike>("statfs"),

    Row<FUSE_SETXATTR, &Ops::setxattr, StoreXattr, EROFS>("setxattr"),
    Row<FUSE_GETXATTR, &Ops::getxattr, GetXattr, GetXattrInControl>("getxattr"),
    Row<FUSE_LISTXATTR, &Ops::listxattr, ListXattrs, ListXattrsInControl>(
        "listxattr"),
    Row<FUSE_REMOVEXATTR, &Ops::removexattr, RemoveXattr, EROFS>("removexattr"),

    Row<FUSE_OPEN, &Ops::open, Open, OpenInControl>("open"),
    Row<FUSE_CREATE, &Ops::create, Create, EROFS>("create"),
    RawRow<FUSE_TMPFILE, fuse_create_in, CreateUnnamed, EROFS>("tmpfile"),
    Row<FUSE_READ, &Ops::read, Read, ReadInControl>("read"),
    Row<FUSE_WRITE, &Ops::write, Write, EBADF>("write"),
    Row<FUSE_FLUSH, &Ops::flush, Flush, kDone>("flush"),
    Row<FUSE_RELEASE, &Ops::release, Release, ReleaseInControl>("release"),
    Row<FUSE_FSYNC, &Ops::fsync, Fsync, kDone>("fsync", kMayBeLong),
    Row<FUSE_FALLOCATE, &Ops::fallocate, Fallocate, EBADF>("fallocate",
                                                           kMayBeLong),
    Row<FUSE_LSEEK, &Ops::lseek, Seek, SeekInControl>("lseek"),
    Row<FUSE_COPY_FILE_RANGE, &Ops::copy_file_range, CopyRange, EOPNOTSUPP,
        AnyOf<InodeAt<0>, InodeAt<3>>>("copy_file_range", kMayBeLong),
    Row<FUSE_IOCTL, &Ops::ioctl, Ioctl, kAlike>("ioctl", kMayBeLong),
};

// Greater than all opcodes of the kernel.
constexpr size_t kOpcodes = 64;

constexpr std::array<const Operation*, kOpcodes> kByOpcode = [] {
  std::array<const Operation*, kOpcodes> rows = {};
  for (const Operation& row : kOperations) rows[row.opcode] = &row;
  return rows;
}();

}  // namespace

absl::Span<const Operation> Operations() { return kOperations; }

const Operation* FindOperation(uint32_t opcode) {
  return opcode < kOpcodes ? kByOpcode[opcode] : nullptr;
}

const struct fuse_lowlevel_ops& FuseOperations() {
  static const struct fuse_lowlevel_ops operations = [] {
    struct fuse_lowlevel_ops ops = {};
    for (const Operation& row : kOperations) {
      if (row.add != nullptr) row.add(ops);
    }
    return ops;
  }();
  return operations;
}

bool MayTakeLong(uint32_t opcode) {
  const Operation* const row = FindOperation(opcode);
  return row != nullptr && row->duration == Duration::kMayBeLong;
}

const char* OperationName(uint32_t opcode) {
  // libfuse turns it into the newer one.
  if (opcode == FUSE_RENAME) opcode = FUSE_RENAME2;
  const Operation* const row = FindOperation(opcode);
  return row != nullptr ? row->name : "other";
}

}  // namespace varve::fs
