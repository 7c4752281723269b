// The journal of systemd by its native protocol: datagrams of fields, which can
// be searched one by one (`journalctl VARVE_STORE=/srv/photos.varve`).
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
  // Nothing if there is no journal. The environment's VARVE_JOURNAL_SOCKET is
  // where it is, for tests; /run/systemd/journal/socket otherwise.
  static absl::optional<Journal> Connect();
  // Whether what is written to the descriptor goes to the journal, as the
  // environment's JOURNAL_STREAM says.
  static bool Is(int fd);

  // Sends one record. False if it could not be sent, even without waiting.
  bool Send(absl::Span<const JournalField> fields) const;

 private:
  explicit Journal(Descriptor socket_fd) : socket_(std::move(socket_fd)) {}
  Descriptor socket_;
};

// A record as it is sent: a value of several lines has its length before it.
std::string JournalRecord(absl::Span<const JournalField> fields);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_JOURNAL_H_
