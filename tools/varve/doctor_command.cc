// varve doctor

#include <sys/stat.h>
#include <sys/statvfs.h>

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
#include "tools/varve/mount_answer.h"
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

enum class Kind { kDirectory, kMount, kOther };

// A mount may be dead or hang, so that its root cannot be examined.
Kind KindOf(const std::string& path) {
  const auto real = RealPathOfLast(path);
  const auto mounts = ReadMountInfo();
  if (real.ok() && mounts.ok() && FindMountAt(*mounts, *real).has_value()) {
    return Kind::kMount;
  }
  struct stat info;
  const bool is_there = stat(path.c_str(), &info) == 0;
  return is_there && S_ISDIR(info.st_mode) ? Kind::kDirectory : Kind::kOther;
}

// Whether this is where a store is or should be mounted. ExitStatus::kBusy if a
// file system on the way to it hangs.
absl::StatusOr<bool> IsDirectoryOrMount(const std::string& path) {
  VARVE_ASSIGN_OR_RETURN(
      const std::string answer,
      AskInTime(path, [&path]() -> absl::StatusOr<std::string> {
        const Kind kind = KindOf(path);
        struct statvfs info;
        // What a file system answers does not matter here.
        const int result =
            kind == Kind::kMount ? 0 : statvfs(path.c_str(), &info);
        return absl::StrCat(kind != Kind::kOther ? 1 : 0, result);
      }));
  return answer[0] == '1';
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
  VARVE_ASSIGN_OR_RETURN(const bool is_directory,
                         IsDirectoryOrMount(arguments.path));
  if (is_directory) {
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
