// MoveTornBytes() of recovery.h.

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/io_util.h"
#include "engine/recovery.h"
#include "engine/status.h"

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

bool IsZero(absl::Span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(),
                     [](std::byte byte) { return byte == std::byte{0}; });
}

// Copies [begin, end) of `from` to the start of `to`. Zeros become holes: what
// a crash leaves behind is often a hole itself, of any size.
absl::Status CopyRange(File& from, uint64_t begin, uint64_t end, File& to) {
  std::vector<std::byte> buffer(std::min<uint64_t>(kChunk, end - begin));
  for (uint64_t at = begin; at < end;) {
    const auto chunk =
        absl::MakeSpan(buffer).first(std::min<uint64_t>(kChunk, end - at));
    VARVE_RETURN_IF_ERROR(ReadExactly(from, at, chunk));
    if (!IsZero(chunk)) {
      VARVE_RETURN_IF_ERROR(WriteFully(to, at - begin, chunk));
    }
    at += chunk.size();
  }
  return to.Truncate(end - begin);
}

}  // namespace

absl::StatusOr<std::string> MoveTornBytes(FileSystem& file_system,
                                          const std::string& path, File& file,
                                          uint64_t tail, uint64_t file_size) {
  const std::string what =
      absl::StrCat("cannot save the torn end of ", path, " from offset ", tail);
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, file.Info());
  absl::StatusOr<Sidecar> sidecar = CreateSidecar(
      file_system, absl::StrCat(path, ".torn-", tail), info.mode & 07777);
  if (!sidecar.ok()) return Annotate(sidecar.status(), what);
  // Only root can give files away. Anyone else has at least saved the bytes.
  KeepOwner(info, *sidecar->file).IgnoreError();
  absl::Status status = CopyRange(file, tail, file_size, *sidecar->file);
  if (status.ok()) status = sidecar->file->Sync();
  if (status.ok()) status = file_system.SyncDirectoryOf(path);
  if (status.ok()) status = file.Truncate(tail);
  if (!status.ok()) {
    // Half a copy would mislead. If it cannot be removed, so be it.
    file_system.Remove(sidecar->path).IgnoreError();
    return Annotate(status, what);
  }
  return std::move(sidecar->path);
}

}  // namespace varve
