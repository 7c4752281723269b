#include "fs/fuse/extensions.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <utility>

#include "fs/fuse/call.h"
#include "fs/fuse/channel.h"

namespace varve::fs {
namespace {

// From the kernel's fuse.h, version 7.39, which Debian 12 does not have.
constexpr uint32_t kOpcodeStatx = 52;

struct StatxTime {
  int64_t seconds;
  uint32_t nanoseconds;
  int32_t reserved;
};

struct StatxOut {
  uint64_t attr_valid;
  uint32_t attr_valid_nsec;
  uint32_t flags;
  uint64_t spare[2];
  // struct fuse_statx
  uint32_t mask;
  uint32_t blksize;
  uint64_t attributes;
  uint32_t nlink;
  uint32_t uid;
  uint32_t gid;
  uint16_t mode;
  uint16_t spare0;
  uint64_t ino;
  uint64_t size;
  uint64_t blocks;
  uint64_t attributes_mask;
  StatxTime atime;
  StatxTime btime;
  StatxTime ctime;
  StatxTime mtime;
  uint32_t rdev_major;
  uint32_t rdev_minor;
  uint32_t dev_major;
  uint32_t dev_minor;
  uint64_t spare2[14];
};
static_assert(sizeof(StatxOut) == 32 + 256);

struct CreateOut {
  struct fuse_entry_out entry;
  struct fuse_open_out open;
};

void Send(FuseContext& context, uint64_t unique, int error, const void* body,
          size_t size) {
  struct fuse_out_header header = {};
  header.len = static_cast<uint32_t>(sizeof(header) + size);
  header.error = -error;
  header.unique = unique;
  struct iovec pieces[] = {{&header, sizeof(header)},
                           {const_cast<void*>(body), size}};
  // Fails only when nobody waits for the answer any more.
  [[maybe_unused]] const ssize_t sent =
      SendAnswer(context, pieces, size > 0 ? 2 : 1);
}

StatxTime ToStatx(Timestamp time) {
  const struct timespec at = time.ToTimespec();
  return {.seconds = at.tv_sec,
          .nanoseconds = static_cast<uint32_t>(at.tv_nsec),
          .reserved = 0};
}

void AnswerStatx(FuseContext& context, const fuse_in_header& header) {
  const uint64_t ino = header.nodeid;
  const absl::StatusOr<Stat> stat = InControl(ino)
                                        ? context.control.GetAttributes(ino)
                                        : context.volume.GetAttributes(ino);
  if (!stat.ok()) {
    const int number = NumberToAnswer(stat.status(), "statx", context.log);
    return Send(context, header.unique, number, nullptr, 0);
  }
  const struct stat from = ToSystemStat(*stat);
  StatxOut out = {};
  if (!InControl(ino)) out.attr_valid = static_cast<uint64_t>(kCacheForever);
  out.mask = STATX_BASIC_STATS | STATX_BTIME;
  out.blksize = static_cast<uint32_t>(from.st_blksize);
  out.nlink = static_cast<uint32_t>(from.st_nlink);
  out.uid = from.st_uid;
  out.gid = from.st_gid;
  out.mode = static_cast<uint16_t>(from.st_mode);
  out.ino = from.st_ino;
  out.size = static_cast<uint64_t>(from.st_size);
  out.blocks = static_cast<uint64_t>(from.st_blocks);
  out.atime = ToStatx(stat->attributes.atime);
  out.btime = ToStatx(stat->attributes.btime);
  out.ctime = ToStatx(stat->attributes.ctime);
  out.mtime = ToStatx(stat->attributes.mtime);
  // The 32 bits of st_rdev are the kernel's own encoding, not the C library's.
  const auto rdev = static_cast<uint32_t>(from.st_rdev);
  out.rdev_major = (rdev >> 8) & 0xfff;
  out.rdev_minor = (rdev & 0xff) | ((rdev >> 12) & 0xfff00);
  Send(context, header.unique, 0, &out, sizeof(out));
}

void FillEntry(const Stat& stat, struct fuse_entry_out& entry) {
  const struct stat from = ToSystemStat(stat);
  entry.nodeid = stat.ino;
  entry.generation = stat.attributes.generation;
  entry.entry_valid = entry.attr_valid = static_cast<uint64_t>(kCacheForever);
  struct fuse_attr& attr = entry.attr;
  attr.ino = from.st_ino;
  attr.size = static_cast<uint64_t>(from.st_size);
  attr.blocks = static_cast<uint64_t>(from.st_blocks);
  attr.atime = static_cast<uint64_t>(from.st_atim.tv_sec);
  attr.mtime = static_cast<uint64_t>(from.st_mtim.tv_sec);
  attr.ctime = static_cast<uint64_t>(from.st_ctim.tv_sec);
  attr.atimensec = static_cast<uint32_t>(from.st_atim.tv_nsec);
  attr.mtimensec = static_cast<uint32_t>(from.st_mtim.tv_nsec);
  attr.ctimensec = static_cast<uint32_t>(from.st_ctim.tv_nsec);
  attr.mode = from.st_mode;
  attr.nlink = static_cast<uint32_t>(from.st_nlink);
  attr.uid = from.st_uid;
  attr.gid = from.st_gid;
  attr.blksize = static_cast<uint32_t>(from.st_blksize);
}

void AnswerTmpfile(FuseContext& context, const fuse_in_header& header,
                   const fuse_create_in& in) {
  if (InControl(header.nodeid)) {
    return Send(context, header.unique, EPERM, nullptr, 0);
  }
  auto made = context.volume.CreateUnnamed(
      header.nodeid, in.mode, static_cast<int>(in.flags),
      {.uid = header.uid, .gid = header.gid, .umask = in.umask});
  if (!made.ok()) {
    const int number = NumberToAnswer(made.status(), "tmpfile", context.log);
    return Send(context, header.unique, number, nullptr, 0);
  }
  CreateOut out = {};
  FillEntry(made->first, out.entry);
  auto file = std::make_unique<OpenFile>();
  file->handle = std::move(made->second);
  out.open.fh = reinterpret_cast<uint64_t>(file.release());
  out.open.open_flags = FOPEN_KEEP_CACHE;
  Send(context, header.unique, 0, &out, sizeof(out));
}

// Returns whether it is one of these.
bool AnswerExtension(FuseContext& context, const void* request, size_t size) {
  fuse_in_header header;
  if (size < sizeof(header)) return false;
  std::memcpy(&header, request, sizeof(header));
  if (header.opcode == kOpcodeStatx) {
    AnswerStatx(context, header);
    return true;
  }
  fuse_create_in in;
  if (header.opcode != FUSE_TMPFILE || size < sizeof(header) + sizeof(in)) {
    return false;
  }
  std::memcpy(&in, static_cast<const char*>(request) + sizeof(header),
              sizeof(in));
  AnswerTmpfile(context, header, in);
  return true;
}

}  // namespace

void ServeRequest(FuseContext& context, const struct fuse_buf& request) {
  if (!AnswerExtension(context, request.mem, request.size)) {
    fuse_session_process_buf(context.session, &request);
  }
}

}  // namespace varve::fs
