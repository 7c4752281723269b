// varve get and varve put

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/host_tree.h"
#include "tools/varve/open_store.h"
#include "tools/varve/progress.h"
#include "tools/varve/tree_copier.h"
#include "tools/varve/tree_path.h"
#include "tools/varve/volume_tree.h"

namespace varve::tools {
namespace {

constexpr uint64_t kStep = uint64_t{1} << 20;

constexpr char kGetDetails[] =
    R"(If FILE is a directory, the copy is made in it. With -r, PATH may be a
directory, and copies get all attributes: owner, mode, times, links, extended
attributes, access control lists, holes. Copies that an ordinary user makes
belong to that user. A path that ends in "/." stands for the contents of the
directory. Failures are printed, and the rest is copied.

Content is compared with its checksums before any of it is written. Works while
the store is mounted, and copies what has been committed.

Example:
  varve get photos.varve 2023/summer/1.jpg .
  varve get photos.varve notes.txt | less
  varve get -r photos.varve 2023 ~/restored
)";

struct GetArguments {
  std::string store;
  std::string at;
  std::string path;
  std::string file;
  bool recursive = false;
  bool no_directory = false;

  bool to_output() const { return file.empty() || file == "-"; }
};

absl::Status CopyOut(fs::Volume& volume, const fs::Handle& handle, int fd,
                     const std::string& name) {
  // Do not write it between the lines of output on a terminal.
  std::optional<Progress> progress;
  if (isatty(fd) != 1) progress.emplace("copying");
  for (uint64_t offset = 0;;) {
    VARVE_ASSIGN_OR_RETURN(const fs::ReadReply reply,
                           volume.Read(handle, offset, kStep));
    if (reply.size() == 0) return absl::OkStatus();
    for (const struct iovec& piece : reply.pieces()) {
      VARVE_RETURN_IF_ERROR(WriteAll(
          fd, {static_cast<const char*>(piece.iov_base), piece.iov_len}, name));
    }
    offset += reply.size();
    if (progress.has_value()) progress->AddBytes(reply.size());
  }
}

// Whether the path leads to a directory of the host. Follows a link unless
// `flags` say otherwise.
bool IsHostDirectory(const std::string& path, int flags = 0) {
  struct stat stat;
  return fstatat(AT_FDCWD, path.c_str(), &stat, flags) == 0 &&
         S_ISDIR(stat.st_mode);
}

// Where a copy of `name` goes if the user says FILE, by the rules of cp(1).
std::string HostTargetOf(const GetArguments& arguments,
                         const std::string& name) {
  if (arguments.no_directory || !IsHostDirectory(arguments.file)) {
    return arguments.file;
  }
  return JoinPath(arguments.file, IsRealName(name) ? name : ".");
}

absl::Status GetTree(fs::Volume& volume, const GetArguments& arguments,
                     const PathEntry& place) {
  AllowManyDescriptors();
  const std::string target = HostTargetOf(arguments, place.name);
  if (absl::EndsWith(target, "/") && !IsHostDirectory(target) &&
      !S_ISDIR(place.found->attributes.mode)) {
    return SystemError(ENOTDIR, absl::StrCat("cannot write ", target));
  }
  VARVE_ASSIGN_OR_RETURN(const auto to,
                         HostTarget(DirectoryOf(target), arguments.store));
  TreeCopier copier(CopyOptions{});
  copier.Copy(*VolumeSource(volume, place.parent), place.name, *to,
              LastPartOf(target), arguments.path);
  return copier.failures().Result();
}

absl::Status GetFile(fs::Volume& volume, const GetArguments& arguments,
                     const PathEntry& place) {
  const std::string cannot = Cannot("read", arguments.path);
  const uint64_t ino = place.found->ino;
  auto handle = volume.Open(ino, O_RDONLY);
  if (!handle.ok()) return Explain(handle.status(), cannot);
  absl::Status status = [&] {
    const Progress progress(
        absl::StrCat("verifying ", LastPartOf(arguments.path)));
    return volume.reader().VerifyAll(ino);
  }();
  VARVE_RETURN_IF_ERROR(Explain(status, cannot));
  if (arguments.to_output()) {
    status = CopyOut(volume, **handle, STDOUT_FILENO, "standard output");
  } else {
    const std::string target = HostTargetOf(arguments, place.name);
    if (IsSameFile(target, arguments.store)) {
      return ExitError(ExitStatus::kRefused,
                       absl::StrCat(target, " is the store itself"));
    }
    VARVE_ASSIGN_OR_RETURN(Descriptor file, OpenForWriting(target));
    status = CopyOut(volume, **handle, file.get(), target);
    status.Update(CloseWritten(std::move(file), target));
  }
  status.Update(volume.Release(*std::move(handle)));
  return status;
}

// Says that nothing exists at the path and, if possible, why.
absl::Status NothingThere(fs::Volume& volume, const GetArguments& arguments) {
  const absl::Status status =
      Explain(fs::PosixError(ENOENT), Cannot("read", arguments.path));
  if (arguments.to_output() ||
      !FindExisting(volume, arguments.file, LastLink::kFollow).ok()) {
    return status;
  }
  return ErrorWithNumber(
      ENOENT,
      absl::StrCat(status.message(), "; but the store has \"", arguments.file,
                   "\": what to copy comes before where to"));
}

absl::Status Get(const GetArguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const auto volume,
                         OpenVolumeForReading(arguments.store, arguments.at));
  const std::string cannot = Cannot("read", arguments.path);
  // As with cp(1), -r copies a link that it is given.
  const auto place =
      FindPathEntry(*volume, arguments.path,
                    arguments.recursive ? LastLink::kKeep : LastLink::kFollow);
  if (!place.ok()) return Explain(place.status(), cannot);
  if (!place->found.has_value()) return NothingThere(*volume, arguments);
  const uint32_t mode = place->found->attributes.mode;
  if (S_ISDIR(mode) && !arguments.recursive) {
    return ErrorWithNumber(EISDIR,
                           absl::StrCat(cannot, ": it is a directory; use -r"));
  }
  if (arguments.recursive && !arguments.to_output()) {
    return GetTree(*volume, arguments, *place);
  }
  if (arguments.recursive && !S_ISREG(mode)) {
    return ExitError(ExitStatus::kUsage,
                     absl::StrCat(cannot,
                                  ": it cannot go to standard output; name a "
                                  "FILE to copy it to"));
  }
  return GetFile(*volume, arguments, *place);
}

