// How the parts of the command line fit together: each group of subcommands
// adds itself to the parser, and leaves in `action` what is to be done if it
// was the one that the user named.

#ifndef VARVE_TOOLS_VARVE_COMMAND_H_
#define VARVE_TOOLS_VARVE_COMMAND_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace varve::tools {

// The failure's message, if not empty, is printed; see exit_status.h.
using Action = std::function<absl::Status()>;

// What is said below the help of each command.
inline constexpr char kDetailsEnd[] = "\nExit status: see `varve --help`.";

// Adds a subcommand. `help` is one line; `details`, an example at least, comes
// after the list of options.
inline CLI::App& AddCommand(CLI::App& parent, const std::string& name,
                            const std::string& help,
                            const std::string& details) {
  CLI::App* command = parent.add_subcommand(name, help);
  command->footer(details + kDetailsEnd);
  return *command;
}

// Lets `run` be the action if the user names this command. `arguments` is the
// struct that the parser fills in.
template <typename Arguments>
void OnCommand(CLI::App& command, Action& action,
               std::shared_ptr<Arguments> arguments,
               absl::Status (*run)(const Arguments&)) {
  command.callback([&action, arguments = std::move(arguments), run] {
    action = [arguments, run] { return run(*arguments); };
  });
}

// As in Option::expected().
inline constexpr int kAnyNumber = 1 << 29;

// A positional argument that takes any number of words, whatever they are. The
// parser takes "[a,b]" for two words; main.cc marks such words with a NUL,
// which no argument has by itself, and here it is taken off again.
inline CLI::Option* AddWords(CLI::App& command, const std::string& name,
                             std::vector<std::string>& words,
                             const std::string& description) {
  return command.add_option(name, words, description)
      ->transform(
          [](const std::string& word) { return std::string(word.c_str()); });
}

void AddMountCommand(CLI::App& app, Action& action);
void AddUmountCommand(CLI::App& app, Action& action);
void AddInfoCommand(CLI::App& app, Action& action);
void AddLsCommand(CLI::App& app, Action& action);
void AddContentCommands(CLI::App& app, Action& action);  // get, put
void AddNameCommands(CLI::App& app, Action& action);     // rm, mv
void AddTreeCommands(CLI::App& app, Action& action);     // cp, mkdir
void AddCheckCommand(CLI::App& app, Action& action);
void AddCompactCommand(CLI::App& app, Action& action);
void AddAdoptCommand(CLI::App& app, Action& action);
void AddRawCommands(CLI::App& app, Action& action);
void AddVersionCommand(CLI::App& app, Action& action);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_COMMAND_H_
