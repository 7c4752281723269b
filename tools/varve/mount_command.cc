// varve mount

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "tools/varve/command.h"
#include "tools/varve/daemonize.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/log.h"
#include "tools/varve/mount_options.h"
#include "tools/varve/mountpoint.h"
#include "tools/varve/remount.h"
#include "tools/varve/serve.h"
#include "tools/varve/service_manager.h"

namespace varve::tools {
namespace {

// The help behind the options for -o.
constexpr char kDetails[] =
    R"(default_permissions is always on. Options for fstab(5) are accepted and ignored.

Example:
  varve mount photos.varve ~/photos
  varve mount -o ro,allow_other photos.varve /mnt/photos
)";

struct Arguments {
  std::string store;
  std::string directory;
  std::vector<std::string> options;
  bool create = false;
  bool foreground = false;
  std::string at;
};

absl::StatusOr<ServeRequest> Prepare(const Arguments& arguments) {
  ServeRequest request;
  std::vector<std::string> words = arguments.options;
  if (!arguments.at.empty()) words.push_back("at=" + arguments.at);
  VARVE_ASSIGN_OR_RETURN(request.options,
                         ParseMountOptions(words, CurrentMounter()));
  fs::VolumeOptions& options = request.options.volume;
  if (arguments.create && options.read_only) {
    return ExitError(ExitStatus::kUsage,
                     "a store cannot be created by a read-only mount");
  }
  options.create = (options.create || arguments.create) && !options.read_only;
  VARVE_RETURN_IF_ERROR(CheckFuse());
  VARVE_ASSIGN_OR_RETURN(request.store,
                         FindStore(arguments.store, options.create));
  VARVE_ASSIGN_OR_RETURN(request.directory,
                         PrepareMountpoint(arguments.directory, request.store));
  VARVE_RETURN_IF_ERROR(CheckStoreIsOutside(request.store, request.directory));
  for (const std::string& note : WhatWillBeHidden(request.directory)) {
    LogWarning(note);
  }
  return request;
}

absl::Status ServeDetached(const ServeRequest& request,
                           std::function<absl::Status()> ready) {
  bool detached = false;
  // The daemon must not keep the directory in which it was started busy. All
  // paths are absolute by now.
  if (chdir("/") != 0) return SystemError(errno, "cannot enter /");
  const absl::Status status = ServeStore(request, [&] {
    LogToSystem();
    detached = true;
    return ready();
  });
  if (detached && !status.ok()) LogError(std::string(status.message()));
  return status;
}

// Serves in the foreground, and reports to the service manager if there is one.
// (A mount that goes into the background is not the process that the manager
// has started.)
absl::Status ServeHere(const Arguments& arguments) {
  const ServiceManager manager = ServiceManager::FromEnvironment();
  const absl::Status status = [&] {
    VARVE_ASSIGN_OR_RETURN(ServeRequest request, Prepare(arguments));
    request.manager = &manager;
    return ServeStore(request, [] { return absl::OkStatus(); });
  }();
  if (!status.ok()) {
    manager.TellStatus(status.message());
    manager.Tell(absl::StrCat("ERRNO=", fs::ErrnoOf(status)));
  }
  return status;
}

absl::Status Mount(const Arguments& arguments) {
  LogToStandardError();
  VARVE_ASSIGN_OR_RETURN(
      const MountOptions options,
      ParseMountOptions(arguments.options, CurrentMounter()));
  if (options.remount) {
    return Remount(arguments.store, arguments.directory, options.changes);
  }
  if (arguments.foreground) return ServeHere(arguments);
  VARVE_ASSIGN_OR_RETURN(const ServeRequest request, Prepare(arguments));
  return RunDetached([&request](std::function<absl::Status()> ready) {
    return ServeDetached(request, std::move(ready));
  });
}

}  // namespace

void AddMountCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "mount", "Mount a store at a directory",
                 absl::StrCat("Options for -o, separated by commas:\n",
                              MountOptionsHelp(), kDetails));
  auto arguments = std::make_shared<Arguments>();
  command.add_option("STORE", arguments->store, "The store")->required();
  command.add_option("DIR", arguments->directory, "Where to mount it")
      ->required();
  command
      .add_option("-o,--options", arguments->options,
                  "Mount options; see below")
      ->type_name("OPTIONS")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->allow_extra_args(false);
  command.add_option("--at", arguments->at,
                     "Show the tree of a past moment, read-only; see varve "
                     "help log");
  command.add_flag("--create", arguments->create,
                   "Make the store if there is none, in spite of -o nocreate");
  command.add_flag("-f,--foreground", arguments->foreground,
                   "Stay in the foreground, and log to standard error");
  OnCommand(command, action, std::move(arguments), &Mount);
}

}  // namespace varve::tools
