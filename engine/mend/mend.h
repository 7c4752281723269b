// Mend: what a damaged store held before the damage, where that can be proved.
// Nothing is written to the file: a mend is laid over it in memory
// (mended_file.h), so that all readers of the store see it (docs/format.md,
// "Recovery", rule 5).

#ifndef VARVE_ENGINE_MEND_MEND_H_
#define VARVE_ENGINE_MEND_MEND_H_

#include <cstdint>
#include <string>

namespace varve {

// Bytes that replace those at `offset`.
struct Mend {
  uint64_t offset = 0;
  std::string bytes;
  std::string reason;  // what was wrong: a sentence without a full stop

  friend bool operator==(const Mend&, const Mend&) = default;
};

}  // namespace varve

#endif  // VARVE_ENGINE_MEND_MEND_H_
