// Reports the figures of the engine's benchmark as a table, as JSON, as a plot,
// and compared with the targets.

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

  // The medians of all rounds, then the ratios of varve to each of the others.
  void PrintTable(std::ostream& out) const;
  // Prints a line for each target. Returns whether all have been reached; a
  // target that was not measured counts as missed.
  bool PrintTargets(std::ostream& out) const;
  void WriteJson(const std::string& path) const;
  // Draws a plot with gnuplot. The path must end in .svg or .png.
  void WritePlot(const std::string& path) const;

 private:
  const Settings settings_;
  const std::vector<std::string> peers_;
  const int rounds_;
  const Figures& figures_;
};

}  // namespace varve::bench

#endif  // VARVE_TOOLS_BENCH_ENGINE_REPORT_H_
