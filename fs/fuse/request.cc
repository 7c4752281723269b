#include "fs/fuse/request.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <iterator>
#include <vector>

#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/fuse/control_directory.h"

namespace varve::fs {
namespace {

// Answers that a healthy file system gives every day, as opposed to incidents
// that belong in the log.
bool IsOrdinary(const absl::Status& status) {
  return SystemErrorNumber(status).has_value() && status.message().empty();
}

}  // namespace

struct stat ToSystemStat(const Stat& stat) {
  struct stat result;
  std::memset(&result, 0, sizeof(result));
  const Attributes& a = stat.attributes;
  result.st_ino = stat.ino;
  result.st_mode = a.mode;
  result.st_nlink = stat.nlink;
  result.st_uid = a.uid;
  result.st_gid = a.gid;
  result.st_rdev = a.rdev;
  result.st_size = static_cast<off_t>(a.size);
  result.st_blocks = static_cast<blkcnt_t>(stat.blocks);
  result.st_blksize = 4096;
  result.st_atim = a.atime.ToTimespec();
  result.st_mtim = a.mtime.ToTimespec();
  result.st_ctim = a.ctime.ToTimespec();
  return result;
}

struct fuse_entry_param ToEntry(const Stat& stat) {
  struct fuse_entry_param entry;
  std::memset(&entry, 0, sizeof(entry));
  entry.ino = stat.ino;
  entry.generation = stat.attributes.generation;
  entry.attr = ToSystemStat(stat);
  entry.attr_timeout = kCacheForever;
  entry.entry_timeout = kCacheForever;
  return entry;
}

int NumberToAnswer(const absl::Status& status, absl::string_view operation,
                   const ErrorLog& log) {
  if (!status.ok() && !IsOrdinary(status) && log) log(status, operation);
  return ErrnoOf(status);
}

FuseRequest::~FuseRequest() {
  assert(answered_);
  if (!answered_) Error(EIO);
}

fuse_req_t FuseRequest::Take() {
  assert(!answered_);
  answered_ = true;
  return request_;
}

Caller FuseRequest::caller() const {
  const struct fuse_ctx* context = fuse_req_ctx(request_);
  return {.uid = context->uid,
          .gid = context->gid,
          .umask = static_cast<uint32_t>(context->umask)};
}

bool FuseRequest::CallerIsInGroup(uint32_t gid) const {
  const struct fuse_ctx* context = fuse_req_ctx(request_);
  if (context->uid == 0 || context->gid == gid) return true;
  std::vector<gid_t> groups(64);
  int count = fuse_req_getgroups(request_, static_cast<int>(groups.size()),
                                 groups.data());
  if (count > static_cast<int>(groups.size())) {
    groups.resize(static_cast<size_t>(count));
    count = fuse_req_getgroups(request_, count, groups.data());
  }
  // Of a caller that is gone nothing is known, and nothing granted.
  if (count < 0) return false;
  const auto end =
      groups.begin() + std::min<ptrdiff_t>(count, std::ssize(groups));
  return std::find(groups.begin(), end, gid) != end;
}

void FuseRequest::Done(const absl::Status& status) {
  Error(NumberToAnswer(status, operation_, log_));
}

void FuseRequest::Error(int number) { fuse_reply_err(Take(), number); }

void FuseRequest::Entry(const absl::StatusOr<Stat>& stat) {
  if (!stat.ok()) return Done(stat.status());
  const struct fuse_entry_param entry = ToEntry(*stat);
  fuse_reply_entry(Take(), &entry);
}

void FuseRequest::UncachedEntry(const Stat& stat) {
  struct fuse_entry_param entry = ToEntry(stat);
  entry.attr_timeout = entry.entry_timeout = 0;
  fuse_reply_entry(Take(), &entry);
}

void FuseRequest::NoEntry() {
  struct fuse_entry_param entry;
  std::memset(&entry, 0, sizeof(entry));
  entry.entry_timeout = kCacheForever;
  fuse_reply_entry(Take(), &entry);
}

void FuseRequest::Attributes(const absl::StatusOr<Stat>& stat) {
  if (!stat.ok()) return Done(stat.status());
  const struct stat attributes = ToSystemStat(*stat);
  const bool cached = !ControlDirectory::Owns(stat->ino);
  fuse_reply_attr(Take(), &attributes, cached ? kCacheForever : 0);
}

void FuseRequest::Link(const absl::StatusOr<std::string>& target) {
  if (!target.ok()) return Done(target.status());
  fuse_reply_readlink(Take(), target->c_str());
}

void FuseRequest::Opened(struct fuse_file_info* info) {
  fuse_reply_open(Take(), info);
}

void FuseRequest::Created(const Stat& stat, struct fuse_file_info* info) {
  const struct fuse_entry_param entry = ToEntry(stat);
  fuse_reply_create(Take(), &entry, info);
}

bool FuseRequest::Bytes(const absl::StatusOr<ReadReply>& reply) {
  if (!reply.ok()) {
    Done(reply.status());
    return true;
  }
  return fuse_reply_iov(Take(), reply->pieces().data(),
                        static_cast<int>(reply->pieces().size())) != -EFAULT;
}

void FuseRequest::Buffer(absl::string_view bytes) {
  fuse_reply_buf(Take(), bytes.data(), bytes.size());
}

void FuseRequest::Written(size_t count) { fuse_reply_write(Take(), count); }

void FuseRequest::Offset(uint64_t offset) {
  fuse_reply_lseek(Take(), static_cast<off_t>(offset));
}

void FuseRequest::Space(const struct statvfs& space) {
  fuse_reply_statfs(Take(), &space);
}

void FuseRequest::SizedBuffer(const absl::StatusOr<std::string>& bytes,
                              size_t size) {
  if (!bytes.ok()) return Done(bytes.status());
  if (size == 0) {
    fuse_reply_xattr(Take(), bytes->size());
  } else if (bytes->size() > size) {
    Error(ERANGE);
  } else {
    Buffer(*bytes);
  }
}

void FuseRequest::IoctlResult(absl::string_view out) {
  fuse_reply_ioctl(Take(), 0, out.data(), out.size());
}

void FuseRequest::Nothing() { fuse_reply_none(Take()); }

}  // namespace varve::fs
