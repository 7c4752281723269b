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
#include "engine/status.h"
#include "tools/varve/checker.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kDetails[] =
    R"(Follows the chain of entries, compares every live entry with its checksum,
and the tree with the entries. Changes nothing. Works while the store is
mounted, on what has been committed by then.

Prints a line for each thing that is wrong, and one as a summary. Its exit
status is 0 if all is well, 4 if damage was found, and 8 if the store could not
be checked.

Example:
  varve check photos.varve
)";

struct Arguments {
  std::string store;
  bool json = false;
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
  const size_t count = result.problems.size();
  absl::StrAppend(
      &text, Printable(arguments.store), ": ",
      count == 0 ? "clean"
                 : absl::StrCat(count, count == 1 ? " problem" : " problems"),
      "; ", result.chain_entries, " entries, ", result.live_entries, " live, ",
      result.verified_bytes, " bytes verified, ",
      result.has_tree ? absl::StrCat(result.files, " files") : "no tree", "\n");
  return text;
}

std::string JsonReport(const Arguments& arguments, const CheckResult& result) {
  Json json = {{"store", arguments.store},
               {"clean", result.problems.empty()},
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
  return json.dump(2, ' ', /*ensure_ascii=*/false,
                   Json::error_handler_t::replace) +
         "\n";
}

absl::Status Check(const Arguments& arguments) {
  const absl::StatusOr<CheckResult> result = Checker(arguments.store).Check();
  if (!result.ok()) {
    return ExitError(
        ExitStatus::kNotChecked,
        absl::StrCat("cannot check the store: ", result.status().message()));
  }
  VARVE_RETURN_IF_ERROR(Print(arguments.json ? JsonReport(arguments, *result)
                                             : Report(arguments, *result)));
  // All has been said.
  return result->problems.empty() ? absl::OkStatus()
                                  : ExitError(ExitStatus::kDamage, "");
}

}  // namespace

void AddCheckCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "check", "Look for damage in a store", kDetails);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("STORE", arguments->store, "The store")->required();
  command.add_flag("--json", arguments->json, "Report as JSON");
  OnCommand(command, action, std::move(arguments), &Check);
}

}  // namespace varve::tools
