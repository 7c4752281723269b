// Threads that one can do without, where the system has none left.

#ifndef VARVE_ENGINE_BASE_START_THREAD_H_
#define VARVE_ENGINE_BASE_START_THREAD_H_

#include <system_error>
#include <thread>
#include <utility>

namespace varve {

// Starts `thread`, which runs nothing yet, with `work`. False if the system
// refuses: a limit on processes, or no memory.
template <typename Work>
bool StartThread(std::thread& thread, Work work) {
  try {
    thread = std::thread(std::move(work));
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_START_THREAD_H_
