#include "tools/varve/journal.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cstdint>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tools/varve/unix_address.h"

namespace varve::tools {

absl::optional<Journal> Journal::Connect() {
  const char* const other = getenv("VARVE_JOURNAL_SOCKET");
  const auto address = ParseUnixAddress(
      other != nullptr ? other : "/run/systemd/journal/socket");
  if (!address.has_value()) return absl::nullopt;
  Descriptor socket_fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket_fd.valid() ||
      connect(socket_fd.get(), address->get(), address->size) != 0) {
    return absl::nullopt;
  }
  return Journal(std::move(socket_fd));
}

bool Journal::Is(int fd) {
  const char* const stream = getenv("JOURNAL_STREAM");
  if (stream == nullptr) return false;
  const std::pair<absl::string_view, absl::string_view> numbers =
      absl::StrSplit(stream, absl::MaxSplits(':', 1));
  uint64_t device = 0;
  uint64_t inode = 0;
  struct stat info;
  return absl::SimpleAtoi(numbers.first, &device) &&
         absl::SimpleAtoi(numbers.second, &inode) && fstat(fd, &info) == 0 &&
         info.st_dev == device && info.st_ino == inode;
}

bool Journal::Send(absl::Span<const JournalField> fields) const {
  const std::string record = JournalRecord(fields);
  return send(socket_.get(), record.data(), record.size(),
              MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

std::string JournalRecord(absl::Span<const JournalField> fields) {
  std::string record;
  for (const auto& [name, value] : fields) {
    if (value.find('\n') == absl::string_view::npos) {
      absl::StrAppend(&record, name, "=", value, "\n");
      continue;
    }
    absl::StrAppend(&record, name, "\n");
    for (int shift = 0; shift < 64; shift += 8) {
      record.push_back(static_cast<char>(uint64_t{value.size()} >> shift));
    }
    absl::StrAppend(&record, value, "\n");
  }
  return record;
}

}  // namespace varve::tools
