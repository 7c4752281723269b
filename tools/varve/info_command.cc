// varve info

#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "engine/base/status.h"
#include "fs/log/store_identity.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/mount_answer.h"
#include "tools/varve/mountinfo.h"
#include "tools/varve/mountpoint.h"
#include "tools/varve/open_store.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kDetails[] =
    R"(For a store, which may be mounted at the same time, shows what it holds. For
the directory where one is mounted, shows the status from its daemon, which is
also in .varve/status there.

Example:
  varve info photos.varve
  varve info --json ~/photos
)";

struct Arguments {
  std::string path;
  bool json = false;
};

// "name: value" lines for people.
std::string Lines(const Json& json) {
  std::string text;
  for (const auto& [name, value] : json.items()) {
    if (value.is_array()) {
      for (const Json& item : value) {
        absl::StrAppendFormat(&text, "%s: %s\n", name,
                              Printable(item.get<std::string>()));
      }
    } else {
      absl::StrAppendFormat(&text, "%s: %s\n", name,
                            value.is_string()
                                ? Printable(value.get<std::string>())
                                : value.dump());
    }
  }
  return text;
}

absl::Status InfoOfMount(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const MountInfo mount, FindOwnMount(arguments.path));
  VARVE_ASSIGN_OR_RETURN(
      const std::string text,
      AskControlFile(mount.directory,
                     arguments.json ? "status.json" : "status"));
  return Print(text);
}

absl::StatusOr<Json> Describe(const std::string& path) {
  VARVE_ASSIGN_OR_RETURN(const auto volume,
                         OpenVolume(path, {.read_only = true}));
  Json json;
  json["store"] = path;
  const auto mounts = ReadMountInfo();
  const auto real = RealPath(path);
  if (mounts.ok() && real.ok()) {
    json["store"] = *real;
    json["mounted_at"] = MountpointsOf(*mounts, *real);
  }
  const Store& store = volume->store();
  json["store_bytes"] = store.recovery().file_size;
  json["entries"] = store.size();
  json["torn_bytes"] = store.recovery().torn_bytes;
  json["durable_bytes"] = store.recovery().durable_tail;
  json["compaction_would_save_bytes"] = store.EstimateCompactionSavings();
  const bool has_tree = fs::FindIdentityEntry(store).ok();
  json["has_tree"] = has_tree;
  if (has_tree) {
    json["uuid"] = volume->identity().UuidText();
    const fs::TreeTotals totals = volume->totals();
    json["inodes"] = totals.inodes;
    json["names"] = totals.names;
    json["live_bytes"] = totals.content_bytes;
  }
  VARVE_ASSIGN_OR_RETURN(const auto unnamed, volume->Unnamed());
  json["unnamed_entries"] = unnamed.size();
  // Of a store that is mounted they would speak of its present use.
  const bool in_use =
      json.contains("mounted_at") && !json["mounted_at"].empty();
  json["notes"] = in_use ? std::vector<std::string>() : volume->notes();
  json["cut_short"] = !volume->cut_short().ok();
  return json;
}

absl::Status Info(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(
      const std::string is_directory,
      AskInTime(arguments.path, [&]() -> absl::StatusOr<std::string> {
        struct stat info;
        const bool is_there = stat(arguments.path.c_str(), &info) == 0;
        return is_there && S_ISDIR(info.st_mode) ? "yes" : "no";
      }));
  if (is_directory == "yes") return InfoOfMount(arguments);
  VARVE_ASSIGN_OR_RETURN(const Json json, Describe(arguments.path));
  VARVE_RETURN_IF_ERROR(Print(arguments.json ? JsonText(json) : Lines(json)));
  if (!json["cut_short"].get<bool>()) return absl::OkStatus();
  return ExitError(ExitStatus::kCutShort,
                   absl::StrCat(arguments.path, " is CUT SHORT"));
}

}  // namespace

void AddInfoCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "info", "Show what a store or a mount holds", kDetails);
  auto arguments = std::make_shared<Arguments>();
  command
      .add_option("PATH", arguments->path,
                  "A store, or the directory where one is mounted")
      ->required();
  command.add_flag("--json", arguments->json, "As JSON");
  OnCommand(command, action, std::move(arguments), &Info);
}

}  // namespace varve::tools
