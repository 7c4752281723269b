// Handlers of requests on open files.

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/fuse/call.h"
#include "fs/fuse/channel.h"

namespace varve::fs {
namespace {

void OpenControl(Call& call, fuse_ino_t ino, struct fuse_file_info* info) {
  if ((info->flags & O_ACCMODE) != O_RDONLY) return call.request.Error(EROFS);
  auto file = std::make_unique<OpenFile>();
  file->key_hash = call.control.KeyHashOf(ino);
  if (!file->key_hash.has_value()) {
    absl::StatusOr<std::string> text = call.control.StatusText(ino);
    if (!text.ok()) return call.request.Done(text.status());
    file->text = *std::move(text);
  }
  // Its size may differ from what a stat said a moment ago.
  info->direct_io = 1;
  info->fh = reinterpret_cast<uint64_t>(file.release());
  call.request.Opened(info);
}

void PutHandle(std::unique_ptr<Handle> handle, struct fuse_file_info* info) {
  // No flush is needed when nothing can have been written.
  info->noflush = (info->flags & O_ACCMODE) == O_RDONLY;
  info->keep_cache = 1;
  auto file = std::make_unique<OpenFile>();
  file->handle = std::move(handle);
  info->fh = reinterpret_cast<uint64_t>(file.release());
}

// Counts a reading that the kernel does not know to change the access time.
void NoteReading(Call& call, fuse_ino_t ino) {
  if (!call.volume.NoteAccess(ino)) return;
  // The kernel has the time from before. That it no longer knows the inode is
  // no failure.
  fuse_lowlevel_notify_inval_inode(call.context.session, ino, -1, 0);
}

// Access times. Who opens a file for nothing but reading is taken to read it,
// as the kernel may well have all of it in its cache, and then would not ask.
// Otherwise the first request to read counts.
void NoteOpen(Call& call, fuse_ino_t ino, const struct fuse_file_info* info) {
  if ((info->flags & O_NOATIME) != 0) return;
  if ((info->flags & O_ACCMODE) == O_RDWR) FileOf(info).note_access = true;
  if ((info->flags & O_ACCMODE) == O_RDONLY) NoteReading(call, ino);
}

void Open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info* info) {
  Call call(req, "open");
  if (InControl(ino)) return OpenControl(call, ino, info);
  absl::StatusOr<std::unique_ptr<Handle>> handle =
      call.volume.Open(ino, info->flags);
  if (!handle.ok()) return call.request.Done(handle.status());
  if ((info->flags & O_TRUNC) != 0 && RequestDropsPrivileges()) {
    const absl::Status status =
        call.volume.DropPrivileges(ino, DropsSetGroupId(call, ino));
    // The file opens all the same; the bits stay, and the log tells.
    if (!status.ok() && call.context.log) call.context.log(status, "open");
  }
  PutHandle(*std::move(handle), info);
  NoteOpen(call, ino, info);
  call.request.Opened(info);
}

void Create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
            struct fuse_file_info* info) {
  Call call(req, "create");
  if (InControl(parent)) return call.request.Error(EPERM);
  auto created = call.volume.Create(parent, name, mode, info->flags,
                                    call.request.caller());
  if (!created.ok()) return call.request.Done(created.status());
  PutHandle(std::move(created->second), info);
  call.request.Created(created->first, info);
}

// Sends a reply from the store's map, and tells the log if it is gone there.
void SendBytes(Call& call, const absl::StatusOr<ReadReply>& reply,
               uint64_t ino) {
  if (call.request.Bytes(reply) || !call.context.log) return;
  absl::Status status = call.volume.store().CheckLength(reply->store_end());
  if (status.ok()) {
    status = DamageError("the disk of the store cannot be read");
  }
  const std::string name = InControl(ino) ? std::string("an unnamed entry")
                                          : call.volume.reader().Describe(ino);
  call.context.log(Annotate(status, name), "read");
}

void Read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
          struct fuse_file_info* info) {
  Call call(req, "read");
  OpenFile& file = FileOf(info);
  const ReadSections::Section answering(call.volume.answers());
  const auto from = static_cast<uint64_t>(offset);
  if (file.handle != nullptr) {
    // The kernel asks for the attributes anew after this.
    if (file.note_access.exchange(false)) call.volume.NoteAccess(ino);
    return SendBytes(call, call.volume.Read(*file.handle, from, size), ino);
  }
  if (file.key_hash.has_value()) {
    return SendBytes(call, call.volume.ReadUnnamed(*file.key_hash, from, size),
                     ino);
  }
  const absl::string_view text = file.text;
  call.request.Buffer(text.substr(std::min<uint64_t>(from, text.size()), size));
}

