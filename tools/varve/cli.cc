#include "tools/varve/cli.h"

#include <sys/stat.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/store/store.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/suggest.h"
#include "tools/varve/version.h"

namespace varve::tools {
namespace {

constexpr char kDescription[] =
    "Varve keeps a directory tree in one append-only file, and mounts it.";

constexpr char kExample[] =
    R"(Example:
  varve mount photos.varve ~/photos
  cp -r /media/camera ~/photos
  varve umount ~/photos
  varve check photos.varve

`varve help COMMAND` tells about each command, with an example.

)";

std::vector<const CLI::Option*> OperandOptions(const CLI::App& command) {
  return command.get_options(
      [](const CLI::Option* option) { return option->get_positional(); });
}

class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(26); }

  std::string make_usage(const CLI::App* app, std::string name) const override {
    std::string usage = absl::StrCat("Usage: ", name, " [OPTIONS]");
    const std::string operands = OperandsOf(*app);
    if (!operands.empty()) absl::StrAppend(&usage, " ", operands);
    return usage + "\n";
  }

  std::string make_option_name(const CLI::Option* option,
                               bool positional) const override {
    return positional ? OperandOf(*option)
                      : CLI::Formatter::make_option_name(option, positional);
  }

  std::string make_option_opts(const CLI::Option* option) const override {
    const std::string value = ValueOf(*option);
    return option->get_positional() || value.empty() ? "" : " " + value;
  }
};

// The innermost command that was named, in which a failure arose.
const CLI::App& Innermost(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  return commands.empty() ? app : Innermost(*commands.front());
}

std::vector<std::string> NamesOf(const std::vector<const CLI::App*>& commands) {
  std::vector<std::string> names;
  for (const CLI::App* command : commands) {
    names.push_back(command->get_name());
    for (const std::string& alias : command->get_aliases()) {
      names.push_back(alias);
    }
  }
  return names;
}

std::string DidYouMean(absl::string_view word,
                       const std::vector<std::string>& known) {
  const std::optional<std::string> meant = Suggest(word, known);
  return meant.has_value() ? absl::StrCat("; did you mean ", *meant, "?") : "";
}

// A suggestion for an option that the parser does not know.
std::string SuggestOption(const CLI::App& command) {
  std::vector<std::string> known;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) {
      known.push_back("--" + name);
    }
  }
  for (const std::string& word : command.remaining()) {
    if (!absl::StartsWith(word, "--")) continue;
    const std::string name = word.substr(0, word.find('='));
    const std::string sentence = DidYouMean(name, known);
    if (!sentence.empty()) return sentence;
  }
  return "";
}

bool IsStore(const std::string& path) {
  struct stat stat;
  if (::stat(path.c_str(), &stat) != 0 || !S_ISREG(stat.st_mode) ||
      stat.st_size == 0) {
    return false;
  }
  OpenOptions options;
  options.mode = OpenMode::kRead;
  return Store::Open(path, options).ok();
}

bool IsDirectory(const std::string& path) {
  struct stat stat;
  return ::stat(path.c_str(), &stat) == 0 && S_ISDIR(stat.st_mode);
}

}  // namespace

std::string OperandOf(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  std::string text = option.get_name(/*positional=*/true);
  if (absl::StrContains(type, ' ')) {
    text = type;
  } else if (option.get_expected_max() > 1) {
    text += "...";
  }
  return option.get_required() ? text : absl::StrCat("[", text, "]");
}

std::unique_ptr<CLI::App> MakeApp(Action& action) {
  auto app = std::make_unique<CLI::App>(kDescription, "varve");
  app->formatter(std::make_shared<HelpFormatter>());
  app->require_subcommand(1);
  app->set_version_flag("-V,--version", absl::StrCat("varve ", kVersion));
  app->footer(kExample + ExitStatusHelp());
  AddCommands(*app, action);
  return app;
}

std::string ValueOf(const CLI::Option& option) {
  // It may have a colon and the name of a check behind it.
  const std::string name = option.get_type_name();
  return name.substr(0, name.find(':'));
}

std::string OperandsOf(const CLI::App& command) {
  if (command.get_require_subcommand_min() > 0) return "COMMAND ...";
  return absl::StrJoin(OperandOptions(command), " ",
                       [](std::string* out, const CLI::Option* option) {
                         out->append(OperandOf(*option));
                       });
}

std::optional<std::string> UnknownCommand(
    const CLI::App& app, const std::vector<std::string>& words) {
  const CLI::App* at = &app;
  std::string path = app.get_name();
  for (const std::string& word : words) {
    const std::vector<const CLI::App*> commands = at->get_subcommands({});
    if (commands.empty() || absl::StartsWith(word, "-")) break;
    const auto next = std::find_if(
        commands.begin(), commands.end(),
        [&word](const CLI::App* known) { return known->check_name(word); });
    if (next == commands.end()) {
      return absl::StrCat("unknown command: ", word,
                          DidYouMean(word, NamesOf(commands)), " (see ", path,
                          " --help)");
    }
    at = *next;
    absl::StrAppend(&path, " ", word);
  }
  return std::nullopt;
}

std::string UsageSentence(const CLI::App& app, const CLI::ParseError& error) {
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr &&
      absl::StrContains(error.what(), "subcommand")) {
    return "a command is missing";
  }
  std::string sentence = error.what();
  // Except the name of an argument.
  if (sentence.size() > 1 && !absl::ascii_isupper(sentence[1])) {
    sentence[0] = absl::ascii_tolower(sentence[0]);
  }
  return sentence + SuggestOption(Innermost(app));
}

std::string CommandOf(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  if (commands.empty()) return app.get_name();
  return absl::StrCat(app.get_name(), " ", CommandOf(*commands.front()));
}

std::vector<std::string> ForParser(const CLI::App& app,
                                   const std::vector<std::string>& words) {
  std::vector<std::string> reversed(words.rbegin(), words.rend());
  if (words.empty()) return reversed;
  for (const CLI::App* command : app.get_subcommands({})) {
    if (!command->check_name(words[0])) continue;
    const auto operands = OperandOptions(*command);
    if (operands.empty() || operands.back()->get_expected_max() <= 1) break;
    for (std::string& word : reversed) {
      if (absl::StartsWith(word, "[")) word += '\0';
    }
  }
  return reversed;
}

std::string SwappedArguments(const CLI::App& app, const absl::Status& status) {
  const ExitStatus exit_status = ExitStatusOf(status);
  if (exit_status != ExitStatus::kNotFound &&
      exit_status != ExitStatus::kNotAStore &&
      exit_status != ExitStatus::kWrongKind) {
    return "";
  }
  const CLI::App& command = Innermost(app);
  const auto operands = OperandOptions(command);
  if (operands.empty() || operands[0]->get_name(true) != "STORE" ||
      operands[0]->results().empty()) {
    return "";
  }
  const std::string& store = operands[0]->results()[0];
  if (IsStore(store)) return "";
  for (size_t i = 1; i < operands.size(); ++i) {
    for (const std::string& word : operands[i]->results()) {
      const std::string path = word.c_str();  // without a mark
      const std::string first = absl::StrCat("it comes first (", CommandOf(app),
                                             " ", OperandsOf(command), ")");
      if (IsStore(path))
        return absl::StrCat("; ", path, " is a store: ", first);
      // A store that does not exist yet, and a directory that exists.
      if (operands[i]->get_name(true) == "DIR" && IsDirectory(store) &&
          !IsDirectory(path)) {
        return absl::StrCat("; if ", path, " is the store, ", first);
      }
    }
  }
  return "";
}

}  // namespace varve::tools
