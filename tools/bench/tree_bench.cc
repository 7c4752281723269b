// What size costs a tree, measured through Volume, without a mount.
//
//   tree_bench --help
//
// Each command does one thing, in a process of its own as memory is measured,
// and prints its figures as JSON: seconds and bytes. tools/bench/scale runs
// them one after the other.

#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "tools/bench/tree_beside.h"
#include "tools/bench/tree_figures.h"
#include "tools/bench/tree_files.h"
#include "tools/bench/tree_large.h"
#include "tools/bench/tree_past.h"

namespace varve::bench {
namespace {

using nlohmann::json;

constexpr uint64_t kThousand = 1000;

// ---- Making and opening -----------------------------------------------------

json Make(const Arguments& arguments) {
  MemoryPeak peak;
  fs::VolumeOptions options = Options(fs::VolumeOptions().sync_interval);
  options.create = true;
  TreeFiles files(arguments.store, options);
  double first = 0;
  double last = 0;
  const double all = SecondsOf([&] {
    for (uint64_t i = 0; i < arguments.files; ++i) {
      files.MakeDirectoriesFor(i);
      const double seconds = SecondsOf([&] {
        files.Create(files.DirectoryOf(i), TreeFiles::NameOf(i),
                     TreeFiles::ContentOf(i));
      });
      if (i < kThousand) first += seconds;
      if (i + kThousand >= arguments.files) last += seconds;
    }
  });
  const double close = SecondsOf([&] { files.Close(); });
  const double count = static_cast<double>(arguments.files);
  return {{"all", arguments.files == 0 ? 0 : all / count},
          {"first_thousand", first},
          {"last_thousand", last},
          {"close", close},
          {"store_bytes", files.volume().store().file_size()},
          {"peak_anonymous", peak.Stop()}};
}

json Open(const Arguments& arguments) {
  std::unique_ptr<TreeFiles> files;
  const uint64_t before = AnonymousMemory();
  const double seconds = SecondsOf([&] {
    files = std::make_unique<TreeFiles>(arguments.store, Options(kNever));
  });
  const uint64_t after = AnonymousMemory();
  const bool was_clean = files->volume().closed_properly();
  const uint64_t inodes = Must(files->volume().GetSpace()).inodes;
  files->Close();
  return {{"seconds", seconds},
          {"anonymous", after},
          {"anonymous_before", before},
          {"inodes", inodes},
          {"was_clean", was_clean}};
}

// Ends as a process does that is killed: with a log that has to be replayed.
json ChangeAndDie(const Arguments& arguments) {
  TreeFiles files(arguments.store, Options(kNever));
  Dice dice(arguments.files);
  const double seconds = SecondsOf([&] {
    for (uint64_t i = 0; i < arguments.changes; ++i) {
      ChangeAtRandom(files, dice);
    }
  });
  const json figures = {
      {"each", seconds / static_cast<double>(arguments.changes)}};
  std::cout << figures.dump() << std::endl;
  _exit(0);
}

// ---- A thousand files -------------------------------------------------------

std::map<std::string, double> TimeAThousand(TreeFiles& files, uint64_t) {
  const uint64_t folder = files.MakeDirectory(fs::kRootIno, "thousand");
  const auto each = [&](const std::function<void(const std::string& name,
                                                 uint64_t i)>& work) {
    return SecondsOf([&] {
      for (uint64_t i = 0; i < kThousand; ++i) work(TreeFiles::NameOf(i), i);
    });
  };
  std::map<std::string, double> seconds;
  seconds["creating"] = each([&](const std::string& name, uint64_t i) {
    files.Create(folder, name, TreeFiles::ContentOf(i));
  });
  seconds["finding"] = each(
      [&](const std::string& name, uint64_t) { files.Find(folder, name); });
  seconds["reading"] = each([&](const std::string& name, uint64_t i) {
    files.ExpectContent(folder, name, TreeFiles::ContentOf(i));
  });
  seconds["removing"] = each(
      [&](const std::string& name, uint64_t) { files.Remove(folder, name); });
  Must(files.volume().RemoveDirectory(fs::kRootIno, "thousand"));
  return seconds;
}

// Not between the others: it maps pages all over the store, and as many as a
// thousand reads are charged for, so that one of the next reads unmaps them.
std::map<std::string, double> FindAny(TreeFiles& files, uint64_t count) {
  Dice dice(count);
  return {{"finding any", SecondsOf([&] {
             for (uint64_t i = 0; i < kThousand; ++i) {
               const uint64_t number = dice.Next();
               files.Find(files.DirectoryOf(number), TreeFiles::NameOf(number));
             }
           })}};
}

// Times in the store, and in another one that has a thousand files; they take
// turns.
json Compare(const Arguments& arguments) {
  TreeFiles few(arguments.other_store, Options(kNever));
  TreeFiles many(arguments.store, Options(kNever));
  std::map<std::string, std::map<std::string, std::vector<double>>> times;
  for (const auto& step : {&TimeAThousand, &FindAny}) {
    for (int round = 0; round <= arguments.rounds; ++round) {
      for (const bool is_few : {round % 2 == 0, round % 2 != 0}) {
        const auto seconds =
            is_few ? step(few, kThousand) : step(many, arguments.files);
        if (round == 0) continue;  // to warm up
        for (const auto& [what, time] : seconds) {
          times[what][is_few ? "few" : "many"].push_back(time);
        }
      }
    }
  }
  few.Close();
  many.Close();
  return times;
}

// ---- All files --------------------------------------------------------------

struct Listed {
  std::vector<std::pair<std::string, uint64_t>> entries;  // names and inodes
};
// As readdirplus does: the kernel comes to hold a reference to each entry.
Listed List(fs::Volume& volume, uint64_t ino, bool reference) {
  Listed listed;
  Must(volume.ReadDirectory(ino, fs::Volume::kBehindDots, reference,
                            [&](const fs::Volume::Entry& entry) {
                              listed.entries.emplace_back(entry.name,
                                                          entry.stat.ino);
                              return true;
                            }));
  return listed;
}

using Visit = std::function<void(uint64_t folder, const Listed& listed)>;

// Visits all directories that hold the files, and after them those that hold
// them.
void VisitFolders(fs::Volume& volume, bool reference, const Visit& visit) {
  const Listed outer = List(volume, fs::kRootIno, reference);
  for (const auto& part : outer.entries) {
    const Listed folders = List(volume, part.second, reference);
    for (const auto& folder : folders.entries) {
      visit(folder.second, List(volume, folder.second, reference));
    }
    visit(part.second, folders);
  }
  visit(fs::kRootIno, outer);
}

json ListAll(const Arguments& arguments) {
  TreeFiles files(arguments.store, Options(kNever));
  fs::Volume& volume = files.volume();
  uint64_t entries = 0;
  const double seconds = SecondsOf([&] {
    VisitFolders(volume, /*reference=*/false,
                 [&](uint64_t, const Listed& listed) {
                   entries += listed.entries.size();
                 });
  });
  const uint64_t after = AnonymousMemory();
  MemoryPeak peak;
  VisitFolders(volume, /*reference=*/true, [](uint64_t, const Listed&) {});
  const uint64_t with_references = peak.Stop();
  VisitFolders(volume, /*reference=*/false,
               [&](uint64_t, const Listed& listed) {
                 for (const auto& entry : listed.entries) {
                   volume.Forget(entry.second, 1);
                 }
               });
  files.Close();
  return {{"entries", entries},
          {"each", seconds / static_cast<double>(entries)},
          {"anonymous", after},
          {"anonymous_with_references", with_references}};
}

json RemoveAll(const Arguments& arguments) {
  TreeFiles files(arguments.store, Options(fs::VolumeOptions().sync_interval));
  fs::Volume& volume = files.volume();
  MemoryPeak peak;
  uint64_t removed = 0;
  const double seconds = SecondsOf([&] {
    VisitFolders(volume, /*reference=*/false,
                 [&](uint64_t folder, const Listed& listed) {
                   const bool are_files =
                       !listed.entries.empty() &&
                       listed.entries.front().first.substr(0, 4) == "file";
                   for (const auto& entry : listed.entries) {
                     Must(are_files
                              ? volume.Unlink(folder, entry.first)
                              : volume.RemoveDirectory(folder, entry.first));
                     ++removed;
                   }
                 });
  });
  const uint64_t left = Must(volume.GetSpace()).inodes - 1;
  if (left != 0) FailTree(absl::StrCat(left, " inodes are left"));
  files.Close();
  return {{"removed", removed},
          {"each", seconds / static_cast<double>(removed)},
          {"peak_anonymous", peak.Stop()}};
}

// ---- Clones
// ------------------------------------------------------------------

// Makes as many clones as there are changes to be made, each of another file,
// in a directory of their own.
json MakeClones(const Arguments& arguments) {
  TreeFiles files(arguments.store, Options(fs::VolumeOptions().sync_interval));
  const uint64_t folder = files.MakeDirectory(
      files.MakeDirectory(fs::kRootIno, "clones"), "folder");
  const uint64_t step =
      std::max<uint64_t>(1, arguments.files / arguments.changes);
  const double seconds = SecondsOf([&] {
    for (uint64_t i = 0; i < arguments.changes; ++i) {
      const uint64_t number = i * step % arguments.files;
      files.Clone(files.DirectoryOf(number), TreeFiles::NameOf(number), folder,
                  TreeFiles::NameOf(i));
    }
  });
  files.Close();
  return {{"each", seconds / static_cast<double>(arguments.changes)}};
}

// ---- The program ------------------------------------------------------------

struct Command {
  const char* name;
  const char* does;
  json (*run)(const Arguments&);
};

constexpr Command kCommands[] = {
    {"make", "makes the files, in a new store", &Make},
    {"open", "opens the store", &Open},
    {"die", "changes files at random, and ends without closing", &ChangeAndDie},
    {"compare", "times a thousand more files, there and among a thousand",
     &Compare},
    {"list", "lists all", &ListAll},
    {"checkpoint", "uses files while checkpoints are written",
     &BesideCheckpoints},
    {"compact", "uses files during a compaction", &BesideACompaction},
    {"clone", "makes clones, one for each change", &MakeClones},
    {"count", "uses files while live bytes are counted", &BesideCounting},
    {"punch", "uses files while others that were removed are punched",
     &BesidePunching},
    {"remove", "removes all", &RemoveAll},
    {"snapshot", "makes snapshots, one a round, with changes in between",
     &MakeSnapshots},
    {"past", "looks at the snapshots", &LookAtSnapshots},
    {"large", "reads a large file, in a new store", &ReadALargeFile},
};

int Run(int argc, char** argv) {
  CLI::App app("Measures what size costs a tree.", "tree_bench");
  app.require_subcommand(1);
  Arguments arguments;
  for (const Command& command : kCommands) {
    CLI::App* one = app.add_subcommand(command.name, command.does);
    one->add_option("store", arguments.store)->required();
    if (command.run == &Compare) {
      one->add_option("other", arguments.other_store)->required();
    }
    one->add_option("--files", arguments.files, "in the store")
        ->check(CLI::Range(uint64_t{0}, uint64_t{1} << 32));
    one->add_option("--changes", arguments.changes)->check(CLI::PositiveNumber);
    one->add_option("--mib", arguments.mebibytes, "of the large file")
        ->check(CLI::PositiveNumber);
    one->add_option("--rounds", arguments.rounds)->check(CLI::PositiveNumber);
  }
  CLI11_PARSE(app, argc, argv);
  for (const Command& command : kCommands) {
    if (!app.got_subcommand(command.name)) continue;
    std::cout << command.run(arguments).dump() << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  // As the `varve` command does.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  constexpr int kLargePiece = 8 << 20;
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, kLargePiece);
  mallopt(M_TRIM_THRESHOLD, kLargePiece);
  mallopt(M_TOP_PAD, 1 << 20);
  return varve::bench::Run(argc, argv);
}
