// Thread-safe: a function without state of the caller's.

#ifndef VARVE_ENGINE_BASE_PAGE_SIZE_H_
#define VARVE_ENGINE_BASE_PAGE_SIZE_H_

#include <unistd.h>

#include <cstdint>

namespace varve {

// Bytes of a page of memory. The first call computes it; a signal handler may
// call it after that.
inline uint64_t PageSize() {
  static const auto size = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return size;
}

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_PAGE_SIZE_H_
