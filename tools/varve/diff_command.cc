// varve diff

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/history_target.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/progress.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;
using Kind = fs::PathDifference::Kind;

struct Arguments {
  std::string target;
  std::string before;
  std::string after = "now";
  std::string path;
  bool statistics = false;
  bool nul = false;
  bool json = false;
};

bool IsDirectory(const fs::PathDifference& difference) {
  const auto& inode =
      difference.after.has_value() ? difference.after : difference.before;
  return inode.has_value() && inode->is_directory();
}

std::string JsonOf(const fs::PathDifference& difference) {
  Json json;
  json["change"] = std::string(1, static_cast<char>(difference.kind));
  AddText(json, "path", std::string(difference.path));
  if (difference.kind == Kind::kRenamed) {
    AddText(json, "old_path", std::string(difference.old_path));
  }
  json["directory"] = IsDirectory(difference);
  if (difference.before.has_value()) {
    json["old_size"] = difference.before->attributes.size;
  }
  if (difference.after.has_value()) {
    json["size"] = difference.after->attributes.size;
  }
  json["content"] = difference.content;
  json["attributes"] = difference.attributes;
  json["xattrs"] = difference.xattrs;
  json["new_bytes"] = difference.new_bytes;
  return JsonLine(json) + "\n";
}

std::string LineOf(const fs::PathDifference& difference,
                   const Arguments& arguments) {
  if (arguments.json) return JsonOf(difference);
  if (arguments.nul) {
    // For backup scripts: what has to be copied.
    if (difference.kind == Kind::kRemoved) return "";
    return std::string(difference.path) + '\0';
  }
  std::string line =
      absl::StrCat(std::string(1, static_cast<char>(difference.kind)), " ");
  if (difference.kind == Kind::kRenamed) {
    absl::StrAppend(&line, Printable(difference.old_path), " -> ");
  }
  absl::StrAppend(&line, Printable(difference.path),
                  IsDirectory(difference) ? "/" : "");
  if (arguments.statistics) {
    absl::StrAppend(&line, "  ", HumanBytes(difference.new_bytes));
  }
  return line + "\n";
}

absl::Status Diff(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const HistoryTarget place,
                         FindHistoryTarget(arguments.target, arguments.path));
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenHistory(place));
  std::string text;
  uint64_t count = 0;
  uint64_t bytes = 0;
  const absl::Status compared = volume->history().Diff(
      arguments.before, arguments.after, place.path,
      [&](const fs::PathDifference& difference) -> absl::StatusOr<bool> {
        ++count;
        bytes += difference.new_bytes;
        text += LineOf(difference, arguments);
        if (text.size() < 65536) return true;
        const absl::Status printed = Print(text);
        if (!printed.ok()) return printed;
        text.clear();
        return true;
      });
  if (!compared.ok()) return ExplainHistory(compared);
  if (arguments.statistics && !arguments.json && !arguments.nul) {
    absl::StrAppend(&text, count, " changed, ", HumanBytes(bytes),
                    " of new content\n");
  }
  return Print(text);
}

}  // namespace

void AddDiffCommand(CLI::App& app, Action& action) {
  CLI::App& command = AddCommand(
      app, "diff", "Show what differs between two moments",
      "Prints a line for each path: + added, - removed, M modified, R renamed. "
      "The\n"
      "cost follows what has changed, not how large the store is. -0 prints "
      "only what\n"
      "a backup has to copy, each path with a NUL behind it, for\n"
      "`rsync -0 --files-from=-`. With --json, one object a line. `varve help "
      "log`\n"
      "says how moments are named.\n\n"
      "Example:\n  varve diff ~/photos yesterday\n"
      "  varve diff photos.varve monday tuesday --path 2023 --stat\n");
  auto arguments = std::make_shared<Arguments>();
  command
      .add_option("STORE", arguments->target,
                  "A store, a directory where one is mounted, or a path there")
      ->required();
  command.add_option("A", arguments->before, "The older moment")->required();
  command.add_option("B", arguments->after, "The newer moment (now)");
  command.add_option("--path", arguments->path,
                     "Only this path, and those below it");
  command.add_flag("--stat", arguments->statistics,
                   "Also show the bytes of new content");
  command.add_flag("-0", arguments->nul, "Paths to copy, with a NUL each");
  command.add_flag("--json", arguments->json, "Print JSON");
  OnCommand(command, action, arguments, &Diff);
}

}  // namespace varve::tools