constexpr char kPutDetails[] =
    R"(An existing file gets the new content and keeps everything else. If PATH is a
directory, the file is made in it. The file does not change before all its
content is written. With -r, FILE may be a directory, and copies get all
attributes: owner, mode, times, links, extended attributes, access control
lists, holes, devices. A path that ends in "/." stands for the contents of the
directory. Failures are printed, and the rest is copied.

Example:
  varve put photos.varve 2023/summer/1.jpg 1.jpg
  date | varve put -p photos.varve logs/started.txt -
  varve put -r --create photos.varve / ~/pictures/.
)";

struct PutArguments {
  std::string store;
  std::string path;
  std::string file;
  bool parents = false;
  bool create = false;
  bool recursive = false;
  bool no_directory = false;

  bool from_input() const { return file.empty() || file == "-"; }
  std::string source_name() const {
    return from_input() ? "standard input" : file;
  }
};

absl::Status CopyIn(fs::Volume& volume, const fs::Handle& handle, int fd,
                    const std::string& name) {
  Progress progress("copying");
  for (uint64_t offset = 0;;) {
    VARVE_ASSIGN_OR_RETURN(const std::string bytes, ReadSome(fd, kStep, name));
    if (bytes.empty()) return absl::OkStatus();
    VARVE_RETURN_IF_ERROR(volume.Write(handle, offset, bytes));
    offset += bytes.size();
    progress.AddBytes(bytes.size());
  }
}

