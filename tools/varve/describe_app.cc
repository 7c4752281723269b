#include "tools/varve/describe_app.h"

#include <map>
#include <stdexcept>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tools/varve/cli.h"
#include "tools/varve/command.h"

namespace varve::tools {
namespace {

Kind KindOf(const std::string& operand, const std::string& command) {
  static const auto* const kinds = new std::map<std::string, Kind>{
      {"STORE", Kind::kHostFile},    {"TARGET", Kind::kHostFile},
      {"FILE", Kind::kHostFile},     {"KEYS-FILE", Kind::kHostFile},
      {"DIR", Kind::kHostDirectory}, {"PATH", Kind::kInStore},
      {"OLD", Kind::kInStore},       {"NEW", Kind::kInStore},
      {"KEY", Kind::kInStore},       {"VALUE", Kind::kNothing},
      {"NAME", Kind::kNothing},      {"NEW-NAME", Kind::kNothing},
      {"RULE", Kind::kNothing},      {"A", Kind::kNothing},
      {"B", Kind::kNothing},         {"COMMAND", Kind::kCommand}};
  const auto kind = kinds->find(operand);
  if (kind == kinds->end()) {
    throw std::runtime_error(absl::StrCat("what is ", operand, " of ", command,
                                          "? KindOf() has to know"));
  }
  return kind->second;
}

OptionDescription DescribeOption(const CLI::Option& option) {
  return {.shorts = option.get_snames(),
          .longs = option.get_lnames(),
          .value = ValueOf(option),
          .help = option.get_description()};
}

// Takes apart the footer that AddCommand() puts together.
void DescribeDetails(Description& result, absl::string_view footer) {
  absl::ConsumeSuffix(&footer, kDetailsEnd);
  const size_t example = footer.find("Example:\n");
  result.details = std::string(footer.substr(0, example));
  if (example == absl::string_view::npos) return;
  footer.remove_prefix(example + sizeof("Example:\n") - 1);
  for (absl::string_view line : absl::StrSplit(footer, '\n')) {
    // The list of exit statuses in the help of `varve`.
    if (!absl::ConsumePrefix(&line, "  ")) break;
    absl::StrAppend(&result.example, line, "\n");
  }
}

}  // namespace

Description Describe(const CLI::App& app, const std::string& prefix) {
  Description result;
  result.name = app.get_name();
  result.path = absl::StrCat(prefix, prefix.empty() ? "" : " ", result.name);
  result.aliases = app.get_aliases();
  result.help = app.get_description();
  result.operands = OperandsOf(app);
  DescribeDetails(result, app.get_footer());
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_positional()) {
      result.option_list.push_back(DescribeOption(*option));
      continue;
    }
    const std::string name = option->get_name(/*positional=*/true);
    result.operand_list.push_back(
        {.usage = OperandOf(*option),
         .help = option->get_description(),
         // A store, for example for `info`.
         .kind = result.operand_list.empty() && name == "PATH"
                     ? Kind::kHostFile
                     : KindOf(name, result.path),
         .repeats = option->get_expected_max() > 1});
  }
  for (const CLI::App* command : app.get_subcommands({})) {
    result.commands.push_back(Describe(*command, result.path));
  }
  return result;
}

}  // namespace varve::tools
