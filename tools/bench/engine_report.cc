#include "tools/bench/engine_report.h"

#include <linux/magic.h>
#include <stdio.h>
#include <sys/statfs.h>
#include <sys/utsname.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace varve::bench {
namespace {

constexpr char kUs[] = "varve";

// A target for a ratio, or for a figure if there is no other peer.
struct Target {
  const char* workload;
  double at_least;
  const char* peer = nullptr;
  const char* other_workload = nullptr;  // if not the same
};

constexpr Target kTargets[] = {
    {"batch_write_native", 2.5, "lmdb"},
    {"read", 3, "lmdb"},
    {"read_batch", 6, "lmdb", "read"},
    {"write_100", 0.8, "bare"},
    {"write_4k", 0.8, "bare"},
    {"write_1m", 0.8, "bare"},
    {"iterate", 10e6},
    {"iterate_parallel", 30e6},
    {"checksum", 20e9},
};

const Workload& WorkloadOf(const std::string& id) {
  return *std::find_if(
      kWorkloads.begin(), kWorkloads.end(),
      [&](const Workload& workload) { return workload.id == id; });
}

std::string Short(double figure) {
  if (figure >= 1e9) return absl::StrFormat("%.2f G", figure / 1e9);
  if (figure >= 1e6) return absl::StrFormat("%.2f M", figure / 1e6);
  if (figure >= 1e4) return absl::StrFormat("%.1f k", figure / 1e3);
  return absl::StrFormat("%.1f", figure);
}

std::string ProcessorName() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (absl::StartsWith(line, "model name") && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown";
}

std::string KernelName() {
  struct utsname name;
  return uname(&name) == 0 ? name.release : "unknown";
}

std::string FileSystemName(const std::string& directory) {
  struct statfs info;
  if (statfs(directory.c_str(), &info) != 0) return "unknown";
  switch (static_cast<unsigned long>(info.f_type)) {
    case EXT4_SUPER_MAGIC:
      return "ext4";
    case XFS_SUPER_MAGIC:
      return "xfs";
    case BTRFS_SUPER_MAGIC:
      return "btrfs";
    case TMPFS_MAGIC:
      return "tmpfs";
    case OVERLAYFS_SUPER_MAGIC:
      return "overlayfs";
    default:
      return absl::StrFormat("%#x", info.f_type);
  }
}

nlohmann::json Conditions(const Settings& settings, int rounds) {
  return {{"processor", ProcessorName()},
          {"cores", std::thread::hardware_concurrency()},
          {"kernel", KernelName()},
          {"file_system", FileSystemName(settings.directory)},
          {"rounds", rounds},
          {"keys", settings.keys},
          {"batch", settings.batch},
          {"small_writes", settings.small_writes},
          {"page_writes", settings.page_writes},
          {"large_writes", settings.large_writes}};
}

}  // namespace

Report::Report(const Settings& settings, std::vector<std::string> peers,
               int rounds, const Figures& figures)
    : settings_(settings),
      peers_(std::move(peers)),
      rounds_(rounds),
      figures_(figures) {}

void Report::PrintTable(std::ostream& out) const {
  out << absl::StrFormat("%-31s %-9s", "median of rounds", "");
  for (const std::string& peer : peers_) out << absl::StrFormat(" %9s", peer);
  for (const std::string& peer : peers_) {
    if (peer != kUs) out << absl::StrFormat(" %9s", absl::StrCat("/", peer));
  }
  out << "\n";
  for (const Workload& workload : kWorkloads) {
    if (!settings_.Wants(workload.id)) continue;
    out << absl::StrFormat("%-31s %-9s", workload.title, workload.unit);
    for (const std::string& peer : peers_) {
      const std::optional<double> median = figures_.Median(workload.id, peer);
      out << absl::StrFormat(" %9s", median.has_value() ? Short(*median) : "-");
    }
    for (const std::string& peer : peers_) {
      if (peer == kUs) continue;
      const auto ratio = figures_.Ratio(workload.id, kUs, workload.id, peer);
      out << absl::StrFormat(
          " %9s", ratio.has_value() ? absl::StrFormat("%.2f", *ratio) : "-");
    }
    out << "\n";
  }
}

