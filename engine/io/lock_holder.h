// Finds out which process holds an OFD lock.

#ifndef VARVE_ENGINE_IO_LOCK_HOLDER_H_
#define VARVE_ENGINE_IO_LOCK_HOLDER_H_

#include <sys/types.h>

#include <optional>

namespace varve {

// The process that holds a lock on the file that `descriptor` has open. Nothing
// if there is none, or if it cannot be seen from here: the kernel does not tell
// the owner of an OFD lock, so this looks into /proc, where other users'
// processes and other containers are hidden.
std::optional<pid_t> FindLockHolder(int descriptor);

}  // namespace varve

#endif  // VARVE_ENGINE_IO_LOCK_HOLDER_H_
