// Requests of the kernel, each to be answered exactly once. Every kind of
// answer has a type of its own: the handler of a lookup gets a request that can
// be answered with an entry or an error, and with nothing else.
//
// A Reply() that takes a StatusOr answers with its error if it holds one. A
// request is of one thread.

#ifndef VARVE_FS_FUSE_REQUEST_H_
#define VARVE_FS_FUSE_REQUEST_H_

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse3/fuse_lowlevel.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "fs/fuse/context.h"
#include "fs/volume/volume.h"

namespace varve::fs {

// The daemon is the only writer: what the kernel knows stays true for ever.
inline constexpr double kCacheForever = 10.0 * 365 * 86400;

struct stat ToSystemStat(const Stat& stat);

// What all requests have in common. The one place where statuses become error
// numbers.
class FuseRequest {
 public:
  FuseRequest(const FuseRequest&) = delete;
  FuseRequest& operator=(const FuseRequest&) = delete;

  // Without the umask if libfuse does not know the request.
  const Caller& caller() const { return caller_; }
  // Answers with the error, and tells the log of one that is no ordinary
  // answer. `status` must not be OK.
  void Fail(const absl::Status& status);

 protected:
  // `request` is null if libfuse does not know it. `operation` names it in the
  // log, and must outlive it, as `context` must.
  FuseRequest(FuseContext& context, fuse_req_t request, uint64_t unique,
              const Caller& caller, const char* operation)
      : context_(context),
        request_(request),
        unique_(unique),
        caller_(caller),
        operation_(operation) {}
  // A request that nobody answered is answered with EIO: no caller ever hangs.
  ~FuseRequest();

  fuse_req_t raw() const { return request_; }
  // Marks the request as answered; returns libfuse's.
  fuse_req_t Take();
  // Answers what libfuse does not know: with the bytes if `number` is 0.
  void Send(int number, absl::string_view bytes);

 private:
  FuseContext& context_;
  const fuse_req_t request_;
  const uint64_t unique_;
  const Caller caller_;
  const char* const operation_;
  bool answered_ = false;
};

// A request that libfuse has decoded, and whose answer it encodes.
class LibfuseRequest : public FuseRequest {
 public:
  LibfuseRequest(FuseContext& context, fuse_req_t request,
                 const char* operation);

  // Whether the caller is in that group, or root. Slow: looks into /proc.
  bool CallerIsInGroup(uint32_t gid) const;
};

// A request that this package decodes and encodes; see extensions.h.
class RawRequest : public FuseRequest {
 public:
  // `unique`, the kernel's number of it, stands in its header.
  RawRequest(FuseContext& context, uint64_t unique, const Caller& caller,
             const char* operation)
      : FuseRequest(context, nullptr, unique, caller, operation) {}
};

// Answered by saying that it is done.
class DoneRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  void Reply(const absl::Status& status);
};

// Not answered at all. The kernel has forgotten what it names.
class ForgetRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  ~ForgetRequest() { fuse_reply_none(Take()); }
  ForgetRequest(const ForgetRequest&) = delete;
  ForgetRequest& operator=(const ForgetRequest&) = delete;
  void Fail(const absl::Status& status) = delete;
};

class EntryRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  void Reply(const absl::StatusOr<Stat>& stat);
  // The kernel must ask for it anew each time.
  void ReplyUncached(const absl::StatusOr<Stat>& stat);
  // There is no such name, and the kernel may remember that.
  void ReplyNoEntry();
};

class AttributesRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  void Reply(const absl::StatusOr<Stat>& stat);
  // The kernel must ask for them anew each time.
  void ReplyUncached(const absl::StatusOr<Stat>& stat);
};

// Answered with the target of a symlink.
class LinkRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  void Reply(const absl::StatusOr<std::string>& target);
};

class OpenRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  void Reply(const struct fuse_file_info& info);
};

class CreateRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  void Reply(const Stat& stat, const struct fuse_file_info& info);
};

// Answered with bytes of a file.
class DataRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  // False if the kernel could not read the bytes, and has told the caller EIO.
  bool Reply(const absl::StatusOr<ReadReply>& reply);
  void ReplyText(absl::string_view text);
};

// Answered with how many bytes were written, or copied.
class WriteRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  void Reply(const absl::StatusOr<uint64_t>& count);
};

// Answered with a position in a file.
class OffsetRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  void Reply(const absl::StatusOr<uint64_t>& offset);
};

// Answered with entries of a directory, which are added first.
class ListingRequest final : public LibfuseRequest {
 public:
  enum class Form { kNames, kWithAttributes, kWithUncachedAttributes };

  using LibfuseRequest::LibfuseRequest;
  // Before anything is added: how many bytes the kernel has room for.
  void Begin(size_t size, Form form);
  // False if there is no room for the entry.
  bool Add(const Volume::Entry& entry);
  // With what was added, if the status is OK.
  void Reply(const absl::Status& status);

 private:
  Form form_ = Form::kNames;
  std::string buffer_;
  size_t used_ = 0;
};

// Answered with the figures of statfs(2).
class SpaceRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  void Reply(const absl::StatusOr<SpaceInfo>& space);
};

// Answered with the value of an extended attribute, or their names.
class XattrRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  // `size` is how many bytes the caller has room for; 0 asks for the size.
  void Reply(const absl::StatusOr<std::string>& bytes, size_t size);
};

// Answered with what the caller's struct is to hold; the call returns 0.
class IoctlRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  void Reply(absl::string_view out);
};

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_REQUEST_H_
