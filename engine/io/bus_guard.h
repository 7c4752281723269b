// What happens when a mapped file cannot be read: it was cut short by somebody
// else, or its disk fails. The kernel then sends SIGBUS to the thread that
// touches the page, which ends the process, and with it a mount of many files
// for the sake of one page.
//
// InstallBusGuard() has such pages replaced by zeros instead, which read as
// damage wherever bounds or checksums are looked at. As zeros are not what the
// file held, every place that hands mapped bytes on asks HasLostBytes() once it
// has read them.
//
// The engine installs nothing by itself, as a signal's handler belongs to the
// whole process: programs that want it do so as they start.

#ifndef VARVE_ENGINE_IO_BUS_GUARD_H_
#define VARVE_ENGINE_IO_BUS_GUARD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/types/span.h"

namespace varve {

// Handles SIGBUS from now on, for mappings of RealFileSystem(). Any other
// SIGBUS has the effect that it had before. Calls after the first do nothing.
// Thread-safe.
void InstallBusGuard();

// Tells the guard of a mapping as long as it lives: from after the mapping has
// been made until before it is unmapped. There is room for more mappings than a
// program has stores; those beyond it are not guarded. Thread-safe.
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

// Whether any of these bytes lie in a page that was replaced. For bytes that
// were copied or summed up just before: false means that they were the file's.
// Costs a load as long as nothing was ever replaced. Thread-safe.
inline bool HasLostBytes(absl::Span<const std::byte> bytes) {
  // The compiler must not look before the bytes are read. (Another thread's
  // guard notes a page before it replaces it.)
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return bus_guard_internal::lost_pages.load(std::memory_order_seq_cst) != 0 &&
         bus_guard_internal::LookForLostBytes(bytes);
}

}  // namespace varve

#endif  // VARVE_ENGINE_IO_BUS_GUARD_H_
