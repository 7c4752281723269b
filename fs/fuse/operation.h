// Operation: a row of the table of FUSE operations, and the code between the
// kernel and a handler. That code gives the request its type and directs
// requests about the control directory to handlers of their own.
//
// A handler is a function
//
//   void F(FuseContext& context, Request& request, arguments…)
//
// where Request is one of the types of request.h, and the arguments are those
// that libfuse passes. Several threads call handlers at once.

#ifndef VARVE_FS_FUSE_OPERATION_H_
#define VARVE_FS_FUSE_OPERATION_H_

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "fs/base/error.h"
#include "fs/fuse/context.h"
#include "fs/fuse/control_directory.h"
#include "fs/fuse/request.h"

namespace varve::fs {

// Whether answering often takes longer than waking another thread for the next
// request, because it waits for a disk or copies much.
enum class Duration { kShort, kMayBeLong };

struct Operation {
  uint32_t opcode;
  const char* name;  // in the log
  Duration duration;
  // Registers the handler with libfuse; null if libfuse does not know the
  // operation.
  void (*add)(struct fuse_lowlevel_ops& operations);
  // Answers a request, in the form in which it came from the kernel. Returns
  // false if it is too short. Null if libfuse knows the operation.
  bool (*answer)(FuseContext& context, absl::string_view request);
};

// The row of the operation; null if there is none.
const Operation* FindOperation(uint32_t opcode);

// How an operation treats inodes of the control directory. A row may also give
// an error number with which to refuse them, or a handler for them.
enum class ForControl {
  kAlike,  // the handler is the same, as the inode does not matter to it
  kDone,   // there is nothing to do
};

// These three say which arguments of a handler tell whether a request is about
// the control directory: an inode…
template <size_t kPlace>
struct InodeAt {
  template <typename Arguments>
  static bool IsInControl(const Arguments& arguments) {
    return ControlDirectory::Owns(std::get<kPlace>(arguments));
  }
};

// …a directory and, behind it, a name in there…
template <size_t kPlace>
struct NameAt {
  template <typename Arguments>
  static bool IsInControl(const Arguments& arguments) {
    const auto parent = std::get<kPlace>(arguments);
    return ControlDirectory::Owns(parent) ||
           ControlDirectory::IsAt(parent, std::get<kPlace + 1>(arguments));
  }
};

// …or any of several.
template <typename... Targets>
struct AnyOf {
  template <typename Arguments>
  static bool IsInControl(const Arguments& arguments) {
    return (Targets::IsInControl(arguments) || ...);
  }
};

// The type of request that a handler answers.
template <typename Handler>
struct RequestOf;
template <typename Request, typename... Arguments>
struct RequestOf<void (*)(FuseContext&, Request&, Arguments...)> {
  using Type = Request;
};

// The one place that separates requests for the control directory from those
// for the tree.
template <auto kHandler, auto kForControl, typename Target, typename Request,
          typename... Arguments>
void Dispatch(FuseContext& context, Request& request, Arguments... arguments) {
  using Way = std::remove_const_t<decltype(kForControl)>;
  if constexpr (std::is_same_v<Way, ForControl>) {
    if constexpr (kForControl == ForControl::kDone) {
      if (Target::IsInControl(std::tie(arguments...))) {
        return request.Reply(absl::OkStatus());
      }
    }
  } else if (Target::IsInControl(std::tie(arguments...))) {
    if constexpr (std::is_same_v<Way, int>) {
      return request.Fail(PosixError(kForControl));
    } else {
      return kForControl(context, request, arguments...);
    }
  }
  kHandler(context, request, arguments...);
}

// The function that libfuse calls.
template <uint32_t kOpcode, auto kHandler, auto kForControl, typename Target,
          typename... Arguments>
void AnswerLibfuse(fuse_req_t req, Arguments... arguments) {
  auto& context = *static_cast<FuseContext*>(fuse_req_userdata(req));
  typename RequestOf<decltype(kHandler)>::Type request(
      context, req, FindOperation(kOpcode)->name);
  Dispatch<kHandler, kForControl, Target>(context, request, arguments...);
}

template <uint32_t kOpcode, auto kHandler, auto kForControl, typename Target,
          typename... Arguments>
void AddTo(struct fuse_lowlevel_ops& operations,
           void (*fuse_lowlevel_ops::*member)(fuse_req_t, Arguments...)) {
  operations.*member =
      &AnswerLibfuse<kOpcode, kHandler, kForControl, Target, Arguments...>;
}

// The row of an operation that libfuse passes on through that member.
// `kForControl` is an error number, a handler like `kHandler`, or a ForControl.
template <uint32_t kOpcode, auto kMember, auto kHandler, auto kForControl,
          typename Target = InodeAt<0>>
constexpr Operation Row(const char* name,
                        Duration duration = Duration::kShort) {
  return {.opcode = kOpcode,
          .name = name,
          .duration = duration,
          .add =
              [](struct fuse_lowlevel_ops& operations) {
                AddTo<kOpcode, kHandler, kForControl, Target>(operations,
                                                              kMember);
              },
          .answer = nullptr};
}

// Decodes a request that libfuse does not know: a header and a `Body` behind
// it.
template <uint32_t kOpcode, typename Body, auto kHandler, auto kForControl>
bool AnswerRaw(FuseContext& context, absl::string_view bytes) {
  fuse_in_header header;
  Body body;
  if (bytes.size() < sizeof(header) + sizeof(body)) return false;
  std::memcpy(&header, bytes.data(), sizeof(header));
  std::memcpy(&body, bytes.data() + sizeof(header), sizeof(body));
  typename RequestOf<decltype(kHandler)>::Type request(
      context, header.unique, {.uid = header.uid, .gid = header.gid},
      FindOperation(kOpcode)->name);
  Dispatch<kHandler, kForControl, InodeAt<0>>(context, request, header.nodeid,
                                              body);
  return true;
}

// The row of an operation that libfuse does not know. The arguments of its
// handlers are the inode and the `Body`.
template <uint32_t kOpcode, typename Body, auto kHandler, auto kForControl>
constexpr Operation RawRow(const char* name) {
  return {.opcode = kOpcode,
          .name = name,
          .duration = Duration::kShort,
          .add = nullptr,
          .answer = &AnswerRaw<kOpcode, Body, kHandler, kForControl>};
}

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_OPERATION_H_
