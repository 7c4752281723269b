#include "fs/fuse/serve_request.h"

#include <linux/fuse.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>

#include "absl/strings/string_view.h"
#include "fs/base/author.h"
#include "fs/fuse/channel.h"
#include "fs/fuse/control_directory.h"
#include "fs/fuse/operation.h"
#include "fs/fuse/operations.h"
#include "fs/fuse/traced_request.h"

namespace varve::fs {
namespace {

void Answer(FuseContext& context, const fuse_in_header& header,
            absl::string_view bytes, const struct fuse_buf& request) {
  if (bytes.size() >= sizeof(header)) {
    const Operation* const row = FindOperation(header.opcode);
    if (row != nullptr && row->answer != nullptr &&
        row->answer(context, bytes)) {
      return;
    }
  }
  fuse_session_process_buf(context.session, &request);
}

}  // namespace

void ServeRequest(FuseContext& context, const struct fuse_buf& request) {
  using Clock = std::chrono::steady_clock;
  fuse_in_header header = {};
  if (request.size >= sizeof(header)) {
    std::memcpy(&header, request.mem, sizeof(header));
  }
  const ScopedAuthor author(
      {.uid = header.uid, .pid = context.log_processes ? header.pid : 0});
  const absl::string_view bytes(static_cast<const char*>(request.mem),
                                request.size);
  const uint32_t opcode = RequestOpcode();
  std::optional<TracedRequest> traced;
  if (context.tracer.on()) traced = DescribeRequest(context, bytes);
  context.requests.Begin();
  const Clock::time_point begin = Clock::now();
  Answer(context, header, bytes, request);
  const auto duration = Clock::now() - begin;
  const AnswerSent& sent = LastAnswer();
  // Reading the metrics does not count as a request.
  const bool is_read =
      opcode == FUSE_READ && !ControlDirectory::Owns(RequestInode());
  const uint64_t read = is_read && sent.error == 0 ? sent.bytes : 0;
  context.requests.End({.opcode = opcode,
                        .error = sent.error,
                        .bytes_read = read,
                        .bytes_written = sent.written,
                        .duration = duration});
  if (!traced.has_value()) return;
  traced->error = sent.error;
  traced->bytes = read + sent.written;
  traced->duration = duration;
  context.tracer.Record(*traced);
}

}  // namespace varve::fs
