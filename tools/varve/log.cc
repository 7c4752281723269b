#include "tools/varve/log.h"

#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>

#include <memory>

#include "tools/varve/host.h"

namespace varve::tools {
namespace {

// Where lines go. Threads may be logging while it is exchanged, as a mount that
// is ready leaves its terminal; spdlog's default logger must not be exchanged
// then.
const std::shared_ptr<spdlog::sinks::dist_sink_mt>& Output() {
  static auto& output = *new std::shared_ptr<spdlog::sinks::dist_sink_mt>(
      std::make_shared<spdlog::sinks::dist_sink_mt>());
  return output;
}

spdlog::logger& Logger() {
  static auto& logger = *new spdlog::logger("varve", Output());
  return logger;
}

void Use(const spdlog::sink_ptr& sink) {
  sink->set_pattern("varve: %v");
  Output()->set_sinks({sink});
}

}  // namespace

void LogToStandardError() {
  Use(std::make_shared<spdlog::sinks::stderr_sink_mt>());
}

void LogToSystem() {
  // The system's log adds name, pid and level by itself.
  Use(std::make_shared<spdlog::sinks::syslog_sink_mt>(
      "varve", LOG_PID, LOG_DAEMON, /*enable_formatting=*/false));
}

void LogInfo(const std::string& line) { Logger().info("{}", Printable(line)); }

void LogWarning(const std::string& line) {
  Logger().warn("{}", Printable(line));
}

void LogError(const std::string& line) {
  Logger().error("{}", Printable(line));
}

}  // namespace varve::tools
