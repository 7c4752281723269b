// The command line as data, from which manual pages and completions are made.
//
// Thread-safe: a free function without state, and values.

#ifndef VARVE_TOOLS_VARVE_DESCRIBE_APP_H_
#define VARVE_TOOLS_VARVE_DESCRIBE_APP_H_

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace varve::tools {

// What a word on the command line stands for, which decides how to complete it.
enum class Kind {
  kNothing,  // a number, a key, a text
  kHostFile,
  kHostDirectory,
  kInStore,  // a path in the store that the first operand names
  kCommand,
};

struct OptionDescription {
  std::vector<std::string> shorts;  // without dashes
  std::vector<std::string> longs;
  std::string value;  // such as "SECONDS"; empty for a flag
  std::string help;
  Kind kind = Kind::kNothing;  // of the value
};

struct OperandDescription {
  std::string usage;  // "[PATH...]"
  std::string help;
  Kind kind = Kind::kNothing;
  bool repeats = false;
};

struct Description {
  std::string name;  // "read"
  std::string path;  // "varve raw read"
  std::vector<std::string> aliases;
  std::string help;      // a line
  std::string operands;  // "STORE [PATH...]"
  std::string details;   // paragraphs
  std::string example;   // lines, without their indentation
  std::vector<OptionDescription> option_list;
  std::vector<OperandDescription> operand_list;
  std::vector<Description> commands;
};

// Throws std::runtime_error for an operand whose kind is not known.
Description Describe(const CLI::App& app, const std::string& prefix = "");

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_DESCRIBE_APP_H_
