#include "tools/varve/long_work.h"

#include <memory>

#include "tools/varve/before_output.h"
#include "tools/varve/progress.h"

namespace varve::tools {
namespace {

// Global, as there is one terminal. Destroyed when the process ends, whichever
// way it takes there.
std::unique_ptr<Progress>& Shown() {
  static std::unique_ptr<Progress> shown;
  return shown;
}

}  // namespace

void ShowUntilOutput(const std::string& doing) {
  EndShown();
  Shown() = std::make_unique<Progress>(doing);
  BeforeOutput([] { Shown().reset(); });
}

void EndShown() {
  BeforeOutput(nullptr);
  Shown().reset();
}

}  // namespace varve::tools
