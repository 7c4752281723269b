#include "tools/varve/manual.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/version.h"

namespace varve::tools {
namespace {

// Converts text of the help to roff: hyphens that users type stay hyphens, and
// no line begins with a request.
std::string Escape(absl::string_view text) {
  std::string result = absl::StrReplaceAll(text, {{"\\", "\\e"},
                                                  {"-", "\\-"},
                                                  {"^", "\\(ha"},
                                                  {"`", "\\(ga"},
                                                  {"~", "\\(ti"}});
  if (absl::StartsWith(result, ".") || absl::StartsWith(result, "'")) {
    result = "\\&" + result;
  }
  return result;
}

std::string Bold(absl::string_view text) {
  return absl::StrCat("\\fB", Escape(text), "\\fR");
}

// Sets operands in italics, but not the brackets and dots around them:
// [PATH...].
std::string Operands(absl::string_view operands) {
  std::string result;
  bool italic = false;
  const auto set = [&](bool wanted) {
    if (italic != wanted) result += wanted ? "\\fI" : "\\fR";
    italic = wanted;
  };
  for (const char c : operands) {
    const bool is_name = absl::ascii_isupper(c) || (c == '-' && italic);
    set(is_name);
    result += c == '-' ? "\\-" : std::string(1, c);
  }
  set(false);
  return result;
}

// The head of each page.
constexpr char kMade[] =
    ".\\\" Made by //tools/varve:describe; edit the commands there, or the "
    "prose in manual/.\n";

std::string Header(const std::string& name, const std::string& help) {
  std::string summary = help;
  if (!summary.empty()) summary[0] = absl::ascii_tolower(summary[0]);
  return absl::StrCat(
      "'\\\" t\n", kMade, ".TH ",
      absl::AsciiStrToUpper(absl::StrReplaceAll(name, {{"-", "\\-"}})),
      " 1 \"\" \"varve ", kVersion, "\" \"User Commands\"\n.SH NAME\n",
      Escape(name), " \\- ", Escape(summary), "\n");
}

// "\fB-l\fR, \fB--lazy\fR"
std::string OptionNames(const OptionDescription& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.shorts) {
    names.push_back(Bold("-" + name));
  }
  for (const std::string& name : option.longs) {
    names.push_back(Bold("--" + name));
  }
  std::string result = absl::StrJoin(names, ", ");
  if (!option.value.empty()) {
    absl::StrAppend(&result, " ", Operands(option.value));
  }
  return result;
}

std::string Entry(const std::string& head, const std::string& text) {
  return absl::StrCat(".TP\n", head, "\n", Escape(text), ".\n");
}

std::string OptionsOf(const Description& command) {
  std::string result;
  for (const OperandDescription& operand : command.operand_list) {
    result += Entry(Operands(operand.usage), operand.help);
  }
  for (const OptionDescription& option : command.option_list) {
    result += Entry(OptionNames(option), option.help);
  }
  return result;
}

// Converts paragraphs of the help. Indented lines are a table and stay as they
// are.
std::string Paragraphs(absl::string_view text) {
  std::string result;
  bool table = false;
  for (const absl::string_view line :
       absl::StrSplit(absl::StripTrailingAsciiWhitespace(text), '\n')) {
    const bool indented = absl::StartsWith(line, "  ");
    if (indented != table) result += indented ? ".PP\n.nf\n" : ".fi\n.PP\n";
    table = indented;
    if (line.empty()) {
      result += ".PP\n";
    } else {
      // In running text, a sentence ends with its line or with two spaces.
      absl::StrAppend(&result, Escape(line), "\n");
    }
  }
  if (table) result += ".fi\n";
  return result;
}

std::string Example(const Description& command) {
  std::string result;
  for (const absl::string_view line :
       absl::StrSplit(absl::StripSuffix(command.example, "\n"), '\n')) {
    absl::StrAppend(&result, Escape(line), "\n");
  }
  return absl::StrCat(".SH EXAMPLES\n.nf\n", result, ".fi\n");
}

// The prose: the part for DESCRIPTION, and the sections behind it.
std::pair<absl::string_view, absl::string_view> Split(absl::string_view prose) {
  const size_t section =
      absl::StartsWith(prose, ".SH") ? 0 : prose.find("\n.SH");
  if (section == absl::string_view::npos) return {prose, ""};
  const size_t cut = section == 0 ? 0 : section + 1;
  return {prose.substr(0, cut), prose.substr(cut)};
}

std::string DescriptionOf(const Description& command, absl::string_view prose) {
  std::string result =
      absl::StrCat(".SH DESCRIPTION\n", Escape(command.help), ".\n");
  if (!command.details.empty()) {
    absl::StrAppend(&result, ".PP\n", Paragraphs(command.details));
  }
  if (!prose.empty()) absl::StrAppend(&result, ".PP\n", prose);
  return result;
}

std::string Synopsis(const Description& command) {
  return absl::StrCat(Bold(command.path), " [\\fIOPTIONS\\fR] ",
                      Operands(command.operands), "\n");
}

// Describes a command below a verb as a part of the verb's page.
std::string Part(const Description& command) {
  std::string result =
      absl::StrCat(".SS ", Synopsis(command), Escape(command.help), ".\n");
  absl::StrAppend(&result, OptionsOf(command), ".PP\n.nf\n");
  for (const absl::string_view line :
       absl::StrSplit(absl::StripSuffix(command.example, "\n"), '\n')) {
    absl::StrAppend(&result, Escape(line), "\n");
  }
  return result + ".fi\n";
}

// Marks the word if it names a manual page or a path.
std::string Marked(absl::string_view word) {
  const absl::string_view name =
      word.substr(0, word.find_last_not_of(",.;:") + 1);
  const absl::string_view rest = word.substr(name.size());
  // The last three characters of "mount(8)".
  const size_t section = name.size() < 4 ? 0 : name.size() - 3;
  if (section > 0 && name[section] == '(' &&
      absl::ascii_isdigit(name[section + 1]) && absl::EndsWith(name, ")")) {
    return absl::StrCat(Bold(name.substr(0, section)),
                        Escape(name.substr(section)), rest);
  }
  if (absl::StartsWith(name, "/") || absl::StartsWith(name, ".")) {
    return absl::StrCat("\\fI", Escape(name), "\\fR", rest);
  }
  return absl::StrCat(Escape(name), rest);
}

// Begins a line for each sentence, as roff requires.
std::string Sentences(absl::string_view text) {
  std::string result;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    absl::StrAppend(&result, Marked(word),
                    absl::EndsWith(word, ".") ? "\n" : " ");
  }
  return result;
}

