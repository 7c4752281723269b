// Random numbers that nobody can foresee.

#ifndef VARVE_ENGINE_BASE_RANDOM_H_
#define VARVE_ENGINE_BASE_RANDOM_H_

#include <cstdint>

namespace varve {

// From the kernel; a system call, so not for inner loops.
uint64_t RandomWord();

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_RANDOM_H_
