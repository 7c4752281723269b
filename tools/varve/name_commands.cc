// varve rm and varve mv

#include <errno.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/failures.h"
#include "tools/varve/host.h"
#include "tools/varve/open_store.h"
#include "tools/varve/progress.h"
#include "tools/varve/tree_path.h"
#include "tools/varve/volume_tree.h"

namespace varve::tools {
namespace {

constexpr char kRmDetails[] =
    R"(Prints each failure and continues. Never removes the root or a path that ends in
"." or "..".

Example:
  varve rm photos.varve 2023/summer/1.jpg 2023/summer/2.jpg
  varve rm -r photos.varve 2022
)";

struct RmArguments {
  std::string store;
  std::vector<std::string> paths;
  bool recursive = false;
  bool force = false;
};

void RemovePath(fs::Volume& volume, const std::string& path,
                const RmArguments& arguments, Progress& progress,
                Failures& failures) {
  const auto fail = [&](const absl::Status& status) {
    failures.Note(Explain(status, Cannot("remove", path)));
  };
  const auto place = FindPathEntry(volume, path, LastLink::kKeep);
  const int error = fs::ErrnoOf(place.status());
  if (arguments.force && (error == ENOENT || error == ENOTDIR)) return;
  if (!place.ok()) return fail(place.status());
  if (!place->found.has_value()) {
    if (!arguments.force) fail(fs::PosixError(ENOENT));
    return;
  }
  if (!IsRealName(place->name)) return fail(fs::PosixError(EINVAL));
  if (S_ISDIR(place->found->attributes.mode) && !arguments.recursive) {
    return fail(ErrorWithNumber(EISDIR, "it is a directory; use -r"));
  }
  RemoveTree(volume, place->parent, place->name, *place->found, path, progress,
             failures);
}

absl::Status Rm(const RmArguments& arguments) {
  if (arguments.paths.empty() && !arguments.force) {
    return ExitError(ExitStatus::kUsage,
                     "PATH is required (see varve rm --help)");
  }
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenVolume(arguments.store, {}));
  Progress progress("removing");
  Failures failures([&progress] { progress.Clear(); });
  for (const std::string& path : arguments.paths) {
    RemovePath(*volume, path, arguments, progress, failures);
  }
  failures.Note(CloseVolume(*volume));
  return failures.Result();
}

constexpr char kMvDetails[] =
    R"(If NEW is a directory, moves OLD into it, unless -T is given. Several files can
be moved into a directory. Prints each failure and continues.

Example:
  varve mv photos.varve 2023/summer 2023/sicily
)";

struct MvArguments {
  std::string store;
  std::vector<std::string> paths;  // the last one is the target
  bool no_directory = false;
  bool no_clobber = false;
};

absl::Status Move(fs::Volume& volume, const std::string& old,
                  const MvArguments& arguments) {
  const std::string& target = arguments.paths.back();
  VARVE_ASSIGN_OR_RETURN(const PathEntry from,
                         FindPathEntry(volume, old, LastLink::kKeep));
  if (!from.found.has_value()) return fs::PosixError(ENOENT);
  if (!IsRealName(from.name)) return fs::PosixError(EINVAL);
  VARVE_ASSIGN_OR_RETURN(PathEntry to,
                         FindPathEntry(volume, target, LastLink::kKeep));
  if (!arguments.no_directory) {
    // A link to a directory is as good as the directory.
    VARVE_ASSIGN_OR_RETURN(const PathEntry directory,
                           FindPathEntry(volume, target, LastLink::kFollow));
    if (directory.found.has_value() &&
        S_ISDIR(directory.found->attributes.mode)) {
      VARVE_ASSIGN_OR_RETURN(
          to,
          FindPathEntry(volume, JoinPath(target, from.name), LastLink::kKeep));
    }
  }
  if (!IsRealName(to.name)) return fs::PosixError(EINVAL);
  if (to.is_directory && !S_ISDIR(from.found->attributes.mode)) {
    return fs::PosixError(ENOTDIR);
  }
  if (to.found.has_value() && arguments.no_clobber) return absl::OkStatus();
  if (to.found.has_value() && to.found->ino == from.found->ino) {
    return ErrorWithNumber(EINVAL, "source and target are the same file");
  }
  const absl::Status status =
      volume.Rename(from.parent, from.name, to.parent, to.name, 0);
  if (fs::ErrnoOf(status) != EINVAL) return status;
  return ErrorWithNumber(EINVAL, "a directory cannot be moved into itself");
}

absl::Status Mv(const MvArguments& arguments) {
  const std::string& target = arguments.paths.back();
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenVolume(arguments.store, {}));
  Failures failures;
  absl::Status status = CheckTarget(*volume, arguments.paths.size() - 1, target,
                                    arguments.no_directory, "mv");
  if (!status.ok()) {
    failures.Note(status);
  } else {
    for (size_t i = 0; i + 1 < arguments.paths.size(); ++i) {
      const std::string& old = arguments.paths[i];
      failures.Note(
          Explain(Move(*volume, old, arguments), Cannot("move", old)));
    }
  }
  failures.Note(CloseVolume(*volume));
  return failures.Result();
}

}  // namespace

void AddRmCommand(CLI::App& app, Action& action) {
  CLI::App& rm = AddCommand(app, "rm", "Remove files from a store", kRmDetails);
  auto rm_arguments = std::make_shared<RmArguments>();
  rm.add_option("STORE", rm_arguments->store, "The store")->required();
  AddWords(rm, "PATH", rm_arguments->paths, "What to remove");
  rm.add_flag("-r,-R,--recursive", rm_arguments->recursive,
              "Directories with all their contents");
  rm.add_flag("-f,--force", rm_arguments->force,
              "Ignore files that do not exist");
  OnCommand(rm, action, std::move(rm_arguments), &Rm);
}

void AddMvCommand(CLI::App& app, Action& action) {
  CLI::App& mv = AddCommand(app, "mv", "Rename a file or directory in a store",
                            kMvDetails);
  auto mv_arguments = std::make_shared<MvArguments>();
  mv.add_option("STORE", mv_arguments->store, "The store")->required();
  AddWords(mv, "OLD", mv_arguments->paths,
           "What to rename; the last one is its new path")
      ->required()
      ->expected(2, kAnyNumber)
      ->type_name("OLD... NEW");
  mv.add_flag("-T,--no-target-directory", mv_arguments->no_directory,
              "Take NEW as a name even if it is a directory");
  mv.add_flag("-n,--no-clobber", mv_arguments->no_clobber, "Replace nothing");
  mv.add_flag_callback(
      "-f,--force", [] {}, "Accepted; existing files are replaced anyway");
  OnCommand(mv, action, std::move(mv_arguments), &Mv);
}

}  // namespace varve::tools
