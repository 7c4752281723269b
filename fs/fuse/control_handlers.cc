#include "fs/fuse/control_handlers.h"

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "fs/base/error.h"
#include "fs/fuse/open_file.h"

namespace varve::fs {
namespace {

void ListInControl(FuseContext& context, ListingRequest& request,
                   fuse_ino_t ino, off_t offset) {
  request.Reply(context.control.ReadDirectory(
      ino, static_cast<uint64_t>(offset),
      [&](const Volume::Entry& entry) { return request.Add(entry); }));
}

}  // namespace

void LookupInControl(FuseContext& context, EntryRequest& request,
                     fuse_ino_t parent, const char* name) {
  request.ReplyUncached(context.control.Lookup(parent, name));
}

void RenameInControl(FuseContext& context, DoneRequest& request,
                     fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                     const char* new_name, unsigned flags) {
  request.Reply(context.control.Rename(parent, name, new_parent, new_name,
                                       flags, request.caller()));
}

void ReadDirectoryInControl(FuseContext& context, ListingRequest& request,
                            fuse_ino_t ino, size_t size, off_t offset,
                            struct fuse_file_info*) {
  request.Begin(size, ListingRequest::Form::kNames);
  ListInControl(context, request, ino, offset);
}

void ReadDirectoryPlusInControl(FuseContext& context, ListingRequest& request,
                                fuse_ino_t ino, size_t size, off_t offset,
                                struct fuse_file_info*) {
  request.Begin(size, ListingRequest::Form::kWithUncachedAttributes);
  ListInControl(context, request, ino, offset);
}

void GetAttributesInControl(FuseContext& context, AttributesRequest& request,
                            fuse_ino_t ino, struct fuse_file_info*) {
  request.ReplyUncached(context.control.GetAttributes(ino));
}

void GetStatxInControl(FuseContext& context, StatxRequest& request,
                       fuse_ino_t ino, StatxIn) {
  request.ReplyUncached(context.control.GetAttributes(ino));
}

void ListXattrsInControl(FuseContext&, XattrRequest& request, fuse_ino_t,
                         size_t size) {
  request.Reply(std::string(), size);
}

void OpenInControl(FuseContext& context, OpenRequest& request, fuse_ino_t ino,
                   struct fuse_file_info* info) {
  if ((info->flags & O_ACCMODE) != O_RDONLY) {
    return request.Fail(PosixError(EROFS));
  }
  auto file = std::make_unique<OpenControlFile>();
  file->key_hash = context.control.KeyHashOf(ino);
  if (!file->key_hash.has_value()) {
    absl::StatusOr<std::string> text = context.control.TextOf(ino);
    if (!text.ok()) return request.Fail(text.status());
    file->text = *std::move(text);
  }
  // Its size may differ from that of an earlier stat.
  info->direct_io = 1;
  info->fh = GiveFile(std::move(file));
  request.Reply(*info);
}

void ReadInControl(FuseContext& context, DataRequest& request, fuse_ino_t ino,
                   size_t size, off_t offset, struct fuse_file_info* info) {
  const auto& file = FileOf<OpenControlFile>(info);
  const auto from = static_cast<uint64_t>(offset);
  if (file.key_hash.has_value()) {
    const ReadSections::Section answering(context.volume.answers());
    return ReplyBytes(context, request,
                      context.volume.ReadUnnamed(*file.key_hash, from, size),
                      ino);
  }
  const absl::string_view text = file.text;
  request.ReplyText(text.substr(std::min<uint64_t>(from, text.size()), size));
}

void ReleaseInControl(FuseContext&, DoneRequest& request, fuse_ino_t,
                      struct fuse_file_info* info) {
  TakeFile<OpenControlFile>(info).reset();
  request.Reply(absl::OkStatus());
}

}  // namespace varve::fs
