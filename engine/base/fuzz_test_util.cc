#include "engine/base/fuzz_test_util.h"

#include <stdlib.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <system_error>

namespace varve {
namespace {

void Check(bool condition, const char* what) {
  if (condition) return;
  std::perror(what);
  std::abort();
}

}  // namespace

FuzzDirectory::FuzzDirectory() {
  std::error_code error;
  const bool shm = std::filesystem::is_directory("/dev/shm", error);
  std::string path = (shm ? std::filesystem::path("/dev/shm")
                          : std::filesystem::temp_directory_path()) /
                     "varve_fuzz.XXXXXX";
  Check(mkdtemp(path.data()) != nullptr, "there is no temporary directory");
  path_ = path;
}

FuzzDirectory::~FuzzDirectory() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

std::string FuzzDirectory::MakeStore(absl::string_view bytes) const {
  for (const auto& entry : std::filesystem::directory_iterator(path_)) {
    std::filesystem::remove(entry);
  }
  const std::string path = path_ / "store";
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  Check(file.flush().good(), "the store cannot be made");
  return path;
}

}  // namespace varve
