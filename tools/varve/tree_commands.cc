// varve cp and varve mkdir

#include <errno.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/failures.h"
#include "tools/varve/host.h"
#include "tools/varve/open_store.h"
#include "tools/varve/tree_copier.h"
#include "tools/varve/tree_path.h"
#include "tools/varve/volume_tree.h"

namespace varve::tools {
namespace {

constexpr char kCpDetails[] =
    R"(If NEW is a directory, the copy is made in it, unless -T is given. The copy
shares the bytes of the original, so it takes next to no space. Without -p or
-a, the copy belongs to the caller and has new times, as with cp(1). Prints each
failure and continues.

Example:
  varve cp photos.varve 2023/summer/1.jpg best.jpg
  varve cp -a photos.varve 2023 2023.bak
)";

struct CpArguments {
  std::string store;
  std::vector<std::string> paths;  // the last one is the target
  bool recursive = false;
  bool archive = false;
  bool preserve = false;
  bool no_directory = false;
  bool no_clobber = false;

  bool copies_trees() const { return recursive || archive; }
};

// Whether the directory is the one with `ino` or lies in it.
absl::StatusOr<bool> LiesIn(fs::Volume& volume, uint64_t directory,
                            uint64_t ino) {
  while (directory != ino) {
    if (directory == fs::kRootIno) return false;
    VARVE_ASSIGN_OR_RETURN(const fs::Stat up, volume.Lookup(directory, ".."));
    volume.Forget(up.ino, 1);
    directory = up.ino;
  }
  return true;
}

absl::Status CopyPath(fs::Volume& volume, const std::string& path,
                      const CpArguments& arguments, TreeCopier& copier) {
  const std::string& target = arguments.paths.back();
  const bool trees = arguments.copies_trees();
  VARVE_ASSIGN_OR_RETURN(
      const PathEntry from,
      FindPathEntry(volume, path, trees ? LastLink::kKeep : LastLink::kFollow));
  if (!from.found.has_value()) return fs::PosixError(ENOENT);
  const uint32_t mode = from.found->attributes.mode;
  if (!trees && !S_ISREG(mode)) {
    return ErrorWithNumber(S_ISDIR(mode) ? EISDIR : EINVAL,
                           S_ISDIR(mode) ? "it is a directory; use -r"
                                         : "it is no regular file; use -r");
  }
  VARVE_ASSIGN_OR_RETURN(PathEntry to,
                         FindPathEntry(volume, target, LastLink::kFollow));
  if (!arguments.no_directory && to.found.has_value() &&
      S_ISDIR(to.found->attributes.mode)) {
    // "." and ".." mean the content of the directory.
    const std::string name = LastPartOf(path);
    VARVE_ASSIGN_OR_RETURN(
        to,
        FindPathEntry(volume, JoinPath(target, IsRealName(name) ? name : "."),
                      trees ? LastLink::kKeep : LastLink::kFollow));
  }
  if (to.is_directory && !to.found.has_value() && !S_ISDIR(mode)) {
    return fs::PosixError(ENOTDIR);
  }
  if (S_ISDIR(mode)) {
    VARVE_ASSIGN_OR_RETURN(const bool in_itself,
                           LiesIn(volume, to.parent, from.found->ino));
    if (in_itself) {
      return ErrorWithNumber(EINVAL,
                             "a directory cannot be copied into itself");
    }
  }
  copier.Copy(*VolumeSource(volume, from.parent), from.name,
              *VolumeTarget(volume, to.parent), to.name, path);
  return absl::OkStatus();
}

absl::Status Cp(const CpArguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenVolume(arguments.store, {}));
  const absl::Status status =
      CheckTarget(*volume, arguments.paths.size() - 1, arguments.paths.back(),
                  arguments.no_directory, "cp");
  TreeCopier copier({.all_attributes = arguments.archive || arguments.preserve,
                     .no_clobber = arguments.no_clobber,
                     .umask = CurrentUmask()});
  Failures& failures = copier.failures();
  failures.Note(status);
  for (size_t i = 0; status.ok() && i + 1 < arguments.paths.size(); ++i) {
    const std::string& path = arguments.paths[i];
    failures.Note(Explain(CopyPath(*volume, path, arguments, copier),
                          Cannot("copy", path)));
  }
  failures.Note(CloseVolume(*volume));
  return failures.Result();
}

constexpr char kMkdirDetails[] =
    R"(Prints each failure and continues.

Example:
  varve mkdir photos.varve 2024
  varve mkdir -p photos.varve 2024/spring 2024/summer
)";

