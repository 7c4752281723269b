// varve snapshot and varve history

#include <algorithm>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "fs/history/moment_names.h"
#include "fs/history/retention.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/history_target.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/moment_text.h"
#include "tools/varve/progress.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;

struct Arguments {
  std::string target;
  std::string name;
  std::string at = "now";
  std::string new_name;
  std::vector<std::string> policy;  // its rules
  std::vector<std::string> paths;   // to be purged
  bool dry_run = false;
  bool json = false;
};

absl::StatusOr<HistoryTarget> PlaceOf(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(HistoryTarget place,
                         FindHistoryTarget(arguments.target, ""));
  return place;
}

absl::StatusOr<std::unique_ptr<fs::Volume>> OpenFor(
    const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const HistoryTarget place, PlaceOf(arguments));
  return OpenHistory(place);
}

absl::Status Call(const Arguments& arguments, uint32_t operation,
                  const HistoryTexts& texts) {
  VARVE_ASSIGN_OR_RETURN(const HistoryTarget place, PlaceOf(arguments));
  VARVE_ASSIGN_OR_RETURN(const auto call, MakeHistoryCall(operation, texts));
  return ChangeHistory(place, *call);
}

absl::Status Create(const Arguments& arguments) {
  return Call(arguments, VARVE_HISTORY_CREATE,
              {.name = arguments.name, .at = arguments.at});
}
absl::Status Delete(const Arguments& arguments) {
  return Call(arguments, VARVE_HISTORY_DELETE, {.name = arguments.name});
}
absl::Status Rename(const Arguments& arguments) {
  return Call(arguments, VARVE_HISTORY_RENAME,
              {.name = arguments.name, .to = arguments.new_name});
}
absl::Status Hold(const Arguments& arguments) {
  return Call(arguments, VARVE_HISTORY_HOLD, {.name = arguments.name});
}
absl::Status Release(const Arguments& arguments) {
  return Call(arguments, VARVE_HISTORY_RELEASE, {.name = arguments.name});
}

Json ToJson(const fs::Snapshot& snapshot) {
  Json json;
  AddText(json, "name", snapshot.name);
  json["time"] = JsonTimeText(snapshot.time);
  json["sequence"] = snapshot.sequence;
  return json;
}

// Oldest first.
absl::StatusOr<std::vector<fs::Snapshot>> SortedSnapshots(fs::Volume& volume) {
  VARVE_ASSIGN_OR_RETURN(std::vector<fs::Snapshot> snapshots,
                         volume.history().Snapshots());
  std::sort(snapshots.begin(), snapshots.end(),
            [](const fs::Snapshot& a, const fs::Snapshot& b) {
              return std::pair(a.sequence, a.name) <
                     std::pair(b.sequence, b.name);
            });
  return snapshots;
}

absl::Status List(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenFor(arguments));
  VARVE_ASSIGN_OR_RETURN(const std::vector<fs::Snapshot> snapshots,
                         SortedSnapshots(*volume));
  std::string text = arguments.json ? "[" : "";
  for (const fs::Snapshot& snapshot : snapshots) {
    if (!arguments.json) {
      absl::StrAppend(&text, LocalTimeText(snapshot.time),
                      "  seq:", absl::StrFormat("%-10d", snapshot.sequence),
                      " ", Printable(snapshot.name),
                      snapshot.automatic ? "  (automatic)" : "",
                      snapshot.held ? "  (held)" : "", "\n");
      continue;
    }
    Json json = ToJson(snapshot);
    json["held"] = snapshot.held;
    json["automatic"] = snapshot.automatic;
    absl::StrAppend(&text, text.size() > 1 ? ",\n " : "\n ", JsonLine(json));
  }
  if (arguments.json) text += snapshots.empty() ? "]\n" : "\n]\n";
  return Print(text);
}

absl::Status Policy(const Arguments& arguments) {
  if (!arguments.policy.empty()) {
    VARVE_RETURN_IF_ERROR(Call(arguments, VARVE_HISTORY_POLICY,
                               {.name = absl::StrJoin(arguments.policy, " ")}));
  }
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenFor(arguments));
  VARVE_ASSIGN_OR_RETURN(const fs::HistoryPolicy policy,
                         volume->history().GetPolicy());
  if (!arguments.json) return Print(policy.Text() + "\n");
  Json json;
  json["policy"] = policy.Text();
  return Print(JsonLine(json) + "\n");
}

