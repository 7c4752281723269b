// varve log and varve versions

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
#include "engine/base/status.h"
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

constexpr char kMoments[] =
    R"(A moment T is now, the name of a snapshot, last (the newest snapshot), seq:N (as
this log shows it), a time (2026-11-28T22:00:00Z, or without the Z in local time:
"2026-11-28 22:00", 2026-11-28), a span (90s, 30m, 2h, 7d: so long ago), or
yesterday (24 hours ago).
)";

struct Arguments {
  std::string target;
  std::string path;
  std::string since;
  std::string until;
  std::string operations;
  std::optional<uint32_t> uid;
  size_t most = 0;
  bool json = false;
};

class Logger {
 public:
  Logger(const Arguments& arguments, const HistoryPlace& place)
      : arguments_(arguments),
        place_(place),
        operations_(
            absl::StrSplit(arguments.operations, ',', absl::SkipEmpty())) {}

  absl::Status Run();

 private:
  // Whether the user wants to see the operation.
  bool Wants(const fs::LoggedOperation& operation) const;
  absl::StatusOr<bool> Show(const fs::LoggedCommit& commit);
  std::string LineOf(const fs::LoggedCommit& commit,
                     const fs::LoggedOperation& operation) const;

  const Arguments& arguments_;
  const HistoryPlace& place_;
  const std::vector<std::string> operations_;
  uint64_t last_ = UINT64_MAX;
  size_t shown_ = 0;
};

absl::Status Logger::Run() {
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenHistory(place_));
  uint64_t from = 0;
  if (!arguments_.since.empty()) {
    const auto since = volume->FindMoment(arguments_.since);
    // If that is before all that is kept, there is nothing to leave out.
    if (since.ok()) {
      from = since->sequence + 1;
    } else if (!absl::IsNotFound(since.status())) {
      return ExplainHistory(since.status());
    }
  }
  if (!arguments_.until.empty()) {
    const auto until = volume->FindMoment(arguments_.until);
    if (!until.ok()) return ExplainHistory(until.status());
    last_ = until->sequence;
  }
  return volume->ReadLog(
      from, [this](const fs::LoggedCommit& commit) { return Show(commit); });
}

bool Logger::Wants(const fs::LoggedOperation& operation) const {
  const std::string name(fs::NameOf(operation.kind));
  if (!operations_.empty() && std::find(operations_.begin(), operations_.end(),
                                        name) == operations_.end()) {
    return false;
  }
  if (place_.path.empty()) return true;
  return operation.ino != 0 && (LiesWithin(operation.path, place_.path) ||
                                (operation.kind == Kind::kRename &&
                                 LiesWithin(operation.old_path, place_.path)));
}

std::string Logger::LineOf(const fs::LoggedCommit& commit,
                           const fs::LoggedOperation& operation) const {
  if (arguments_.json) {
    Json json;
    json["sequence"] = commit.sequence;
    json["time"] = JsonTimeText(commit.time);
    json["uid"] = commit.uid.has_value() ? Json(*commit.uid) : Json(nullptr);
    json["operation"] = std::string(fs::NameOf(operation.kind));
    json["path"] = operation.path;
    if (operation.kind == Kind::kRename) json["old_path"] = operation.old_path;
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
                  operation.is_directory ? "/" : "", "\n");
  return line;
}

absl::StatusOr<bool> Logger::Show(const fs::LoggedCommit& commit) {
  if (commit.sequence > last_) return true;
  if (arguments_.uid.has_value() && commit.uid != arguments_.uid) return true;
  std::string text;
  for (const fs::LoggedOperation& operation : commit.operations) {
    if (!Wants(operation)) continue;
    text += LineOf(commit, operation);
    if (++shown_ == arguments_.most) break;
  }
  if (!text.empty()) VARVE_RETURN_IF_ERROR(Print(text));
  return arguments_.most == 0 || shown_ < arguments_.most;
}

absl::Status Log(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const HistoryPlace place,
                         FindHistoryPlace(arguments.target, arguments.path));
  return Logger(arguments, place).Run();
}

// A content that a file had.
struct Version {
  uint64_t sequence = 0;
  fs::Timestamp time;
  std::optional<uint32_t> uid;
  uint64_t size = 0;
  std::string path;
};

std::string TextOf(const Version& version, bool json) {
  if (json) {
    Json line;
    line["sequence"] = version.sequence;
    line["time"] = JsonTimeText(version.time);
    line["uid"] = version.uid.has_value() ? Json(*version.uid) : Json(nullptr);
    line["size"] = version.size;
    line["path"] = version.path;
    return JsonLine(line) + "\n";
  }
  return absl::StrCat(
      LocalTimeText(version.time), "  ",
      absl::StrFormat(
          "seq:%-8d %6s %12d  ", version.sequence,
          version.uid.has_value() ? absl::StrCat(*version.uid) : "-",
          version.size),
      Printable(version.path), "\n");
}

absl::Status Versions(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const HistoryPlace place,
                         FindHistoryPlace(arguments.target, arguments.path));
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenHistory(place));
  // The file that has this path, or had it last.
  uint64_t ino = 0;
  volume->WithTree([&](const fs::TreeReader& tree) {
    const auto inode = tree.Resolve(place.path);
    if (inode.ok() && inode->has_value()) ino = (*inode)->ino;
  });
  std::string path = place.path;
  size_t count = 0;
  const absl::Status read = volume->ReadLog(
      0, [&](const fs::LoggedCommit& commit) -> absl::StatusOr<bool> {
        for (const fs::LoggedOperation& operation : commit.operations) {
          if (ino == 0 && operation.kind == Kind::kDelete &&
              operation.path == place.path) {
            ino = operation.ino;
          }
          if (ino == 0 || operation.ino != ino) continue;
          if (operation.kind == Kind::kWrite ||
              operation.kind == Kind::kCreate) {
            ++count;
            VARVE_RETURN_IF_ERROR(Print(TextOf({.sequence = commit.sequence,
                                                .time = commit.time,
                                                .uid = commit.uid,
                                                .size = operation.size,
                                                .path = operation.path},
                                               arguments.json)));
          }
        }
        return true;
      });
  VARVE_RETURN_IF_ERROR(read);
  if (count > 0 || ino != 0) return absl::OkStatus();
  return ExitError(ExitStatus::kNotFound,
                   absl::StrCat("no kept moment has a file '", place.path,
                                "'; `varve ls --at NAME` shows snapshots"));
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
          "link, attributes, xattr, snapshot, drop-snapshot, forget, policy. "
          "With\n"
          "--json, one object a line. Works while the store is mounted.\n\n",
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
  command.add_flag("--json", arguments->json, "Print JSON");
  OnCommand(command, action, arguments, &Log);
}

void AddVersionsCommand(CLI::App& app, Action& action) {
  CLI::App& command = AddCommand(
      app, "versions", "Show the contents that a file had, newest first",
      "For each, its time, the number of its commit, who wrote it, the size, "
      "and the\n"
      "path that the file had then. Renames are followed. Each can be read:\n"
      "`varve get --at seq:N`.\n\n"
      "Example:\n  varve versions photos.varve notes.txt\n");
  auto arguments = std::make_shared<Arguments>();
  command
      .add_option("STORE", arguments->target,
                  "A store, or the path of a file in a mount")
      ->required();
  command.add_option("PATH", arguments->path, "The file in the store");
  command.add_flag("--json", arguments->json, "Print JSON");
  OnCommand(command, action, arguments, &Versions);
}

}  // namespace varve::tools
