#include "tools/varve/tar_writer.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/tar_attributes.h"

namespace varve::tools {
namespace {

// The size of writes, of which the archive's length is a multiple.
constexpr int kBlock = 1 << 20;
constexpr int kRecord = 10240;
// Tar programs expect the data of sparse files at multiples of this.
constexpr uint64_t kSector = 512;
// libarchive gets zeros in the place of holes, and does not look at them.
constexpr size_t kZeros = size_t{1} << 30;

using Entry =
    std::unique_ptr<struct archive_entry, decltype(&archive_entry_free)>;
Entry NewEntry() { return Entry(archive_entry_new(), &archive_entry_free); }

class Writer : public TarWriter {
 public:
  Writer(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  ~Writer() override {
    archive_write_free(archive_);
    if (zeros_ != MAP_FAILED) munmap(zeros_, kZeros);
    if (locale_ != locale_t{}) {
      uselocale(before_);
      freelocale(locale_);
    }
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  absl::Status Start();
  std::unique_ptr<TargetDirectory> Root() override;
  const std::vector<std::string>& sockets() const override { return sockets_; }
  absl::Status Finish() override {
    return Check(archive_write_close(archive_));
  }

  bool is_broken() const { return !broken_.ok(); }
  void AddSocket(const std::string& path) { sockets_.push_back(path); }
  // A member with nothing behind its header.
  absl::Status WriteHeader(struct archive_entry* entry) {
    return Check(archive_write_header(archive_, entry));
  }
  absl::Status WriteFile(struct archive_entry* entry, uint64_t size,
                         SourceFile& from, Progress& progress);

 private:
  static la_ssize_t Write(struct archive* archive, void* writer,
                          const void* bytes, size_t size);
  // Turns the result of a call into a status.
  absl::Status Check(int result);
  absl::Status WriteData(const char* bytes, uint64_t size);
  absl::Status WriteZeros(uint64_t size);
  absl::Status WriteContent(uint64_t size, SourceFile& from,
                            Progress& progress);

  const int fd_;
  const std::string name_;
  struct archive* archive_ = archive_write_new();
  void* zeros_ = MAP_FAILED;
  locale_t locale_{};
  locale_t before_{};
  absl::Status broken_;  // why the output has failed
  std::vector<std::string> sockets_;
};

absl::Status Writer::Start() {
  locale_ = newlocale(LC_CTYPE_MASK, "C.UTF-8", locale_t{});
  if (locale_ == locale_t{}) return SystemError(errno, "locale C.UTF-8");
  before_ = uselocale(locale_);
  zeros_ = mmap(nullptr, kZeros, PROT_READ,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (zeros_ == MAP_FAILED) return SystemError(errno, "memory for zeros");
  VARVE_RETURN_IF_ERROR(Check(archive_write_set_format_pax(archive_)));
  // As the attribute is, and as GNU tar reads it.
  VARVE_RETURN_IF_ERROR(Check(archive_write_set_format_option(
      archive_, "pax", "xattrheader", "SCHILY")));
  VARVE_RETURN_IF_ERROR(
      Check(archive_write_set_bytes_per_block(archive_, kBlock)));
  VARVE_RETURN_IF_ERROR(
      Check(archive_write_set_bytes_in_last_block(archive_, kRecord)));
  return Check(
      archive_write_open(archive_, this, nullptr, &Writer::Write, nullptr));
}

la_ssize_t Writer::Write(struct archive* archive, void* writer,
                         const void* bytes, size_t size) {
  Writer& self = *static_cast<Writer*>(writer);
  self.broken_ =
      WriteAll(self.fd_, {static_cast<const char*>(bytes), size}, self.name_);
  if (self.broken_.ok()) return static_cast<la_ssize_t>(size);
  archive_set_error(archive, EIO, "the output has failed");
  return -1;
}

absl::Status Writer::Check(int result) {
  if (!broken_.ok()) return broken_;
  if (result == ARCHIVE_OK) return absl::OkStatus();
  const char* const reason = archive_error_string(archive_);
  // The name is not UTF-8 and has been marked as binary.
  if (result == ARCHIVE_WARN && reason != nullptr &&
      absl::StrContains(reason, "Can't translate")) {
    return absl::OkStatus();
  }
  const int number = archive_errno(archive_);
  absl::Status status = ErrorWithNumber(
      number > 0 ? number : EINVAL,
      absl::StrCat(name_, ": ", reason == nullptr ? "libarchive" : reason));
  if (result == ARCHIVE_FATAL) broken_ = status;
  return status;
}

absl::Status Writer::WriteData(const char* bytes, uint64_t size) {
  while (size > 0) {
    const la_ssize_t written = archive_write_data(archive_, bytes, size);
    if (written < 0) return Check(static_cast<int>(written));
    if (written == 0) return Check(ARCHIVE_FATAL);
    bytes += written;
    size -= static_cast<uint64_t>(written);
  }
  return absl::OkStatus();
}

absl::Status Writer::WriteZeros(uint64_t size) {
  while (size > 0) {
    const uint64_t step = std::min<uint64_t>(size, kZeros);
    VARVE_RETURN_IF_ERROR(WriteData(static_cast<const char*>(zeros_), step));
    size -= step;
  }
  return absl::OkStatus();
}

absl::Status Writer::WriteContent(uint64_t size, SourceFile& from,
                                  Progress& progress) {
  for (uint64_t at = 0; at < size;) {
    VARVE_ASSIGN_OR_RETURN(const auto data, from.NextData(at));
    const uint64_t begin = std::min(data.value_or(size), size);
    VARVE_RETURN_IF_ERROR(WriteZeros(begin - at));
    at = begin;
    if (at == size) break;
    VARVE_ASSIGN_OR_RETURN(absl::string_view bytes, from.Read(at));
    bytes = bytes.substr(0, size - at);
    if (bytes.empty()) return WriteZeros(size - at);
    VARVE_RETURN_IF_ERROR(WriteData(bytes.data(), bytes.size()));
    at += bytes.size();
    progress.AddBytes(bytes.size());
  }
  return absl::OkStatus();
}

// Adds the places of the file's data to the entry, unless it has no holes.
absl::Status AddHoles(uint64_t size, SourceFile& from,
                      struct archive_entry* entry) {
  struct Range {
    uint64_t begin;
    uint64_t end;
  };
  std::vector<Range> ranges;
  for (uint64_t at = 0; at < size;) {
    VARVE_ASSIGN_OR_RETURN(const auto data, from.NextData(at));
    if (!data.has_value() || *data >= size) break;
    VARVE_ASSIGN_OR_RETURN(const uint64_t hole, from.NextHole(*data));
    at = std::min(std::max(hole, *data + 1), size);
    const uint64_t begin = *data - *data % kSector;
    const uint64_t end = std::min(size, (at + kSector - 1) / kSector * kSector);
    if (!ranges.empty() && ranges.back().end >= begin) {
      ranges.back().end = std::max(ranges.back().end, end);
    } else {
      ranges.push_back({begin, end});
    }
  }
  if (size == 0 ||
      (ranges.size() == 1 && ranges[0].begin == 0 && ranges[0].end == size)) {
    return absl::OkStatus();
  }
  // A file that consists of a hole has data of length 0 at its end.
  if (ranges.empty()) ranges.push_back({size, size});
  for (const Range& range : ranges) {
    archive_entry_sparse_add_entry(
        entry, static_cast<int64_t>(range.begin),
        static_cast<int64_t>(range.end - range.begin));
  }
  return absl::OkStatus();
}

absl::Status Writer::WriteFile(struct archive_entry* entry, uint64_t size,
                               SourceFile& from, Progress& progress) {
  VARVE_RETURN_IF_ERROR(AddHoles(size, from, entry));
  const absl::Status header = WriteHeader(entry);
  if (is_broken()) return header;
  absl::Status status = WriteContent(size, from, progress);
  // libarchive fills it up.
  if (!status.ok() && !is_broken()) {
    status =
        Explain(status, "the archive has zeros where it could not be read");
  }
  status.Update(Check(archive_write_finish_entry(archive_)));
  status.Update(header);
  return status;
}

class TarDirectory : public TargetDirectory {
 public:
  TarDirectory(Writer& writer, std::string path)
      : writer_(writer), path_(std::move(path)) {}

  bool is_broken() const override { return writer_.is_broken(); }

  absl::StatusOr<std::optional<Node>> Look(const std::string&) override {
    return std::nullopt;
  }

  absl::StatusOr<std::unique_ptr<TargetDirectory>> Enter(
      const std::string& name) override {
    return std::make_unique<TarDirectory>(writer_, PathOf(name));
  }

  absl::Status MakeDirectory(const std::string& name,
                             const Dress& dress) override {
    return WriteMember(name, dress, [](struct archive_entry*) {});
  }

  absl::Status CopyFile(const std::string& name, bool /*exists*/,
                        const Dress& dress, SourceFile& from,
                        Progress& progress) override {
    const Entry entry = NewEntry();
    archive_entry_set_pathname(entry.get(), PathOf(name).c_str());
    VARVE_RETURN_IF_ERROR(PutAttributes(dress, entry.get()));
    return writer_.WriteFile(entry.get(), dress.node.size, from, progress);
  }

  absl::Status MakeSymlink(const std::string& name, const std::string& target,
                           const Dress& dress) override {
    return WriteMember(name, dress, [&target](struct archive_entry* entry) {
      archive_entry_set_symlink(entry, target.c_str());
    });
  }

  absl::Status MakeSpecial(const std::string& name,
                           const Dress& dress) override {
    if (S_ISSOCK(dress.node.mode)) {
      writer_.AddSocket(PathOf(name));
      return absl::OkStatus();
    }
    return WriteMember(name, dress, [](struct archive_entry*) {});
  }

  absl::Status Link(const std::string& earlier, const std::string& name,
                    const Dress& dress) override {
    // The file that it would link to is not in the archive.
    if (S_ISSOCK(dress.node.mode)) return MakeSpecial(name, dress);
    return WriteMember(name, dress, [&earlier](struct archive_entry* entry) {
      archive_entry_set_hardlink(entry, earlier.c_str());
      archive_entry_set_size(entry, 0);
    });
  }

  // Everything was written when it was made.
  absl::Status Finish(const std::string&, const Dress&) override {
    return absl::OkStatus();
  }

  absl::Status Unlink(const std::string&) override { return absl::OkStatus(); }

 private:
  std::string PathOf(const std::string& name) const {
    return path_.empty() ? name : JoinPath(path_, name);
  }

  template <typename Complete>
  absl::Status WriteMember(const std::string& name, const Dress& dress,
                           const Complete& complete) {
    const Entry entry = NewEntry();
    archive_entry_set_pathname(entry.get(), PathOf(name).c_str());
    VARVE_RETURN_IF_ERROR(PutAttributes(dress, entry.get()));
    complete(entry.get());
    return writer_.WriteHeader(entry.get());
  }

  Writer& writer_;
  const std::string path_;
};

std::unique_ptr<TargetDirectory> Writer::Root() {
  return std::make_unique<TarDirectory>(*this, "");
}

}  // namespace

absl::StatusOr<std::unique_ptr<TarWriter>> WriteTar(int fd, std::string name) {
  auto writer = std::make_unique<Writer>(fd, std::move(name));
  VARVE_RETURN_IF_ERROR(writer->Start());
  return writer;
}

}  // namespace varve::tools
