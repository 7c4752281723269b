// MoveTornBytes() of recovery.h.

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/io/io_util.h"
#include "engine/recovery/recovery.h"

namespace varve {
namespace {

constexpr size_t kChunk = size_t{1} << 20;

struct Sidecar {
  std::string path;
  std::unique_ptr<File> file;
};

// Creates "<base>", or "<base>.1" and so on if that exists.
absl::StatusOr<Sidecar> CreateSidecar(FileSystem& file_system,
                                      const std::string& base,
                                      uint32_t permissions) {
  std::string path = base;
  for (int number = 1;; ++number) {
    absl::StatusOr<std::unique_ptr<File>> file =
        file_system.Open(path, OpenMode::kCreateNew, permissions);
    if (file.ok()) return Sidecar{std::move(path), *std::move(file)};
    if (!absl::IsAlreadyExists(file.status())) return file.status();
    path = absl::StrCat(base, ".", number);
  }
}

// The size of the pieces in which bytes are moved if the disk has no room for
// two copies of them all.
constexpr uint64_t kLargestPiece = uint64_t{1} << 20;
constexpr uint64_t kLeastPiece = 4096;

bool IsZero(absl::Span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](std::byte byte) { return byte == std::byte{0}; });
}

// Copies [begin, end) of `from` into `to`, where offset 0 stands for `base` in
// `from`. Zeros become holes, because a crash often leaves a hole of any size.
absl::Status CopyRange(File& from, uint64_t begin, uint64_t end, uint64_t base,
                       File& to) {
  std::vector<std::byte> buffer(std::min<uint64_t>(kChunk, end - begin));
  for (uint64_t at = begin; at < end;) {
    const auto chunk =
        absl::MakeSpan(buffer).first(std::min<uint64_t>(kChunk, end - at));
    VARVE_RETURN_IF_ERROR(ReadExactly(from, at, chunk));
    if (!IsZero(chunk)) {
      VARVE_RETURN_IF_ERROR(WriteFully(to, at - base, chunk));
    }
    at += chunk.size();
  }
  return absl::OkStatus();
}

absl::Status CopyAll(File& from, uint64_t begin, uint64_t end, File& to) {
  VARVE_RETURN_IF_ERROR(CopyRange(from, begin, end, begin, to));
  VARVE_RETURN_IF_ERROR(to.Truncate(end - begin));
  return to.Sync();
}

// Moves the bytes piece by piece, from the end, so that a full disk needs room
// for one piece only. If this fails or crashes midway, the bytes that have been
// moved are only in `to`, and the others are in the store, up to `end`.
absl::Status MoveInPieces(FileSystem& file_system, const std::string& path,
                          File& from, uint64_t begin, uint64_t& end, File& to) {
  VARVE_RETURN_IF_ERROR(file_system.SyncDirectoryOf(path));
  VARVE_RETURN_IF_ERROR(to.Truncate(end - begin));
  uint64_t piece = kLargestPiece;
  while (end > begin) {
    const uint64_t at = end - std::min(piece, end - begin);
    absl::Status status = CopyRange(from, at, end, begin, to);
    if (status.ok()) status = to.Sync();
    if (IsOutOfSpace(status) && piece > kLeastPiece) {
      piece /= 2;
      continue;
    }
    VARVE_RETURN_IF_ERROR(status);
    VARVE_RETURN_IF_ERROR(from.Truncate(at));
    end = at;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> MoveTornBytes(FileSystem& file_system,
                                          const std::string& path, File& file,
                                          uint64_t tail, uint64_t file_size) {
  const std::string what =
      absl::StrCat("cannot save the torn end of ", path, " from offset ", tail);
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, file.Info());
  const auto create = [&] {
    return CreateSidecar(file_system, absl::StrCat(path, ".torn-", tail),
                         info.mode & 07777);
  };
  absl::StatusOr<Sidecar> sidecar = create();
  if (IsOutOfSpace(sidecar.status())) {
    // The blocks behind the end of the file are for cases like this.
    VARVE_RETURN_IF_ERROR(Annotate(file.Truncate(file_size), what));
    sidecar = create();
  }
  if (!sidecar.ok()) return Annotate(sidecar.status(), what);
  // Only root can give files away. For other users the bytes are saved all the
  // same.
  KeepOwner(info, *sidecar->file).IgnoreError();
  uint64_t end = file_size;  // of the bytes that have not been moved
  absl::Status status = CopyAll(file, tail, end, *sidecar->file);
  if (status.ok()) status = file_system.SyncDirectoryOf(path);
  if (status.ok()) status = file.Truncate(tail);
  if (IsOutOfSpace(status)) {
    status = sidecar->file->Truncate(0);
    if (status.ok()) status = file.Truncate(end);
    if (status.ok()) {
      status = MoveInPieces(file_system, path, file, tail, end, *sidecar->file);
    }
  }
  if (!status.ok()) {
    // Half a copy would mislead, so remove it if possible.
    if (end == file_size) file_system.Remove(sidecar->path).IgnoreError();
    return Annotate(status, what);
  }
  return std::move(sidecar->path);
}

}  // namespace varve
