// How the parts of the command line fit together: each subcommand adds itself
// to the parser, and stores in `action` what to do if the user named it. A new
// command needs a source file and a row of VERBS in BUILD.bazel; manual page
// and completions follow. Not thread-safe.

#ifndef VARVE_TOOLS_VARVE_COMMAND_H_
#define VARVE_TOOLS_VARVE_COMMAND_H_

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace varve::tools {

// What a command does. The caller prints the message of a failure unless it is
// empty; see exit_status.h.
using Action = std::function<absl::Status()>;

// The last paragraph of the help of each command.
inline constexpr char kDetailsEnd[] = "\nExit status: see `varve --help`.";

// Adds a subcommand. `help` is one line. `details` follows the list of options
// and has at least an example.
inline CLI::App& AddCommand(CLI::App& parent, const std::string& name,
                            const std::string& help,
                            const std::string& details) {
  CLI::App* command = parent.add_subcommand(name, help);
  command->footer(details + kDetailsEnd);
  return *command;
}

// Makes `run` the action if the user names this command. The parser fills in
// `arguments`.
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

// Adds a positional argument that takes any number of arbitrary words. The
// parser would take "[a,b]" for two words, so main.cc marks such words with a
// NUL, which no argument contains, and this removes the mark.
inline CLI::Option* AddWords(CLI::App& command, const std::string& name,
                             std::vector<std::string>& words,
                             const std::string& description) {
  return command.add_option(name, words, description)
      ->transform(
          [](const std::string& word) { return std::string(word.c_str()); });
}

// Adds all commands, in the order of VERBS in BUILD.bazel. For each verb, the
// source that stands beside it there defines
//
//   void AddVerbCommand(CLI::App& app, Action& action);
//
// and the build generates this function from the list.
void AddCommands(CLI::App& app, Action& action);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_COMMAND_H_
