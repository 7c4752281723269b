// Finds out which process holds an OFD lock.

#ifndef VARVE_ENGINE_IO_LOCK_HOLDER_H_
#define VARVE_ENGINE_IO_LOCK_HOLDER_H_

#include <sys/types.h>

#include <optional>

namespace varve {

// The process that holds a lock on the file behind `descriptor`. Returns
// nothing if there is none, or if this process cannot see it: the kernel does
// not tell who owns an OFD lock, so this searches /proc, which hides the
// processes of other users and containers.
std::optional<pid_t> FindLockHolder(int descriptor);

}  // namespace varve

#endif  // VARVE_ENGINE_IO_LOCK_HOLDER_H_
