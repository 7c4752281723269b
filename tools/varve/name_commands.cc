// varve rm and varve mv

#include <errno.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

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

constexpr char kRmDetails[] =
    R"(Goes on after a failure, and tells the first one.

Example:
  varve rm photos.varve 2023/summer/1.jpg 2023/summer/2.jpg
  varve rm -r photos.varve 2022
)";

struct RmArguments {
  std::string store;
  std::vector<std::string> paths;
  bool recursive = false;
};

bool IsRealName(const std::string& name) { return name != "." && name != ".."; }

absl::Status RemoveTree(fs::Volume& volume, uint64_t parent,
                        const std::string& name, const fs::Stat& stat) {
  if (!S_ISDIR(stat.attributes.mode)) return volume.Unlink(parent, name);
  struct Child {
    std::string name;
    fs::Stat stat;
  };
  std::vector<Child> children;
  VARVE_RETURN_IF_ERROR(volume.ReadDirectory(
      stat.ino, fs::Volume::kBehindDots, /*reference=*/false,
      [&children](const fs::Volume::Entry& entry) {
        children.push_back({std::string(entry.name), entry.stat});
        return true;
      }));
  for (const Child& child : children) {
    VARVE_RETURN_IF_ERROR(RemoveTree(volume, stat.ino, child.name, child.stat));
  }
  return volume.RemoveDirectory(parent, name);
}

absl::Status RemovePath(fs::Volume& volume, const std::string& path,
                        bool recursive) {
  VARVE_ASSIGN_OR_RETURN(const Place place,
                         FindPlace(volume, path, LastLink::kKeep));
  if (!place.found.has_value()) return fs::PosixError(ENOENT);
  if (!IsRealName(place.name)) return fs::PosixError(EINVAL);
  if (S_ISDIR(place.found->attributes.mode) && !recursive) {
    return ErrorWithNumber(EISDIR, "it is a directory; use -r");
  }
  return RemoveTree(volume, place.parent, place.name, *place.found);
}

absl::Status Rm(const RmArguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenVolume(arguments.store, {}));
  absl::Status status;
  for (const std::string& word : arguments.paths) {
    const std::string path = word.c_str();  // up to the NUL of main.cc
    status.Update(Explain(RemovePath(*volume, path, arguments.recursive),
                          Cannot("remove", path)));
  }
  status.Update(Explain(volume->Close(), "cannot close the store"));
  return status;
}

constexpr char kMvDetails[] =
    R"(If NEW is a directory, OLD comes to lie in it, unless -T is given.

Example:
  varve mv photos.varve 2023/summer 2023/sicily
)";

struct MvArguments {
  std::string store;
  std::string from;
  std::string to;
  bool no_directory = false;
};

absl::Status Move(fs::Volume& volume, const MvArguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const Place from,
                         FindPlace(volume, arguments.from, LastLink::kKeep));
  if (!from.found.has_value()) return fs::PosixError(ENOENT);
  if (!IsRealName(from.name)) return fs::PosixError(EINVAL);
  VARVE_ASSIGN_OR_RETURN(Place to,
                         FindPlace(volume, arguments.to, LastLink::kKeep));
  if (!arguments.no_directory) {
    // A link to a directory is as good as the directory.
    VARVE_ASSIGN_OR_RETURN(const Place target,
                           FindPlace(volume, arguments.to, LastLink::kFollow));
    if (target.found.has_value() && S_ISDIR(target.found->attributes.mode)) {
      to = {.parent = target.found->ino, .name = from.name};
    }
  }
  if (!IsRealName(to.name)) return fs::PosixError(EINVAL);
  const absl::Status status =
      volume.Rename(from.parent, from.name, to.parent, to.name, 0);
  if (fs::ErrnoOf(status) != EINVAL) return status;
  return ErrorWithNumber(EINVAL, "a directory cannot come to lie in itself");
}

absl::Status Mv(const MvArguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenVolume(arguments.store, {}));
  absl::Status status =
      Explain(Move(*volume, arguments), Cannot("move", arguments.from));
  status.Update(Explain(volume->Close(), "cannot close the store"));
  return status;
}

}  // namespace

void AddNameCommands(CLI::App& app, Action& action) {
  CLI::App& rm = AddCommand(app, "rm", "Remove files from a store", kRmDetails);
  auto rm_arguments = std::make_shared<RmArguments>();
  rm.add_option("STORE", rm_arguments->store, "The store")->required();
  rm.add_option("PATH", rm_arguments->paths, "What to remove")->required();
  rm.add_flag("-r,-R,--recursive", rm_arguments->recursive,
              "Directories with all that is in them");
  OnCommand(rm, action, std::move(rm_arguments), &Rm);

  CLI::App& mv = AddCommand(app, "mv", "Rename a file or directory in a store",
                            kMvDetails);
  auto mv_arguments = std::make_shared<MvArguments>();
  mv.add_option("STORE", mv_arguments->store, "The store")->required();
  mv.add_option("OLD", mv_arguments->from, "What to rename")->required();
  mv.add_option("NEW", mv_arguments->to, "Its new path")->required();
  mv.add_flag("-T", mv_arguments->no_directory,
              "Take NEW as a name even if it is a directory");
  OnCommand(mv, action, std::move(mv_arguments), &Mv);
}

}  // namespace varve::tools
