// ReadSections: lets readers use a shared object without a lock. A writer that
// has replaced the object can wait until no reader uses the old one any more.
//
// A reader never waits. It counts itself in a counter that has a cache line of
// its own, so that readers on different cores do not slow each other down.

#ifndef VARVE_ENGINE_BASE_READ_SECTIONS_H_
#define VARVE_ENGINE_BASE_READ_SECTIONS_H_

#include <sched.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace varve {

class ReadSections {
 public:
  // While a section lives, Synchronize() does not return, so the object that
  // the reader found stays valid. Hold it only briefly: Synchronize() spins
  // until it ends.
  class Section {
   public:
    explicit Section(const ReadSections& sections)
        : counter_(sections.Counter()) {
      // Sequentially consistent with the publication and the check in
      // Synchronize(): either that check sees this reader, or this reader sees
      // the new object.
      counter_.fetch_add(1, std::memory_order_seq_cst);
    }
    ~Section() { counter_.fetch_sub(1, std::memory_order_release); }
    Section(const Section&) = delete;
    Section& operator=(const Section&) = delete;

   private:
    std::atomic<uint32_t>& counter_;
  };

  // Returns when every section that began before the call has ended. Call it
  // after publishing the new object with a sequentially consistent store. One
  // caller at a time.
  void Synchronize() {
    // Twice, once for each phase: sections that begin during the wait count in
    // the other phase, so that a steady stream of them cannot hold it up, and
    // a reader that was delayed between choosing and counting is waited for in
    // whichever phase it counts.
    for (int i = 0; i < 2; ++i) {
      const uint32_t phase = phase_.load(std::memory_order_relaxed);
      phase_.store(phase ^ 1, std::memory_order_seq_cst);
      for (Slot& slot : slots_) {
        while (slot.active[phase].load(std::memory_order_seq_cst) != 0) {
          sched_yield();
        }
      }
    }
  }

 private:
  struct alignas(64) Slot {
    std::atomic<uint32_t> active[2] = {0, 0};
  };
  static constexpr size_t kSlots = 32;

  std::atomic<uint32_t>& Counter() const {
    static std::atomic<size_t> next_thread{0};
    thread_local const size_t slot =
        next_thread.fetch_add(1, std::memory_order_relaxed) % kSlots;
    return slots_[slot].active[phase_.load(std::memory_order_relaxed)];
  }

  std::atomic<uint32_t> phase_{0};
  mutable std::array<Slot, kSlots> slots_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_READ_SECTIONS_H_
