// varve get and varve put

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/status.h"
#include "fs/error.h"
#include "fs/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/open_store.h"
#include "tools/varve/tree_path.h"

namespace varve::tools {
namespace {

constexpr uint64_t kStep = uint64_t{1} << 20;

constexpr char kGetDetails[] =
    R"(The content is compared with its checksums before anything is written. Works
while the store is mounted, and gives what has been committed.

Example:
  varve get photos.varve 2023/summer/1.jpg 1.jpg
  varve get photos.varve notes.txt | less
)";

struct GetArguments {
  std::string store;
  std::string path;
  std::string file;
};

absl::Status CopyOut(fs::Volume& volume, const fs::Handle& handle, int fd,
                     const std::string& name) {
  for (uint64_t offset = 0;;) {
    VARVE_ASSIGN_OR_RETURN(const fs::ReadReply reply,
                           volume.Read(handle, offset, kStep));
    if (reply.size() == 0) return absl::OkStatus();
    for (const struct iovec& piece : reply.pieces()) {
      VARVE_RETURN_IF_ERROR(WriteAll(
          fd, {static_cast<const char*>(piece.iov_base), piece.iov_len}, name));
    }
    offset += reply.size();
  }
}

absl::Status Get(const GetArguments& arguments) {
  const std::string cannot = Cannot("read", arguments.path);
  VARVE_ASSIGN_OR_RETURN(const auto volume,
                         OpenVolumeForReading(arguments.store));
  const auto stat = FindExisting(*volume, arguments.path, LastLink::kFollow);
  if (!stat.ok()) return Explain(stat.status(), cannot);
  auto handle = volume->Open(stat->ino, O_RDONLY);
  if (!handle.ok()) return Explain(handle.status(), cannot);
  VARVE_RETURN_IF_ERROR(Explain(volume->reader().VerifyAll(stat->ino), cannot));
  absl::Status status;
  if (arguments.file.empty()) {
    status = CopyOut(*volume, **handle, STDOUT_FILENO, "standard output");
  } else {
    VARVE_ASSIGN_OR_RETURN(Descriptor file, OpenForWriting(arguments.file));
    status = CopyOut(*volume, **handle, file.get(), arguments.file);
    status.Update(file.Close(arguments.file));
  }
  status.Update(volume->Release(*std::move(handle)));
  return status;
}

constexpr char kPutDetails[] =
    R"(A file that exists gets the new content and keeps everything else. If PATH is
a directory, the file comes to lie in it. Until all is written, nothing has
changed.

Example:
  varve put photos.varve 2023/summer/1.jpg 1.jpg
  date | varve put -p photos.varve logs/started.txt
)";

struct PutArguments {
  std::string store;
  std::string path;
  std::string file;
  bool parents = false;
  bool create = false;
};

uint32_t CurrentUmask() {
  const mode_t mask = umask(0);
  umask(mask);
  return mask;
}

absl::Status CopyIn(fs::Volume& volume, const fs::Handle& handle, int fd,
                    const std::string& name) {
  for (uint64_t offset = 0;;) {
    VARVE_ASSIGN_OR_RETURN(const std::string bytes, ReadSome(fd, kStep, name));
    if (bytes.empty()) return volume.Flush(handle);
    VARVE_RETURN_IF_ERROR(volume.Write(handle, offset, bytes));
    offset += bytes.size();
  }
}

// Where the content goes, following the rules of cp(1).
absl::StatusOr<Place> FindTarget(fs::Volume& volume,
                                 const PutArguments& arguments) {
  if (arguments.parents) {
    VARVE_RETURN_IF_ERROR(
        MakeParents(volume, arguments.path, 0777 & ~CurrentUmask()));
  }
  VARVE_ASSIGN_OR_RETURN(Place place,
                         FindPlace(volume, arguments.path, LastLink::kFollow));
  if (place.found.has_value() && S_ISDIR(place.found->attributes.mode) &&
      !arguments.file.empty()) {
    return FindPlace(volume,
                     JoinPath(arguments.path, LastPartOf(arguments.file)),
                     LastLink::kFollow);
  }
  return place;
}

