#include "engine/base/random.h"

#include <sys/random.h>

#include <cerrno>
#include <cstdlib>

namespace varve {

uint64_t RandomWord() {
  uint64_t word = 0;
  // The kernel never cuts a request of this size short, and interrupts it only
  // before it has gathered its first randomness after booting.
  while (getrandom(&word, sizeof(word), 0) != sizeof(word)) {
    if (errno != EINTR) std::abort();  // a kernel without the call
  }
  return word;
}

}  // namespace varve
