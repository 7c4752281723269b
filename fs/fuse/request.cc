#include "fs/fuse/request.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <iterator>
#include <limits>
#include <vector>

#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/fuse/channel.h"

namespace varve::fs {
namespace {

// Whether the error is one that a healthy file system returns every day, and
// not an incident for the log.
bool IsOrdinary(const absl::Status& status) {
  return SystemErrorNumber(status).has_value() && status.message().empty();
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

struct fuse_entry_param ToUncachedEntry(const Stat& stat) {
  struct fuse_entry_param entry = ToEntry(stat);
  entry.attr_timeout = entry.entry_timeout = 0;
  return entry;
}

Caller CallerOf(fuse_req_t request) {
  const struct fuse_ctx* context = fuse_req_ctx(request);
  return {.uid = context->uid,
          .gid = context->gid,
          .umask = static_cast<uint32_t>(context->umask)};
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

FuseRequest::~FuseRequest() {
  assert(answered_);
  if (!answered_) Fail(absl::InternalError("nobody has answered the request"));
}

fuse_req_t FuseRequest::Take() {
  assert(!answered_);
  answered_ = true;
  return request_;
}

void FuseRequest::Fail(const absl::Status& status) {
  assert(!status.ok());
  if (!IsOrdinary(status) && context_.log) {
    context_.log(
        WithFile(status, context_.volume.reader().PathOf(RequestInode())),
        operation_);
  }
  const int number = status.ok() ? EIO : ErrnoOf(status);
  if (request_ == nullptr) return Send(number, {});
  fuse_reply_err(Take(), number);
}

void FuseRequest::Send(int number, absl::string_view bytes) {
  Take();
  SendAnswer(context_, unique_, number, bytes);
}

LibfuseRequest::LibfuseRequest(FuseContext& context, fuse_req_t request,
                               const char* operation)
    : FuseRequest(context, request, 0, CallerOf(request), operation) {}

bool LibfuseRequest::CallerIsInGroup(uint32_t gid) const {
  if (caller().uid == 0 || caller().gid == gid) return true;
  std::vector<gid_t> groups(64);
  int count =
      fuse_req_getgroups(raw(), static_cast<int>(groups.size()), groups.data());
  if (count > static_cast<int>(groups.size())) {
    groups.resize(static_cast<size_t>(count));
    count = fuse_req_getgroups(raw(), count, groups.data());
  }
  // Nothing is known of a caller that is gone, so nothing is granted to it.
  if (count < 0) return false;
  const auto end =
      groups.begin() + std::min<ptrdiff_t>(count, std::ssize(groups));
  return std::find(groups.begin(), end, gid) != end;
}

void DoneRequest::Reply(const absl::Status& status) {
  if (!status.ok()) return Fail(status);
  fuse_reply_err(Take(), 0);
}

void EntryRequest::Reply(const absl::StatusOr<Stat>& stat) {
  if (!stat.ok()) return Fail(stat.status());
  const struct fuse_entry_param entry = ToEntry(*stat);
  fuse_reply_entry(Take(), &entry);
}

void EntryRequest::ReplyUncached(const absl::StatusOr<Stat>& stat) {
  if (!stat.ok()) return Fail(stat.status());
  const struct fuse_entry_param entry = ToUncachedEntry(*stat);
  fuse_reply_entry(Take(), &entry);
}

void EntryRequest::ReplyNoEntry() {
  struct fuse_entry_param entry;
  std::memset(&entry, 0, sizeof(entry));
  entry.entry_timeout = kCacheForever;
  fuse_reply_entry(Take(), &entry);
}

void AttributesRequest::Reply(const absl::StatusOr<Stat>& stat) {
  if (!stat.ok()) return Fail(stat.status());
  const struct stat attributes = ToSystemStat(*stat);
  fuse_reply_attr(Take(), &attributes, kCacheForever);
}

void AttributesRequest::ReplyUncached(const absl::StatusOr<Stat>& stat) {
  if (!stat.ok()) return Fail(stat.status());
  const struct stat attributes = ToSystemStat(*stat);
  fuse_reply_attr(Take(), &attributes, 0);
}

void LinkRequest::Reply(const absl::StatusOr<std::string>& target) {
  if (!target.ok()) return Fail(target.status());
  fuse_reply_readlink(Take(), target->c_str());
}

void OpenRequest::Reply(const struct fuse_file_info& info) {
  fuse_reply_open(Take(), &info);
}

void CreateRequest::Reply(const Stat& stat, const struct fuse_file_info& info) {
  const struct fuse_entry_param entry = ToEntry(stat);
  fuse_reply_create(Take(), &entry, &info);
}

bool DataRequest::Reply(const absl::StatusOr<ReadReply>& reply) {
  if (!reply.ok()) {
    Fail(reply.status());
    return true;
  }
  return fuse_reply_iov(Take(), reply->pieces().data(),
                        static_cast<int>(reply->pieces().size())) != -EFAULT;
}

void DataRequest::ReplyText(absl::string_view text) {
  fuse_reply_buf(Take(), text.data(), text.size());
}

void WriteRequest::Reply(const absl::StatusOr<uint64_t>& count) {
  if (!count.ok()) return Fail(count.status());
  fuse_reply_write(Take(), *count);
}

void OffsetRequest::Reply(const absl::StatusOr<uint64_t>& offset) {
  if (!offset.ok()) return Fail(offset.status());
  fuse_reply_lseek(Take(), static_cast<off_t>(*offset));
}

void ListingRequest::Begin(size_t size, Form form) {
  form_ = form;
  buffer_.resize(size);
}

bool ListingRequest::Add(const Volume::Entry& entry) {
  const std::string name(entry.name.data(), entry.name.size());
  char* const at = buffer_.data() + used_;
  const size_t room = buffer_.size() - used_;
  const auto cookie = static_cast<off_t>(entry.cookie);
  size_t needed;
  if (form_ == Form::kNames) {
    const struct stat attributes = ToSystemStat(entry.stat);
    needed =
        fuse_add_direntry(raw(), at, room, name.c_str(), &attributes, cookie);
  } else {
    struct fuse_entry_param param = form_ == Form::kWithAttributes
                                        ? ToEntry(entry.stat)
                                        : ToUncachedEntry(entry.stat);
    // "." and ".." do not count as look-ups: the kernel does not keep their
    // inodes.
    if (form_ == Form::kWithoutAttributes || name == "." || name == "..") {
      param.ino = 0;
    }
    needed =
        fuse_add_direntry_plus(raw(), at, room, name.c_str(), &param, cookie);
  }
  if (needed > room) return false;
  used_ += needed;
  return true;
}

void ListingRequest::Reply(const absl::Status& status) {
  if (!status.ok()) return Fail(status);
  fuse_reply_buf(Take(), buffer_.data(), used_);
}

void SpaceRequest::Reply(const absl::StatusOr<SpaceInfo>& space) {
  if (!space.ok()) return Fail(space.status());
  constexpr uint64_t kBlock = 4096;
  constexpr uint64_t kMaxBlocks = std::numeric_limits<uint64_t>::max() / kBlock;
  struct statvfs result = {};
  result.f_bsize = result.f_frsize = kBlock;
  // Clones share their bytes, so the sum has no bound.
  result.f_blocks = space->live_bytes / kBlock +
                    std::min(space->host_free / kBlock,
                             kMaxBlocks - space->live_bytes / kBlock);
  result.f_bfree = space->host_free / kBlock;
  result.f_bavail = space->host_available / kBlock;
  result.f_ffree = result.f_favail = uint64_t{1} << 40;
  result.f_files = result.f_ffree + space->inodes;
  result.f_namemax = 255;
  fuse_reply_statfs(Take(), &result);
}

void XattrRequest::Reply(const absl::StatusOr<std::string>& bytes,
                         size_t size) {
  if (!bytes.ok()) return Fail(bytes.status());
  if (size == 0) {
    fuse_reply_xattr(Take(), bytes->size());
  } else if (bytes->size() > size) {
    Fail(PosixError(ERANGE));
  } else {
    fuse_reply_buf(Take(), bytes->data(), bytes->size());
  }
}

void IoctlRequest::Reply(absl::string_view out) {
  fuse_reply_ioctl(Take(), 0, out.data(), out.size());
}

}  // namespace varve::fs