absl::Status PutNew(fs::Volume& volume, const Place& place, uint32_t mode,
                    int fd, const std::string& name) {
  VARVE_ASSIGN_OR_RETURN(
      auto created,
      volume.CreateUnnamed(place.parent, mode, O_WRONLY, CurrentCaller()));
  const uint64_t ino = created.first.ino;
  absl::Status status = CopyIn(volume, *created.second, fd, name);
  // It gets its name with all of its content, or does not come to be.
  if (status.ok()) {
    const auto linked = volume.Link(ino, place.parent, place.name);
    status = linked.status();
    if (linked.ok()) volume.Forget(ino, 1);
  }
  status.Update(volume.Release(std::move(created.second)));
  volume.Forget(ino, 1);
  return status;
}

// Leaves the volume open, and the store to be recovered by the next one who
// opens it, if that is what keeps the old content.
absl::Status PutExisting(std::unique_ptr<fs::Volume>& volume, uint64_t ino,
                         int fd, const std::string& name) {
  VARVE_ASSIGN_OR_RETURN(auto handle, volume->Open(ino, O_WRONLY | O_TRUNC));
  const absl::Status status = CopyIn(*volume, *handle, fd, name);
  if (status.ok()) return volume->Release(std::move(handle));
  // Release() and Close() would commit what has been written so far. Dying
  // does not: that is what commits are for. So both are kept until then.
  [[maybe_unused]] static const auto* const kept =
      new std::pair(std::move(handle), std::move(volume));
  return status;
}

absl::Status PutInto(std::unique_ptr<fs::Volume>& volume,
                     const PutArguments& arguments, int fd) {
  struct stat source;
  if (fstat(fd, &source) != 0) return SystemError(errno, arguments.file);
  if (S_ISDIR(source.st_mode)) {
    return ErrorWithNumber(
        EISDIR,
        absl::StrCat(arguments.file.empty() ? "standard input" : arguments.file,
                     " is a directory"));
  }
  const std::string name =
      arguments.file.empty() ? "standard input" : arguments.file;
  VARVE_ASSIGN_OR_RETURN(const Place place, FindTarget(*volume, arguments));
  if (place.found.has_value()) {
    return PutExisting(volume, place.found->ino, fd, name);
  }
  const uint32_t mode =
      (arguments.file.empty() ? 0666 : source.st_mode & 0777) & ~CurrentUmask();
  return PutNew(*volume, place, mode, fd, name);
}

absl::Status Put(const PutArguments& arguments) {
  Descriptor file;
  int fd = STDIN_FILENO;
  if (!arguments.file.empty()) {
    VARVE_ASSIGN_OR_RETURN(file, OpenForReading(arguments.file));
    fd = file.get();
  }
  VARVE_ASSIGN_OR_RETURN(
      auto volume, OpenVolume(arguments.store, {.create = arguments.create}));
  absl::Status status = PutInto(volume, arguments, fd);
  if (volume != nullptr) status.Update(volume->Close());
  return Explain(status, Cannot("write", arguments.path));
}

}  // namespace

void AddContentCommands(CLI::App& app, Action& action) {
  CLI::App& get =
      AddCommand(app, "get", "Copy a file out of a store", kGetDetails);
  auto get_arguments = std::make_shared<GetArguments>();
  get.add_option("STORE", get_arguments->store, "The store")->required();
  get.add_option("PATH", get_arguments->path, "The file in it")->required();
  get.add_option("FILE", get_arguments->file,
                 "Where to write it (standard output)");
  OnCommand(get, action, std::move(get_arguments), &Get);

  CLI::App& put =
      AddCommand(app, "put", "Copy a file into a store", kPutDetails);
  auto put_arguments = std::make_shared<PutArguments>();
  put.add_option("STORE", put_arguments->store, "The store")->required();
  put.add_option("PATH", put_arguments->path, "The file in it")->required();
  put.add_option("FILE", put_arguments->file,
                 "Where to read it (standard input)");
  put.add_flag("-p,--parents", put_arguments->parents,
               "Make directories on the way as needed");
  put.add_flag("--create", put_arguments->create,
               "Make the store if there is none");
  OnCommand(put, action, std::move(put_arguments), &Put);
}

}  // namespace varve::tools
