// Requests of the kernel, each of which must be answered exactly once. Every
// kind of answer has a request type of its own: the handler of a lookup, for
// example, gets a request that it can answer with an entry or an error and with
// nothing else.
//
// A Reply() that takes a StatusOr answers with its error if it holds one.
// Requests are not thread-safe.

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

// The daemon is the only writer, so what the kernel has cached stays true.
inline constexpr double kCacheForever = 10.0 * 365 * 86400;

struct stat ToSystemStat(const Stat& stat);

// The base of all requests, and the one place where statuses become error
// numbers.
class FuseRequest {
 public:
  FuseRequest(const FuseRequest&) = delete;
  FuseRequest& operator=(const FuseRequest&) = delete;

  // The caller, without the umask if libfuse does not know the request.
  const Caller& caller() const { return caller_; }
  // Answers with the error, and logs it unless it is an ordinary answer such as
  // ENOENT. `status` must not be OK.
  void Fail(const absl::Status& status);

 protected:
  // `request` is null if libfuse does not know it. `operation` names it in the
  // log; it and `context` must outlive the request.
  FuseRequest(FuseContext& context, fuse_req_t request, uint64_t unique,
              const Caller& caller, const char* operation)
      : context_(context),
        request_(request),
        unique_(unique),
        caller_(caller),
        operation_(operation) {}
  // Answers with EIO if nobody has answered, so that no caller hangs.
  ~FuseRequest();

  fuse_req_t raw() const { return request_; }
  // Marks the request as answered and returns libfuse's object for it.
  fuse_req_t Take();
  // Answers a request that libfuse does not know: with the error `number` or,
  // if that is 0, with the bytes.
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

  // Whether the caller is root or in that group. Slow: reads /proc.
  bool CallerIsInGroup(uint32_t gid) const;
};

// A request that this package decodes and encodes; see extensions.h.
class RawRequest : public FuseRequest {
 public:
  // `unique` is the kernel's number of the request, from its header.
  RawRequest(FuseContext& context, uint64_t unique, const Caller& caller,
             const char* operation)
      : FuseRequest(context, nullptr, unique, caller, operation) {}
};

// Answered with success and nothing else.
class DoneRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  void Reply(const absl::Status& status);
};

// Not answered at all. It says that the kernel has forgotten an inode.
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
  // Says that there is no such name. The kernel may cache that.
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
  // Returns false if the kernel could not read the bytes and the caller got
  // EIO.
  bool Reply(const absl::StatusOr<ReadReply>& reply);
  void ReplyText(absl::string_view text);
};

// Answered with the number of bytes written or copied.
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

// Answered with entries of a directory: Begin(), Add() for each, Reply().
class ListingRequest final : public LibfuseRequest {
 public:
  enum class Form {
    kNames,
    kWithAttributes,
    kWithUncachedAttributes,
    kWithoutAttributes,  // where the kernel would take them
  };

  using LibfuseRequest::LibfuseRequest;
  // `size` is the number of bytes for which the kernel has room.
  void Begin(size_t size, Form form);
  // Returns false if there is no room for the entry.
  bool Add(const Volume::Entry& entry);
  // Answers with the entries that were added if the status is OK, else with its
  // error.
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

// Answered with the value of an extended attribute or with a list of names.
class XattrRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  // `size` is the number of bytes for which the caller has room; 0 asks for the
  // size only.
  void Reply(const absl::StatusOr<std::string>& bytes, size_t size);
};

// Answered with the new bytes of the caller's struct; the call returns 0.
class IoctlRequest final : public LibfuseRequest {
 public:
  using LibfuseRequest::LibfuseRequest;
  void Reply(absl::string_view out);
};

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_REQUEST_H_
