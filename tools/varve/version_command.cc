// varve version

#define FUSE_USE_VERSION 314

#include <archive.h>
#include <fuse3/fuse_lowlevel.h>
#include <gnu/libc-version.h>
#include <isa-l.h>
#include <spdlog/version.h>
#include <xxhash.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/base/config.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/varve/command.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/kernel_probe.h"
#include "tools/varve/version.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;

// The versions of the protocol between kernel and file system that introduced
// features.
constexpr uint32_t kMinorOfTmpfile = 37;  // Linux 6.1
constexpr uint32_t kMinorOfStatx = 39;    // Linux 6.6

constexpr char kDetails[] =
    R"(With --json, also how it was built, its libraries, and what the kernel offers.

Example:
  varve version --json
)";

struct Arguments {
  bool json = false;
};

std::string Dotted(int major, int minor, int patch) {
  return absl::StrCat(major, ".", minor, ".", patch);
}

Json Build() {
#ifdef NDEBUG
  constexpr bool kOptimised = true;
#else
  constexpr bool kOptimised = false;
#endif
  return {{"compiler",
#ifdef __clang__
           "clang " __clang_version__
#else
           "gcc " __VERSION__
#endif
          },
          {"cplusplus", __cplusplus},
          {"optimised", kOptimised}};
}

// Libraries that are linked at run time report their own version.
Json Libraries() {
  const unsigned xxhash = XXH_versionNumber();
  return {
      {"libfuse", fuse_pkgversion()},
      {"xxhash", Dotted(static_cast<int>(xxhash / 10000),
                        static_cast<int>(xxhash / 100 % 100),
                        static_cast<int>(xxhash % 100))},
      {"abseil", absl::StrCat(ABSL_LTS_RELEASE_VERSION, ".",
                              ABSL_LTS_RELEASE_PATCH_LEVEL)},
      {"isa-l",
       Dotted(ISAL_MAJOR_VERSION, ISAL_MINOR_VERSION, ISAL_PATCH_VERSION)},
      {"libarchive", ARCHIVE_VERSION_ONLY_STRING},
      {"cli11", CLI11_VERSION},
      {"spdlog", Dotted(SPDLOG_VER_MAJOR, SPDLOG_VER_MINOR, SPDLOG_VER_PATCH)},
      {"nlohmann-json",
       Dotted(NLOHMANN_JSON_VERSION_MAJOR, NLOHMANN_JSON_VERSION_MINOR,
              NLOHMANN_JSON_VERSION_PATCH)},
      {"glibc", gnu_get_libc_version()},
  };
}

// Null for anything that could not be found out.
Json Kernel() {
  const KernelOffer offer = ProbeKernel();
  Json json = {{"release", offer.release},
               {"io_uring", offer.io_uring},
               {"fuse", {{"device", offer.fuse_device}}}};
  Json& fuse = json["fuse"];
  if (!offer.fuse.has_value()) {
    for (const char* name : {"protocol", "io_uring", "statx", "tmpfile"}) {
      fuse[name] = nullptr;
    }
    return json;
  }
  const FuseOffer& f = *offer.fuse;
  const auto has = [&f](uint32_t minor) {
    return f.major > 7 || (f.major == 7 && f.minor >= minor);
  };
  fuse["protocol"] = absl::StrCat(f.major, ".", f.minor);
  fuse["io_uring"] = f.io_uring;
  fuse["statx"] = has(kMinorOfStatx);
  fuse["tmpfile"] = has(kMinorOfTmpfile);
  return json;
}

absl::Status ShowVersion(const Arguments& arguments) {
  if (!arguments.json) return Print(absl::StrCat("varve ", kVersion, "\n"));
  const Json json = {{"version", kVersion},
                     {"build", Build()},
                     {"libraries", Libraries()},
                     {"kernel", Kernel()}};
  return Print(JsonText(json));
}

}  // namespace

void AddVersionCommand(CLI::App& app, Action& action) {
  CLI::App& command = AddCommand(
      app, "version", "Show the version of Varve and what this system offers",
      kDetails);
  auto arguments = std::make_shared<Arguments>();
  command.add_flag("--json", arguments->json,
                   "As JSON, with libraries and what the kernel offers");
  OnCommand(command, action, std::move(arguments), &ShowVersion);
}

}  // namespace varve::tools
