// varve versions

#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "fs/format/path.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/history_target.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/moment_text.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;
using Kind = fs::LoggedOperation::Kind;

struct Arguments {
  std::string target;
  std::string path;
  bool json = false;
};

// A content that a file had.
struct Version {
  uint64_t sequence = 0;
  fs::Timestamp time;
  std::optional<uint32_t> uid;
  uint64_t size = 0;
  std::string path;
  bool readable = true;  // whether it was not purged
};

std::string TextOf(const Version& version, bool json) {
  if (json) {
    Json line;
    line["sequence"] = version.sequence;
    line["time"] = JsonTimeText(version.time);
    line["uid"] = version.uid.has_value() ? Json(*version.uid) : Json(nullptr);
    line["size"] = version.size;
    AddText(line, "path", version.path);
    line["readable"] = version.readable;
    return JsonLine(line) + "\n";
  }
  return absl::StrCat(
      LocalTimeText(version.time), "  ",
      absl::StrFormat(
          "seq:%-8d %6s %12d  ", version.sequence,
          version.uid.has_value() ? absl::StrCat(*version.uid) : "-",
          version.size),
      Printable(version.path), version.readable ? "" : "  (purged)", "\n");
}

// The versions of one file, newest first.
class VersionFinder {
 public:
  VersionFinder(fs::Volume& volume, const std::string& path, bool json)
      : volume_(volume), path_(path), json_(json) {}

  // Prints them. NOT_FOUND, as a sentence, if there is none.
  absl::Status Run();

 private:
  absl::Status ReadPresent();
  // Those that the window's log tells of.
  absl::Status ReadLog();
  absl::Status Look(const fs::LoggedCommit& commit,
                    const fs::LoggedOperation& operation);
  // Those of snapshots before the window.
  absl::Status ReadSnapshots();
  absl::StatusOr<std::optional<fs::Stat>> FindIn(uint64_t moment);
  absl::Status Show(Version version);

  fs::Volume& volume_;
  const std::string& path_;
  const bool json_;
  // The files that have this path, or had it.
  absl::flat_hash_set<uint64_t> files_;
  std::optional<Version> present_;
  std::vector<fs::PurgedPath> purged_;
  size_t count_ = 0;
  std::optional<Version> last_;  // that was shown
};

absl::Status VersionFinder::ReadPresent() {
  absl::Status status;
  volume_.WithTree([&](const fs::TreeReader& tree) {
    const auto purged = tree.PurgedPaths();
    status = purged.status();
    if (purged.ok()) purged_ = *purged;
    const auto inode = tree.Resolve(path_);
    if (!inode.ok() || !inode->has_value() || !(*inode)->is_regular()) return;
    files_.insert((*inode)->ino);
    present_ = {.time = (*inode)->attributes.mtime,
                .size = (*inode)->attributes.size,
                .path = path_};
  });
  return status;
}

absl::Status VersionFinder::Show(Version version) {
  ++count_;
  last_ = version;
  for (const fs::PurgedPath& purged : purged_) {
    if (version.sequence < purged.before &&
        fs::LiesWithin(version.path, purged.path)) {
      version.readable = false;
    }
  }
  return Print(TextOf(version, json_));
}

absl::Status VersionFinder::Look(const fs::LoggedCommit& commit,
                                 const fs::LoggedOperation& operation) {
  if (operation.ino == 0 || operation.is_directory) return absl::OkStatus();
  if (operation.path == path_ ||
      (operation.kind == Kind::kRename && operation.old_path == path_)) {
    files_.insert(operation.ino);
  }
  const bool is_content =
      operation.kind == Kind::kWrite || operation.kind == Kind::kCreate;
  if (!is_content || !files_.contains(operation.ino)) return absl::OkStatus();
  return Show({.sequence = commit.sequence,
               .time = commit.time,
               .uid = commit.uid,
               .size = operation.size,
               .path = operation.path});
}