// Where the copy goes, following the rules of cp(1).
absl::StatusOr<PathEntry> FindTarget(fs::Volume& volume,
                                     const PutArguments& arguments) {
  if (arguments.parents) {
    VARVE_RETURN_IF_ERROR(
        MakeParents(volume, arguments.path, 0777 & ~CurrentUmask()));
  }
  VARVE_ASSIGN_OR_RETURN(PathEntry place, FindPathEntry(volume, arguments.path,
                                                        LastLink::kFollow));
  if (!place.found.has_value() || !S_ISDIR(place.found->attributes.mode) ||
      arguments.from_input() || arguments.no_directory) {
    return place;
  }
  // If a tree has no name of its own, as "..", copy what is in it.
  const std::string name = LastPartOf(arguments.file);
  return FindPathEntry(
      volume, JoinPath(arguments.path, IsRealName(name) ? name : "."),
      arguments.recursive ? LastLink::kKeep : LastLink::kFollow);
}

// The file has no name until it is whole, so that one commit makes all of it.
absl::Status PutNew(fs::Volume& volume, const PathEntry& place, uint32_t mode,
                    int fd, const std::string& name) {
  if (place.is_directory) return fs::PosixError(ENOTDIR);
  VARVE_ASSIGN_OR_RETURN(
      auto created,
      volume.CreateUnnamed(place.parent, mode, O_WRONLY, CurrentCaller()));
  const uint64_t ino = created.first.ino;
  absl::Status status = CopyIn(volume, *created.second, fd, name);
  if (status.ok()) {
    const auto linked = volume.Link(ino, place.parent, place.name);
    if (linked.ok()) volume.Forget(ino, 1);
    status = linked.status();
  }
  status.Update(status.ok() ? volume.Release(std::move(created.second))
                            : volume.Abandon(std::move(created.second)));
  volume.Forget(ino, 1);
  return status;
}

absl::Status PutExisting(fs::Volume& volume, uint64_t ino, int fd,
                         const std::string& name) {
  VARVE_ASSIGN_OR_RETURN(auto handle, volume.Open(ino, O_WRONLY | O_TRUNC));
  absl::Status status = CopyIn(volume, *handle, fd, name);
  if (status.ok()) return volume.Release(std::move(handle));
  // The old content stays.
  status.Update(volume.Abandon(std::move(handle)));
  return status;
}

absl::Status PutFile(fs::Volume& volume, const PutArguments& arguments,
                     int fd) {
  const std::string name = arguments.source_name();
  struct stat source;
  if (fstat(fd, &source) != 0) return SystemError(errno, name);
  if (S_ISDIR(source.st_mode)) {
    return ErrorWithNumber(EISDIR,
                           absl::StrCat(name, " is a directory; use -r"));
  }
  VARVE_ASSIGN_OR_RETURN(const PathEntry place, FindTarget(volume, arguments));
  if (place.found.has_value()) {
    return PutExisting(volume, place.found->ino, fd, name);
  }
  const uint32_t mode =
      (arguments.from_input() ? 0666 : source.st_mode & 0777) & ~CurrentUmask();
  return PutNew(volume, place, mode, fd, name);
}

absl::Status PutTree(fs::Volume& volume, const PutArguments& arguments) {
  AllowManyDescriptors();
  const std::string& file = arguments.file;
  const auto place = FindTarget(volume, arguments);
  if (!place.ok()) {
    return Explain(place.status(), Cannot("write", arguments.path));
  }
  if (place->is_directory && !place->found.has_value() &&
      !IsHostDirectory(file, AT_SYMLINK_NOFOLLOW)) {
    return Explain(fs::PosixError(ENOTDIR), Cannot("write", arguments.path));
  }
  // A slash at the end asks for the directory to which a link leads.
  const bool enter = absl::EndsWith(file, "/");
  VARVE_ASSIGN_OR_RETURN(
      const auto from,
      HostSource(enter ? file : DirectoryOf(file), arguments.store));
  TreeCopier copier(CopyOptions{});
  copier.Copy(*from, enter ? "." : LastPartOf(file),
              *VolumeTarget(volume, place->parent), place->name, file);
  return copier.failures().Result();
}

