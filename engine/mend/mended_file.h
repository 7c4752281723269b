// A file with mends laid over it. Thread-safe, as all files are.

#ifndef VARVE_ENGINE_MEND_MENDED_FILE_H_
#define VARVE_ENGINE_MEND_MENDED_FILE_H_

#include <memory>
#include <vector>

#include "engine/io/file.h"
#include "engine/mend/mend.h"

namespace varve {

// Returns `file` with `mends` laid over it. Reads and mappings show the mends.
// Calls that would change the file fail with EROFS. Mappings do not grow with
// the file.
std::unique_ptr<File> MakeMendedFile(std::unique_ptr<File> file,
                                     std::vector<Mend> mends);

}  // namespace varve

#endif  // VARVE_ENGINE_MEND_MENDED_FILE_H_
