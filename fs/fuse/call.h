// What the handlers of FUSE requests share.

#ifndef VARVE_FS_FUSE_CALL_H_
#define VARVE_FS_FUSE_CALL_H_

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "fs/fuse/operations.h"

namespace varve::fs {

// What a file handle of the kernel points to.
struct OpenFile {
  std::unique_ptr<Handle> handle;  // of a file of the tree
  // Whether a reading of it is still to be noted.
  std::atomic<bool> note_access{false};
  std::string text;                  // of a status file
  std::optional<uint64_t> key_hash;  // of an unnamed entry
};

inline FuseContext& ContextOf(fuse_req_t req) {
  return *static_cast<FuseContext*>(fuse_req_userdata(req));
}

inline OpenFile& FileOf(const struct fuse_file_info* info) {
  return *reinterpret_cast<OpenFile*>(info->fh);
}

// The request and what it works with, for the length of a handler.
struct Call {
  Call(fuse_req_t req, const char* operation)
      : context(ContextOf(req)),
        volume(context.volume),
        control(context.control),
        request(req, operation, context.log) {}

  FuseContext& context;
  Volume& volume;
  ControlDirectory& control;
  FuseRequest request;
};

inline bool InControl(uint64_t ino) { return ControlDirectory::Owns(ino); }

inline bool IsControlName(uint64_t parent, absl::string_view name) {
  return parent == kRootIno && name == ControlDirectory::kName;
}

// Whether the set-group-id bit of a file that its group may not execute goes
// with this request, which drops privileges.
inline bool DropsSetGroupId(Call& call, uint64_t ino) {
  const auto stat = call.volume.GetAttributes(ino);
  if (!stat.ok()) return false;
  const uint32_t mode = stat->attributes.mode;
  return (mode & S_ISGID) != 0 && (mode & S_IXGRP) == 0 && !S_ISDIR(mode) &&
         !call.request.CallerIsInGroup(stat->attributes.gid);
}

// The handlers of requests on open files, for FuseOperations().
void AddFileOperations(struct fuse_lowlevel_ops& operations);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_CALL_H_
