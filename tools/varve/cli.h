// The command line of `varve`: all commands, and what is said of words that
// are not understood. Help, manual pages and completions come from it.
//
// Not thread-safe.

#ifndef VARVE_TOOLS_VARVE_CLI_H_
#define VARVE_TOOLS_VARVE_CLI_H_

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tools/varve/command.h"

namespace varve::tools {

// The parser. What the user asks for will be in `action`, which must outlive
// it.
std::unique_ptr<CLI::App> MakeApp(Action& action);

// "STORE", "[PATH...]", "OLD... NEW".
std::string OperandOf(const CLI::Option& operand);

// What an option takes, as "SECONDS"; empty for a flag.
std::string ValueOf(const CLI::Option& option);

// "STORE [PATH...]": what a command takes beside options.
std::string OperandsOf(const CLI::App& command);

// What is wrong with a word that stands where a command has to, and names none.
// The parser would see a missing command, or a --help behind it.
std::optional<std::string> UnknownCommand(
    const CLI::App& app, const std::vector<std::string>& words);

// What the parser did not understand, as one sentence.
std::string UsageSentence(const CLI::App& app, const CLI::ParseError& error);

// How far the command was understood: "varve raw read".
std::string CommandOf(const CLI::App& app);

// The words as the parser takes them: from the back, and marked where it would
// take "[a,b]" for two (see AddWords).
std::vector<std::string> ForParser(const CLI::App& app,
                                   const std::vector<std::string>& words);

// What to add to a failure if another word is the store that STORE should be:
// "; b is a store: it comes first (varve ls STORE [PATH...])". Empty if none.
std::string SwappedArguments(const CLI::App& app, const absl::Status& status);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_CLI_H_
