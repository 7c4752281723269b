// Helpers that fuzz targets of several layers share. Not thread-safe.

#ifndef VARVE_ENGINE_BASE_FUZZ_TEST_UTIL_H_
#define VARVE_ENGINE_BASE_FUZZ_TEST_UTIL_H_

#include <filesystem>
#include <string>

#include "absl/strings/string_view.h"

namespace varve {

// A directory for one store at a time, in memory where the host offers that.
// The destructor removes it. If a call to the host fails, the process aborts.
class FuzzDirectory {
 public:
  FuzzDirectory();
  ~FuzzDirectory();
  FuzzDirectory(const FuzzDirectory&) = delete;
  FuzzDirectory& operator=(const FuzzDirectory&) = delete;

  // Empties the directory, creates a file with these bytes in it, and returns
  // the path of the file.
  std::string MakeStore(absl::string_view bytes) const;

 private:
  std::filesystem::path path_;
};

}  // namespace varve

#endif  // VARVE_ENGINE_BASE_FUZZ_TEST_UTIL_H_
