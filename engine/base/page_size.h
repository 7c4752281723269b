// The size of a memory page. Thread-safe.

#ifndef VARVE_ENGINE_BASE_PAGE_SIZE_H_
#define VARVE_ENGINE_BASE_PAGE_SIZE_H_

#include <unistd.h>

#include <cstdint>

namespace varve {

// The size of a memory page in bytes. The first call asks the system for it. A
// signal handler may call it once some other code has.
inline uint64_t PageSize() {
  static const auto size = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_PAGE_SIZE_H_
