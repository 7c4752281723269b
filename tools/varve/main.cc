// varve: the command. Everything it can do is a subcommand; see command.h.

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "engine/io/bus_guard.h"
#include "fs/base/author.h"
#include "tools/varve/cli.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/long_work.h"

namespace {

using varve::tools::ExitStatus;

// Allocations of at least so many bytes get a mapping of their own, which is
// returned to the kernel when freed.
constexpr int kLargePiece = 8 << 20;
// The heap grows by so many bytes. The kernel provides pages only as they are
// used.
constexpr int kHeapStep = 1 << 20;

int Fail(ExitStatus exit_status, absl::string_view sentence) {
  const std::string line =
      absl::StrCat("varve: ", varve::tools::Printable(sentence), "\n");
  if (!sentence.empty()) fputs(line.c_str(), stderr);
  return static_cast<int>(exit_status);
}

// Turns `help mount` into `mount --help`. `help --help` stays as it is.
std::vector<std::string> WithoutHelp(std::vector<std::string> words) {
  if (words.empty() || words[0] != "help") return words;
  if (words.size() > 1 && words[1][0] == '-') return words;
  words.erase(words.begin());
  words.push_back("--help");
  return words;
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
  varve::tools::Action action;
  const auto app = varve::tools::MakeApp(action);
  const std::vector<std::string> words =
      WithCommand(*app, WithoutHelp(arguments));
  if (const auto unknown = varve::tools::UnknownCommand(*app, words)) {
    return Fail(ExitStatus::kUsage, *unknown);
  }
  try {
    app->parse(varve::tools::ForParser(*app, words));
  } catch (const CLI::Success& help) {
    return app->exit(help);
  } catch (const CLI::ParseError& error) {
    return Fail(ExitStatus::kUsage,
                absl::StrCat(varve::tools::UsageSentence(*app, error), " (see ",
                             varve::tools::CommandOf(*app), " --help)"));
  }
  const varve::fs::ScopedAuthor author({.uid = geteuid()});
  const absl::Status status = action();
  varve::tools::EndShown();
  std::string sentence(status.message());
  if (!sentence.empty()) {
    sentence += varve::tools::SwappedArguments(*app, status);
  }
  return Fail(varve::tools::ExitStatusOf(status), sentence);
}

}  // namespace

int main(int argc, char** argv) {
  // Debian's Abseil looks for cycles at each lock, which takes several times as
  // long as locking. Only tests do that. (docs/architecture.md has the order of
  // locks.)
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  // The thread that serves requests changes now and then. If each had an arena,
  // memory that one thread has freed would stay unused in its arena.
  mallopt(M_ARENA_MAX, 1);
  // The memory of a checkpoint should return to the kernel. Without this,
  // malloc would raise its threshold, take ever larger pieces from the heap,
  // and keep as much unused.
  mallopt(M_MMAP_THRESHOLD, kLargePiece);
  mallopt(M_TRIM_THRESHOLD, kLargePiece);
  mallopt(M_TOP_PAD, kHeapStep);
  // Writing beyond the limit of file sizes should be an error (EFBIG) and not
  // end the process.
  signal(SIGXFSZ, SIG_IGN);
  // The disk of a store may fail, and another program may truncate the store
  // while we read it.
  varve::InstallBusGuard();
  return Run(std::vector<std::string>(argv + 1, argv + argc));
}
