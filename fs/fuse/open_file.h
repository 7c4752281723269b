// The objects behind the kernel's file handles. Also the side effects of
// opening and reading a file: access times, and log messages about bytes that
// cannot be read.

#ifndef VARVE_FS_FUSE_OPEN_FILE_H_
#define VARVE_FS_FUSE_OPEN_FILE_H_

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse3/fuse_lowlevel.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/fuse/context.h"
#include "fs/fuse/request.h"
#include "fs/volume/volume.h"

namespace varve::fs {

// An open file of the tree.
struct OpenFile {
  std::unique_ptr<Handle> handle;
  // Whether the next read must be noted for the access time.
  std::atomic<bool> note_access{false};
};

// An open file of the control directory.
struct OpenControlFile {
  std::string text;                                 // if it is a text file
  std::optional<uint64_t> key_hash;                 // if it is an unnamed entry
  std::optional<HistoryDirectory::PastInode> past;  // if it is a past file
};

// Makes the kernel's number for the file. The number owns the file until
// TakeFile().
template <typename File>
uint64_t GiveFile(std::unique_ptr<File> file) {
  return reinterpret_cast<uint64_t>(file.release());
}

// The file behind the number. The inode tells which of the two types it has.
template <typename File = OpenFile>
File& FileOf(const struct fuse_file_info* info) {
  return *reinterpret_cast<File*>(info->fh);
}

template <typename File = OpenFile>
std::unique_ptr<File> TakeFile(const struct fuse_file_info* info) {
  return std::unique_ptr<File>(&FileOf<File>(info));
}

// Fills in the answer to an open of a file of the tree.
void PutHandle(std::unique_ptr<Handle> handle, struct fuse_file_info* info);

// Notes a read for the access time and makes the kernel ask for the attributes
// anew.
void NoteReading(FuseContext& context, uint64_t ino);

// Notes an open for the access time. A file that is opened for reading only
// counts as read at once, because the kernel may answer all reads from its
// cache. Otherwise the first read request counts.
void NoteOpen(FuseContext& context, uint64_t ino,
              const struct fuse_file_info* info);

// Answers with bytes of the store's mapping, and logs it if they are lost.
void ReplyBytes(FuseContext& context, DataRequest& request,
                const absl::StatusOr<ReadReply>& reply, uint64_t ino);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_OPEN_FILE_H_
