// Reading from and writing to the kernel's connection, as raw bytes. This code
// handles the parts of the protocol that libfuse 3.14 does not know.
// Thread-safe, except that the functions about "this thread's" request answer
// for the calling thread only.
//
//  - It answers EIO if bytes of an answer lie in the store's mapping and cannot
//    be read there.
//  - It negotiates FUSE_HANDLE_KILLPRIV_V2. Without that, the kernel asks for
//    the attribute security.capability before every write.
//  - It negotiates FUSE_SETXATTR_EXT, so that the kernel says when a new access
//    control list takes set-group-id away.
//  - It negotiates FUSE_OVER_IO_URING if the user wants that. Requests and
//  their
//    answers then go through io_uring; notifications, interrupts and forgets
//    still go through the connection.

#ifndef VARVE_FS_FUSE_CHANNEL_H_
#define VARVE_FS_FUSE_CHANNEL_H_

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 314
#endif
#include <fuse3/fuse_lowlevel.h>

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

namespace varve::fs {

struct FuseContext;

// What the channel needs to know of the transport through io_uring.
class RingTransport {
 public:
  virtual ~RingTransport() = default;
  // Prepares the transport, and returns whether it is wanted and possible.
  // `is_offered` says that the kernel offers it. Requests and answers will have
  // up to `max_payload` bytes of data.
  virtual bool Prepare(bool is_offered, size_t max_payload) = 0;
  // Called when the kernel has agreed.
  virtual void Start() = 0;
};

// The argument for fuse_session_custom_io(), for a session whose user data is a
// FuseContext.
struct fuse_custom_io FuseChannelIo();

// Must be called with a request that this thread received by other means,
// before it is served. May change the request; returns its new size.
size_t NoteRequest(void* request, size_t size);

// Answers the request `unique` as libfuse would: with the error `number` or, if
// that is 0, with `body`.
void SendAnswer(FuseContext& context, uint64_t unique, int number,
                absl::string_view body);

// The functions below are about this thread's request: the one that it received
// last. This one returns whether it asks to drop set-user-id, set-group-id and
// the capabilities of the file or, if it sets an access control list, to drop
// set-group-id.
bool RequestDropsPrivileges();

// The operation: one of the kernel's FUSE_LOOKUP, FUSE_READ…
uint32_t RequestOpcode();

// The answer so far: the error number, the number of bytes behind its header,
// and for a write the number of bytes written.
struct AnswerSent {
  int error = 0;
  uint64_t bytes = 0;
  uint64_t written = 0;
};
const AnswerSent& LastAnswer();

// The inode that it is about, or the directory if it names a file in one.
uint64_t RequestInode();

// The id of the thread whose system call caused it; 0 if the kernel itself did.
uint32_t CallingThread();

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_CHANNEL_H_