// Says why FILE cannot be opened. If PATH names a file of the host instead,
// says what to do.
absl::Status NoSuchSource(const PutArguments& arguments,
                          const absl::Status& status) {
  if (SystemErrorNumber(status) != ENOENT) return status;
  if (!arguments.create) {
    VARVE_RETURN_IF_ERROR(OpenStore(arguments.store, OpenMode::kRead).status());
  }
  if (access(arguments.path.c_str(), F_OK) != 0) return status;
  return ErrorWithNumber(
      ENOENT, absl::StrCat(status.message(), "; but there is ", arguments.path,
                           ": the path in the store comes before the file"));
}

absl::Status Put(const PutArguments& arguments) {
  Descriptor file;
  int fd = STDIN_FILENO;
  if (arguments.recursive) {
    struct stat stat;
    if (arguments.from_input()) {
      return ExitError(
          ExitStatus::kUsage,
          "standard input is no tree; name a FILE to copy with -r");
    }
    if (lstat(arguments.file.c_str(), &stat) != 0) {
      return NoSuchSource(
          arguments,
          SystemError(errno, absl::StrCat("cannot open ", arguments.file)));
    }
  } else if (!arguments.from_input()) {
    auto opened = OpenForReading(arguments.file);
    if (!opened.ok()) return NoSuchSource(arguments, opened.status());
    file = *std::move(opened);
    fd = file.get();
    if (IsSameFile(arguments.file, arguments.store)) {
      return ExitError(ExitStatus::kRefused,
                       absl::StrCat(arguments.file, " is the store itself"));
    }
  }
  VARVE_ASSIGN_OR_RETURN(
      const auto volume,
      OpenVolume(arguments.store, {.create = arguments.create}));
  absl::Status status = arguments.recursive
                            ? PutTree(*volume, arguments)
                            : Explain(PutFile(*volume, arguments, fd),
                                      Cannot("write", arguments.path));
  status.Update(CloseVolume(*volume));
  return status;
}

}  // namespace

void AddGetCommand(CLI::App& app, Action& action) {
  CLI::App& get =
      AddCommand(app, "get", "Copy a file or tree out of a store", kGetDetails);
  auto get_arguments = std::make_shared<GetArguments>();
  get.add_option("STORE", get_arguments->store, "The store")->required();
  get.add_option("PATH", get_arguments->path, "The file to copy")->required();
  get.add_option("FILE", get_arguments->file,
                 "Where to write it (-, standard output)");
  get.add_option("--at", get_arguments->at,
                 "As it was then; see varve help log");
  get.add_flag("-r,-R,--recursive", get_arguments->recursive,
               "Directories with all their contents");
  get.add_flag("-T,--no-target-directory", get_arguments->no_directory,
               "Take FILE as a name even if it is a directory");
  OnCommand(get, action, std::move(get_arguments), &Get);
}

void AddPutCommand(CLI::App& app, Action& action) {
  CLI::App& put =
      AddCommand(app, "put", "Copy a file or tree into a store", kPutDetails);
  auto put_arguments = std::make_shared<PutArguments>();
  put.add_option("STORE", put_arguments->store, "The store")->required();
  put.add_option("PATH", put_arguments->path, "Its path in the store")
      ->required();
  put.add_option("FILE", put_arguments->file,
                 "What to copy (-, standard input)");
  put.add_flag("-r,-R,--recursive", put_arguments->recursive,
               "Directories with all their contents");
  put.add_flag("-p,--parents", put_arguments->parents,
               "Make directories on the way as needed");
  put.add_flag("-T,--no-target-directory", put_arguments->no_directory,
               "Take PATH as a name even if it is a directory");
  put.add_flag("--create", put_arguments->create,
               "Make the store if there is none");
  OnCommand(put, action, std::move(put_arguments), &Put);
}

}  // namespace varve::tools
