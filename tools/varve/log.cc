#include "tools/varve/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <utility>

#include "tools/varve/host.h"

namespace varve::tools {
namespace {

void Use(spdlog::sink_ptr sink) {
  auto logger = std::make_shared<spdlog::logger>("varve", std::move(sink));
  logger->set_pattern("varve: %v");
  spdlog::set_default_logger(std::move(logger));
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

void LogInfo(const std::string& line) { spdlog::info("{}", Printable(line)); }

void LogWarning(const std::string& line) {
  spdlog::warn("{}", Printable(line));
}

void LogError(const std::string& line) { spdlog::error("{}", Printable(line)); }

}  // namespace varve::tools
