#include "fs/base/author.h"

#include <fstream>

#include "absl/strings/str_cat.h"

namespace varve::fs {

std::string NameOfProcess(uint32_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/comm"));
  std::string name;
  std::getline(file, name);
  return name;
}

}  // namespace varve::fs