void Write(fuse_req_t req, fuse_ino_t, const char* bytes, size_t size,
           off_t offset, struct fuse_file_info* info) {
  Call call(req, "write");
  const OpenFile& file = FileOf(info);
  if (file.handle == nullptr) return call.request.Error(EBADF);
  absl::Status status;
  if (RequestDropsPrivileges()) {
    const uint64_t ino = file.handle->inode->ino;
    status = call.volume.DropPrivileges(ino, DropsSetGroupId(call, ino));
  }
  if (status.ok()) {
    // libfuse calls "writepage" what comes from the kernel's cache.
    status = call.volume.Write(*file.handle, static_cast<uint64_t>(offset),
                               {bytes, size}, info->writepage != 0);
  }
  if (!status.ok()) return call.request.Done(status);
  call.request.Written(size);
}

void Flush(fuse_req_t req, fuse_ino_t, struct fuse_file_info* info) {
  Call call(req, "flush");
  const OpenFile& file = FileOf(info);
  if (file.handle == nullptr) return call.request.Done(absl::OkStatus());
  call.request.Done(call.volume.Flush(*file.handle));
}

void Release(fuse_req_t req, fuse_ino_t, struct fuse_file_info* info) {
  Call call(req, "release");
  const std::unique_ptr<OpenFile> file(&FileOf(info));
  if (file->handle == nullptr) return call.request.Done(absl::OkStatus());
  call.request.Done(call.volume.Release(std::move(file->handle)));
}

void Fsync(fuse_req_t req, fuse_ino_t, int, struct fuse_file_info* info) {
  Call call(req, "fsync");
  const OpenFile& file = FileOf(info);
  if (file.handle == nullptr) return call.request.Done(absl::OkStatus());
  call.request.Done(call.volume.Fsync(*file.handle));
}

void Fallocate(fuse_req_t req, fuse_ino_t, int mode, off_t offset, off_t length,
               struct fuse_file_info* info) {
  Call call(req, "fallocate");
  const OpenFile& file = FileOf(info);
  if (file.handle == nullptr) return call.request.Error(EBADF);
  call.request.Done(call.volume.Fallocate(*file.handle, mode,
                                          static_cast<uint64_t>(offset),
                                          static_cast<uint64_t>(length)));
}

void Seek(fuse_req_t req, fuse_ino_t, off_t offset, int whence,
          struct fuse_file_info* info) {
  Call call(req, "lseek");
  const OpenFile& file = FileOf(info);
  if (file.handle == nullptr) return call.request.Error(EINVAL);
  const absl::StatusOr<uint64_t> found =
      call.volume.Seek(*file.handle, static_cast<uint64_t>(offset), whence);
  if (!found.ok()) return call.request.Done(found.status());
  call.request.Offset(*found);
}

void CopyRange(fuse_req_t req, fuse_ino_t ino, off_t from_offset,
               struct fuse_file_info* from, fuse_ino_t, off_t to_offset,
               struct fuse_file_info* to, size_t length, int) {
  Call call(req, "copy_file_range");
  const Handle* source = FileOf(from).handle.get();
  const Handle* target = FileOf(to).handle.get();
  if (source == nullptr || target == nullptr) {
    return call.request.Error(EOPNOTSUPP);
  }
  if ((source->flags & O_NOATIME) == 0) NoteReading(call, ino);
  const absl::StatusOr<uint64_t> copied =
      call.volume.CopyRange(*source, static_cast<uint64_t>(from_offset),
                            *target, static_cast<uint64_t>(to_offset), length);
  if (!copied.ok()) return call.request.Done(copied.status());
  call.request.Written(*copied);
}

}  // namespace

void AddFileOperations(struct fuse_lowlevel_ops& operations) {
  operations.open = Open;
  operations.read = Read;
  operations.write = Write;
  operations.flush = Flush;
  operations.release = Release;
  operations.fsync = Fsync;
  operations.create = Create;
  operations.fallocate = Fallocate;
  operations.lseek = Seek;
  operations.copy_file_range = CopyRange;
}

}  // namespace varve::fs
