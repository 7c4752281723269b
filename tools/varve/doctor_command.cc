// varve doctor

#include <sys/stat.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "tools/varve/command.h"
#include "tools/varve/doctor.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/version.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kDetails[] =
    R"(Looks for common problems, and names the command that solves each. For a store:
whether it can be opened, space on its disk, who has it open, its end, whether
it was closed, a sample of checksums, dead space. For the directory of a mount:
whether its daemon lives, answers and has this version, why it is read-only,
space, errors. For the system: whether it can mount.

The output names no file, directory or host and can go into a bug report: STORE
and DIR stand for the names that you gave. Changes nothing. The exit status is
17 if there is a problem.

Example:
  varve doctor photos.varve
  varve doctor --json ~/photos
)";

struct Arguments {
  std::string path;
  bool json = false;
};

// Whether this is a directory or a dead mount, whose root cannot be examined.
bool IsDirectoryOrMount(const std::string& path) {
  const auto real = RealPathOfLast(path);
  const auto mounts = ReadMountInfo();
  if (real.ok() && mounts.ok() && FindMountAt(*mounts, *real).has_value()) {
    return true;
  }
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

const char* NameOf(Finding::Level level) {
  switch (level) {
    case Finding::Level::kOk:
      return "ok";
    case Finding::Level::kNote:
      return "note";
    case Finding::Level::kTrouble:
      return "trouble";
  }
  return "trouble";
}

Json ToJson(const Findings& findings) {
  Json list = Json::array();
  for (const Finding& finding : findings.list()) {
    Json one = {{"check", finding.check},
                {"level", NameOf(finding.level)},
                {"text", finding.text}};
    if (!finding.mend.empty()) one["mend"] = finding.mend;
    list.push_back(std::move(one));
  }
  return {{"version", kVersion},
          {"healthy", !findings.has_trouble()},
          {"findings", std::move(list)}};
}

std::string ToLines(const Findings& findings) {
  std::string text = absl::StrCat("varve ", kVersion, "\n");
  for (const Finding& finding : findings.list()) {
    absl::StrAppendFormat(&text, "%-8s %-12s %s\n", NameOf(finding.level),
                          finding.check, Printable(finding.text));
    if (!finding.mend.empty()) {
      absl::StrAppendFormat(&text, "%21s mend: %s\n", "",
                            Printable(finding.mend));
    }
  }
  return text;
}

absl::Status Doctor(const Arguments& arguments) {
  Findings findings;
  if (IsDirectoryOrMount(arguments.path)) {
    ExamineMount(arguments.path, findings);
  } else {
    ExamineStore(arguments.path, findings);
  }
  ExamineSystem(findings);
  VARVE_RETURN_IF_ERROR(
      Print(arguments.json ? JsonText(ToJson(findings)) : ToLines(findings)));
  return findings.has_trouble() ? ExitError(ExitStatus::kTrouble, "")
                                : absl::OkStatus();
}

}  // namespace

void AddDoctorCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "doctor", "Look for common problems", kDetails);
  auto arguments = std::make_shared<Arguments>();
  command
      .add_option("PATH", arguments->path,
                  "A store, or the directory where one is or should be mounted")
      ->required();
  command.add_flag("--json", arguments->json, "As JSON");
  OnCommand(command, action, std::move(arguments), &Doctor);
}

}  // namespace varve::tools
