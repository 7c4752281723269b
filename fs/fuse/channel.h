// The two ends of the kernel's connection, as raw bytes: what libfuse 3.14
// does not know of the protocol is done here.
//
//  - An answer whose pieces lie in the store's map and cannot be read there is
//    turned into EIO.
//  - FUSE_HANDLE_KILLPRIV_V2 is agreed on with the kernel. Without it, the
//    kernel asks for the attribute security.capability before every write.
//  - FUSE_SETXATTR_EXT is agreed on, so that the kernel says when a new access
//    control list takes set-group-id away.
//  - FUSE_OVER_IO_URING is agreed on where it shall be used: requests and their
//    answers then come and go through io_uring, notifications, interrupts and
//    forgets through the connection still.

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

// The way through io_uring, as far as the channel has to do with it.
class RingTransport {
 public:
  virtual ~RingTransport() = default;
  // Whether it is to be used, and can be. Requests and answers will have data
  // of up to `max_payload` bytes.
  virtual bool Prepare(bool is_offered, size_t max_payload) = 0;
  // The kernel has agreed.
  virtual void Start() = 0;
};

// For fuse_session_custom_io(), on a session whose user data is a FuseContext.
struct fuse_custom_io FuseChannelIo();

// To be told of a request that this thread got by other means, before it is
// served. May change it; returns its size from now on.
size_t NoteRequest(void* request, size_t size);

// Answers the request of that number as libfuse would: with the error `number`,
// or, if that is 0, with `body`.
void SendAnswer(FuseContext& context, uint64_t unique, int number,
                absl::string_view body);

// Whether the request that this thread received last asks for set-user-id,
// set-group-id and capabilities of the file to be dropped, or, if it sets an
// access control list, for set-group-id.
bool RequestDropsPrivileges();

// What it asks for: one of the kernel's FUSE_LOOKUP, FUSE_READ…
uint32_t RequestOpcode();

// How it was answered so far: the error number, and how many bytes the answer
// has behind its header. Of what was written, the number of bytes.
struct AnswerSent {
  int error = 0;
  uint64_t bytes = 0;
  uint64_t written = 0;
};
const AnswerSent& LastAnswer();

// The inode that it is about first: of the directory, where it names a file.
uint64_t RequestInode();

// The id of the thread whose system call it comes from; 0 if it comes from the
// kernel itself.
uint32_t CallingThread();

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_CHANNEL_H_