struct MkdirArguments {
  std::string store;
  std::vector<std::string> paths;
  std::string mode;
  bool parents = false;
  bool create = false;
};

absl::StatusOr<uint32_t> ParseMode(const std::string& text) {
  if (text.empty()) return 0777 & ~CurrentUmask();
  uint32_t mode = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '7' || mode > 07777) {
      mode = 010000;
      break;
    }
    mode = mode * 8 + static_cast<uint32_t>(digit - '0');
  }
  if (mode <= 07777) return mode;
  return ExitError(ExitStatus::kUsage,
                   absl::StrCat("--mode needs an octal number up to 7777, not ",
                                text, " (see varve mkdir --help)"));
}

absl::Status MakeOne(fs::Volume& volume, const std::string& path, uint32_t mode,
                     const MkdirArguments& arguments) {
  if (arguments.parents) {
    // As with mkdir(1), the caller can enter and fill the directories on the
    // way.
    VARVE_RETURN_IF_ERROR(
        MakeParents(volume, path, (0777 & ~CurrentUmask()) | 0300));
  }
  VARVE_ASSIGN_OR_RETURN(
      const PathEntry place,
      FindPathEntry(volume, path,
                    arguments.parents ? LastLink::kFollow : LastLink::kKeep));
  if (place.found.has_value()) {
    const bool is_there =
        arguments.parents && S_ISDIR(place.found->attributes.mode);
    return is_there ? absl::OkStatus() : fs::PosixError(EEXIST);
  }
  VARVE_ASSIGN_OR_RETURN(
      const fs::Stat made,
      volume.MakeDirectory(place.parent, place.name, mode, CurrentCaller()));
  volume.Forget(made.ino, 1);
  return absl::OkStatus();
}

absl::Status Mkdir(const MkdirArguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const uint32_t mode, ParseMode(arguments.mode));
  VARVE_ASSIGN_OR_RETURN(
      const auto volume,
      OpenVolume(arguments.store, {.create = arguments.create}));
  Failures failures;
  for (const std::string& path : arguments.paths) {
    failures.Note(
        Explain(MakeOne(*volume, path, mode, arguments), Cannot("make", path)));
  }
  failures.Note(CloseVolume(*volume));
  return failures.Result();
}

}  // namespace

void AddCpCommand(CLI::App& app, Action& action) {
  CLI::App& cp =
      AddCommand(app, "cp", "Copy files or trees within a store", kCpDetails);
  auto cp_arguments = std::make_shared<CpArguments>();
  cp.add_option("STORE", cp_arguments->store, "The store")->required();
  AddWords(cp, "OLD", cp_arguments->paths,
           "What to copy; the last one is the copy's path")
      ->required()
      ->expected(2, kAnyNumber)
      ->type_name("OLD... NEW");
  cp.add_flag("-r,-R,--recursive", cp_arguments->recursive,
              "Directories with all their contents");
  cp.add_flag("-a,--archive", cp_arguments->archive,
              "As -r, and with all that belongs to them");
  cp.add_flag("-p,--preserve", cp_arguments->preserve,
              "With owner, times, links and attributes");
  cp.add_flag("-T,--no-target-directory", cp_arguments->no_directory,
              "Take NEW as a name even if it is a directory");
  cp.add_flag("-n,--no-clobber", cp_arguments->no_clobber, "Replace nothing");
  cp.add_flag_callback(
      "-f,--force", [] {}, "Accepted; existing files are replaced anyway");
  OnCommand(cp, action, std::move(cp_arguments), &Cp);
}

void AddMkdirCommand(CLI::App& app, Action& action) {
  CLI::App& mkdir =
      AddCommand(app, "mkdir", "Make directories in a store", kMkdirDetails);
  auto mkdir_arguments = std::make_shared<MkdirArguments>();
  mkdir.add_option("STORE", mkdir_arguments->store, "The store")->required();
  AddWords(mkdir, "PATH", mkdir_arguments->paths, "What to make")->required();
  mkdir.add_flag("-p,--parents", mkdir_arguments->parents,
                 "Make those on the way, too; one that is there is no failure");
  mkdir
      .add_option("-m,--mode", mkdir_arguments->mode,
                  "Permissions, as an octal number (0777 less the umask)")
      ->type_name("MODE");
  mkdir.add_flag("--create", mkdir_arguments->create,
                 "Make the store if there is none");
  OnCommand(mkdir, action, std::move(mkdir_arguments), &Mkdir);
}

}  // namespace varve::tools
