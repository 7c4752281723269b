// What the kernel's file handles point to, and what reading and opening a file
// do besides: access times, and the log of bytes that cannot be read.

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

// Of the tree.
struct OpenFile {
  std::unique_ptr<Handle> handle;
  // Whether a reading of it is still to be noted.
  std::atomic<bool> note_access{false};
};

// Of the control directory.
struct OpenControlFile {
  std::string text;                  // of a status file
  std::optional<uint64_t> key_hash;  // of an unnamed entry
};

// The kernel's number for the file, which owns it until TakeFile().
template <typename File>
uint64_t GiveFile(std::unique_ptr<File> file) {
  return reinterpret_cast<uint64_t>(file.release());
}

// What the number stands for. Which of the two types it is follows from the
// inode.
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

// Counts a reading that the kernel does not know to change the access time.
void NoteReading(FuseContext& context, uint64_t ino);

// Access times. A program that opens a file for nothing but reading is taken to
// read it, as the kernel may well have all of it in its cache, and then would
// not ask. Otherwise the first request to read counts.
void NoteOpen(FuseContext& context, uint64_t ino,
              const struct fuse_file_info* info);

// Answers from the store's map, and tells the log if the bytes are gone there.
void ReplyBytes(FuseContext& context, DataRequest& request,
                const absl::StatusOr<ReadReply>& reply, uint64_t ino);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_OPEN_FILE_H_
