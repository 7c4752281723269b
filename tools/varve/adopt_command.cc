// varve adopt

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/long_work.h"
#include "tools/varve/open_store.h"

namespace varve::tools {
namespace {

constexpr char kDetails[] =
    R"(A store keeps only the hashes of keys, so entries that another program wrote
have no names. Each line of KEYS-FILE is a key. If an unnamed entry has its
hash, that entry becomes a file with the key as its path. Keys without such an
entry are counted and otherwise ignored.

Example:
  varve adopt old.store keys.txt
  printf 'docs/a\0docs/b\0' | varve adopt -0 old.store -
)";

struct Arguments {
  std::string store;
  std::string keys_file;
  bool null_separated = false;
  bool json = false;
};

absl::StatusOr<std::vector<std::string>> ReadKeys(const Arguments& arguments) {
  const bool from_input = arguments.keys_file == "-";
  VARVE_ASSIGN_OR_RETURN(
      const std::string text,
      ReadHostFile(from_input ? "/dev/stdin" : arguments.keys_file));
  std::vector<std::string> keys =
      absl::StrSplit(text, arguments.null_separated ? '\0' : '\n');
  // The part after the last separator.
  if (!keys.empty() && keys.back().empty()) keys.pop_back();
  return keys;
}

struct Outcome {
  size_t keys = 0;
  size_t adopted = 0;
  size_t absent = 0;  // have no unnamed entry
  size_t failed = 0;
};

std::string ToText(const Outcome& outcome) {
  return absl::StrCat(
      outcome.adopted, " of ", outcome.keys, " keys adopted; ", outcome.absent,
      " have no unnamed entry",
      outcome.failed == 0 ? "" : absl::StrCat("; ", outcome.failed, " failed"),
      "\n");
}

std::string ToJson(const std::string& store, const Outcome& outcome) {
  return JsonText({{"store", store},
                   {"keys", outcome.keys},
                   {"adopted", outcome.adopted},
                   {"absent", outcome.absent},
                   {"failed", outcome.failed}});
}

absl::Status Adopt(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const std::vector<std::string> keys,
                         ReadKeys(arguments));
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenVolume(arguments.store, {}));
  ShowUntilOutput("adopting into " + LastPartOf(arguments.store));
  Outcome outcome{.keys = keys.size()};
  absl::Status first_failure;
  const std::vector<absl::Status> results =
      volume->Adopt(keys, CurrentCaller());
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i].ok()) {
      ++outcome.adopted;
    } else if (absl::IsNotFound(results[i])) {
      ++outcome.absent;
    } else {
      ++outcome.failed;
      first_failure.Update(
          Explain(results[i], absl::StrCat("cannot adopt \"", keys[i], "\"")));
    }
  }
  first_failure.Update(CloseVolume(*volume));
  VARVE_RETURN_IF_ERROR(Print(arguments.json ? ToJson(arguments.store, outcome)
                                             : ToText(outcome)));
  return first_failure;
}

}  // namespace

void AddAdoptCommand(CLI::App& app, Action& action) {
  CLI::App& command = AddCommand(
      app, "adopt", "Give names to entries of another program", kDetails);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("STORE", arguments->store, "The store")->required();
  command
      .add_option("KEYS-FILE", arguments->keys_file,
                  "The keys; - is standard input")
      ->required();
  command.add_flag("-0,--null", arguments->null_separated,
                   "Keys end with NUL instead of a line break");
  command.add_flag("--json", arguments->json, "Report as JSON");
  OnCommand(command, action, std::move(arguments), &Adopt);
}

}  // namespace varve::tools