absl::Status VersionFinder::ReadLog() {
  return volume_.history().ReadLog(
      0, [this](const fs::LoggedCommit& commit) -> absl::StatusOr<bool> {
        for (const fs::LoggedOperation& operation : commit.operations) {
          VARVE_RETURN_IF_ERROR(Look(commit, operation));
        }
        return true;
      });
}

absl::StatusOr<std::optional<fs::Stat>> VersionFinder::FindIn(uint64_t moment) {
  std::optional<fs::Stat> found;
  uint64_t parent = fs::kRootIno;
  for (const absl::string_view name : absl::StrSplit(path_, '/')) {
    const auto stat = volume_.past_files().Lookup(moment, parent, name);
    if (!stat.ok()) {
      if (absl::IsDataLoss(stat.status())) return stat.status();
      return std::optional<fs::Stat>();
    }
    found = *stat;
    parent = stat->ino;
  }
  return found;
}

absl::Status VersionFinder::ReadSnapshots() {
  VARVE_ASSIGN_OR_RETURN(auto snapshots, volume_.history().Snapshots());
  VARVE_ASSIGN_OR_RETURN(const uint64_t kept_from,
                         volume_.history().KeptFrom());
  std::sort(snapshots.begin(), snapshots.end(),
            [](const fs::Snapshot& a, const fs::Snapshot& b) {
              return a.sequence > b.sequence;
            });
  for (const fs::Snapshot& snapshot : snapshots) {
    if (snapshot.sequence >= kept_from) continue;
    VARVE_ASSIGN_OR_RETURN(const auto found, FindIn(snapshot.sequence));
    if (!found.has_value() || !S_ISREG(found->attributes.mode)) continue;
    Version version = {.sequence = snapshot.sequence,
                       .time = found->attributes.mtime,
                       .size = found->attributes.size,
                       .path = path_};
    // A restored file has its former times, but is another inode.
    const bool is_same = last_.has_value() && last_->time == version.time &&
                         last_->size == version.size;
    if (!is_same) VARVE_RETURN_IF_ERROR(Show(std::move(version)));
  }
  return absl::OkStatus();
}

absl::Status VersionFinder::Run() {
  VARVE_RETURN_IF_ERROR(ReadPresent());
  VARVE_RETURN_IF_ERROR(ReadLog());
  if (count_ == 0 && present_.has_value()) {
    // What made it what it is, is no longer kept.
    VARVE_ASSIGN_OR_RETURN(present_->sequence, volume_.history().KeptFrom());
    VARVE_RETURN_IF_ERROR(Show(*present_));
  }
  VARVE_RETURN_IF_ERROR(ReadSnapshots());
  if (count_ > 0) return absl::OkStatus();
  return ExitError(
      ExitStatus::kNotFound,
      absl::StrCat("no kept moment tells of a file '", path_, "'"));
}

absl::Status Versions(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const HistoryTarget place,
                         FindHistoryTarget(arguments.target, arguments.path));
  VARVE_ASSIGN_OR_RETURN(const auto volume, OpenHistory(place));
  return VersionFinder(*volume, place.path, arguments.json).Run();
}

}  // namespace

void AddVersionsCommand(CLI::App& app, Action& action) {
  CLI::App& command = AddCommand(
      app, "versions", "Show the contents that a file had, newest first",
      "For each, its time, the number of its commit, who wrote it, the size, "
      "and the\n"
      "path that the file had then. Renames are followed, and files that had "
      "the path\n"
      "before belong to it. Each can be read, but for "
      "what was\n"
      "purged: `varve get --at seq:N`. Of times before the window, those of "
      "snapshots\n"
      "are shown, with the snapshot's number.\n\n"
      "Example:\n  varve versions photos.varve notes.txt\n");
  auto arguments = std::make_shared<Arguments>();
  command
      .add_option("STORE", arguments->target,
                  "A store, or the path of a file in a mount")
      ->required();
  command.add_option("PATH", arguments->path, "The file in the store");
  command.add_flag("--json", arguments->json, "Print JSON");
  OnCommand(command, action, arguments, &Versions);
}

}  // namespace varve::tools
