// varve restore and varve undelete

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "engine/base/status.h"
#include "fs/format/path.h"
#include "fs/history/moment_names.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/history_target.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/moment_text.h"

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
  std::string since;
  bool delete_others = false;
  bool dry_run = false;
  bool json = false;
};

absl::Status ReportOn(const Arguments& arguments, const HistoryTarget& place,
                      const std::string& at, const varve_history& call) {
  if (arguments.json) {
    Json json;
    AddText(json, "path", place.path);
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

absl::Status RestoreAt(const Arguments& arguments, const HistoryTarget& place,
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
  VARVE_ASSIGN_OR_RETURN(const HistoryTarget place,
                         FindHistoryTarget(arguments.target, arguments.path));
  return RestoreAt(arguments, place, arguments.at);
}

// A name that was removed.
struct Deletion {
  uint64_t sequence = 0;
  fs::Timestamp time;
  std::string path;
};

// The deletions that the log tells of at and below `path` since the commit
// `from`, newest first. With `last_only`, only those of the path that came
// last, and what was deleted below it just before.
absl::StatusOr<std::vector<Deletion>> ReadDeletions(fs::Volume& volume,
                                                    const std::string& path,
                                                    uint64_t from,
                                                    bool last_only) {
  std::vector<Deletion> found;
  VARVE_RETURN_IF_ERROR(volume.history().ReadLog(
      from, [&](const fs::LoggedCommit& commit) -> absl::StatusOr<bool> {
        if (last_only && !found.empty() &&
            fs::ToTime(found.back().time) - fs::ToTime(commit.time) > kPause) {
          return false;
        }
        for (const fs::LoggedOperation& operation : commit.operations) {
          if (operation.kind != Kind::kDelete ||
              !fs::LiesWithin(operation.path, path)) {
            continue;
          }
          if (last_only && found.empty() && operation.path != path) continue;
          found.push_back({commit.sequence, commit.time, operation.path});
        }
        return true;
      }));
  return found;
}

// The moment before the path was deleted last, and before what lay in it was,
// if that went just before; nothing if `deletions` (newest first) lack it.
std::optional<uint64_t> MomentBefore(absl::Span<const Deletion> deletions,
                                     absl::string_view path) {
  const Deletion* first = nullptr;  // that came first
  for (const Deletion& deletion : deletions) {
    if (first == nullptr ? deletion.path != path
                         : !fs::LiesWithin(deletion.path, path)) {
      continue;
    }
    if (first != nullptr &&
        fs::ToTime(first->time) - fs::ToTime(deletion.time) > kPause) {
      break;
    }
    first = &deletion;
  }
  if (first == nullptr) return std::nullopt;
  return first->sequence - 1;
}

bool Exists(fs::Volume& volume, const std::string& path) {
  bool exists = false;
  volume.WithTree([&](const fs::TreeReader& tree) {
    const auto inode = tree.Resolve(path);
    exists = inode.ok() && inode->has_value();
  });
  return exists;
}

absl::Status UndeletePath(const Arguments& arguments,
                          const HistoryTarget& place) {
  std::optional<uint64_t> moment;
  {
    VARVE_ASSIGN_OR_RETURN(const auto volume, OpenHistory(place));
    if (arguments.to.empty() && Exists(*volume, place.path)) {
      return ExitError(
          ExitStatus::kExists,
          absl::StrCat("'", place.path,
                       "' exists; bring an older state of it back with `varve "
                       "restore --at`, or this one elsewhere with --to"));
    }
    VARVE_ASSIGN_OR_RETURN(
        const std::vector<Deletion> deletions,
        ReadDeletions(*volume, place.path, 0, /*last_only=*/true));
    moment = MomentBefore(deletions, place.path);
  }
  if (!moment.has_value()) {
    return ExitError(
        ExitStatus::kNotFound,
        absl::StrCat(
            "no kept moment tells of '", place.path,
            "' being deleted; `varve log --op delete` shows what was"));
  }
  return RestoreAt(arguments, place, absl::StrCat("seq:", *moment));
}

// What was deleted since the moment that the user names, newest first.
absl::StatusOr<std::vector<Deletion>> ReadDeletionsSince(
    const Arguments& arguments, const HistoryTarget& place) {
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenHistory(place));
  const auto since = volume->history().FindMoment(arguments.since);
  // If that is before all that is kept, nothing is left out.
  if (!since.ok() && !absl::IsNotFound(since.status())) {
    return ExplainHistory(since.status());
  }
  return ReadDeletions(*volume, place.path,
                       since.ok() ? since->sequence + 1 : 0,
                       /*last_only=*/false);
}

// Those of these paths that are not there, but nothing that lies below one.
absl::StatusOr<std::vector<std::string>> FindMissing(
    const std::set<std::string>& paths, const HistoryTarget& place) {
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenHistory(place));
  std::vector<std::string> missing;
  for (const std::string& path : paths) {
    if (!missing.empty() && fs::LiesWithin(path, missing.back())) continue;
    if (!Exists(*volume, path)) missing.push_back(path);
  }
  return missing;
}

absl::Status UndeleteSince(const Arguments& arguments,
                           const HistoryTarget& place) {
  VARVE_ASSIGN_OR_RETURN(const std::vector<Deletion> deletions,
                         ReadDeletionsSince(arguments, place));
  std::set<std::string> paths;
  for (const Deletion& deletion : deletions) paths.insert(deletion.path);
  std::set<std::string> done;
  while (true) {
    VARVE_ASSIGN_OR_RETURN(const auto missing, FindMissing(paths, place));
    bool progress = false;
    for (const std::string& path : missing) {
      // One that is missing although it was restored cannot come back.
      if (!done.insert(path).second) continue;
      HistoryTarget one = place;
      one.path = path;
      VARVE_RETURN_IF_ERROR(
          RestoreAt(arguments, one,
                    absl::StrCat("seq:", *MomentBefore(deletions, path))));
      progress = true;
    }
    // What had been deleted in these directories before they were is missing
    // now.
    if (!progress || arguments.dry_run) break;
  }
  if (!done.empty()) return absl::OkStatus();
  return ExitError(ExitStatus::kNotFound,
                   absl::StrCat("nothing that was deleted since '",
                                arguments.since, "' is missing"));
}

absl::Status Undelete(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const HistoryTarget place,
                         FindHistoryTarget(arguments.target, arguments.path));
  if (!arguments.since.empty()) return UndeleteSince(arguments, place);
  if (!place.path.empty()) return UndeletePath(arguments, place);
  return ExitError(ExitStatus::kUsage,
                   "PATH or --since is required (see varve undelete --help)");
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
                 "  varve undelete photos.varve 2023/summer --to found\n"
                 "  varve undelete ~/photos --since 2h\n");
  auto arguments = std::make_shared<Arguments>();
  AddTarget(command, *arguments);
  command
      .add_option("--since", arguments->since,
                  "Everything that was deleted after T")
      ->excludes("--to");
  OnCommand(command, action, arguments, &Undelete);
}

}  // namespace varve::tools
