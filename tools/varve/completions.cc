#include "tools/varve/completions.h"

#include <functional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace varve::tools {
namespace {

constexpr char kMade[] =
    "# Made by //tools/varve:describe from the command line of varve.\n";

std::vector<std::string> Dashed(const OptionDescription& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.shorts) names.push_back("-" + name);
  for (const std::string& name : option.longs) names.push_back("--" + name);
  return names;
}

std::string KindName(Kind kind) {
  switch (kind) {
    case Kind::kNothing:
      return "nothing";
    case Kind::kHostFile:
      return "file";
    case Kind::kHostDirectory:
      return "directory";
    case Kind::kInStore:
      return "path";
    case Kind::kCommand:
      return "command";
  }
  return "nothing";
}

// "file path path*": the kind of each operand.
std::string Kinds(const Description& command) {
  return absl::StrJoin(command.operand_list, " ",
                       [](std::string* out, const OperandDescription& operand) {
                         out->append(KindName(operand.kind));
                         if (operand.repeats) out->append("*");
                       });
}

// All options, or those that take a value.
std::string Options(const Description& command, bool with_value) {
  std::vector<std::string> names;
  for (const OptionDescription& option : command.option_list) {
    if (with_value && option.value.empty()) continue;
    for (const std::string& name : Dashed(option)) names.push_back(name);
  }
  return absl::StrJoin(names, " ");
}

std::string Names(const Description& command) {
  std::vector<std::string> names;
  for (const Description& verb : command.commands) names.push_back(verb.name);
  return absl::StrJoin(names, " ");
}

// Calls `visit` for the command itself and for each below it.
void ForEach(const Description& command,
             const std::function<void(const Description&)>& visit) {
  visit(command);
  for (const Description& verb : command.commands) ForEach(verb, visit);
}

// Quotes the text as one word of a shell.
std::string Quoted(const std::string& text) {
  return absl::StrCat("'", absl::StrReplaceAll(text, {{"'", "'\\''"}}), "'");
}

// The part that bash and zsh share: the tables, and finding the place of the
// cursor in the command line.
constexpr char kTables[] = R"sh(
# For each command: its commands, options, those that take a value, operands.
_varve_table() {
  case $1 in
)sh";

