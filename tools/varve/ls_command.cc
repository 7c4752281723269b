// varve ls

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "fs/volume/volume.h"
#include "tools/varve/command.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/failures.h"
#include "tools/varve/host.h"
#include "tools/varve/json_text.h"
#include "tools/varve/moment_text.h"
#include "tools/varve/open_store.h"
#include "tools/varve/tree_path.h"

namespace varve::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kDetails[] =
    R"(Names that begin with a dot are shown only with -a or -A. With -l, each line
has type and permissions, number of links, user and group by number, size in
bytes, time of the last change in local time, and name. With --json, prints an
array with one object per line, for the same names. Works while the store is
mounted, and shows what has been committed.

Example:
  varve ls -lR photos.varve 2023/summer
)";

struct Arguments {
  std::string store;
  std::string at;
  std::vector<std::string> paths;
  bool long_format = false;
  bool recursive = false;
  bool all = false;         // "." and "..", too
  bool almost_all = false;  // names that begin with a dot
  bool human = false;
  bool itself = false;  // the directory itself instead of its content
  bool slashes = false;
  bool json = false;

  bool shows(absl::string_view name) const {
    return all || almost_all || !absl::StartsWith(name, ".");
  }
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

const char* TypeName(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return "file";
    case S_IFDIR:
      return "directory";
    case S_IFLNK:
      return "symlink";
    case S_IFCHR:
      return "character device";
    case S_IFBLK:
      return "block device";
    case S_IFIFO:
      return "fifo";
    case S_IFSOCK:
      return "socket";
    default:
      return "unknown";
  }
}

bool IsDevice(uint32_t mode) { return S_ISCHR(mode) || S_ISBLK(mode); }

// In the form of ls(1): "1.5K", rounded up.
std::string HumanSize(uint64_t size) {
  constexpr absl::string_view kUnits = "KMGTPE";
  if (size < 1024) return absl::StrCat(size);
  double value = static_cast<double>(size);
  size_t unit = 0;
  for (value /= 1024; value > 999.5 && unit + 1 < kUnits.size(); ++unit) {
    value /= 1024;
  }
  const double tenths = std::ceil(value * 10) / 10;
  if (tenths < 10) return absl::StrFormat("%.1f%c", tenths, kUnits[unit]);
  return absl::StrFormat("%.0f%c", std::ceil(value), kUnits[unit]);
}

class Lister {
 public:
  Lister(fs::Volume& volume, const Arguments& arguments)
      : volume_(volume),
        arguments_(arguments),
        to_terminal_(isatty(STDOUT_FILENO) == 1) {}

  absl::Status List();

 private:
  absl::StatusOr<fs::Stat> Look(const std::string& path);
  absl::Status ListDirectory(const std::string& path, uint64_t ino,
                             bool with_header);
  absl::Status Add(const Child& listed, const std::string& path);
  absl::StatusOr<std::string> Line(const Child& listed);
  absl::StatusOr<std::string> LineAsJson(const Child& listed,
                                         const std::string& path);
  absl::Status Flush();
  // Names may contain any bytes, which must not control the terminal.
  std::string Shown(const std::string& name) const {
    return to_terminal_ ? Printable(name) : name;
  }

  fs::Volume& volume_;
  const Arguments& arguments_;
  const bool to_terminal_;
  Failures failures_;
  bool first_ = true;         // nothing has been listed yet
  bool first_object_ = true;  // in JSON
  std::string text_;          // not printed yet
};

absl::StatusOr<fs::Stat> Lister::Look(const std::string& path) {
  // As with ls(1), a link on the command line that leads to a directory is
  // followed, unless the user asks for the link itself.
  const auto kept = FindExisting(volume_, path, LastLink::kKeep);
  if (!kept.ok() || !S_ISLNK(kept->attributes.mode) || arguments_.itself ||
      arguments_.long_format) {
    return kept;
  }
  const auto followed = FindExisting(volume_, path, LastLink::kFollow);
  return followed.ok() && S_ISDIR(followed->attributes.mode) ? followed : kept;
}

absl::Status Lister::List() {
  std::vector<std::string> paths = arguments_.paths;
  if (paths.empty()) paths.push_back(".");
  if (arguments_.json) text_ = "[";
  std::vector<std::pair<std::string, uint64_t>> directories;
  for (const std::string& path : paths) {
    const auto stat = Look(path);
    if (!stat.ok()) {
      failures_.Note(Explain(stat.status(), Cannot("list", path)));
    } else if (S_ISDIR(stat->attributes.mode) && !arguments_.itself) {
      directories.emplace_back(path, stat->ino);
    } else {
      VARVE_RETURN_IF_ERROR(Add({path, *stat}, path));
      first_ = false;
    }
  }
  const bool with_header = paths.size() > 1 || arguments_.recursive;
  for (const auto& [path, ino] : directories) {
    VARVE_RETURN_IF_ERROR(ListDirectory(path, ino, with_header));
  }
  if (arguments_.json) text_ += first_object_ ? "]\n" : "\n]\n";
  VARVE_RETURN_IF_ERROR(Flush());
  return failures_.Result();
}

absl::Status Lister::Flush() {
  const std::string text = std::exchange(text_, "");
  return Print(text);
}

