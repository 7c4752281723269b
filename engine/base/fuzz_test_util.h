// What fuzz targets of several layers need. Not thread-safe.

#ifndef VARVE_ENGINE_BASE_FUZZ_TEST_UTIL_H_
#define VARVE_ENGINE_BASE_FUZZ_TEST_UTIL_H_

#include <filesystem>
#include <string>

#include "absl/strings/string_view.h"

namespace varve {

// A directory in memory, where the host has one, for one store at a time. It is
// removed at the end. Aborts the process if the host does not do what is asked.
class FuzzDirectory {
 public:
  FuzzDirectory();
  ~FuzzDirectory();
  FuzzDirectory(const FuzzDirectory&) = delete;
  FuzzDirectory& operator=(const FuzzDirectory&) = delete;

  // Empties the directory, and makes a file of these bytes in it; its path.
  std::string MakeStore(absl::string_view bytes) const;

 private:
  std::filesystem::path path_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_FUZZ_TEST_UTIL_H_
