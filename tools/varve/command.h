// How the parts of the command line fit together: each group of subcommands
// adds itself to the parser, and leaves in `action` what is to be done if it
// was the one that the user named.

#ifndef VARVE_TOOLS_VARVE_COMMAND_H_
#define VARVE_TOOLS_VARVE_COMMAND_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <utility>

#include "absl/status/status.h"

namespace varve::tools {

// The failure's message, if not empty, is printed; see exit_status.h.
using Action = std::function<absl::Status()>;

// Adds a subcommand. `help` is one line; `details`, an example at least, comes
// after the list of options.
inline CLI::App& AddCommand(CLI::App& parent, const std::string& name,
                            const std::string& help,
                            const std::string& details) {
  CLI::App* command = parent.add_subcommand(name, help);
  command->footer(details + "\nExit status: see `varve --help`.");
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

void AddMountCommand(CLI::App& app, Action& action);
void AddUmountCommand(CLI::App& app, Action& action);
void AddInfoCommand(CLI::App& app, Action& action);
void AddLsCommand(CLI::App& app, Action& action);
void AddContentCommands(CLI::App& app, Action& action);  // get, put
void AddNameCommands(CLI::App& app, Action& action);     // rm, mv
void AddCheckCommand(CLI::App& app, Action& action);
void AddCompactCommand(CLI::App& app, Action& action);
void AddAdoptCommand(CLI::App& app, Action& action);
void AddRawCommands(CLI::App& app, Action& action);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_COMMAND_H_
