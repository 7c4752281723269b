// varve: the command. Everything it can do is a subcommand; see command.h.

#include <malloc.h>
#include <signal.h>
#include <stdio.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "engine/bus_guard.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/version.h"

namespace {

using varve::tools::ExitStatus;

// Bytes of memory that are taken from the kernel, and given back, by
// themselves.
constexpr int kLargePiece = 8 << 20;
// Bytes by which the heap grows; the kernel provides what is used of them.
constexpr int kHeapStep = 1 << 20;

constexpr char kDescription[] =
    "Varve keeps a directory tree in one append-only file, and mounts it.";

constexpr char kExample[] =
    R"(Example:
  varve mount photos.varve ~/photos
  cp -r /media/camera ~/photos
  varve umount ~/photos
  varve check photos.varve

`varve COMMAND --help` tells about each command, with an example.

)";

int Fail(ExitStatus exit_status, absl::string_view sentence) {
  const std::string line =
      absl::StrCat("varve: ", varve::tools::Printable(sentence), "\n");
  if (!sentence.empty()) fputs(line.c_str(), stderr);
  return static_cast<int>(exit_status);
}

// What is wrong with a word that stands where a command has to, and names none.
// The parser would see a missing command, or a --help behind it.
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
      return absl::StrCat("unknown command: ", word, " (see ", path,
                          " --help)");
    }
    at = *next;
    absl::StrAppend(&path, " ", word);
  }
  return std::nullopt;
}

// What the parser did not understand, as one sentence.
std::string UsageSentence(const CLI::ParseError& error) {
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr &&
      absl::StrContains(error.what(), "subcommand")) {
    return "a command is missing";
  }
  std::string sentence = error.what();
  // But not the name of an argument.
  if (sentence.size() > 1 && !absl::ascii_isupper(sentence[1])) {
    sentence[0] = absl::ascii_tolower(sentence[0]);
  }
  return sentence;
}

// How far the command was understood: "varve raw read".
std::string CommandOf(const CLI::App& app) {
  const auto commands = app.get_subcommands();
  if (commands.empty()) return app.get_name();
  return absl::StrCat(app.get_name(), " ", CommandOf(*commands.front()));
}

// The parser takes words from the back. It takes "[a,b]" for two words where
// any number of them may stand, as in `varve rm`; the NUL, which no argument
// has by itself, keeps it from doing so.
std::vector<std::string> ForParser(const std::vector<std::string>& words) {
  std::vector<std::string> reversed(words.rbegin(), words.rend());
  if (words.empty() || words[0] != "rm") return reversed;
  for (std::string& word : reversed) {
    if (absl::StartsWith(word, "[")) word += '\0';
  }
  return reversed;
}

// mount.fuse3(8), which mount(8) calls for a type of fuse.varve, runs
// `varve STORE DIR -o OPTIONS`.
std::vector<std::string> WithCommand(const CLI::App& app,
                                     std::vector<std::string> words) {
  if (words.size() != 4 || words[2] != "-o" || words[0].empty()) return words;
  const std::vector<const CLI::App*> commands = app.get_subcommands({});
  const bool has_command = std::any_of(
      commands.begin(), commands.end(),
      [&words](const CLI::App* known) { return known->check_name(words[0]); });
  if (has_command) return words;
  return {"mount", "-o", words[3], "--", words[0], words[1]};
}

int Run(const std::vector<std::string>& arguments) {
  CLI::App app(kDescription, "varve");
  app.require_subcommand(1);
  app.set_version_flag("--version",
                       absl::StrCat("varve ", varve::tools::kVersion));
  app.footer(kExample + varve::tools::ExitStatusHelp());
  varve::tools::Action action;
  varve::tools::AddMountCommand(app, action);
  varve::tools::AddUmountCommand(app, action);
  varve::tools::AddInfoCommand(app, action);
  varve::tools::AddLsCommand(app, action);
  varve::tools::AddContentCommands(app, action);
  varve::tools::AddNameCommands(app, action);
  varve::tools::AddCheckCommand(app, action);
  varve::tools::AddCompactCommand(app, action);
  varve::tools::AddAdoptCommand(app, action);
  varve::tools::AddRawCommands(app, action);
  const std::vector<std::string> words = WithCommand(app, arguments);
  if (const auto unknown = UnknownCommand(app, words)) {
    return Fail(ExitStatus::kUsage, *unknown);
  }
  try {
    app.parse(ForParser(words));
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    return Fail(ExitStatus::kUsage, absl::StrCat(UsageSentence(error), " (see ",
                                                 CommandOf(app), " --help)"));
  }
  const absl::Status status = action();
  return Fail(varve::tools::ExitStatusOf(status), status.message());
}

}  // namespace

int main(int argc, char** argv) {
  // Debian's Abseil looks for cycles at each lock, which takes several times as
  // long as the lock; tests do so (see core.h for the order of locks).
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // Which thread serves a request changes now and then. With an arena for each,
  // what one has freed would stay with it, unused.
  mallopt(M_ARENA_MAX, 1);
  // What a checkpoint is made in is to be given back. Without this, malloc
  // comes to take ever larger pieces from the heap, and to keep as much unused.
  mallopt(M_MMAP_THRESHOLD, kLargePiece);
  mallopt(M_TRIM_THRESHOLD, kLargePiece);
  mallopt(M_TOP_PAD, kHeapStep);
  // A store as long as files may be is an error (EFBIG), and no reason to die.
  signal(SIGXFSZ, SIG_IGN);
  // A store may be on a disk that fails, or be cut short as we read it.
  varve::InstallBusGuard();
  return Run(std::vector<std::string>(argv + 1, argv + argc));
}
