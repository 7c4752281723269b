// Random numbers that nobody can predict. Thread-safe.

#ifndef VARVE_ENGINE_BASE_RANDOM_H_
#define VARVE_ENGINE_BASE_RANDOM_H_

#include <cstdint>

namespace varve {

// Returns a random number from the kernel. It takes a system call, so it is not
// for inner loops.
uint64_t RandomWord();

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_RANDOM_H_