// What the policy keeps, and why.
absl::Status Plan(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenFor(arguments));
  VARVE_ASSIGN_OR_RETURN(const fs::HistoryPolicy policy,
                         volume->history().GetPolicy());
  VARVE_ASSIGN_OR_RETURN(const std::vector<fs::Snapshot> snapshots,
                         SortedSnapshots(*volume));
  VARVE_ASSIGN_OR_RETURN(const uint64_t kept_from,
                         volume->history().KeptFrom());
  std::vector<fs::RetentionCase> cases;
  cases.reserve(snapshots.size());
  for (const fs::Snapshot& snapshot : snapshots) {
    cases.push_back({.time = fs::ToTime(snapshot.time),
                     .automatic = snapshot.automatic,
                     .held = snapshot.held});
  }
  const auto reasons = fs::PlanRetention(policy, cases, absl::Now());
  Json json = {{"policy", policy.Text()}, {"kept_from", kept_from}};
  json["snapshots"] = Json::array();
  std::string text = absl::StrCat(
      "policy  ", policy.Text(), "\nall moments from seq:", kept_from, " on\n");
  for (size_t i = 0; i < snapshots.size(); ++i) {
    const fs::Snapshot& snapshot = snapshots[i];
    json["snapshots"].push_back(ToJson(snapshot));
    json["snapshots"].back()["kept_by"] = reasons[i];
    absl::StrAppend(&text, LocalTimeText(snapshot.time), "  ",
                    Printable(snapshot.name), "  ",
                    reasons[i].empty() ? "will be deleted"
                                       : absl::StrJoin(reasons[i], ", "),
                    "\n");
  }
  return Print(arguments.json ? JsonLine(json) + "\n" : text);
}

// What history costs.
absl::Status Usage(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenFor(arguments));
  VARVE_ASSIGN_OR_RETURN(const fs::HistoryUsage usage,
                         volume->history().GetUsage());
  const uint64_t past = usage.allocated - std::min(usage.live, usage.allocated);
  Json json = {{"allocated_bytes", usage.allocated},
               {"live_bytes", usage.live},
               {"past_bytes", past},
               {"kept_from", usage.kept_from},
               {"window_bytes", usage.window},
               {"snapshots", Json::array()}};
  std::string text = absl::StrCat(
      "store on the disk               ", HumanBytes(usage.allocated),
      "\nof which the present takes      ", HumanBytes(usage.live),
      "\nand the past, kept or not       ", HumanBytes(past),
      "\nappended in the window, which\nbegins at seq:",
      absl::StrFormat("%-16d", usage.kept_from), "  ", HumanBytes(usage.window),
      "\n");
  for (const auto& [snapshot, own] : usage.snapshots) {
    json["snapshots"].push_back(ToJson(snapshot));
    json["snapshots"].back()["own_bytes"] = own;
    absl::StrAppend(&text, LocalTimeText(snapshot.time), "  only this has ",
                    absl::StrFormat("%10s", HumanBytes(own)), "  ",
                    Printable(snapshot.name), "\n");
  }
  return Print(arguments.json ? JsonLine(json) + "\n" : text);
}

absl::Status ReportPurge(const Arguments& arguments, const std::string& path,
                         const fs::MomentsWithPath& found) {
  if (arguments.json) {
    Json json;
    AddText(json, "path", path);
    json["dry_run"] = arguments.dry_run;
    json["snapshots"] = found.snapshots;
    json["window"] = found.in_window;
    json["present"] = found.in_present;
    return Print(JsonLine(json) + "\n");
  }
  std::string text =
      absl::StrCat(arguments.dry_run ? "would purge " : "purged ",
                   Printable(path), " from\n");
  for (const std::string& snapshot : found.snapshots) {
    absl::StrAppend(&text, "  the snapshot ", Printable(snapshot), "\n");
  }
  if (found.in_window) text += "  the moments of the window\n";
  if (found.in_present) {
    absl::StrAppend(&text, "It stays in the present; only its past is gone.\n");
  }
  return Print(text);
}

// Takes the path out of the past, and names the moments that have had it.
absl::Status PurgePath(const Arguments& arguments, const std::string& path) {
  VARVE_ASSIGN_OR_RETURN(const HistoryTarget place,
                         FindHistoryTarget(arguments.target, path));
  fs::MomentsWithPath found;
  {
    VARVE_ASSIGN_OR_RETURN(const auto volume, OpenHistory(place));
    const auto with = volume->history().FindMomentsWith(place.path);
    if (!with.ok()) return ExplainHistory(with.status());
    found = *with;
  }
  if (found.none_past()) {
    return ExitError(ExitStatus::kNotFound,
                     absl::StrCat("no moment of the past has '", place.path,
                                  "'; `varve log` shows what has happened"));
  }
  if (!arguments.dry_run) {
    VARVE_ASSIGN_OR_RETURN(
        const auto call,
        MakeHistoryCall(VARVE_HISTORY_PURGE, {.from = place.path}));
    VARVE_RETURN_IF_ERROR(ChangeHistory(place, *call));
  }
  return ReportPurge(arguments, place.path, found);
}

absl::Status Purge(const Arguments& arguments) {
  for (const std::string& path : arguments.paths) {
    VARVE_RETURN_IF_ERROR(PurgePath(arguments, path));
  }
  return absl::OkStatus();
}

// Adds the subcommands of one verb.
class Declaration {
 public:
  Declaration(CLI::App& parent, Action& action)
      : parent_(parent), action_(action) {}

