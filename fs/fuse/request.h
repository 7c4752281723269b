// FuseRequest: one request of the kernel, to be answered exactly once. The one
// place where statuses become error numbers.

#ifndef VARVE_FS_FUSE_REQUEST_H_
#define VARVE_FS_FUSE_REQUEST_H_

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse3/fuse_lowlevel.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/volume/volume.h"

namespace varve::fs {

// The daemon is the only writer: what the kernel knows stays true for ever.
inline constexpr double kCacheForever = 10.0 * 365 * 86400;

using ErrorLog = std::function<void(const absl::Status& status,
                                    absl::string_view operation)>;

struct stat ToSystemStat(const Stat& stat);
struct fuse_entry_param ToEntry(const Stat& stat);

// The number to answer with; tells the log of what is no ordinary answer.
int NumberToAnswer(const absl::Status& status, absl::string_view operation,
                   const ErrorLog& log);

class FuseRequest {
 public:
  // `operation` names it in the log.
  FuseRequest(fuse_req_t request, const char* operation, const ErrorLog& log)
      : request_(request), operation_(operation), log_(log) {}
  // A request that nobody answered is answered with EIO: no caller ever hangs.
  ~FuseRequest();
  FuseRequest(const FuseRequest&) = delete;
  FuseRequest& operator=(const FuseRequest&) = delete;

  fuse_req_t raw() const { return request_; }
  Caller caller() const;
  // Whether the caller is in that group, or root. Slow: looks into /proc.
  bool CallerIsInGroup(uint32_t gid) const;

  // Each of these is the answer. Those that take a StatusOr answer with its
  // error if it holds one.
  void Done(const absl::Status& status);
  void Error(int number);
  void Entry(const absl::StatusOr<Stat>& stat);
  // An entry that the kernel must ask for anew each time.
  void UncachedEntry(const Stat& stat);
  // There is no such name, and the kernel may remember that.
  void NoEntry();
  void Attributes(const absl::StatusOr<Stat>& stat);
  void Link(const absl::StatusOr<std::string>& target);
  void Opened(struct fuse_file_info* info);
  void Created(const Stat& stat, struct fuse_file_info* info);
  // False if the kernel could not read the bytes, and has told the caller EIO.
  bool Bytes(const absl::StatusOr<ReadReply>& reply);
  void Buffer(absl::string_view bytes);
  void Written(size_t count);
  void Offset(uint64_t offset);
  void Space(const struct statvfs& space);
  // For a list or value of which the caller may ask just the size.
  void SizedBuffer(const absl::StatusOr<std::string>& bytes, size_t size);
  // For ioctl(2): what the caller's struct is to hold; its result is 0.
  void IoctlResult(absl::string_view out);
  void Nothing();  // for requests that expect no answer

 private:
  // Marks the request as answered; returns it.
  fuse_req_t Take();

  fuse_req_t request_;
  const char* const operation_;
  const ErrorLog& log_;
  bool answered_ = false;
};

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_REQUEST_H_
