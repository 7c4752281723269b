#include "tools/bench/floor_operations.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace varve::bench {

FloorTree& Tree() {
  static FloorTree& tree = *new FloorTree;
  return tree;
}

namespace {

constexpr double kForever = 10.0 * 365 * 86400;

// ---- Requests on names ------------------------------------------------------

void Init(void* userdata, struct fuse_conn_info* connection) {
  unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC |
                    FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS |
                    FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_CACHE_SYMLINKS |
                    FUSE_CAP_NO_OPENDIR_SUPPORT | FUSE_CAP_EXPLICIT_INVAL_DATA |
                    FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK;
  if (static_cast<const FloorOptions*>(userdata)->writeback) {
    wanted |= FUSE_CAP_WRITEBACK_CACHE;
  }
  connection->want &=
      ~static_cast<unsigned>(FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ASYNC_DIO);
  connection->want |= connection->capable & wanted;
  connection->max_readahead = 1 << 20;
  connection->max_write = 1 << 20;
  connection->time_gran = 1;
}

void ReplyEntry(fuse_req_t req, int error,
                const struct fuse_entry_param& entry) {
  if (error != 0) {
    fuse_reply_err(req, error);
  } else {
    fuse_reply_entry(req, &entry);
  }
}

FloorOwner OwnerOf(fuse_req_t req) {
  const struct fuse_ctx& context = *fuse_req_ctx(req);
  return {context.uid, context.gid, context.umask};
}

void Lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  struct fuse_entry_param entry = {};
  // Node 0: there is no such name, and the kernel may cache that.
  if (Tree().Lookup(parent, name, entry) != 0) entry.entry_timeout = kForever;
  fuse_reply_entry(req, &entry);
}

void Forget(fuse_req_t req, fuse_ino_t node, uint64_t lookups) {
  Tree().Forget(node, lookups);
  fuse_reply_none(req);
}

void ForgetMany(fuse_req_t req, size_t count,
                struct fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) {
    Tree().Forget(forgets[i].ino, forgets[i].nlookup);
  }
  fuse_reply_none(req);
}

void GetAttributes(fuse_req_t req, fuse_ino_t node, struct fuse_file_info*) {
  const struct stat attributes = Tree().Attributes(node);
  fuse_reply_attr(req, &attributes, kForever);
}

void SetAttributes(fuse_req_t req, fuse_ino_t node, struct stat* from,
                   int to_set, struct fuse_file_info*) {
  const struct stat attributes = Tree().SetAttributes(node, *from, to_set);
  fuse_reply_attr(req, &attributes, kForever);
}

void ReadLink(fuse_req_t req, fuse_ino_t node) {
  fuse_reply_readlink(req, Tree().Target(node).c_str());
}

void Make(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
          dev_t rdev, const char* target) {
  struct fuse_entry_param entry = {};
  const int error =
      Tree().Make(parent, name, mode, rdev, target, OwnerOf(req), entry);
  ReplyEntry(req, error, entry);
}

void MakeNode(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
              dev_t rdev) {
  Make(req, parent, name, mode, rdev, "");
}

void MakeDirectory(fuse_req_t req, fuse_ino_t parent, const char* name,
                   mode_t mode) {
  Make(req, parent, name, S_IFDIR | mode, 0, "");
}

void MakeSymlink(fuse_req_t req, const char* target, fuse_ino_t parent,
                 const char* name) {
  Make(req, parent, name, S_IFLNK | 0777, 0, target);
}

void Link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent,
          const char* name) {
  struct fuse_entry_param entry = {};
  const int error = Tree().Link(node, parent, name, entry);
  ReplyEntry(req, error, entry);
}

void Unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  fuse_reply_err(req, Tree().Unlink(parent, name));
}

void RemoveDirectory(fuse_req_t req, fuse_ino_t parent, const char* name) {
  fuse_reply_err(req, Tree().RemoveDirectory(parent, name));
}

void Rename(fuse_req_t req, fuse_ino_t parent, const char* name,
            fuse_ino_t new_parent, const char* new_name, unsigned flags) {
  fuse_reply_err(req, Tree().Rename(parent, name, new_parent, new_name, flags));
}

// The kernel then opens directories by itself, and caches their listings.
void OpenDirectory(fuse_req_t req, fuse_ino_t, struct fuse_file_info*) {
  fuse_reply_err(req, ENOSYS);
}

void ListDirectory(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
                   bool plus) {
  std::string buffer(size, '\0');
  size_t used = 0;
  const auto add = [&](absl::string_view name, const struct stat& attributes,
                       uint64_t child, uint64_t cookie) {
    const std::string terminated(name);
    char* const at = buffer.data() + used;
    const auto next = static_cast<off_t>(cookie);
    struct fuse_entry_param entry = {};
    entry.ino = child;
    entry.attr = attributes;
    entry.attr_timeout = entry.entry_timeout = kForever;
    const size_t needed =
        plus ? fuse_add_direntry_plus(req, at, size - used, terminated.c_str(),
                                      &entry, next)
             : fuse_add_direntry(req, at, size - used, terminated.c_str(),
                                 &attributes, next);
    if (needed > size - used) return false;
    used += needed;
    return true;
  };
  Tree().ReadDirectory(node, static_cast<uint64_t>(offset), plus, add);
  fuse_reply_buf(req, buffer.data(), used);
}

void ReadDirectory(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
                   struct fuse_file_info*) {
  ListDirectory(req, node, size, offset, /*plus=*/false);
}

void ReadDirectoryPlus(fuse_req_t req, fuse_ino_t node, size_t size,
                       off_t offset, struct fuse_file_info*) {
  ListDirectory(req, node, size, offset, /*plus=*/true);
}