  CLI::App& Add(const std::string& name, const std::string& help,
                const std::string& example,
                absl::Status (*run)(const Arguments&)) {
    CLI::App& command =
        AddCommand(parent_, name, help,
                   absl::StrCat("\nExample:\n  varve ", parent_.get_name(), " ",
                                name, " ", example, "\n"));
    command
        .add_option("STORE", arguments_->target,
                    "A store, or a directory where one is mounted")
        ->required();
    OnCommand(command, action_, arguments_, run);
    return command;
  }
  CLI::App& AddNamed(const std::string& name, const std::string& help,
                     const std::string& example,
                     absl::Status (*run)(const Arguments&)) {
    CLI::App& command = Add(name, help, example, run);
    command.add_option("NAME", arguments_->name, "The snapshot")->required();
    return command;
  }
  Arguments& arguments() { return *arguments_; }

 private:
  CLI::App& parent_;
  Action& action_;
  const std::shared_ptr<Arguments> arguments_ = std::make_shared<Arguments>();
};

}  // namespace

void AddSnapshotCommand(CLI::App& app, Action& action) {
  CLI::App& snapshot =
      AddCommand(app, "snapshot", "Name moments, so that they are kept",
                 "A snapshot is the name of a moment of the whole tree. Making "
                 "one takes no\n"
                 "time and no space; from then on, what it shows is kept until "
                 "it is deleted.\n"
                 "`varve ls --at NAME` and others show it.\n\n"
                 "Example:\n  varve snapshot create ~/photos before-cleanup\n");
  snapshot.require_subcommand(1);
  Declaration declare(snapshot, action);
  CLI::App& create = declare.AddNamed("create", "Make a snapshot",
                                      "photos.varve monday", &Create);
  create.add_option("--at", declare.arguments().at,
                    "The moment, instead of now: 2h, yesterday, a time, seq:N");
  CLI::App& list = declare.Add("list", "List all snapshots, oldest first",
                               "photos.varve", &List);
  list.add_flag("--json", declare.arguments().json, "Print JSON");
  declare.AddNamed("delete", "Delete a snapshot", "photos.varve monday",
                   &Delete);
  CLI::App& rename = declare.AddNamed("rename", "Rename a snapshot",
                                      "photos.varve monday tuesday", &Rename);
  rename.add_option("NEW-NAME", declare.arguments().new_name, "Its new name")
      ->required();
  declare.AddNamed("hold", "Keep a snapshot from being deleted",
                   "photos.varve monday", &Hold);
  declare.AddNamed("release", "Let a snapshot be deleted again",
                   "photos.varve monday", &Release);
}

void AddHistoryCommand(CLI::App& app, Action& action) {
  CLI::App& history = AddCommand(
      app, "history", "Say how long the past is kept",
      "All moments of a window are kept, by default those of the "
      "last day; and\n"
      "snapshots. The window takes no more room than what is live "
      "(or 64 MiB, if that\n"
      "is more) and gives way to a full disk, oldest first, unless "
      "its span ends in\n"
      "\"!\". With hourly=48, a mount makes a snapshot in each hour "
      "in which something\n"
      "has changed, and the last one of each of the last 48 such "
      "hours is kept; the\n"
      "same for daily, weekly, monthly and yearly. Periods are those "
      "of UTC, or of\n"
      "zone=Europe/Berlin. A snapshot is kept as long as any rule "
      "keeps it; those\n"
      "that a user has named or holds stay in any case.\n\n"
      "Example:\n  varve history policy photos.varve within=7d "
      "hourly=48 daily=30\n");
  history.require_subcommand(1);
  Declaration declare(history, action);
  CLI::App& policy =
      declare.Add("policy", "Set rules, if any are given, and show what holds",
                  "photos.varve within=7d hourly=48 daily=30", &Policy);
  policy.add_option("RULE", declare.arguments().policy,
                    "within=SPAN, such as 12h, 7d or 0, with ! in any case; "
                    "hourly=N, daily=N, weekly=N, monthly=N, yearly=N; "
                    "zone=NAME");
  policy.add_flag("--json", declare.arguments().json, "Print JSON");
  CLI::App& plan =
      declare.Add("plan", "Show which snapshots the rules keep, and why",
                  "photos.varve", &Plan);
  plan.add_flag("--json", declare.arguments().json, "Print JSON");
  CLI::App& usage = declare.Add(
      "usage", "Show what the past costs, and what each snapshot alone holds",
      "photos.varve", &Usage);
  usage.add_flag("--json", declare.arguments().json, "Print JSON");
  CLI::App& purge = declare.Add(
      "purge", "Take paths out of the past for good, such as secrets",
      "photos.varve keys/id_rsa", &Purge);
  purge
      .add_option("PATH", declare.arguments().paths,
                  "A file, or a directory with all that lies below, from the "
                  "root of the tree")
      ->required();
  purge.add_flag("-n,--dry-run", declare.arguments().dry_run,
                 "Only name the moments that have it");
  purge.add_flag("--json", declare.arguments().json, "Print JSON");
}

}  // namespace varve::tools
