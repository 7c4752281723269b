// varve log

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "fs/format/path.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/history_target.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/long_work.h"
#include "tools/varve/moment_text.h"
#include "tools/varve/store_watch.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;
using Kind = fs::LoggedOperation::Kind;

constexpr char kMoments[] =
    R"(A moment T is now, the name of a snapshot, last (the newest snapshot), seq:N (as
this log shows it), a time (2026-11-28T22:00:00Z, or without the Z in local time:
"2026-11-28 22:00", 2026-11-28), a span (90s, 30m, 2h, 7d: so long ago), or
yesterday (24 hours ago).
)";

// Following opens the store at most so often.
constexpr absl::Duration kLeastPause = absl::Milliseconds(50);

struct Arguments {
  std::string target;
  std::string path;
  std::string since;
  std::string until;
  std::string operations;
  std::optional<uint32_t> uid;
  size_t most = 0;
  bool follow = false;
  bool json = false;
};

class Logger {
 public:
  Logger(const Arguments& arguments, const HistoryTarget& place)
      : arguments_(arguments),
        place_(place),
        operations_(
            absl::StrSplit(arguments.operations, ',', absl::SkipEmpty())) {}

  // Shows what there is, newest first.
  absl::Status Run();
  // Shows what there is since the moment that the user has given, or now, and
  // what comes, oldest first, until it fails.
  absl::Status Follow();

 private:
  // The number of the first commit that is to be shown.
  absl::StatusOr<uint64_t> FindFirst(fs::Volume& volume) const;
  // Whether the user wants to see the operation.
  bool Wants(const fs::LoggedOperation& operation) const;
  // What is shown of the commit; empty if nothing is.
  std::string TextOf(const fs::LoggedCommit& commit);
  bool IsEnough() const {
    return arguments_.most > 0 && shown_ >= arguments_.most;
  }
  std::string LineOf(const fs::LoggedCommit& commit,
                     const fs::LoggedOperation& operation) const;

  const Arguments& arguments_;
  const HistoryTarget& place_;
  const std::vector<std::string> operations_;
  uint64_t last_ = UINT64_MAX;
  size_t shown_ = 0;
};

absl::StatusOr<uint64_t> Logger::FindFirst(fs::Volume& volume) const {
  if (arguments_.since.empty()) return 0;
  const auto since = volume.history().FindMoment(arguments_.since);
  if (since.ok()) return since->sequence + 1;
  // If that is before all that is kept, there is nothing to leave out.
  if (absl::IsNotFound(since.status())) return 0;
  return ExplainHistory(since.status());
}

absl::Status Logger::Run() {
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenHistory(place_));
  VARVE_ASSIGN_OR_RETURN(const uint64_t from, FindFirst(*volume));
  if (!arguments_.until.empty()) {
    const auto until = volume->history().FindMoment(arguments_.until);
    if (!until.ok()) return ExplainHistory(until.status());
    last_ = until->sequence;
  }
  return volume->history().ReadLog(
      from, [this](const fs::LoggedCommit& commit) -> absl::StatusOr<bool> {
        const std::string text = TextOf(commit);
        if (!text.empty()) VARVE_RETURN_IF_ERROR(Print(text));
        return !IsEnough();
      });
}

absl::Status Logger::Follow() {
  VARVE_ASSIGN_OR_RETURN(StoreWatch watch, StoreWatch::Begin(place_.store));
  std::optional<uint64_t> next;
  while (true) {
    VARVE_ASSIGN_OR_RETURN(const auto volume, OpenHistory(place_));
    const auto now = volume->history().FindMoment("now");
    // A new store may have no commit yet.
    const uint64_t end = now.ok() ? now->sequence + 1 : 0;
    if (!next.has_value()) {
      next = end;
      if (!arguments_.since.empty()) {
        VARVE_ASSIGN_OR_RETURN(next, FindFirst(*volume));
      }
    }
    std::vector<fs::LoggedCommit> commits;
    VARVE_RETURN_IF_ERROR(volume->history().ReadLog(
        *next, [&](const fs::LoggedCommit& commit) -> absl::StatusOr<bool> {
          commits.push_back(commit);
          return true;
        }));
    for (auto it = commits.rbegin(); it != commits.rend(); ++it) {
      const std::string text = TextOf(*it);
      if (!text.empty()) VARVE_RETURN_IF_ERROR(Print(text));
      if (IsEnough()) return absl::OkStatus();
    }
    next = std::max(*next, end);
    EndShown();
    VARVE_RETURN_IF_ERROR(watch.Wait());
    // sleep: under load, this takes what has come together.
    absl::SleepFor(kLeastPause);
  }
}