constexpr char kBash[] = R"sh(
# Takes quotes off a word, and evaluates nothing in it.
_varve_unquoted() {
  local word=$1
  case $word in
    \"*) word=${word#\"} word=${word%\"} ;;
    \'*) word=${word#\'} word=${word%\'} ;;
    *) word=${word//\\/} ;;
  esac
  [[ $word == "~/"* ]] && word=$HOME/${word#"~/"}
  printf '%s' "$word"
}

# Paths in the store $1 that begin with $2.
_varve_paths() {
  local store folder= begin line
  store=$(_varve_unquoted "$1")
  begin=$(_varve_unquoted "$2")
  if [[ $begin == */* ]]; then
    folder=${begin%/*}/
    begin=${begin##*/}
  fi
  while IFS= read -r line; do
    [[ $line == "$begin"* ]] && COMPREPLY+=("$folder$line")
  done < <("${words[0]/#\~/$HOME}" ls -A -p -- "$store" "${folder:-.}" 2>/dev/null)
  compopt -o filenames 2>/dev/null
  [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]] && compopt -o nospace 2>/dev/null
}

# Words that begin with $1, of those behind it.
_varve_words() {
  local begin=$1 word
  shift
  for word in "$@"; do
    [[ $word == "$begin"* ]] && COMPREPLY+=("$word")
  done
}

_varve() {
  local cur prev words cword
  local _varve_commands _varve_options _varve_valued _varve_operands
  _get_comp_words_by_ref -n := cur prev words cword || return
  COMPREPLY=()
  local path=varve at ended= word store= count=0 takes_value=
  _varve_table varve
  for ((at = 1; at < cword; at++)); do
    word=${words[at]}
    if [[ $takes_value ]]; then
      takes_value=
    elif [[ ! $ended && $word == -- ]]; then
      ended=1
    elif [[ ! $ended && $word == -?* ]]; then
      [[ " $_varve_valued " == *" $word "* ]] && takes_value=1
    elif [[ $_varve_commands ]]; then
      path+=" $word"
      _varve_table "$path" || return
    else
      ((count == 0)) && store=$word
      ((++count))
    fi
  done
  [[ $takes_value ]] && return
  if [[ $cur == -* && ! $ended ]]; then
    _varve_words "$cur" $_varve_options
    return
  fi
  if [[ $_varve_commands ]]; then
    _varve_words "$cur" $_varve_commands
    return
  fi
  local kinds=($_varve_operands) kind
  ((${#kinds[@]})) || return
  if ((count < ${#kinds[@]})); then
    kind=${kinds[count]}
  else
    kind=${kinds[-1]}
    [[ $kind == *"*" ]] || return
  fi
  case ${kind%"*"} in
    file) _filedir ;;
    directory) _filedir -d ;;
    path) _varve_paths "$store" "$cur" ;;
    command)
      _varve_table varve
      _varve_words "$cur" $_varve_commands
      ;;
  esac
  __ltrim_colon_completions "$cur"
} && complete -F _varve varve
)sh";

std::string Tables(const Description& varve) {
  std::string result = kTables;
  ForEach(varve, [&result](const Description& command) {
    absl::StrAppend(&result, "    ", Quoted(command.path));
    for (const std::string& alias : command.aliases) {
      const size_t parent = command.path.rfind(' ') + 1;
      absl::StrAppend(&result, " | ",
                      Quoted(command.path.substr(0, parent) + alias));
    }
    absl::StrAppend(
        &result, ")\n      _varve_commands=", Quoted(Names(command)),
        "\n      _varve_options=", Quoted(Options(command, false)),
        "\n      _varve_valued=", Quoted(Options(command, true)),
        "\n      _varve_operands=", Quoted(Kinds(command)), "\n      ;;\n");
  });
  return result + "    *) return 1 ;;\n  esac\n}\n";
}

constexpr char kZsh[] = R"sh(
# Paths in the store, the first operand on the line.
_varve_paths() {
  local varve=$1 store= word ended= takes_value= folder= name
  local -a names folders files
  for word in "${(@)words[2,CURRENT-1]}"; do
    if [[ -n $takes_value ]]; then
      takes_value=
    elif [[ -z $ended && $word == -- ]]; then
      ended=1
    elif [[ -z $ended && $word == -?* ]]; then
      [[ " $_varve_valued " == *" $word "* ]] && takes_value=1
    else
      store=$word
      break
    fi
  done
  store=${(Q)store/#\~\//$HOME/}
  if [[ $PREFIX == */* ]]; then
    folder=${(Q)PREFIX%/*}/
  fi
  [[ -n $folder ]] || folder=.
  names=("${(@f)$(_call_program paths ${(q)varve} ls -A -p -- ${(q)store} ${(q)folder} \
    2>/dev/null)}")
  [[ $folder == . ]] && folder=
  for name in $names; do
    if [[ $name == */ ]]; then
      folders+=("$folder$name")
    elif [[ -n $name ]]; then
      files+=("$folder$name")
    fi
  done
  local found=1
  compadd -S '' -a folders && found=0
  compadd -a files && found=0
  return found
}

_varve_of() {
  local varve=$1 at=$2 _varve_commands _varve_options _varve_valued _varve_operands
  _varve_table $at || return 1
  local -a commands arguments
  _varve_arguments $at
  if [[ -z $_varve_commands ]]; then
    _arguments -s -S : $arguments
    return
  fi
  local curcontext=$curcontext state line
  _arguments -s -S -C : $arguments '1: :->command' '*:: :->argument' && return 0
  case $state in
    command) _describe command commands ;;
    argument) _varve_of $varve "$at $words[1]" ;;
  esac
}

_varve() { _varve_of $words[1] varve }

_varve "$@"
)sh";

// As a part of a specification of _arguments.
std::string ZshText(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"\\", "\\\\"}, {"[", "\\["}, {"]", "\\]"}, {":", "\\:"}});
}

std::string ZshAction(Kind kind) {
  switch (kind) {
    case Kind::kNothing:
      return " ";
    case Kind::kHostFile:
      return "_files";
    case Kind::kHostDirectory:
      return "_directories";
    case Kind::kInStore:
      return "{_varve_paths $varve}";
    case Kind::kCommand:
      return "{_varve_table varve; compadd ${=_varve_commands}}";
  }
  return " ";
}

std::string ZshArguments(const Description& command) {
  std::vector<std::string> words;
  for (const OptionDescription& option : command.option_list) {
    const std::vector<std::string> names = Dashed(option);
    for (const std::string& name : names) {
      std::string word = absl::StrCat("(", absl::StrJoin(names, " "), ")", name,
                                      "[", ZshText(option.help), "]");
      if (!option.value.empty()) {
        absl::StrAppend(&word, ":", ZshText(option.value), ": ");
      }
      words.push_back(Quoted(word));
    }
  }
  if (command.commands.empty()) {
    for (size_t i = 0; i < command.operand_list.size(); ++i) {
      const OperandDescription& operand = command.operand_list[i];
      words.push_back(Quoted(
          absl::StrCat(operand.repeats ? "*" : absl::StrCat(i + 1), ":",
                       ZshText(operand.help), ":", ZshAction(operand.kind))));
    }
  }
  return absl::StrJoin(words, "\n        ");
}

std::string ZshTables(const Description& varve) {
  std::string result =
      "\n# For each command: specifications for _arguments, and its commands "
      "with their help.\n_varve_arguments() {\n  case $1 in\n";
  ForEach(varve, [&result](const Description& command) {
    std::vector<std::string> commands;
    for (const Description& verb : command.commands) {
      commands.push_back(
          Quoted(absl::StrCat(verb.name, ":", ZshText(verb.help))));
    }
    absl::StrAppend(&result, "    ", Quoted(command.path));
    for (const std::string& alias : command.aliases) {
      absl::StrAppend(&result, " | ", Quoted("varve " + alias));
    }
    absl::StrAppend(&result, ")\n      arguments=(\n        ",
                    ZshArguments(command), "\n      )\n      commands=(",
                    absl::StrJoin(commands, "\n        "), ")\n      ;;\n");
  });
  return result + "  esac\n}\n";
}

