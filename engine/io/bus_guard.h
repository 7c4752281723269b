// Protection against SIGBUS. If a page of a mapped file cannot be read, because
// another program has truncated the file or because the disk fails, the kernel
// sends SIGBUS to the thread that touches the page. Without a handler that ends
// the process, and so a whole mount for the sake of one page.
//
// InstallBusGuard() installs a handler that replaces such pages by zeros. Code
// that checks bounds or checksums takes the zeros for damage. All other code
// that passes mapped bytes on must call HasLostBytes() after it has read them.
//
// The engine does not install the handler by itself, as signal handlers belong
// to the whole process. Programs that want it call InstallBusGuard() when they
// start.

#ifndef VARVE_ENGINE_IO_BUS_GUARD_H_
#define VARVE_ENGINE_IO_BUS_GUARD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace varve {

// Installs the handler, for mappings made by RealFileSystem(). Any other SIGBUS
// has the effect that it had before. Further calls do nothing. Thread-safe.
void InstallBusGuard();

// Registers a mapping with the guard for as long as this object lives.
// Construct it after mapping and destroy it before unmapping. The table has
// room for more mappings than a program has stores; mappings that find no room
// are not guarded. Thread-safe.
class GuardedMapping {
 public:
  GuardedMapping(const void* address, uint64_t length);
  ~GuardedMapping();
  GuardedMapping(const GuardedMapping&) = delete;
  GuardedMapping& operator=(const GuardedMapping&) = delete;

 private:
  const int slot_;  // -1: there was no room
};

namespace bus_guard_internal {
extern std::atomic<uint64_t> lost_pages;
bool LookForLostBytes(absl::Span<const std::byte> bytes);
}  // namespace bus_guard_internal

// Whether any of these bytes lie in a page that was replaced. Call it right
// after copying the bytes or computing their checksum: false means that they
// were the file's own. Costs one load as long as no page was ever replaced.
// Thread-safe.
inline bool HasLostBytes(absl::Span<const std::byte> bytes) {
  // The compiler must not look before the bytes are read. (Another thread's
  // guard notes a page before it replaces it.)
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return bus_guard_internal::lost_pages.load(std::memory_order_seq_cst) != 0 &&
         bus_guard_internal::LookForLostBytes(bytes);
}

}  // namespace varve

#endif  // VARVE_ENGINE_IO_BUS_GUARD_H_
