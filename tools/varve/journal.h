// A client of systemd's journal by its native protocol: datagrams of fields,
// for each of which users can search (`journalctl
// VARVE_STORE=/srv/photos.varve`).
//
// Thread-safe.

#ifndef VARVE_TOOLS_VARVE_JOURNAL_H_
#define VARVE_TOOLS_VARVE_JOURNAL_H_

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "engine/base/descriptor.h"

namespace varve::tools {

using JournalField = std::pair<absl::string_view, absl::string_view>;

class Journal {
 public:
  // Connects to /run/systemd/journal/socket or, for tests, to the socket that
  // the environment variable VARVE_JOURNAL_SOCKET names. Returns nothing if
  // there is no journal.
  static absl::optional<Journal> Connect();
  // Whether the descriptor leads to the journal, as the environment variable
  // JOURNAL_STREAM says.
  static bool Is(int fd);

  // Sends one record. Returns false if it could not be sent without waiting.
  bool Send(absl::Span<const JournalField> fields) const;

 private:
  explicit Journal(Descriptor socket_fd) : socket_(std::move(socket_fd)) {}
  Descriptor socket_;
};

// Encodes a record for sending. A value of several lines has its length before
// it.
std::string JournalRecord(absl::Span<const JournalField> fields);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_JOURNAL_H_