absl::Status Lister::ListDirectory(const std::string& path, uint64_t ino,
                                   bool with_header) {
  VARVE_ASSIGN_OR_RETURN(std::vector<Child> all, ChildrenOf(volume_, ino));
  if (with_header && !arguments_.json) {
    absl::StrAppend(&text_, first_ ? "" : "\n", Shown(path), ":\n");
  }
  first_ = false;
  if (arguments_.all) {
    for (const char* dots : {".", ".."}) {
      VARVE_ASSIGN_OR_RETURN(const fs::Stat stat, volume_.Lookup(ino, dots));
      volume_.Forget(stat.ino, 1);
      VARVE_RETURN_IF_ERROR(Add({dots, stat}, JoinPath(path, dots)));
    }
  }
  all.erase(std::remove_if(all.begin(), all.end(),
                           [this](const Child& child) {
                             return !arguments_.shows(child.name);
                           }),
            all.end());
  for (const Child& child : all) {
    VARVE_RETURN_IF_ERROR(Add(child, JoinPath(path, child.name)));
  }
  VARVE_RETURN_IF_ERROR(Flush());
  if (!arguments_.recursive) return absl::OkStatus();
  for (const Child& child : all) {
    if (!S_ISDIR(child.stat.attributes.mode)) continue;
    VARVE_RETURN_IF_ERROR(
        ListDirectory(JoinPath(path, child.name), child.stat.ino, with_header));
  }
  return absl::OkStatus();
}

absl::Status Lister::Add(const Child& listed, const std::string& path) {
  if (arguments_.json) {
    VARVE_ASSIGN_OR_RETURN(const std::string line, LineAsJson(listed, path));
    absl::StrAppend(&text_, first_object_ ? "\n" : ",\n", line);
    first_object_ = false;
  } else {
    VARVE_ASSIGN_OR_RETURN(const std::string line, Line(listed));
    text_ += line;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Lister::LineAsJson(const Child& listed,
                                               const std::string& path) {
  const fs::Attributes& a = listed.stat.attributes;
  Json json;
  AddText(json, "path", absl::StartsWith(path, "./") ? path.substr(2) : path);
  json["type"] = TypeName(a.mode);
  json["mode"] = absl::StrFormat("%04o", a.mode & 07777);
  json["links"] = listed.stat.nlink;
  json["uid"] = a.uid;
  json["gid"] = a.gid;
  json["size"] = a.size;
  json["inode"] = listed.stat.ino;
  json["mtime"] = JsonTimeText(a.mtime);
  json["ctime"] = JsonTimeText(a.ctime);
  json["atime"] = JsonTimeText(a.atime);
  json["btime"] = JsonTimeText(a.btime);
  if (IsDevice(a.mode)) {
    json["device"] = {major(dev_t{a.rdev}), minor(dev_t{a.rdev})};
  }
  if (S_ISLNK(a.mode)) {
    VARVE_ASSIGN_OR_RETURN(const std::string target,
                           volume_.ReadSymlink(listed.stat.ino));
    AddText(json, "target", target);
  }
  return "  " + JsonLine(json);
}

absl::StatusOr<std::string> Lister::Line(const Child& listed) {
  const fs::Attributes& attributes = listed.stat.attributes;
  const char* const slash =
      arguments_.slashes && S_ISDIR(attributes.mode) ? "/" : "";
  if (!arguments_.long_format) {
    return absl::StrCat(Shown(listed.name), slash, "\n");
  }
  const std::string size =
      IsDevice(attributes.mode)
          ? absl::StrCat(major(dev_t{attributes.rdev}), ", ",
                         minor(dev_t{attributes.rdev}))
      : arguments_.human ? HumanSize(attributes.size)
                         : absl::StrCat(attributes.size);
  std::string line = absl::StrFormat(
      "%s %2d %5d %5d %12s %s %s%s", ModeText(attributes.mode),
      listed.stat.nlink, attributes.uid, attributes.gid, size,
      absl::FormatTime("%Y-%m-%d %H:%M",
                       absl::TimeFromTimespec(attributes.mtime.ToTimespec()),
                       absl::LocalTimeZone()),
      Shown(listed.name), slash);
  if (S_ISLNK(attributes.mode)) {
    VARVE_ASSIGN_OR_RETURN(const std::string target,
                           volume_.ReadSymlink(listed.stat.ino));
    absl::StrAppend(&line, " -> ", Shown(target));
  }
  return line + "\n";
}

absl::Status Ls(const Arguments& arguments) {
  VARVE_ASSIGN_OR_RETURN(const auto volume,
                         OpenVolumeForReading(arguments.store, arguments.at));
  return Lister(*volume, arguments).List();
}

}  // namespace

void AddLsCommand(CLI::App& app, Action& action) {
  CLI::App& command =
      AddCommand(app, "ls", "List what is in a store", kDetails);
  auto arguments = std::make_shared<Arguments>();
  command.add_option("STORE", arguments->store, "The store")->required();
  AddWords(command, "PATH", arguments->paths, "What to list (the root)");
  command.add_option("--at", arguments->at,
                     "As it was then; see varve help log");
  command.add_flag("-l", arguments->long_format, "Long format");
  command.add_flag("-a,--all", arguments->all,
                   "Names that begin with a dot, too, with \".\" and \"..\"");
  command.add_flag("-A,--almost-all", arguments->almost_all,
                   "Names that begin with a dot, too");
  command.add_flag("-R,--recursive", arguments->recursive,
                   "Directories in it, too");
  command.add_flag("-d,--directory", arguments->itself,
                   "A directory itself, not its contents");
  command.set_help_flag("--help", "Print this help message and exit");
  command.add_flag("-h,--human-readable", arguments->human,
                   "With -l, sizes as 1.5K, 2M, 3G");
  command.add_flag("-p", arguments->slashes, "A slash behind directories");
  command.add_flag("--json", arguments->json, "As JSON, with all attributes");
  OnCommand(command, action, std::move(arguments), &Ls);
}

}  // namespace varve::tools
