#include "tools/varve/tar_reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/failures.h"
#include "tools/varve/host.h"
#include "tools/varve/tar_attributes.h"
#include "tools/varve/tree_path.h"

namespace varve::tools {
namespace {

constexpr size_t kBlock = size_t{1} << 20;

using Parts = std::vector<std::string>;

// The parts of a member's name; none for the root. Refuses names that lead out
// of the root.
absl::StatusOr<Parts> PartsOf(absl::string_view name) {
  if (absl::StartsWith(name, "/")) {
    return ExitError(ExitStatus::kRefused,
                     "its name is absolute, and leads out of the directory");
  }
  Parts parts;
  for (const absl::string_view part :
       absl::StrSplit(name, '/', absl::SkipEmpty())) {
    if (part == "..") {
      return ExitError(ExitStatus::kRefused,
                       "\"..\" in its name leads out of the directory");
    }
    if (part != ".") parts.emplace_back(part);
  }
  return parts;
}

// The content of the current member.
class MemberFile : public SourceFile {
 public:
  explicit MemberFile(struct archive* archive) : archive_(archive) {}

  absl::StatusOr<std::optional<uint64_t>> NextData(uint64_t offset) override {
    while (offset >= end_) {
      const void* bytes = nullptr;
      size_t size = 0;
      la_int64_t at = 0;
      const int result = archive_read_data_block(archive_, &bytes, &size, &at);
      if (result == ARCHIVE_EOF) return std::nullopt;
      if (result < ARCHIVE_WARN || at < 0) {
        is_broken_ = true;
        const char* const reason = archive_error_string(archive_);
        return ErrorWithNumber(
            EIO, reason == nullptr ? "its content is damaged" : reason);
      }
      bytes_ = static_cast<const char*>(bytes);
      begin_ = static_cast<uint64_t>(at);
      end_ = begin_ + size;
    }
    return std::max(offset, begin_);
  }

  absl::StatusOr<absl::string_view> Read(uint64_t offset) override {
    return absl::string_view(bytes_ + (offset - begin_), end_ - offset);
  }

  // Whether the archive could not be read.
  bool is_broken() const { return is_broken_; }