bool Report::PrintTargets(std::ostream& out) const {
  bool all = true;
  for (const Target& target : kTargets) {
    const bool is_ratio = target.peer != nullptr;
    const std::string theirs = target.other_workload != nullptr
                                   ? target.other_workload
                                   : target.workload;
    const std::optional<double> found =
        is_ratio ? figures_.Ratio(target.workload, kUs, theirs, target.peer)
                 : figures_.Median(target.workload, kUs);
    const bool reached = found.has_value() && *found >= target.at_least;
    all &= reached;
    const Workload& workload = WorkloadOf(target.workload);
    const auto text = [&](double figure) {
      return is_ratio ? absl::StrFormat("%.2f x", figure)
                      : absl::StrCat(Short(figure), workload.unit);
    };
    const std::string against =
        !is_ratio ? ""
        : theirs == target.workload
            ? absl::StrCat(" against ", target.peer)
            : absl::StrCat(" against ", target.peer, "'s ",
                           WorkloadOf(theirs).title);
    out << absl::StrFormat("%-8s %s%s: %s, wanted %s\n",
                           reached ? "reached" : "missed", workload.title,
                           against,
                           found.has_value() ? text(*found) : "not measured",
                           text(target.at_least));
  }
  return all;
}

void Report::WriteJson(const std::string& path) const {
  nlohmann::json workloads = nlohmann::json::object();
  for (const Workload& workload : kWorkloads) {
    nlohmann::json peers = nlohmann::json::object();
    for (const std::string& peer : peers_) {
      const std::optional<double> median = figures_.Median(workload.id, peer);
      if (!median.has_value()) continue;
      peers[peer] = {{"median", *median},
                     {"rounds", figures_.All(workload.id, peer)}};
      const auto ratio = figures_.Ratio(workload.id, kUs, workload.id, peer);
      if (peer != kUs && ratio.has_value()) peers[peer]["varve_is"] = *ratio;
    }
    if (peers.empty()) continue;
    workloads[workload.id] = {{"title", workload.title},
                              {"unit", workload.unit},
                              {"less_is_better", workload.less_is_better},
                              {"peers", std::move(peers)}};
  }
  std::ofstream out(path);
  out << nlohmann::json{{"conditions", Conditions(settings_, rounds_)},
                        {"workloads", std::move(workloads)}}
             .dump(2)
      << "\n";
  if (!out.flush()) Fail(absl::StrCat("cannot write ", path));
}

void Report::WritePlot(const std::string& path) const {
  std::vector<std::string> others;
  for (const std::string& peer : peers_) {
    if (peer != kUs) others.push_back(peer);
  }
  if (others.empty()) Fail("a plot needs a peer besides varve");
  FILE* const gnuplot = popen("gnuplot", "w");
  if (gnuplot == nullptr) Fail("gnuplot does not start");
  std::string script = absl::StrCat(
      "set terminal ", absl::EndsWith(path, ".png") ? "pngcairo" : "svg",
      " size 1100,520 background 'white'\nset output '", path,
      "'\nset title 'What Varve is to each peer (more is better)'\n"
      "set logscale y\nset grid ytics\nset style data histograms\n"
      "set style fill solid 0.8\nset boxwidth 0.9\nset key outside\n"
      "set xtics rotate by -30\nset format y '%g x'\n"
      "set datafile missing '?'\nset arrow from graph 0, first 1 to graph 1, "
      "first 1 nohead lw 2\n$ratios << END\n");
  for (const Workload& workload : kWorkloads) {
    std::string row = absl::StrCat("\"", workload.title, "\"");
    bool has_any = false;
    for (const std::string& peer : others) {
      const auto ratio = figures_.Ratio(workload.id, kUs, workload.id, peer);
      absl::StrAppend(&row, " ",
                      ratio.has_value() ? absl::StrCat(*ratio) : "?");
      has_any |= ratio.has_value();
    }
    if (has_any) absl::StrAppend(&script, row, "\n");
  }
  absl::StrAppend(&script, "END\nplot ");
  for (size_t i = 0; i < others.size(); ++i) {
    absl::StrAppend(&script, i == 0 ? "" : ", ", "$ratios using ", i + 2,
                    ":xtic(1) title '", others[i], "'");
  }
  absl::StrAppend(&script, "\n");
  const bool is_written =
      fwrite(script.data(), 1, script.size(), gnuplot) == script.size();
  if (pclose(gnuplot) != 0 || !is_written) Fail("gnuplot failed");
}

}  // namespace varve::bench
