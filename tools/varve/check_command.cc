// varve check

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
#include "tools/varve/checker.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/open_store.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kDetails[] =
    R"(Follows the chain of entries, compares every live entry with its checksum, and
compares the tree with the entries. Changes nothing. Works while the store is
mounted, on what has been committed by then.

With --repair, replaces a damaged store by a sound copy. The damaged store is
kept beside it as STORE.damaged. In the copy, a damaged file is FILE.damaged,
which has its bytes as they are. If the store has an older, sound version of the
file, that is FILE.older. The store must not be in use.

Prints a line for each problem, and a summary. The exit status is 0 if all is
well, 4 if damage was found, 8 if the store could not be checked, and 16 if
nothing is damaged but the store may be incomplete: it is shorter than it was,
or it was not closed properly and is not in use. After a crash the next mount or
writing command closes it; in a copy or a download, something is missing.

Example:
  varve check photos.varve
)";

struct Arguments {
  std::string store;
  bool json = false;
  bool repair = false;
};

const char* KindName(Problem::Kind kind) {
  switch (kind) {
    case Problem::Kind::kChain:
      return "chain";
    case Problem::Kind::kEntry:
      return "entry";
    case Problem::Kind::kContent:
      return "content";
    case Problem::Kind::kTree:
      return "tree";
  }
  return "";
}

std::string ProblemLine(const Problem& problem) {
  std::string line =
      absl::StrCat(KindName(problem.kind), ": ", Printable(problem.message));
  if (problem.offset.has_value()) {
    absl::StrAppendFormat(&line, "; at offset %d", *problem.offset);
  }
  if (problem.key_hash.has_value()) {
    absl::StrAppendFormat(&line, ", key hash %016x", *problem.key_hash);
  }
  for (const std::string& file : problem.files) {
    absl::StrAppend(&line, ", file \"", Printable(file), "\"");
  }
  return line + "\n";
}

std::string Report(const Arguments& arguments, const CheckResult& result) {
  std::string text;
  for (const std::string& note : result.notes) {
    absl::StrAppend(&text, "note: ", Printable(note), "\n");
  }
  for (const Problem& problem : result.problems) text += ProblemLine(problem);
  if (!result.incomplete.empty()) {
    absl::StrAppend(&text, "INCOMPLETE: ", Printable(result.incomplete), "\n");
  }
  const size_t count = result.problems.size();
  absl::StrAppend(
      &text, Printable(arguments.store), ": ",
      count > 0 ? absl::StrCat(count, count == 1 ? " problem" : " problems")
                : (result.incomplete.empty() ? "clean" : "INCOMPLETE"),
      "; ", result.chain_entries, " entries, ", result.live_entries, " live, ",
      result.verified_bytes, " bytes verified, ",
      result.has_tree ? absl::StrCat(result.files, " files") : "no tree", "\n");
  return text;
}

// `repair` is null if there was none.
std::string JsonReport(const Arguments& arguments, const CheckResult& result,
                       const fs::RepairReport* repair) {
  Json json = {{"store", arguments.store},
               {"clean", result.problems.empty() && result.incomplete.empty()},
               {"incomplete", result.incomplete},
               {"chain_entries", result.chain_entries},
               {"live_entries", result.live_entries},
               {"verified_bytes", result.verified_bytes},
               {"has_tree", result.has_tree},
               {"files", result.files},
               {"notes", result.notes},
               {"problems", Json::array()}};
  for (const Problem& problem : result.problems) {
    Json& item = json["problems"].emplace_back();
    item["kind"] = KindName(problem.kind);
    item["message"] = problem.message;
    if (problem.offset.has_value()) item["offset"] = *problem.offset;
    if (problem.key_hash.has_value()) {
      item["key_hash"] = absl::StrFormat("%016x", *problem.key_hash);
    }
    item["files"] = problem.files;
  }
  json["repair"] = nullptr;
  if (repair != nullptr) {
    json["repair"] = {{"kept", repair->kept},
                      {"notes", repair->notes},
                      {"files", repair->files}};
  }
  return JsonText(json);
}

std::string RepairText(const Arguments& arguments,
                       const fs::RepairReport& report) {
  std::string text;
  for (const std::string& note : report.notes) {
    absl::StrAppend(&text, "note: ", Printable(note), "\n");
  }
  for (const std::string& file : report.files) {
    absl::StrAppend(&text, Printable(file), "\n");
  }
  absl::StrAppend(&text, Printable(arguments.store),
                  ": replaced by a sound copy; the damaged store is ",
                  Printable(report.kept), "\n");
  return text;
}

// Prints the problems before the repair begins, unless the output is one JSON
// object.
absl::Status Repair(const Arguments& arguments, const CheckResult& result) {
  if (!arguments.json) VARVE_RETURN_IF_ERROR(Print(Report(arguments, result)));
  const absl::StatusOr<fs::RepairReport> repair =
      RepairUnusedStore(arguments.store);
  absl::Status status = repair.status();
  if (arguments.json) {
    status.Update(
        Print(JsonReport(arguments, result, repair.ok() ? &*repair : nullptr)));
  } else if (repair.ok()) {
    status = Print(RepairText(arguments, *repair));
  }
  return status;
}

absl::Status Check(const Arguments& arguments) {
  const absl::StatusOr<CheckResult> result = Checker(arguments.store).Check();
  if (!result.ok()) {
    return ExitError(
        ExitStatus::kNotChecked,
        absl::StrCat("cannot check the store: ", result.status().message()));
  }
  if (arguments.repair && !result->problems.empty()) {
    return Repair(arguments, *result);
  }
  VARVE_RETURN_IF_ERROR(
      Print(arguments.json ? JsonReport(arguments, *result, /*repair=*/nullptr)
                           : Report(arguments, *result)));
  // Everything has been printed.
  if (!result->problems.empty()) return ExitError(ExitStatus::kDamage, "");
  return result->incomplete.empty() ? absl::OkStatus()
                                    : ExitError(ExitStatus::kCutShort, "");
}

}  // namespace

void AddCheckCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "check", "Look for damage in a store", kDetails);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("STORE", arguments->store, "The store")->required();
  command.add_flag("--json", arguments->json, "Report as JSON");
  command.add_flag("--repair", arguments->repair,
                   "Replace a damaged store by a sound copy");
  OnCommand(command, action, std::move(arguments), &Check);
}

}  // namespace varve::tools