// "threads=N": the part to type is bold, the placeholder italic.
std::string OptionWithValue(absl::string_view name) {
  size_t end = std::min(name.find_first_of("[="), name.size());
  if (end < name.size() && name[end] == '=') ++end;
  return Bold(name.substr(0, end)) + Operands(name.substr(end));
}

std::string MountOptionEntry(const MountOptionText& option) {
  std::string text = option.help + ".";
  text[0] = absl::ascii_toupper(text[0]);
  if (!option.details.empty()) absl::StrAppend(&text, " ", option.details);
  return absl::StrCat(
      ".TP\n",
      absl::StrJoin(option.names, ", ",
                    [](std::string* out, const std::string& name) {
                      out->append(OptionWithValue(name));
                    }),
      "\n", Sentences(text));
}

// Names the JSON schemas of a command and of those below it, if they print
// JSON.
std::string SchemasOf(const Description& command) {
  std::string result;
  for (const OptionDescription& option : command.option_list) {
    if (std::count(option.longs.begin(), option.longs.end(), "json") == 0) {
      continue;
    }
    const std::string name = absl::StrReplaceAll(
        absl::StripPrefix(command.path, "varve "), {{" ", "-"}});
    absl::StrAppend(&result, ".TP\n\\fI/usr/share/doc/varve/json/",
                    Escape(name), ".schema.json\\fR\n",
                    "The JSON Schema of what \\fB\\-\\-json\\fR prints.\n");
  }
  for (const Description& below : command.commands) result += SchemasOf(below);
  return result;
}

}  // namespace

std::string ManualOf(const Description& verb, const std::string& prose) {
  const auto [description, sections] = Split(prose);
  std::string page = Header("varve-" + verb.name, verb.help);
  absl::StrAppend(&page, ".SH SYNOPSIS\n", Synopsis(verb));
  for (const std::string& alias : verb.aliases) {
    absl::StrAppend(&page, ".br\n", Bold("varve " + alias), " ...\n");
  }
  absl::StrAppend(&page, DescriptionOf(verb, description), ".SH OPTIONS\n",
                  OptionsOf(verb));
  if (!verb.commands.empty()) page += ".SH COMMANDS\n";
  for (const Description& command : verb.commands) page += Part(command);
  absl::StrAppend(&page, sections);
  const std::string schemas = SchemasOf(verb);
  if (!schemas.empty()) absl::StrAppend(&page, ".SH FILES\n", schemas);
  absl::StrAppend(&page, Example(verb),
                  ".SH EXIT STATUS\nThe numbers are listed in\n.BR varve (1).\n"
                  ".SH SEE ALSO\n.BR varve (1)\n");
  return page;
}

std::string ManualOfAll(const Description& varve, const std::string& prose) {
  const auto [description, sections] = Split(prose);
  std::string page =
      Header("varve", "keep a directory tree in one append-only file");
  page += ".SH SYNOPSIS\n.nf\n";
  for (const Description& verb : varve.commands) page += Synopsis(verb);
  absl::StrAppend(&page, ".fi\n.SH DESCRIPTION\n", description, ".SH OPTIONS\n",
                  OptionsOf(varve), ".SH COMMANDS\n");
  std::string see_also;
  for (const Description& verb : varve.commands) {
    page +=
        Entry(absl::StrCat("\\fBvarve\\-", verb.name, "\\fR(1)"), verb.help);
    absl::StrAppend(&see_also, ".BR varve\\-", verb.name, " (1),\n");
  }
  absl::StrAppend(&page, sections, ".SH EXIT STATUS\n.TS\nr l.\n");
  for (absl::string_view line : absl::StrSplit(ExitStatusHelp(), '\n')) {
    line = absl::StripLeadingAsciiWhitespace(line);
    if (line.empty() || !absl::ascii_isdigit(line[0])) continue;
    const size_t end = line.find(' ');
    absl::StrAppend(&page, line.substr(0, end), "\t",
                    Escape(absl::StripLeadingAsciiWhitespace(line.substr(end))),
                    "\n");
  }
  absl::StrAppend(&page, ".TE\n", Example(varve), ".SH SEE ALSO\n", see_also,
                  ".BR mount.varve (8)\n");
  return page;
}

std::string ManualOfMountHelper(const std::vector<MountOptionText>& options,
                                const std::string& prose) {
  constexpr absl::string_view kPlace =
      ".\\\" The rows of mount_option_rows.cc.\n";
  const size_t place = absl::string_view(prose).find(kPlace);
  if (place == absl::string_view::npos) {
    throw std::runtime_error("mount.varve.man has no place for the options");
  }
  std::string page = absl::StrCat(kMade, prose.substr(0, place));
  for (const MountOptionText& option : options) {
    page += MountOptionEntry(option);
  }
  return page + prose.substr(place + kPlace.size());
}

}  // namespace varve::tools
