// varve ls

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "engine/status.h"
#include "fs/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/open_store.h"
#include "tools/varve/tree_path.h"

namespace varve::tools {
namespace {

constexpr char kDetails[] =
    R"(With -l, each line has type and permissions, number of links, user and group
by number, size in bytes, time of the last change in local time, and name.
Works while the store is mounted, and shows what has been committed.

Example:
  varve ls -lR photos.varve 2023/summer
)";

struct Arguments {
  std::string store;
  std::string path;
  bool long_format = false;
  bool recursive = false;
};

struct Listed {
  std::string name;
  fs::Stat stat;
};

std::string ModeText(uint32_t mode) {
  std::string text = "?rwxrwxrwx";
  constexpr std::pair<uint32_t, char> kTypes[] = {
      {S_IFREG, '-'}, {S_IFDIR, 'd'}, {S_IFLNK, 'l'}, {S_IFCHR, 'c'},
      {S_IFBLK, 'b'}, {S_IFIFO, 'p'}, {S_IFSOCK, 's'}};
  for (const auto& [type, letter] : kTypes) {
    if ((mode & S_IFMT) == type) text[0] = letter;
  }
  for (int bit = 0; bit < 9; ++bit) {
    if ((mode & (0400u >> bit)) == 0) text[static_cast<size_t>(bit) + 1] = '-';
  }
  const auto special = [&](uint32_t bit, size_t place, char set) {
    if ((mode & bit) == 0) return;
    // A capital letter where the file is not executable.
    text[place] = text[place] == 'x' ? set : static_cast<char>(set - 'a' + 'A');
  };
  special(S_ISUID, 3, 's');
  special(S_ISGID, 6, 's');
  special(S_ISVTX, 9, 't');
  return text;
}

class Lister {
 public:
  Lister(fs::Volume& volume, const Arguments& arguments)
      : volume_(volume),
        arguments_(arguments),
        to_terminal_(isatty(STDOUT_FILENO) == 1) {}

  absl::Status List();

 private:
  absl::Status ListDirectory(const std::string& path, uint64_t ino);
  absl::StatusOr<std::string> Line(const Listed& listed);
  // Names are bytes, and must not be able to do anything to a terminal.
  std::string Shown(const std::string& name) const {
    return to_terminal_ ? Printable(name) : name;
  }

  fs::Volume& volume_;
  const Arguments& arguments_;
  const bool to_terminal_;
  bool first_ = true;
};

absl::Status Lister::List() {
  const std::string& path = arguments_.path;
  const auto stat = FindExisting(volume_, path, LastLink::kKeep);
  if (!stat.ok()) return Explain(stat.status(), Cannot("list", path));
  if (S_ISDIR(stat->attributes.mode)) {
    return ListDirectory(path.empty() ? "." : path, stat->ino);
  }
  VARVE_ASSIGN_OR_RETURN(const std::string line, Line({path, *stat}));
  return Print(line);
}

absl::Status Lister::ListDirectory(const std::string& path, uint64_t ino) {
  std::vector<Listed> all;
  VARVE_RETURN_IF_ERROR(volume_.ReadDirectory(
      ino, fs::Volume::kBehindDots, /*reference=*/false,
      [&all](const fs::Volume::Entry& entry) {
        all.push_back({std::string(entry.name), entry.stat});
        return true;
      }));
  std::sort(all.begin(), all.end(),
            [](const Listed& a, const Listed& b) { return a.name < b.name; });
  std::string text;
  if (arguments_.recursive) {
    text = absl::StrCat(first_ ? "" : "\n", Shown(path), ":\n");
  }
  first_ = false;
  for (const Listed& listed : all) {
    VARVE_ASSIGN_OR_RETURN(const std::string line, Line(listed));
    text += line;
  }
  VARVE_RETURN_IF_ERROR(Print(text));
  if (!arguments_.recursive) return absl::OkStatus();
  for (const Listed& listed : all) {
    if (!S_ISDIR(listed.stat.attributes.mode)) continue;
    VARVE_RETURN_IF_ERROR(
        ListDirectory(JoinPath(path, listed.name), listed.stat.ino));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Lister::Line(const Listed& listed) {
  if (!arguments_.long_format) return Shown(listed.name) + "\n";
  const fs::Attributes& attributes = listed.stat.attributes;
  std::string line = absl::StrFormat(
      "%s %2d %5d %5d %12d %s %s", ModeText(attributes.mode), listed.stat.nlink,
      attributes.uid, attributes.gid, attributes.size,
      absl::FormatTime("%Y-%m-%d %H:%M",
                       absl::TimeFromTimespec(attributes.mtime.ToTimespec()),
                       absl::LocalTimeZone()),
      Shown(listed.name));
  if (S_ISLNK(attributes.mode)) {
    VARVE_ASSIGN_OR_RETURN(const std::string target,
                           volume_.ReadSymlink(listed.stat.ino));
    absl::StrAppend(&line, " -> ", Shown(target));
  }
  return line + "\n";
}

absl::Status Ls(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const auto volume,
                         OpenVolumeForReading(arguments.store));
  return Lister(*volume, arguments).List();
}

}  // namespace

void AddLsCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "ls", "List what is in a store", kDetails);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("STORE", arguments->store, "The store")->required();
  command.add_option("PATH", arguments->path, "Where to start (the root)");
  command.add_flag("-l", arguments->long_format, "Long format");
  command.add_flag("-R", arguments->recursive, "Directories in it, too");
  OnCommand(command, action, std::move(arguments), &Ls);
}

}  // namespace varve::tools
