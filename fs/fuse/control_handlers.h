// Handlers of requests about inodes of `.varve`, for the operations that the
// table does not refuse there; see operation.h. The kernel must not cache the
// answers, as a file there may be gone by the next look; except those about
// what is in past trees, which never changes. Thread-safe.

#ifndef VARVE_FS_FUSE_CONTROL_HANDLERS_H_
#define VARVE_FS_FUSE_CONTROL_HANDLERS_H_

#include "fs/fuse/context.h"
#include "fs/fuse/extensions.h"
#include "fs/fuse/request.h"

namespace varve::fs {

void LookupInControl(FuseContext& context, EntryRequest& request,
                     fuse_ino_t parent, const char* name);
void MakeDirectoryInControl(FuseContext& context, EntryRequest& request,
                            fuse_ino_t parent, const char* name, mode_t);
void RemoveDirectoryInControl(FuseContext& context, DoneRequest& request,
                              fuse_ino_t parent, const char* name);
void RenameInControl(FuseContext& context, DoneRequest& request,
                     fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
                     const char* new_name, unsigned flags);
void ReadDirectoryInControl(FuseContext& context, ListingRequest& request,
                            fuse_ino_t ino, size_t size, off_t offset,
                            struct fuse_file_info*);
void ReadDirectoryPlusInControl(FuseContext& context, ListingRequest& request,
                                fuse_ino_t ino, size_t size, off_t offset,
                                struct fuse_file_info*);
void GetAttributesInControl(FuseContext& context, AttributesRequest& request,
                            fuse_ino_t ino, struct fuse_file_info*);
void GetStatxInControl(FuseContext& context, StatxRequest& request,
                       fuse_ino_t ino, StatxIn);
void ReadLinkInControl(FuseContext& context, LinkRequest& request,
                       fuse_ino_t ino);
void GetXattrInControl(FuseContext& context, XattrRequest& request,
                       fuse_ino_t ino, const char* name, size_t size);
void ListXattrsInControl(FuseContext& context, XattrRequest& request,
                         fuse_ino_t ino, size_t size);
void OpenInControl(FuseContext& context, OpenRequest& request, fuse_ino_t ino,
                   struct fuse_file_info* info);
void ReadInControl(FuseContext& context, DataRequest& request, fuse_ino_t ino,
                   size_t size, off_t offset, struct fuse_file_info* info);
void SeekInControl(FuseContext& context, OffsetRequest& request, fuse_ino_t,
                   off_t offset, int whence, struct fuse_file_info* info);
void ReleaseInControl(FuseContext&, DoneRequest& request, fuse_ino_t,
                      struct fuse_file_info* info);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_CONTROL_HANDLERS_H_