constexpr char kFish[] = R"sh(
# What is on the command line before the cursor: sets __varve_path, the command
# so far, and __varve_operands, the words behind it.
function __varve_parse
    set -g __varve_path varve
    set -g __varve_operands
    set -l takes_value
    set -l ended
    for word in (commandline -opc)[2..-1]
        if test -n "$takes_value"
            set takes_value
        else if test -z "$ended"; and test "$word" = --
            set ended 1
        else if test -z "$ended"; and string match -qr -- '^-.' $word
            contains -- $word (__varve_table valued); and set takes_value 1
        else if test -n "$(__varve_table commands)"
            set __varve_path "$__varve_path $word"
        else
            set -a __varve_operands $word
        end
    end
end

# Whether the command is one of these, which are names of one.
function __varve_is
    __varve_parse
    contains -- "$__varve_path" $argv
end

# Whether the next operand is of this kind.
function __varve_wants
    __varve_parse
    set -l kinds (__varve_table operands)
    set -l count (count $__varve_operands)
    test (count $kinds) -gt 0; or return 1
    set -l kind
    if test $count -lt (count $kinds)
        set kind $kinds[(math $count + 1)]
    else
        string match -q -- '*\*' $kinds[-1]; or return 1
        set kind $kinds[-1]
    end
    test (string trim -r -c '*' -- $kind) = $argv[1]
end

# Paths in the store, the first operand.
function __varve_paths
    set -l token (commandline -ct)
    set -l token (string unescape -- $token; or echo $token)
    set -l folder (string match -r -- '^.*/' $token)
    set -l in $folder
    test -n "$in"; or set in .
    set -l store (string replace -r -- '^~/' "$HOME/" $__varve_operands[1])
    set -l varve (commandline -opc)[1]
    for name in ($varve ls -A -p -- $store $in 2>/dev/null)
        echo "$folder$name"
    end
end
)sh";

std::string FishTable(const Description& varve) {
  std::string result =
      "\n# For the command so far: its commands, its options that take a "
      "value, its operands.\nfunction __varve_table\n    switch "
      "\"$__varve_path $argv[1]\"\n";
  ForEach(varve, [&result](const Description& command) {
    const std::pair<const char*, std::string> rows[] = {
        {"commands", Names(command)},
        {"valued", Options(command, true)},
        {"operands", Kinds(command)}};
    std::vector<std::string> paths = {command.path};
    for (const std::string& alias : command.aliases) {
      paths.push_back("varve " + alias);
    }
    for (const auto& [name, words] : rows) {
      if (words.empty()) continue;
      for (const std::string& path : paths) {
        absl::StrAppend(
            &result, "        case ", Quoted(absl::StrCat(path, " ", name)),
            "\n            string split ' ' -- ", Quoted(words), "\n");
      }
    }
  });
  return result + "    end\nend\n";
}

std::string FishRules(const Description& varve) {
  std::string result =
      "\ncomplete -c varve -f\n"
      "complete -c varve -n '__varve_wants file' -F\n"
      "complete -c varve -n '__varve_wants directory' "
      "-a '(__fish_complete_directories)'\n"
      "complete -c varve -n '__varve_wants path' -a '(__varve_paths)'\n";
  ForEach(varve, [&result, &varve](const Description& command) {
    std::string names = Quoted(command.path);
    for (const std::string& alias : command.aliases) {
      absl::StrAppend(&names, " ", Quoted("varve " + alias));
    }
    const std::string is =
        absl::StrCat("complete -c varve -n \"__varve_is ", names, "\"");
    for (const Description& verb : command.commands) {
      absl::StrAppend(&result, is, " -a ", verb.name, " -d ", Quoted(verb.help),
                      "\n");
    }
    if (command.path == "varve help") {
      absl::StrAppend(&result, is, " -a ", Quoted(Names(varve)), "\n");
    }
    for (const OptionDescription& option : command.option_list) {
      result += is;
      for (const std::string& name : option.shorts) {
        absl::StrAppend(&result, " -s ", name);
      }
      for (const std::string& name : option.longs) {
        absl::StrAppend(&result, " -l ", name);
      }
      absl::StrAppend(&result, option.value.empty() ? "" : " -x", " -d ",
                      Quoted(option.help), "\n");
    }
  });
  return result;
}

}  // namespace

std::string BashCompletion(const Description& varve) {
  return absl::StrCat(kMade, Tables(varve), kBash);
}

std::string ZshCompletion(const Description& varve) {
  return absl::StrCat("#compdef varve\n", kMade, Tables(varve),
                      ZshTables(varve), kZsh);
}

std::string FishCompletion(const Description& varve) {
  return absl::StrCat(kMade, FishTable(varve), kFish, FishRules(varve));
}

}  // namespace varve::tools
