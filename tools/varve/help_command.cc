// varve help

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "tools/varve/command.h"

namespace varve::tools {
namespace {

constexpr char kDetails[] =
    R"(The same as `varve COMMAND --help`.

Example:
  varve help mount
)";

struct Arguments {
  std::vector<std::string> words;
};

// main.cc has turned it into another command.
absl::Status Help(const Arguments&) { return absl::OkStatus(); }

}  // namespace

void AddHelpCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "help", "Show the help of a command", kDetails);
  auto arguments = std::make_shared<Arguments>();
  AddWords(command, "COMMAND", arguments->words, "The command (all of them)");
  OnCommand(command, action, std::move(arguments), &Help);
}

}  // namespace varve::tools
