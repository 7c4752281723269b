#include "tools/varve/log.h"

#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/dist_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "tools/varve/host.h"
#include "tools/varve/journal.h"

namespace varve::tools {
namespace {

// Where lines go. A mount that is ready leaves its terminal, so this changes
// while other threads may be logging. spdlog's default logger must not be
// exchanged then.
const std::shared_ptr<spdlog::sinks::dist_sink_mt>& Output() {
  static auto& output = *new std::shared_ptr<spdlog::sinks::dist_sink_mt>(
      std::make_shared<spdlog::sinks::dist_sink_mt>());
  return output;
}

spdlog::logger& Logger() {
  static auto& logger = *new spdlog::logger("varve", Output());
  return logger;
}

// The store that the lines are about.
struct Subject {
  std::mutex mu;
  std::string store;
  std::string uuid;
};

Subject& TheSubject() {
  static auto& subject = *new Subject;
  return subject;
}

// The fields of the failure that this thread is about to log.
thread_local const absl::Status* failure = nullptr;
thread_local absl::string_view failed_operation;

// As syslog(3) numbers them.
absl::string_view PriorityOf(spdlog::level::level_enum level) {
  if (level >= spdlog::level::err) return "3";
  return level == spdlog::level::warn ? "4" : "6";
}

class JournalSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit JournalSink(Journal journal) : journal_(std::move(journal)) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    const absl::string_view text(message.payload.data(),
                                 message.payload.size());
    std::vector<JournalField> fields = {{"MESSAGE", text},
                                        {"PRIORITY", PriorityOf(message.level)},
                                        {"SYSLOG_IDENTIFIER", "varve"}};
    Subject& subject = TheSubject();
    const std::lock_guard<std::mutex> lock(subject.mu);
    if (!subject.store.empty()) {
      fields.emplace_back("VARVE_STORE", subject.store);
    }
    if (!subject.uuid.empty()) fields.emplace_back("VARVE_UUID", subject.uuid);
    std::string number;
    std::string file;
    if (failure != nullptr) {
      number = absl::StrCat(fs::ErrnoOf(*failure));
      fields.emplace_back("ERRNO", number);
      if (!failed_operation.empty()) {
        fields.emplace_back("VARVE_OPERATION", failed_operation);
      }
      file = fs::PathOfFailure(*failure).value_or("");
      if (!file.empty()) fields.emplace_back("VARVE_FILE", file);
    }
    // If journald cannot keep up, use standard error, which leads there, too.
    if (!journal_.Send(fields)) {
      const std::string line = absl::StrCat("varve: ", text, "\n");
      [[maybe_unused]] const ssize_t written =
          write(STDERR_FILENO, line.data(), line.size());
    }
  }
  void flush_() override {}

 private:
  const Journal journal_;
};

void Use(const spdlog::sink_ptr& sink) {
  sink->set_pattern("varve: %v");
  Output()->set_sinks({sink});
}

// Returns false if there is no journal.
bool UseJournal() {
  absl::optional<Journal> journal = Journal::Connect();
  if (!journal.has_value()) return false;
  Output()->set_sinks({std::make_shared<JournalSink>(*std::move(journal))});
  return true;
}

}  // namespace

void LogToStandardError() {
  if (Journal::Is(STDERR_FILENO) && UseJournal()) return;
  Use(std::make_shared<spdlog::sinks::stderr_sink_mt>());
}

void LogToSystem() {
  if (UseJournal()) return;
  // The system's log adds name, pid and level by itself.
  Use(std::make_shared<spdlog::sinks::syslog_sink_mt>(
      "varve", LOG_PID, LOG_DAEMON, /*enable_formatting=*/false));
}

void SetLogStore(const std::string& path, const std::string& uuid) {
  Subject& subject = TheSubject();
  const std::lock_guard<std::mutex> lock(subject.mu);
  subject.store = path;
  subject.uuid = uuid;
}

void LogInfo(const std::string& line) { Logger().info("{}", Printable(line)); }

void LogWarning(const std::string& line) {
  Logger().warn("{}", Printable(line));
}

void LogError(const std::string& line) {
  Logger().error("{}", Printable(line));
}

void LogFailure(const absl::Status& status, absl::string_view operation) {
  failure = &status;
  failed_operation = operation;
  LogError(
      absl::StrCat(operation, operation.empty() ? "" : ": ", status.message()));
  failure = nullptr;
  failed_operation = {};
}

}  // namespace varve::tools
