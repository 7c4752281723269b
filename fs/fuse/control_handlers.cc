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
                   fuse_ino_t ino, off_t offset, bool reference) {
  const auto cookie = static_cast<uint64_t>(offset);
  const auto add = [&](const Volume::Entry& entry) {
    return request.Add(entry);
  };
  request.Reply(
      HistoryDirectory::Owns(ino)
          ? context.control.history().ReadDirectory(ino, cookie, reference, add)
          : context.control.ReadDirectory(ino, cookie, add));
}

template <typename Request>
void ReplyAttributes(FuseContext& context, Request& request, fuse_ino_t ino) {
  if (!HistoryDirectory::Owns(ino)) {
    return request.ReplyUncached(context.control.GetAttributes(ino));
  }
  const absl::StatusOr<Stat> stat =
      context.control.history().GetAttributes(ino);
  if (!HistoryDirectory::IsConstant(ino)) return request.ReplyUncached(stat);
  request.Reply(stat);
}

}  // namespace

void LookupInControl(FuseContext& context, EntryRequest& request,
                     fuse_ino_t parent, const char* name) {
  if (!HistoryDirectory::Owns(parent)) {
    return request.ReplyUncached(context.control.Lookup(parent, name));
  }
  const absl::StatusOr<Stat> stat =
      context.control.history().Lookup(parent, name);
  if (!HistoryDirectory::IsConstant(parent) ||
      (stat.ok() && !HistoryDirectory::IsConstant(stat->ino))) {
    return request.ReplyUncached(stat);
  }
  if (!stat.ok() && ErrnoOf(stat.status()) == ENOENT) {
    return request.ReplyNoEntry();
  }
  request.Reply(stat);
}

void MakeDirectoryInControl(FuseContext& context, EntryRequest& request,
                            fuse_ino_t parent, const char* name, mode_t) {
  if (!HistoryDirectory::Owns(parent)) return request.Fail(PosixError(EROFS));
  request.ReplyUncached(context.control.history().MakeDirectory(parent, name));
}

void RemoveDirectoryInControl(FuseContext& context, DoneRequest& request,
                              fuse_ino_t parent, const char* name) {
  if (!HistoryDirectory::Owns(parent)) return request.Fail(PosixError(EROFS));
  request.Reply(context.control.history().RemoveDirectory(parent, name));
}

void RenameInControl(FuseContext& context, DoneRequest& request,
                     fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                     const char* new_name, unsigned flags) {
  if (HistoryDirectory::Owns(parent) || HistoryDirectory::Owns(new_parent)) {
    return request.Reply(context.control.history().Rename(
        parent, name, new_parent, new_name, flags));
  }
  request.Reply(context.control.Rename(parent, name, new_parent, new_name,
                                       flags, request.caller()));
}

void ReadDirectoryInControl(FuseContext& context, ListingRequest& request,
                            fuse_ino_t ino, size_t size, off_t offset,
                            struct fuse_file_info*) {
  request.Begin(size, ListingRequest::Form::kNames);
  ListInControl(context, request, ino, offset, /*reference=*/false);
}

void ReadDirectoryPlusInControl(FuseContext& context, ListingRequest& request,
                                fuse_ino_t ino, size_t size, off_t offset,
                                struct fuse_file_info*) {
  using Form = ListingRequest::Form;
  const bool has_attributes =
      HistoryDirectory::IsPast(ino) || !HistoryDirectory::Owns(ino);
  request.Begin(size, HistoryDirectory::IsConstant(ino) ? Form::kWithAttributes
                      : has_attributes ? Form::kWithUncachedAttributes
                                       : Form::kWithoutAttributes);
  ListInControl(context, request, ino, offset, /*reference=*/true);
}

void GetAttributesInControl(FuseContext& context, AttributesRequest& request,
                            fuse_ino_t ino, struct fuse_file_info*) {
  ReplyAttributes(context, request, ino);
}

void GetStatxInControl(FuseContext& context, StatxRequest& request,
                       fuse_ino_t ino, StatxIn) {
  ReplyAttributes(context, request, ino);
}

void ReadLinkInControl(FuseContext& context, LinkRequest& request,
                       fuse_ino_t ino) {
  if (!HistoryDirectory::IsPast(ino)) return request.Fail(PosixError(EINVAL));
  request.Reply(context.control.history().ReadSymlink(ino));
}

void GetXattrInControl(FuseContext& context, XattrRequest& request,
                       fuse_ino_t ino, const char* name, size_t size) {
  if (!HistoryDirectory::IsPast(ino)) return request.Fail(PosixError(ENODATA));
  request.Reply(context.control.history().GetXattr(ino, name), size);
}

void ListXattrsInControl(FuseContext& context, XattrRequest& request,
                         fuse_ino_t ino, size_t size) {
  if (!HistoryDirectory::IsPast(ino)) return request.Reply(std::string(), size);
  request.Reply(
      context.control.history().ListXattrs(ino, request.caller().uid == 0),
      size);
}

void OpenInControl(FuseContext& context, OpenRequest& request, fuse_ino_t ino,
                   struct fuse_file_info* info) {
  if ((info->flags & O_ACCMODE) != O_RDONLY || (info->flags & O_TRUNC) != 0) {
    return request.Fail(PosixError(EROFS));
  }
  auto file = std::make_unique<OpenControlFile>();
  if (HistoryDirectory::IsPast(ino)) {
    const auto past = context.control.history().Open(ino);
    if (!past.ok()) return request.Fail(past.status());
    file->past = *past;
    // What the kernel has cached stays true.
    info->keep_cache = 1;
    info->noflush = 1;
    info->fh = GiveFile(std::move(file));
    return request.Reply(*info);
  }
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
  if (file.past.has_value()) {
    const ReadSections::Section answering(context.volume.answers());
    return ReplyBytes(context, request,
                      context.control.history().Read(*file.past, from, size),
                      ino);
  }
  if (file.key_hash.has_value()) {
    const ReadSections::Section answering(context.volume.answers());
    return ReplyBytes(context, request,
                      context.volume.ReadUnnamed(*file.key_hash, from, size),
                      ino);
  }
  const absl::string_view text = file.text;
  request.ReplyText(text.substr(std::min<uint64_t>(from, text.size()), size));
}

void SeekInControl(FuseContext& context, OffsetRequest& request, fuse_ino_t,
                   off_t offset, int whence, struct fuse_file_info* info) {
  const auto& file = FileOf<OpenControlFile>(info);
  if (!file.past.has_value()) return request.Fail(PosixError(EINVAL));
  request.Reply(context.control.history().Seek(
      *file.past, static_cast<uint64_t>(offset), whence));
}

void ReleaseInControl(FuseContext&, DoneRequest& request, fuse_ino_t,
                      struct fuse_file_info* info) {
  TakeFile<OpenControlFile>(info).reset();
  request.Reply(absl::OkStatus());
}

}  // namespace varve::fs
