// Compares the engine with other key/value stores, and with bare system calls.
//
//   tools/bench/engine --help
//
// Each round gives every peer the same work, one after the other, in a
// different order each time. Ratios within a round are what counts. Nothing is
// synced. Every result is checked.

#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "tools/bench/engine_report.h"
#include "tools/bench/engine_workloads.h"
#include "tools/bench/key_value_store.h"

namespace varve::bench {
namespace {

using Peers = std::vector<std::unique_ptr<KeyValueStore>>;

Peers AllPeers() {
  Peers peers;
  peers.push_back(MakeVarve());
  peers.push_back(MakeBare());
  peers.push_back(MakeLmdb());
  peers.push_back(MakeLevelDb());
  peers.push_back(MakeRocksDb());
  return peers;
}

struct Arguments {
  Settings settings;
  std::string parent = ".";
  int rounds = 5;
  std::vector<std::string> peers;  // empty: all
  std::string json;
  std::string plot;
  bool check = false;
  // Options for a process that this program starts.
  std::string probed_peer;
  std::string probed_path;
};

void Declare(CLI::App& app, Arguments& arguments) {
  Settings& settings = arguments.settings;
  std::vector<std::string> workloads;
  for (const Workload& workload : kWorkloads) workloads.push_back(workload.id);
  std::vector<std::string> peers;
  for (const auto& peer : AllPeers()) peers.emplace_back(peer->name());

  app.option_defaults()->always_capture_default();
  app.add_option("--dir", arguments.parent,
                 "where the stores go, into a directory that is removed again; "
                 "made if it is not there");
  app.add_option("--rounds", arguments.rounds)->check(CLI::PositiveNumber);
  app.add_option("--keys", settings.keys)->check(CLI::PositiveNumber);
  app.add_option("--batch", settings.batch)->check(CLI::PositiveNumber);
  app.add_option("--small-writes", settings.small_writes, "of 100 B each");
  app.add_option("--page-writes", settings.page_writes, "of 4 KiB each");
  app.add_option("--large-writes", settings.large_writes, "of 1 MiB each");
  app.add_option("--checksum-bytes", settings.checksum_bytes);
  app.add_option("--only", settings.only, "workloads to run")
      ->delimiter(',')
      ->check(CLI::IsMember(workloads));
  app.add_option("--peers", arguments.peers, "peers to run")
      ->delimiter(',')
      ->check(CLI::IsMember(peers));
  app.add_option("--json", arguments.json, "a file for all figures");
  app.add_option("--plot", arguments.plot, "a file for a plot: .svg or .png");
  app.add_flag("--check", arguments.check,
               "compare with the targets; fail where one is missed");
  app.add_option("--probe", arguments.probed_peer)->group("");
  app.add_option("--path", arguments.probed_path)->group("");
}

// A new directory, which is removed when the process ends.
class ScratchDirectory {
 public:
  explicit ScratchDirectory(const std::string& parent) {
    std::filesystem::create_directories(parent);
    path_ = std::filesystem::absolute(parent) / "varve-bench.XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) {
      Fail(absl::StrCat("cannot make a directory in ", parent));
    }
    to_remove = path_;
    std::atexit([] { std::filesystem::remove_all(to_remove); });
  }
  const std::string& path() const { return path_; }

 private:
  inline static std::string to_remove;
  std::string path_;
};

int Probe(const Arguments& arguments) {
  for (const auto& peer : AllPeers()) {
    if (peer->name() != arguments.probed_peer) continue;
    std::cout << MemoryToRead(*peer, arguments.probed_path,
                              arguments.settings.keys)
              << "\n";
  }
  return 0;
}

int Run(Arguments arguments) {
  if (!arguments.probed_peer.empty()) return Probe(arguments);
  const ScratchDirectory scratch(arguments.parent);
  arguments.settings.directory = scratch.path();
  Peers peers = AllPeers();
  const auto unwanted = [&](const std::unique_ptr<KeyValueStore>& peer) {
    const auto& wanted = arguments.peers;
    return !wanted.empty() && std::find(wanted.begin(), wanted.end(),
                                        peer->name()) == wanted.end();
  };
  peers.erase(std::remove_if(peers.begin(), peers.end(), unwanted),
              peers.end());
  std::vector<std::string> names;
  for (const auto& peer : peers) names.emplace_back(peer->name());

  Figures figures;
  for (int round = 0; round < arguments.rounds; ++round) {
    std::cerr << "round " << round + 1 << " of " << arguments.rounds << "\n";
    RunRound(arguments.settings, peers, figures);
    std::rotate(peers.begin(), peers.begin() + 1, peers.end());
  }
  const Report report(arguments.settings, names, arguments.rounds, figures);
  report.PrintTable(std::cout);
  if (!arguments.json.empty()) report.WriteJson(arguments.json);
  if (!arguments.plot.empty()) report.WritePlot(arguments.plot);
  if (!arguments.check) return 0;
  std::cout << "\n";
  return report.PrintTargets(std::cout) ? 0 : 1;
}

}  // namespace
}  // namespace varve::bench

int main(int argc, char** argv) {
  // As the `varve` command does.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  CLI::App app("Compares the engine with other key/value stores.",
               "tools/bench/engine");
  varve::bench::Arguments arguments;
  varve::bench::Declare(app, arguments);
  CLI11_PARSE(app, argc, argv);
  return varve::bench::Run(std::move(arguments));
}