bool Logger::Wants(const fs::LoggedOperation& operation) const {
  const std::string name(fs::NameOf(operation.kind));
  if (!operations_.empty() && std::find(operations_.begin(), operations_.end(),
                                        name) == operations_.end()) {
    return false;
  }
  if (place_.path.empty()) return true;
  return operation.ino != 0 &&
         (fs::LiesWithin(operation.path, place_.path) ||
          (operation.kind == Kind::kRename &&
           fs::LiesWithin(operation.old_path, place_.path)));
}

std::string Logger::LineOf(const fs::LoggedCommit& commit,
                           const fs::LoggedOperation& operation) const {
  if (arguments_.json) {
    Json json;
    json["sequence"] = commit.sequence;
    json["time"] = JsonTimeText(commit.time);
    json["uid"] = commit.uid.has_value() ? Json(*commit.uid) : Json(nullptr);
    if (commit.pid != 0) {
      json["pid"] = commit.pid;
      json["process"] = commit.process;
    }
    json["operation"] = std::string(fs::NameOf(operation.kind));
    AddText(json, "path", operation.path);
    if (operation.kind == Kind::kRename) {
      AddText(json, "old_path", operation.old_path);
    }
    if (operation.ino != 0) json["inode"] = operation.ino;
    if (operation.kind == Kind::kWrite) json["size"] = operation.size;
    return JsonLine(json) + "\n";
  }
  std::string line = absl::StrCat(
      LocalTimeText(commit.time), "  ",
      absl::StrFormat("seq:%-8d %6s  %-10s ", commit.sequence,
                      commit.uid.has_value() ? absl::StrCat(*commit.uid) : "-",
                      std::string(fs::NameOf(operation.kind))));
  if (operation.kind == Kind::kRename) {
    absl::StrAppend(&line, Printable(operation.old_path), " -> ");
  }
  absl::StrAppend(&line, Printable(operation.path),
                  operation.is_directory ? "/" : "");
  if (commit.pid != 0) {
    absl::StrAppend(&line, "  by ", Printable(commit.process), "[", commit.pid,
                    "]");
  }
  return line + "\n";
}

std::string Logger::TextOf(const fs::LoggedCommit& commit) {
  std::string text;
  if (commit.sequence > last_) return text;
  if (arguments_.uid.has_value() && commit.uid != arguments_.uid) return text;
  for (const fs::LoggedOperation& operation : commit.operations) {
    if (!Wants(operation)) continue;
    text += LineOf(commit, operation);
    ++shown_;
    if (IsEnough()) break;
  }
  return text;
}

absl::Status Log(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const HistoryTarget place,
                         FindHistoryTarget(arguments.target, arguments.path));
  Logger logger(arguments, place);
  return arguments.follow ? logger.Follow() : logger.Run();
}

}  // namespace

void AddLogCommand(CLI::App& app, Action& action) {
  CLI::App& command = AddCommand(
      app, "log", "Show what happened, newest first",
      absl::StrCat(
          "Shows what the kept moments tell: for each change its time, the "
          "number of\n"
          "its commit, who made it, and what it did: create, write, delete, "
          "rename,\n"
          "link, attributes, xattr, snapshot, drop-snapshot, forget, policy, "
          "purge.\n"
          "With --json, one object a line. Works while the store is mounted; "
          "with "
          "-f it waits\n"
          "for what happens next.\n\n",
          kMoments,
          "\nExample:\n  varve log ~/photos --since 2h --op delete,rename\n"));
  auto arguments = std::make_shared<Arguments>();
  command
      .add_option("STORE", arguments->target,
                  "A store, a directory where one is mounted, or a path there")
      ->required();
  command.add_option("PATH", arguments->path,
                     "Only what concerns this path, and those below it");
  command.add_option("--since", arguments->since, "Only what came after T");
  command.add_option("--until", arguments->until, "Only what came before T");
  command.add_option("--op", arguments->operations,
                     "Only these, such as delete,rename");
  command.add_option("--by", arguments->uid, "Only what this user id did");
  command.add_option("-n", arguments->most, "At most so many lines");
  command
      .add_flag(
          "-f,--follow", arguments->follow,
          "Go on with what happens from now on (or since T), oldest first")
      ->excludes("--until");
  command.add_flag("--json", arguments->json, "Print JSON");
  OnCommand(command, action, arguments, &Log);
}

}  // namespace varve::tools