 private:
  struct archive* const archive_;
  // The current member and its place.
  const char* bytes_ = nullptr;
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  bool is_broken_ = false;
};

class Reader {
 public:
  Reader(int fd, const std::string& name, std::unique_ptr<TargetDirectory> root)
      : fd_(fd),
        name_(name),
        root_(std::move(root)),
        failures_([this] { progress_.Clear(); }) {}
  ~Reader() { archive_read_free(archive_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  absl::Status Read() {
    ReadMembers();
    FinishDirectories();
    return failures_.Result();
  }

 private:
  struct Open {
    std::string name;
    std::unique_ptr<TargetDirectory> directory;
  };

  void ReadMembers();
  // Reports problems of reading a header. Returns false if no further header
  // can be read.
  bool NoteHeader(int result, const std::string& member);
  void NoteEnd();
  absl::Status ReadMember(struct archive_entry* entry);
  absl::Status ReadHardLink(const Parts& parts, absl::string_view target);
  absl::Status ReadDirectory(const Parts& parts, const Dress& dress);
  absl::Status ReadLeaf(const Parts& parts, const Dress& dress,
                        struct archive_entry* entry);
  // The directory that contains a member of that name. Makes it if necessary.
  // Valid until the next call.
  absl::StatusOr<TargetDirectory*> DirectoryFor(const Parts& parts);
  void FinishDirectories();
  std::string Reason() const {
    const char* const reason = archive_error_string(archive_);
    return reason == nullptr ? "it is damaged" : reason;
  }

  const int fd_;
  const std::string name_;
  struct archive* archive_ = archive_read_new();
  const std::unique_ptr<TargetDirectory> root_;
  Progress progress_{"importing"};
  Failures failures_;
  // The directory that is being filled, and its parents.
  std::vector<Open> open_;
  // Directories get their attributes last, because files made in them change
  // their times.
  std::map<Parts, Dress> directories_;
  bool is_broken_ = false;   // reading or writing is impossible
  bool is_damaged_ = false;  // the last header was malformed
  bool is_empty_ = true;     // no header has been read yet
};

bool Reader::NoteHeader(int result, const std::string& member) {
  if (result == ARCHIVE_OK) return true;
  if (result == ARCHIVE_WARN) {
    // A name with characters outside ASCII, which is taken as it is.
    if (absl::StrContains(Reason(), "can't be converted from")) return true;
    failures_.Note(
        ErrorWithNumber(EINVAL, absl::StrCat("\"", member, "\": ", Reason())));
    return true;
  }
  if (result == ARCHIVE_RETRY) {
    // Continues at the next header. Report this once only.
    if (!is_damaged_) {
      failures_.Note(ErrorWithNumber(EIO, absl::StrCat(name_, ": ", Reason())));
    }
    is_damaged_ = true;
    return true;
  }
  const char* const hint = is_empty_
                               ? ". If it is compressed, unpack it on the way: "
                                 "zstd -dc FILE | varve import STORE --tar"
                               : "";
  failures_.Note(ErrorWithNumber(
      EIO, absl::StrCat("cannot read ", name_, ": ", Reason(), hint)));
  return false;
}

// Only the end mark distinguishes a whole archive from one that was cut between
// two members.
void Reader::NoteEnd() {
  failures_.Note(ErrorWithNumber(
      EIO, absl::StrCat(name_,
                        " ends without an end mark: it was cut short, "
                        "and members may be missing")));
}

void Reader::ReadMembers() {
  archive_read_support_format_tar(archive_);
  int result = archive_read_open_fd(archive_, fd_, kBlock);
  if (result != ARCHIVE_OK) {
    NoteHeader(ARCHIVE_FATAL, "");
    return;
  }
  while (!is_broken_) {
    struct archive_entry* entry = nullptr;
    const int64_t before = archive_filter_bytes(archive_, 0);
    result = archive_read_next_header(archive_, &entry);
    if (result == ARCHIVE_EOF) {
      if (archive_filter_bytes(archive_, 0) == before) NoteEnd();
      return;
    }
    const char* const path =
        entry == nullptr ? nullptr : archive_entry_pathname(entry);
    const std::string member = path == nullptr ? "" : path;
    if (!NoteHeader(result, member)) return;
    if (result == ARCHIVE_RETRY) continue;
    is_empty_ = is_damaged_ = false;
    failures_.Note(Explain(ReadMember(entry), Cannot("import", member)));
    if (!is_broken_ && archive_read_data_skip(archive_) < ARCHIVE_WARN) {
      NoteHeader(ARCHIVE_FATAL, member);
      return;
    }
  }
}

absl::Status Reader::ReadMember(struct archive_entry* entry) {
  const char* const path = archive_entry_pathname(entry);
  if (path == nullptr) return ErrorWithNumber(EINVAL, "it has no name");
  VARVE_ASSIGN_OR_RETURN(const Parts parts, PartsOf(path));
  absl::Status status;
  if (const char* const target = archive_entry_hardlink(entry)) {
    status = ReadHardLink(parts, target);
  } else {
    VARVE_ASSIGN_OR_RETURN(const Dress dress, GetAttributes(entry));
    status = dress.node.is_directory() ? ReadDirectory(parts, dress)
                                       : ReadLeaf(parts, dress, entry);
  }
  // The same would happen to all that follow.
  const int number = SystemErrorNumber(status).value_or(0);
  is_broken_ = is_broken_ || IsOutOfSpace(status) || number == EROFS;
  return status;
}

absl::StatusOr<TargetDirectory*> Reader::DirectoryFor(const Parts& parts) {
  const size_t depth = parts.empty() ? 0 : parts.size() - 1;
  size_t same = 0;
  while (same < depth && same < open_.size() &&
         open_[same].name == parts[same]) {
    ++same;
  }
  open_.resize(same);
  TargetDirectory* at = same == 0 ? root_.get() : open_.back().directory.get();
  for (; same < depth; ++same) {
    const std::string& name = parts[same];
    VARVE_ASSIGN_OR_RETURN(const auto existing, at->Look(name));
    if (!existing.has_value()) {
      Dress dress{.node = {.mode = S_IFDIR | 0755}, .xattrs = {}, .all = false};
      VARVE_RETURN_IF_ERROR(at->MakeDirectory(name, dress));
      directories_.insert_or_assign(
          Parts(parts.begin(),
                parts.begin() + static_cast<ptrdiff_t>(same) + 1),
          dress);
    } else if (!existing->is_directory()) {
      return ErrorWithNumber(
          ENOTDIR, absl::StrCat("\"", name,
                                S_ISLNK(existing->mode)
                                    ? "\" on the way is a symbolic link"
                                    : "\" on the way is not a directory"));
    }
    VARVE_ASSIGN_OR_RETURN(auto directory, at->Enter(name));
    open_.push_back({name, std::move(directory)});
    at = open_.back().directory.get();
  }
  return at;
}

absl::Status Reader::ReadDirectory(const Parts& parts, const Dress& dress) {
  if (!parts.empty()) {
    VARVE_ASSIGN_OR_RETURN(TargetDirectory* const parent, DirectoryFor(parts));
    VARVE_ASSIGN_OR_RETURN(const auto existing, parent->Look(parts.back()));
    if (existing.has_value() && !existing->is_directory()) {
      VARVE_RETURN_IF_ERROR(parent->Unlink(parts.back()));
    }
    if (!existing.has_value() || !existing->is_directory()) {
      VARVE_RETURN_IF_ERROR(parent->MakeDirectory(parts.back(), dress));
    }
  }
  directories_.insert_or_assign(parts, dress);
  return absl::OkStatus();
}

absl::Status Reader::ReadHardLink(const Parts& parts,
                                  absl::string_view target) {
  VARVE_ASSIGN_OR_RETURN(const Parts earlier, PartsOf(target));
  if (parts.empty() || earlier.empty()) {
    return ErrorWithNumber(EISDIR, "a directory has one name");
  }
  progress_.AddFile();
  const std::string explained =
      absl::StrCat("it is another name of \"", target, "\"");
  VARVE_ASSIGN_OR_RETURN(TargetDirectory * parent, DirectoryFor(earlier));
  const auto linked = parent->Look(earlier.back());
  if (!linked.ok()) return Explain(linked.status(), explained);
  if (!linked->has_value()) {
    return ErrorWithNumber(ENOENT,
                           absl::StrCat(explained, ", which does not exist"));
  }
  VARVE_ASSIGN_OR_RETURN(parent, DirectoryFor(parts));
  VARVE_ASSIGN_OR_RETURN(const auto existing, parent->Look(parts.back()));
  if (existing.has_value()) {
    // It is already a name of the same file.
    if (existing->identity == (*linked)->identity) return absl::OkStatus();
    if (existing->is_directory()) {
      return ErrorWithNumber(EISDIR, "a directory is in its place");
    }
    VARVE_RETURN_IF_ERROR(parent->Unlink(parts.back()));
  }
  return Explain(
      parent->Link(absl::StrJoin(earlier, "/"), parts.back(), Dress()),
      explained);
}

absl::Status Reader::ReadLeaf(const Parts& parts, const Dress& dress,
                              struct archive_entry* entry) {
  if (parts.empty()) {
    return ErrorWithNumber(EISDIR, "a directory is in its place");
  }
  const mode_t type = dress.node.mode & S_IFMT;
  if (type == 0) return ErrorWithNumber(EINVAL, "its type is unknown");
  progress_.AddFile();
  const std::string& name = parts.back();
  VARVE_ASSIGN_OR_RETURN(TargetDirectory* const parent, DirectoryFor(parts));
  VARVE_ASSIGN_OR_RETURN(const auto existing, parent->Look(name));
  if (existing.has_value() && existing->is_directory()) {
    return ErrorWithNumber(EISDIR, "a directory is in its place");
  }
  // The new content replaces the old one once it is whole. If the file has
  // other names, they keep the old content, and only this name is replaced.
  const bool overwrites = existing.has_value() && type == S_IFREG &&
                          S_ISREG(existing->mode) && existing->link_count == 1;
  if (existing.has_value() && !overwrites) {
    VARVE_RETURN_IF_ERROR(parent->Unlink(name));
  }
  if (type == S_IFREG) {
    MemberFile content(archive_);
    const absl::Status status =
        parent->CopyFile(name, overwrites, dress, content, progress_);
    is_broken_ = content.is_broken();
    return status;
  }
  if (type == S_IFLNK) {
    const char* const target = archive_entry_symlink(entry);
    if (target == nullptr) return ErrorWithNumber(EINVAL, "it has no target");
    return parent->MakeSymlink(name, target, dress);
  }
  return parent->MakeSpecial(name, dress);
}

void Reader::FinishDirectories() {
  for (const auto& [parts, dress] : directories_) {
    const std::string path = parts.empty() ? "." : absl::StrJoin(parts, "/");
    const auto parent = DirectoryFor(parts);
    absl::Status status = parent.status();
    if (status.ok()) {
      status = (*parent)->Finish(parts.empty() ? "." : parts.back(), dress);
    }
    failures_.Note(Explain(status, Cannot("import", path)));
    // Of all that follow, too.
    if (IsOutOfSpace(status)) return;
  }
}

}  // namespace

absl::Status ReadTar(int fd, const std::string& name,
                     std::unique_ptr<TargetDirectory> root) {
  return Reader(fd, name, std::move(root)).Read();
}

}  // namespace varve::tools
