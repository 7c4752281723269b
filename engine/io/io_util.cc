#include "engine/io/io_util.h"

#include <limits.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "engine/base/status.h"

namespace varve {
namespace {

bool WasInterrupted(const absl::Status& status) {
  return SystemErrorNumber(status) == EINTR;
}

// Drops the first `written` bytes of `pieces`, and pieces without any.
void Advance(absl::Span<struct iovec>& pieces, size_t written) {
  while (!pieces.empty() && pieces.front().iov_len <= written) {
    written -= pieces.front().iov_len;
    pieces.remove_prefix(1);
  }
  if (!pieces.empty()) {
    struct iovec& first = pieces.front();
    first.iov_base = static_cast<char*>(first.iov_base) + written;
    first.iov_len -= written;
  }
}

}  // namespace

absl::StatusOr<size_t> ReadFully(File& file, uint64_t offset,
                                 absl::Span<std::byte> out) {
  size_t done = 0;
  while (done < out.size()) {
    const absl::StatusOr<size_t> count =
        file.ReadAt(offset + done, out.subspan(done));
    if (!count.ok()) {
      if (WasInterrupted(count.status())) continue;
      return count.status();
    }
    if (*count == 0) break;
    done += *count;
  }
  return done;
}

absl::Status ReadExactly(File& file, uint64_t offset,
                         absl::Span<std::byte> out) {
  VARVE_ASSIGN_OR_RETURN(const size_t count, ReadFully(file, offset, out));
  if (count < out.size()) {
    return absl::OutOfRangeError("the file is shorter than expected");
  }
  return absl::OkStatus();
}

absl::Status WriteFully(File& file, uint64_t offset,
                        absl::Span<struct iovec> pieces) {
  Advance(pieces, 0);
  while (!pieces.empty()) {
    const absl::StatusOr<size_t> count = file.WriteAt(
        offset, pieces.first(std::min<size_t>(pieces.size(), IOV_MAX)));
    if (!count.ok()) {
      if (WasInterrupted(count.status())) continue;
      return count.status();
    }
    // The kernel does not do that for a regular file; without the check, a
    // file system that does would hang us.
    if (*count == 0) return SystemError(EIO, "write made no progress");
    offset += *count;
    Advance(pieces, *count);
  }
  return absl::OkStatus();
}

absl::Status WriteFully(File& file, uint64_t offset,
                        absl::Span<const std::byte> bytes) {
  struct iovec piece = PieceOf(bytes);
  return WriteFully(file, offset, absl::MakeSpan(&piece, 1));
}

absl::Status KeepOwner(const FileInfo& original, File& file) {
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, file.Info());
  if (info.owner == original.owner && info.group == original.group) {
    return absl::OkStatus();
  }
  return file.SetOwner(original.owner, original.group);
}

absl::Status KeepXattrs(File& original, File& file) {
  VARVE_ASSIGN_OR_RETURN(const std::vector<FileXattr> xattrs,
                         original.Xattrs());
  for (const FileXattr& xattr : xattrs) {
    const absl::Status status = file.SetXattr(xattr);
    const bool privileged = absl::StartsWith(xattr.name, "security.") ||
                            absl::StartsWith(xattr.name, "trusted.");
    if (!status.ok() && !privileged) return status;
  }
  return absl::OkStatus();
}

struct iovec PieceOf(absl::Span<const std::byte> bytes) {
  return {.iov_base = const_cast<std::byte*>(bytes.data()),
          .iov_len = bytes.size()};
}

}  // namespace varve
