// varve export and varve import

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/failures.h"
#include "tools/varve/host.h"
#include "tools/varve/host_tree.h"
#include "tools/varve/open_store.h"
#include "tools/varve/tar_reader.h"
#include "tools/varve/tar_writer.h"
#include "tools/varve/tree_copier.h"
#include "tools/varve/tree_path.h"
#include "tools/varve/volume_tree.h"

namespace varve::tools {
namespace {

constexpr char kStandardStream[] = "-";

constexpr char kExportDetails[] =
    R"(If PATH is a directory, copies its contents; without PATH, the whole tree. Files
keep all their attributes: owner, mode, times, links, extended attributes,
access control lists, holes, devices. A tar archive is in the pax format, and
the same tree gives the same bytes; it cannot hold sockets, which are left out
with a warning. DIR is made if it does not exist. Failures are printed, and the
rest is copied.

Content is compared with its checksums before any of it is written. Works while
the store is mounted, and copies what has been committed.

Example:
  varve export photos.varve --tar | zstd > photos.tar.zst
  varve export photos.varve 2023 --tar=2023.tar
  varve export photos.varve --dir ~/restored
)";

constexpr char kImportDetails[] =
    R"(Copies the contents of the archive or of DIR, with all attributes, into the
directory PATH of the store; without PATH, into the root. Existing files of the
same name are replaced; existing directories only get new attributes. Owners are
taken by number. A member whose name is absolute, contains "..", or leads
through a symbolic link is refused. Failures are printed, and the rest is
copied.

Every kind of tar archive can be read. A compressed one must be unpacked on the
way.

Example:
  varve import -p photos.varve 2023/summer --tar=summer.tar
  zstd -dc photos.tar.zst | varve import --create photos.varve --tar
  varve import photos.varve --dir ~/pictures
)";

struct Arguments {
  std::string store;
  std::string at;
  std::string path = "/";
  std::string tar;
  std::string directory;
  bool create = false;
  bool parents = false;

  bool is_stream() const { return tar == kStandardStream; }
};

absl::Status CheckForm(const Arguments& arguments, absl::string_view command) {
  if (arguments.tar.empty() && arguments.directory.empty()) {
    return ExitError(ExitStatus::kUsage,
                     absl::StrCat("either --tar or --dir is needed (see varve ",
                                  command, " --help)"));
  }
  if (!arguments.tar.empty() && IsSameFile(arguments.tar, arguments.store)) {
    return ExitError(ExitStatus::kRefused,
                     absl::StrCat(arguments.tar, " is the store itself"));
  }
  return absl::OkStatus();
}

// The source, and the name of its copy: "." for a directory, so that its
// content is copied.
struct Source {
  std::unique_ptr<SourceDirectory> from;
  std::string name;
  std::string new_name;
};

absl::StatusOr<Source> FindSource(fs::Volume& volume, const std::string& path) {
  VARVE_ASSIGN_OR_RETURN(const PathEntry place,
                         FindPathEntry(volume, path, LastLink::kFollow));
  if (!place.found.has_value()) return fs::PosixError(ENOENT);
  if (S_ISDIR(place.found->attributes.mode)) {
    return Source{VolumeSource(volume, place.found->ino), ".", "."};
  }
  return Source{VolumeSource(volume, place.parent), place.name, place.name};
}

absl::Status ExportTar(const Arguments& arguments, const Source& source) {
  Descriptor file;
  int fd = STDOUT_FILENO;
  std::string name = "standard output";
  if (!arguments.is_stream()) {
    name = arguments.tar;
    VARVE_ASSIGN_OR_RETURN(file, OpenForWriting(name));
    fd = file.get();
  }
  VARVE_ASSIGN_OR_RETURN(const auto writer, WriteTar(fd, name));
  const auto root = writer->Root();
  TreeCopier copier(CopyOptions{});
  copier.Copy(*source.from, source.name, *root, source.new_name,
              arguments.path);
  Failures& failures = copier.failures();
  const bool is_told = root->is_broken();
  const absl::Status finished = writer->Finish();
  if (!is_told) failures.Note(finished);
  for (const std::string& socket : writer->sockets()) {
    failures.Warn(absl::StrCat(
        "\"", socket, "\" is a socket, which tar has no place for; left out"));
  }
  if (file.valid()) failures.Note(CloseWritten(std::move(file), name));
  return failures.Result();
}

absl::Status ExportDirectory(const Arguments& arguments, const Source& source) {
  AllowManyDescriptors();
  const std::string target(WithoutTrailingSlashes(arguments.directory));
  std::string name = source.new_name;
  std::string directory = target;
  struct stat stat;
  if (name == "." && ::stat(target.c_str(), &stat) != 0 && errno == ENOENT) {
    name = LastPartOf(target);
    directory = DirectoryOf(target);
  }
  VARVE_ASSIGN_OR_RETURN(const auto to, HostTarget(directory, arguments.store));
  TreeCopier copier(CopyOptions{});
  copier.Copy(*source.from, source.name, *to, name, arguments.path);
  return copier.failures().Result();
}

