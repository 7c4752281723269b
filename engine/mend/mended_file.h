// A file with mends laid over it.

#ifndef VARVE_ENGINE_MEND_MENDED_FILE_H_
#define VARVE_ENGINE_MEND_MENDED_FILE_H_

#include <memory>
#include <vector>

#include "engine/io/file.h"
#include "engine/mend/mend.h"

namespace varve {

// `file` as it is with `mends` made: reads and mappings show them, and whatever
// would change the file fails with EROFS. Mappings do not grow with the file.
std::unique_ptr<File> MakeMendedFile(std::unique_ptr<File> file,
                                     std::vector<Mend> mends);

}  // namespace varve

#endif  // VARVE_ENGINE_MEND_MENDED_FILE_H_
