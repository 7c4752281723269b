// varve restore and varve undelete

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "fs/history/moment_names.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/history_target.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/moment_text.h"
#include "tools/varve/tree_path.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;
using Kind = fs::LoggedOperation::Kind;

// Deletions that follow each other in less than this belong together.
constexpr absl::Duration kPause = absl::Seconds(10);

struct Arguments {
  std::string target;
  std::string path;
  std::string at;
  std::string to;
  bool delete_others = false;
  bool dry_run = false;
  bool json = false;
};

absl::Status ReportOn(const Arguments& arguments, const HistoryPlace& place,
                      const std::string& at, const varve_history& call) {
  if (arguments.json) {
    Json json;
    json["path"] = place.path;
    json["at"] = at;
    json["dry_run"] = arguments.dry_run;
    json["made"] = call.made;
    json["replaced"] = call.replaced;
    json["unchanged"] = call.unchanged;
    json["removed"] = call.removed;
    json["bytes"] = call.bytes;
    return Print(JsonLine(json) + "\n");
  }
  std::string text =
      absl::StrCat(arguments.dry_run ? "would restore " : "restored ",
                   place.path.empty() ? "everything" : Printable(place.path),
                   " as of ", at, ": ", call.made, " new, ", call.replaced,
                   " replaced, ", call.unchanged, " unchanged");
  if (call.removed > 0) absl::StrAppend(&text, ", ", call.removed, " removed");
  return Print(text + "\n");
}

absl::Status RestoreAt(const Arguments& arguments, const HistoryPlace& place,
                       const std::string& at) {
  VARVE_ASSIGN_OR_RETURN(
      const auto call,
      MakeHistoryCall(
          VARVE_HISTORY_RESTORE,
          {.at = at,
           .from = place.path,
           .to = arguments.to.empty() ? place.path : arguments.to}));
  if (arguments.delete_others) call->flags |= VARVE_RESTORE_DELETE;
  if (arguments.dry_run) call->flags |= VARVE_RESTORE_DRY_RUN;
  VARVE_RETURN_IF_ERROR(ChangeHistory(place, *call));
  return ReportOn(arguments, place, at, *call);
}

absl::Status Restore(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const HistoryPlace place,
                         FindHistoryPlace(arguments.target, arguments.path));
  return RestoreAt(arguments, place, arguments.at);
}

// The moment before the path was deleted, and before what lay in it was, if
// that went just before.
absl::StatusOr<uint64_t> MomentBeforeDeletion(fs::Volume& volume,
                                              const std::string& path) {
  std::optional<uint64_t> first;  // the deletion that came first
  fs::Timestamp first_time;
  VARVE_RETURN_IF_ERROR(volume.ReadLog(
      0, [&](const fs::LoggedCommit& commit) -> absl::StatusOr<bool> {
        if (first.has_value() &&
            fs::ToTime(first_time) - fs::ToTime(commit.time) > kPause) {
          return false;
        }
        for (const fs::LoggedOperation& operation : commit.operations) {
          if (operation.kind == Kind::kDelete &&
              (first.has_value() ? LiesWithin(operation.path, path)
                                 : operation.path == path)) {
            first = commit.sequence;
            first_time = commit.time;
          }
        }
        return true;
      }));
  if (first.has_value()) return *first - 1;
  return ExitError(
      ExitStatus::kNotFound,
      absl::StrCat("no kept moment tells of '", path,
                   "' being deleted; `varve log --op delete` shows what was"));
}

absl::Status Undelete(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const HistoryPlace place,
                         FindHistoryPlace(arguments.target, arguments.path));
  if (place.path.empty()) {
    return ExitError(ExitStatus::kUsage,
                     "PATH is required (see varve undelete --help)");
  }
  uint64_t sequence = 0;
  {
    VARVE_ASSIGN_OR_RETURN(const auto volume, OpenHistory(place));
    bool exists = false;
    volume->WithTree([&](const fs::TreeReader& tree) {
      const auto inode = tree.Resolve(place.path);
      exists = inode.ok() && inode->has_value();
    });
    if (exists && arguments.to.empty()) {
      return ExitError(
          ExitStatus::kExists,
          absl::StrCat("'", place.path,
                       "' exists; bring an older state of it back with `varve "
                       "restore --at`, or this one elsewhere with --to"));
    }
    VARVE_ASSIGN_OR_RETURN(sequence, MomentBeforeDeletion(*volume, place.path));
  }
  return RestoreAt(arguments, place, absl::StrCat("seq:", sequence));
}

void AddTarget(CLI::App& command, Arguments& arguments) {
  command
      .add_option("STORE", arguments.target,
                  "A store, or a path in a mount, which then is PATH")
      ->required();
  command.add_option("PATH", arguments.path,
                     "The file or directory in the store");
  command.add_option("--to", arguments.to,
                     "Where to bring it back, instead of to its place");
  command.add_flag("-n,--dry-run", arguments.dry_run,
                   "Change nothing, and say what would be done");
  command.add_flag("--json", arguments.json, "Print JSON");
}

}  // namespace

void AddRestoreCommand(CLI::App& app, Action& action) {
  CLI::App& command = AddCommand(
      app, "restore", "Make a file or directory what it was",
      "Brings back names, contents, owners, modes, times, links, extended "
      "attributes\n"
      "and access control lists, in one step, all or nothing, and without "
      "copying any\n"
      "bytes. A file that is open meanwhile keeps what it had. What is in a "
      "directory\n"
      "now and was not then stays, unless --delete is given. `varve help log` "
      "says\n"
      "how moments are named.\n\n"
      "Example:\n  varve restore ~/photos/2023 --at yesterday\n"
      "  varve restore photos.varve 2023 --at monday --to 2023.old\n");
  auto arguments = std::make_shared<Arguments>();
  AddTarget(command, *arguments);
  command.add_option("--at", arguments->at, "The moment")->required();
  command.add_flag("--delete", arguments->delete_others,
                   "Remove what was not there then");
  OnCommand(command, action, arguments, &Restore);
}

void AddUndeleteCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "undelete", "Bring back what was deleted",
                 "Finds the moment before the path was deleted and restores it "
                 "from there. Of a\n"
                 "directory whose contents were deleted just before it, as rm "
                 "-r does, they\n"
                 "come back, too. Works as long as that moment is kept: `varve "
                 "history policy`.\n\n"
                 "Example:\n  varve undelete ~/photos/2023\n"
                 "  varve undelete photos.varve 2023/summer --to found\n");
  auto arguments = std::make_shared<Arguments>();
  AddTarget(command, *arguments);
  OnCommand(command, action, arguments, &Undelete);
}

}  // namespace varve::tools
