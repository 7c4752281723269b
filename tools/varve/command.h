// How the parts of the command line fit together: each subcommand adds itself
// to the parser, and leaves in `action` what is to be done if it was the one
// that the user named. A new one takes its source, and a row of VERBS in
// BUILD.bazel; manual page and completions follow.

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

// Adds all commands, in the order of VERBS in BUILD.bazel. For each of these,
// the source that stands beside it there defines
//
//   void AddVerbCommand(CLI::App& app, Action& action);
//
// which the list itself is generated from.
void AddCommands(CLI::App& app, Action& action);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_COMMAND_H_
