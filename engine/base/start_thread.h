// Starting threads that the program can do without if the system refuses one.

#ifndef VARVE_ENGINE_BASE_START_THREAD_H_
#define VARVE_ENGINE_BASE_START_THREAD_H_

#include <system_error>
#include <thread>
#include <utility>

namespace varve {

// Makes `thread`, which must not be running, run `work`. Returns false if the
// system refuses, because of a limit on processes or for lack of memory.
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
