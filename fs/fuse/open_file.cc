#include "fs/fuse/open_file.h"

#include <fcntl.h>

#include <utility>

#include "engine/base/status.h"
#include "fs/base/error.h"

namespace varve::fs {

void PutHandle(std::unique_ptr<Handle> handle, struct fuse_file_info* info) {
  // No flush is needed if nothing can have been written.
  info->noflush = (info->flags & O_ACCMODE) == O_RDONLY;
  info->keep_cache = 1;
  auto file = std::make_unique<OpenFile>();
  file->handle = std::move(handle);
  info->fh = GiveFile(std::move(file));
}

void NoteReading(FuseContext& context, uint64_t ino) {
  if (!context.volume.NoteAccess(ino)) return;
  // The kernel has the old access time. It is no failure if it no longer knows
  // the inode.
  fuse_lowlevel_notify_inval_inode(context.session, ino, -1, 0);
}

void NoteOpen(FuseContext& context, uint64_t ino,
              const struct fuse_file_info* info) {
  if ((info->flags & O_NOATIME) != 0) return;
  if ((info->flags & O_ACCMODE) == O_RDWR) FileOf(info).note_access = true;
  if ((info->flags & O_ACCMODE) == O_RDONLY) NoteReading(context, ino);
}

void ReplyBytes(FuseContext& context, DataRequest& request,
                const absl::StatusOr<ReadReply>& reply, uint64_t ino) {
  if (request.Reply(reply) || !context.log) return;
  absl::Status status = context.volume.store().CheckLength(reply->store_end());
  if (status.ok()) {
    status = DamageError("the disk of the store cannot be read");
  }
  const std::string name = ControlDirectory::Owns(ino)
                               ? std::string("an unnamed entry")
                               : context.volume.reader().Describe(ino);
  context.log(
      WithFile(Annotate(status, name), context.volume.reader().PathOf(ino)),
      "read");
}

}  // namespace varve::fs