absl::Status Export(const Arguments& arguments) {
  VARVE_RETURN_IF_ERROR(CheckForm(arguments, "export"));
  if (arguments.is_stream() && isatty(STDOUT_FILENO) == 1) {
    return ExitError(ExitStatus::kUsage,
                     "a terminal is no place for an archive: name a file, as "
                     "in --tar=FILE, or use a pipe");
  }
  VARVE_ASSIGN_OR_RETURN(const auto volume,
                         OpenVolumeForReading(arguments.store, arguments.at));
  const auto source = FindSource(*volume, arguments.path);
  if (!source.ok()) {
    return Explain(source.status(), Cannot("read", arguments.path));
  }
  return arguments.tar.empty() ? ExportDirectory(arguments, *source)
                               : ExportTar(arguments, *source);
}

// The directory to fill. Makes it if necessary.
absl::StatusOr<uint64_t> FindTarget(fs::Volume& volume,
                                    const Arguments& arguments) {
  const uint32_t mode = 0777 & ~CurrentUmask();
  if (arguments.parents) {
    VARVE_RETURN_IF_ERROR(MakeParents(volume, arguments.path, mode));
  }
  VARVE_ASSIGN_OR_RETURN(
      const PathEntry place,
      FindPathEntry(volume, arguments.path, LastLink::kFollow));
  if (place.found.has_value()) {
    if (!S_ISDIR(place.found->attributes.mode)) return fs::PosixError(ENOTDIR);
    return place.found->ino;
  }
  VARVE_ASSIGN_OR_RETURN(
      const fs::Stat made,
      volume.MakeDirectory(place.parent, place.name, mode, CurrentCaller()));
  volume.Forget(made.ino, 1);
  return made.ino;
}

absl::Status ImportDirectory(fs::Volume& volume, const Arguments& arguments) {
  AllowManyDescriptors();
  VARVE_ASSIGN_OR_RETURN(const auto from,
                         HostSource(arguments.directory, arguments.store));
  const auto target = FindTarget(volume, arguments);
  if (!target.ok()) {
    return Explain(target.status(), Cannot("write", arguments.path));
  }
  TreeCopier copier(CopyOptions{});
  copier.Copy(*from, ".", *VolumeTarget(volume, *target), ".",
              arguments.directory);
  return copier.failures().Result();
}

absl::Status ImportTar(fs::Volume& volume, const Arguments& arguments, int fd) {
  const auto target = FindTarget(volume, arguments);
  if (!target.ok()) {
    return Explain(target.status(), Cannot("write", arguments.path));
  }
  return ReadTar(fd, arguments.is_stream() ? "standard input" : arguments.tar,
                 VolumeTarget(volume, *target));
}

absl::Status Import(const Arguments& arguments) {
  VARVE_RETURN_IF_ERROR(CheckForm(arguments, "import"));
  // Check this before making a store.
  Descriptor file;
  if (!arguments.tar.empty() && !arguments.is_stream()) {
    VARVE_ASSIGN_OR_RETURN(file, OpenForReading(arguments.tar));
  } else if (!arguments.directory.empty()) {
    VARVE_RETURN_IF_ERROR(
        HostSource(arguments.directory, arguments.store).status());
  }
  VARVE_ASSIGN_OR_RETURN(
      const auto volume,
      OpenVolume(arguments.store, {.create = arguments.create}));
  absl::Status status =
      arguments.tar.empty()
          ? ImportDirectory(*volume, arguments)
          : ImportTar(*volume, arguments,
                      file.valid() ? file.get() : STDIN_FILENO);
  status.Update(Explain(volume->Close(), "cannot close the store"));
  return status;
}

// The options of both commands.
void AddForms(CLI::App& command, const std::string& path_help,
              const std::string& tar_help, const std::string& directory_help,
              Arguments& arguments) {
  command.add_option("STORE", arguments.store, "The store")->required();
  command.add_option("PATH", arguments.path, path_help);
  CLI::Option* const tar = command.add_option("--tar", arguments.tar, tar_help)
                               ->type_name("FILE")
                               ->expected(0, 1)
                               ->default_str(kStandardStream);
  command.add_option("--dir", arguments.directory, directory_help)
      ->type_name("DIR")
      ->excludes(tar);
}

}  // namespace

void AddExportCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "export", "Copy a tree to a tar archive or directory",
                 kExportDetails);
  auto arguments = std::make_shared<Arguments>();
  AddForms(command, "What to copy",
           "To an archive (without FILE or with -, standard output)",
           "To a directory", *arguments);
  command.add_option("--at", arguments->at,
                     "As it was then; see varve help log");
  OnCommand(command, action, std::move(arguments), &Export);
}

void AddImportCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "import", "Copy a tar archive or directory to a tree",
                 kImportDetails);
  auto arguments = std::make_shared<Arguments>();
  AddForms(command, "The directory to copy to; it is made if it does not exist",
           "An archive (without FILE or with -, standard input)", "A directory",
           *arguments);
  command.add_flag("-p,--parents", arguments->parents,
                   "Make directories on the way as needed");
  command.add_flag("--create", arguments->create,
                   "Make the store if there is none");
  OnCommand(command, action, std::move(arguments), &Import);
}

}  // namespace varve::tools
