// The command line of `varve`: the parser for all commands, and messages about
// words that it does not understand. Help, manual pages and completions are
// made from it.
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

// Makes the parser. It stores in `action`, which must outlive it, what the user
// asks for.
std::unique_ptr<CLI::App> MakeApp(Action& action);

// "STORE", "[PATH...]", "OLD... NEW".
std::string OperandOf(const CLI::Option& operand);

// The value of an option, such as "SECONDS"; empty for a flag.
std::string ValueOf(const CLI::Option& option);

// "STORE [PATH...]": the operands of a command.
std::string OperandsOf(const CLI::App& command);

// A message about a word that stands in the place of a command but is none;
// nothing if there is no such word. The parser itself would complain about a
// missing command, or would see a --help behind the word.
std::optional<std::string> UnknownCommand(
    const CLI::App& app, const std::vector<std::string>& words);

// One sentence that says what the parser did not understand.
std::string UsageSentence(const CLI::App& app, const CLI::ParseError& error);

// The command as far as it was understood: "varve raw read".
std::string CommandOf(const CLI::App& app);

// The words in the form that the parser needs: in reverse order, and with a
// mark on words like "[a,b]", which it would otherwise split (see AddWords).
std::vector<std::string> ForParser(const CLI::App& app,
                                   const std::vector<std::string>& words);

// Text to append to a failure if STORE is not a store but another word is: "; b
// is a store: it comes first (varve ls STORE [PATH...])". Empty otherwise.
std::string SwappedArguments(const CLI::App& app, const absl::Status& status);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_CLI_H_
