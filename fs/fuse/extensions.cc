#include "fs/fuse/extensions.h"

#include <linux/fuse.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "absl/strings/string_view.h"

namespace varve::fs {
namespace {

constexpr auto kSecondsForever = static_cast<uint64_t>(kCacheForever);

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

StatxTime ToStatx(Timestamp time) {
  const struct timespec at = time.ToTimespec();
  return {.seconds = at.tv_sec,
          .nanoseconds = static_cast<uint32_t>(at.tv_nsec),
          .reserved = 0};
}

void FillEntry(const Stat& stat, struct fuse_entry_out& entry) {
  const struct stat from = ToSystemStat(stat);
  entry.nodeid = stat.ino;
  entry.generation = stat.attributes.generation;
  entry.entry_valid = entry.attr_valid = kSecondsForever;
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

template <typename Out>
absl::string_view BytesOf(const Out& out) {
  return {reinterpret_cast<const char*>(&out), sizeof(out)};
}

}  // namespace

void StatxRequest::Reply(const absl::StatusOr<Stat>& stat) {
  ReplyFor(stat, kSecondsForever);
}

void StatxRequest::ReplyUncached(const absl::StatusOr<Stat>& stat) {
  ReplyFor(stat, 0);
}

void StatxRequest::ReplyFor(const absl::StatusOr<Stat>& stat,
                            uint64_t seconds) {
  if (!stat.ok()) return Fail(stat.status());
  const struct stat from = ToSystemStat(*stat);
  StatxOut out = {};
  out.attr_valid = seconds;
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
  Send(0, BytesOf(out));
}

void TmpfileRequest::Reply(const Stat& stat, uint64_t fh) {
  CreateOut out = {};
  FillEntry(stat, out.entry);
  out.open.fh = fh;
  out.open.open_flags = FOPEN_KEEP_CACHE;
  Send(0, BytesOf(out));
}

}  // namespace varve::fs