void StatFileSystem(fuse_req_t req, fuse_ino_t) {
  struct statvfs space = {};
  space.f_bsize = space.f_frsize = 4096;
  space.f_blocks = space.f_bfree = space.f_bavail = 1 << 30;
  space.f_files = space.f_ffree = space.f_favail = 1 << 30;
  space.f_namemax = 255;
  fuse_reply_statfs(req, &space);
}

// ---- Extended attributes ----------------------------------------------------

// An access list that only repeats a mode sets the mode; cp -a gives one to
// every file.
void StoreXattr(fuse_req_t req, fuse_ino_t node, const char* name,
                const char* value, size_t size, int) {
  struct posix_acl_xattr_header header;
  struct posix_acl_xattr_entry entries[3];
  if (absl::string_view(name) != "system.posix_acl_access" ||
      size != sizeof(header) + sizeof(entries)) {
    fuse_reply_err(req, EOPNOTSUPP);
    return;
  }
  std::memcpy(entries, value + sizeof(header), sizeof(entries));
  struct stat attributes = Tree().Attributes(node);
  attributes.st_mode &= ~0777u;
  for (const struct posix_acl_xattr_entry& entry : entries) {
    const unsigned shift = entry.e_tag == ACL_USER_OBJ    ? 6
                           : entry.e_tag == ACL_GROUP_OBJ ? 3
                                                          : 0;
    attributes.st_mode |= (entry.e_perm & 7u) << shift;
  }
  Tree().SetAttributes(node, attributes, FUSE_SET_ATTR_MODE);
  fuse_reply_err(req, 0);
}

void GetXattr(fuse_req_t req, fuse_ino_t, const char*, size_t) {
  fuse_reply_err(req, ENODATA);
}

void ListXattrs(fuse_req_t req, fuse_ino_t, size_t size) {
  if (size == 0) {
    fuse_reply_xattr(req, 0);
  } else {
    fuse_reply_buf(req, nullptr, 0);
  }
}

void RemoveXattr(fuse_req_t req, fuse_ino_t, const char*) {
  fuse_reply_err(req, ENODATA);
}

// ---- Requests on files ------------------------------------------------------

void FillInfo(struct fuse_file_info* info) {
  info->noflush = (info->flags & O_ACCMODE) == O_RDONLY;
  info->keep_cache = 1;
}

void Open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info* info) {
  if ((info->flags & O_TRUNC) != 0) {
    Tree().SetAttributes(node, {}, FUSE_SET_ATTR_SIZE);
  }
  FillInfo(info);
  fuse_reply_open(req, info);
}

void Create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
            struct fuse_file_info* info) {
  struct fuse_entry_param entry = {};
  const int error = Tree().Make(parent, name, S_IFREG | (mode & 07777), 0, "",
                                OwnerOf(req), entry);
  if (error != 0) {
    fuse_reply_err(req, error);
    return;
  }
  FillInfo(info);
  fuse_reply_create(req, &entry, info);
}

void Read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
          struct fuse_file_info*) {
  Tree().Read(node, static_cast<size_t>(offset), size,
              [req](const std::vector<struct iovec>& pieces) {
                fuse_reply_iov(req, pieces.data(),
                               static_cast<int>(pieces.size()));
              });
}

void Write(fuse_req_t req, fuse_ino_t node, const char* bytes, size_t size,
           off_t offset, struct fuse_file_info*) {
  Tree().Write(node, static_cast<size_t>(offset), {bytes, size});
  fuse_reply_write(req, size);
}

void Succeed(fuse_req_t req, fuse_ino_t, struct fuse_file_info*) {
  fuse_reply_err(req, 0);
}

void Sync(fuse_req_t req, fuse_ino_t, int, struct fuse_file_info*) {
  fuse_reply_err(req, 0);
}

void Seek(fuse_req_t req, fuse_ino_t node, off_t offset, int whence,
          struct fuse_file_info*) {
  const off_t size = Tree().Attributes(node).st_size;
  if (offset >= size) {
    fuse_reply_err(req, ENXIO);
    return;
  }
  fuse_reply_lseek(req, whence == SEEK_DATA ? offset : size);
}

void CopyRange(fuse_req_t req, fuse_ino_t from, off_t from_offset,
               struct fuse_file_info*, fuse_ino_t to, off_t to_offset,
               struct fuse_file_info*, size_t length, int) {
  fuse_reply_write(req, Tree().Copy(from, static_cast<size_t>(from_offset), to,
                                    static_cast<size_t>(to_offset), length));
}

}  // namespace

struct fuse_lowlevel_ops FloorOperations() {
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
  ops.symlink = MakeSymlink;
  ops.link = Link;
  ops.unlink = Unlink;
  ops.rmdir = RemoveDirectory;
  ops.rename = Rename;
  ops.opendir = OpenDirectory;
  ops.readdir = ReadDirectory;
  ops.readdirplus = ReadDirectoryPlus;
  ops.fsyncdir = Sync;
  ops.statfs = StatFileSystem;
  ops.setxattr = StoreXattr;
  ops.getxattr = GetXattr;
  ops.listxattr = ListXattrs;
  ops.removexattr = RemoveXattr;
  ops.open = Open;
  ops.create = Create;
  ops.read = Read;
  ops.write = Write;
  ops.flush = Succeed;
  ops.release = Succeed;
  ops.fsync = Sync;
  ops.lseek = Seek;
  ops.copy_file_range = CopyRange;
  return ops;
}

}  // namespace varve::bench
