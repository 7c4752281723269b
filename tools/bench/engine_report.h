// The figures of the engine's benchmark as a table, as JSON, as a plot, and
// compared with the targets.

#ifndef VARVE_TOOLS_BENCH_ENGINE_REPORT_H_
#define VARVE_TOOLS_BENCH_ENGINE_REPORT_H_

#include <ostream>
#include <string>
#include <vector>

#include "tools/bench/engine_workloads.h"

namespace varve::bench {

class Report {
 public:
  // `figures` is not owned. `peers` are the columns; "varve" is among them.
  Report(const Settings& settings, std::vector<std::string> peers, int rounds,
         const Figures& figures);

  // Medians of all rounds, then what varve is to each of the others.
  void PrintTable(std::ostream& out) const;
  // One line per target. Whether all have been reached; what has not been
  // measured has not.
  bool PrintTargets(std::ostream& out) const;
  void WriteJson(const std::string& path) const;
  // By gnuplot; the path ends in .svg or .png.
  void WritePlot(const std::string& path) const;

 private:
  const Settings settings_;
  const std::vector<std::string> peers_;
  const int rounds_;
  const Figures& figures_;
};

}  // namespace varve::bench

#endif  // VARVE_TOOLS_BENCH_ENGINE_REPORT_H_
