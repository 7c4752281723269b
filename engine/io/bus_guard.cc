#include "engine/io/bus_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>

#include "engine/base/page_size.h"

namespace varve {

namespace bus_guard_internal {
std::atomic<uint64_t> lost_pages{0};
}  // namespace bus_guard_internal

namespace {

using bus_guard_internal::lost_pages;

// A signal handler must not take locks or allocate memory, so the tables have a
// fixed size.
constexpr int kSlots = 128;
constexpr int kRanges = 128;

// Runs of lost pages of one mapping. Runs are only added and only grow, so a
// page that was found in a run stays in it. All zeros at first.
class LostRanges {
 public:
  // Returns false if there are more runs than the table can hold. The whole
  // mapping then counts as lost.
  bool Add(uint64_t page) {
    if (page >= kMaxPage) {
      all_.store(true);
      return false;
    }
    for (std::atomic<uint64_t>& range : ranges_) {
      if (AddTo(range, page)) return true;
    }
    all_.store(true);
    return false;
  }

  // Whether any of the pages [begin, end) is lost.
  bool Overlaps(uint64_t begin, uint64_t end) const {
    if (all_.load()) return true;
    for (const std::atomic<uint64_t>& range : ranges_) {
      const uint64_t packed = range.load();
      if (packed == 0) return false;
      if (First(packed) < end && begin < End(packed)) return true;
    }
    return false;
  }

  void Clear() {
    for (std::atomic<uint64_t>& range : ranges_) range.store(0);
    all_.store(false);
  }

 private:
  static constexpr uint64_t kMaxPage = UINT32_MAX;

  static uint64_t Pack(uint64_t first, uint64_t end) {
    return first << 32 | end;
  }
  static uint64_t First(uint64_t packed) { return packed >> 32; }
  static uint64_t End(uint64_t packed) { return packed & UINT32_MAX; }

  // Notes the page in this range if it is unused, or touches or holds the page.
  static bool AddTo(std::atomic<uint64_t>& range, uint64_t page) {
    uint64_t packed = range.load();
    while (true) {
      uint64_t larger = 0;
      if (packed == 0) {
        larger = Pack(page, page + 1);
      } else if (page + 1 < First(packed) || page > End(packed)) {
        return false;
      } else {
        larger = Pack(std::min(First(packed), page),
                      std::max(End(packed), page + 1));
      }
      if (larger == packed) return true;
      // On failure, holds what another thread has put there.
      if (range.compare_exchange_weak(packed, larger)) return true;
    }
  }

  std::atomic<uint64_t> ranges_[kRanges];  // first page, end; 0 if unused
  std::atomic<bool> all_;
};

struct AddressRange {
  uintptr_t begin;
  uintptr_t end;
};

// One mapping, or room for one.
struct Slot {
  // The mapping; nothing while it is being registered or removed, which never
  // happens while a thread reads from it.
  std::optional<AddressRange> Find() const {
    const uint32_t before = version.load();
    const AddressRange range = {begin.load(), end.load()};
    if (before % 2 != 0 || version.load() != before) return std::nullopt;
    return range;
  }

  void Set(uintptr_t new_begin, uintptr_t new_end) {
    version.fetch_add(1);
    lost.Clear();
    begin.store(new_begin);
    end.store(new_end);
    version.fetch_add(1);
  }

  std::atomic<bool> taken;
  std::atomic<uint32_t> version;  // odd while the others change
  std::atomic<uintptr_t> begin;   // both 0 if there is none
  std::atomic<uintptr_t> end;
  LostRanges lost;
};

// Static storage: all zeros before any code runs.
Slot slots[kSlots];
// Slots from here on have never been used.
std::atomic<int> used_slots;
struct sigaction previous_action;

bool MapZeros(uintptr_t begin, uintptr_t end) {
  // POSIX does not allow a handler to call mmap. On Linux it is a system call
  // that takes no lock of this process, unless a sanitizer replaces the
  // library's function by its own.
  return static_cast<uintptr_t>(syscall(
             SYS_mmap, begin, end - begin, PROT_READ,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0)) ==
         begin;
}

// Replaces the page at `address` by zeros, if it lies in a guarded mapping.
bool ReplacePage(uintptr_t address) {
  const int used = used_slots.load();
  for (int i = 0; i < used; ++i) {
    Slot& slot = slots[i];
    const std::optional<AddressRange> mapping = slot.Find();
    if (!mapping.has_value() || address < mapping->begin ||
        address >= mapping->end) {
      continue;
    }
    const uint64_t page = (address - mapping->begin) / PageSize();
    const bool is_noted = slot.lost.Add(page);
    // First note, then replace: a thread that reads the zeros must find the
    // note.
    lost_pages.fetch_add(1);
    if (!is_noted) return MapZeros(mapping->begin, mapping->end);
    const uintptr_t begin = mapping->begin + page * PageSize();
    return MapZeros(begin, begin + PageSize());
  }
  return false;
}

void OnBusError(int number, siginfo_t* info, void* /*context*/) {
  const int saved_errno = errno;
  const bool from_kernel = info->si_code > 0;  // and not from kill(2)
  if (!from_kernel ||
      !ReplacePage(reinterpret_cast<uintptr_t>(info->si_addr))) {
    sigaction(number, &previous_action, nullptr);
    // When the handler returns, the thread repeats the faulty access, which now
    // has the effect that it would have had without the guard. A signal that a
    // process sent must be raised again.
    if (!from_kernel) raise(number);
  }
  errno = saved_errno;
}

int TakeSlot(const void* address, uint64_t length) {
  for (int i = 0; i < kSlots; ++i) {
    Slot& slot = slots[i];
    if (slot.taken.exchange(true)) continue;
    const auto begin = reinterpret_cast<uintptr_t>(address);
    const uintptr_t page = PageSize();
    slot.Set(begin, begin + (length + page - 1) / page * page);
    int used = used_slots.load();
    while (used <= i && !used_slots.compare_exchange_weak(used, i + 1)) {
    }
    return i;
  }
  return -1;
}

}  // namespace

bool bus_guard_internal::LookForLostBytes(absl::Span<const std::byte> bytes) {
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  const int used = used_slots.load();
  for (int i = 0; i < used && !bytes.empty(); ++i) {
    const std::optional<AddressRange> mapping = slots[i].Find();
    if (!mapping.has_value() || address < mapping->begin ||
        address >= mapping->end) {
      continue;
    }
    const uintptr_t offset = address - mapping->begin;
    return slots[i].lost.Overlaps(offset / PageSize(),
                                  (offset + bytes.size() - 1) / PageSize() + 1);
  }
  return false;
}

GuardedMapping::GuardedMapping(const void* address, uint64_t length)
    : slot_(TakeSlot(address, length)) {}

GuardedMapping::~GuardedMapping() {
  if (slot_ < 0) return;
  slots[slot_].Set(0, 0);
  slots[slot_].taken.store(false);
}

void InstallBusGuard() {
  static const bool installed = [] {
    PageSize();  // so that the handler need not compute it
    struct sigaction action = {};
    action.sa_sigaction = OnBusError;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigemptyset(&action.sa_mask);
    // Stored before the handler can need it.
    if (sigaction(SIGBUS, nullptr, &previous_action) != 0) return false;
    return sigaction(SIGBUS, &action, nullptr) == 0;
  }();
  static_cast<void>(installed);  // cannot fail: the signal exists
}

}  // namespace varve
