#include "tools/varve/mount_options.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/mount_option_rows.h"

namespace varve::tools {
namespace {

bool IsAbout(const MountOptionRow& row, const MountOptionWord& word) {
  const bool may_have_value = !row.value.empty();
  const bool needs_value = may_have_value && row.value[0] != '[';
  return row.name == word.name &&
         (word.has_value ? may_have_value : !needs_value);
}

const MountOptionRow* FindRow(const MountOptionWord& word) {
  const auto rows = MountOptionRows();
  const auto found = std::find_if(
      rows.begin(), rows.end(),
      [&word](const MountOptionRow& row) { return IsAbout(row, word); });
  return found == rows.end() ? nullptr : &*found;
}

// "threads=N", "io_uring[=yes|no]"
std::string NameWithValue(const MountOptionRow& row) {
  absl::string_view value = row.value;
  if (value.empty()) return std::string(row.name);
  const bool optional = absl::ConsumePrefix(&value, "[");
  return absl::StrCat(row.name, optional ? "[=" : "=", value);
}

// Options for mount(8), for systemd or for nobody, and options that Varve
// fulfils anyway.
constexpr absl::string_view kIgnored[] = {
    "auto",       "noauto",  "defaults", "default_permissions",
    "user",       "nouser",  "users",    "owner",
    "group",      "_netdev", "nofail",   "lazytime",
    "nolazytime", "silent",  "loud",     "acl",
    "user_xattr"};
constexpr absl::string_view kIgnoredPrefixes[] = {
    "x-", "X-", "comment=", "user=", "subtype="};

bool IsIgnored(absl::string_view option) {
  return std::find(std::begin(kIgnored), std::end(kIgnored), option) !=
             std::end(kIgnored) ||
         std::any_of(std::begin(kIgnoredPrefixes), std::end(kIgnoredPrefixes),
                     [option](absl::string_view prefix) {
                       return absl::StartsWith(option, prefix);
                     });
}

// Splits at commas; "\," is a comma inside an option.
std::vector<std::string> SplitList(absl::string_view list) {
  std::vector<std::string> options(1);
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i] == ',') {
      options.emplace_back();
      continue;
    }
    if (list[i] == '\\' && i + 1 < list.size()) ++i;
    options.back() += list[i];
  }
  return options;
}

// Options that the kernel shows of a mount and mount(8) repeats when it
// remounts.
bool IsShownByKernel(absl::string_view option) {
  return absl::StartsWith(option, "user_id=") ||
         absl::StartsWith(option, "group_id=");
}

absl::Status ParseOption(const std::string& option, MountOptions& options) {
  const MountOptionWord word = TakeApart(option);
  if (const MountOptionRow* const row = FindRow(word)) {
    return row->set(word, options);
  }
  if (IsIgnored(option)) return absl::OkStatus();
  return BadMountOption(word, "is not known (see varve mount --help)");
}

absl::Status CheckAllowed(const MountOptions& options, const Mounter& mounter) {
  const bool allow_other = IsPassedOn(options, "allow_other");
  const bool allow_root = IsPassedOn(options, "allow_root");
  if (allow_other && allow_root) {
    return ExitError(
        ExitStatus::kUsage,
        "mount options allow_other and allow_root exclude each other");
  }
  if ((allow_other || allow_root) && !mounter.may_allow_other) {
    return ExitError(
        ExitStatus::kNoPermission,
        absl::StrCat("mount option ",
                     allow_other ? "allow_other" : "allow_root",
                     " needs the line user_allow_other in /etc/fuse.conf, "
                     "unless root mounts"));
  }
  const bool suid = IsPassedOn(options, "suid");
  if ((suid || IsPassedOn(options, "dev")) && !mounter.is_root) {
    return ExitError(ExitStatus::kNoPermission,
                     absl::StrCat("mount option ", suid ? "suid" : "dev",
                                  " is for root only"));
  }
  return absl::OkStatus();
}

// Appends the text with `indent` before each of its lines but the first.
void AppendWrapped(absl::string_view text, size_t indent, std::string* out) {
  constexpr size_t kColumns = 79;
  size_t column = indent;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    if (column > indent && column + 1 + word.size() > kColumns) {
      absl::StrAppend(out, "\n", std::string(indent, ' '));
      column = indent;
    }
    absl::StrAppend(out, column > indent ? " " : "", word);
    column += (column > indent ? 1 : 0) + word.size();
  }
  out->push_back('\n');
}

}  // namespace

bool AllowsOther(absl::string_view fuse_conf_text) {
  for (const absl::string_view line : absl::StrSplit(fuse_conf_text, '\n')) {
    if (absl::StripAsciiWhitespace(line) == "user_allow_other") return true;
  }
  return false;
}

Mounter CurrentMounter(const std::string& fuse_conf) {
  Mounter mounter;
  mounter.is_root = geteuid() == 0;
  // If the file cannot be read, the stricter rule applies, as in fusermount3.
  const absl::StatusOr<std::string> text = ReadHostFile(fuse_conf);
  mounter.may_allow_other =
      mounter.is_root || (text.ok() && AllowsOther(*text));
  return mounter;
}

absl::StatusOr<MountOptions> ParseMountOptions(
    absl::Span<const std::string> lists, const Mounter& mounter) {
  MountOptions options;
  options.volume.create = true;
  // mount(8) never passes on suid and dev, which are its defaults, and
  // mount.fuse3(8) passes them on even if nobody has asked for them.
  options.fuse.mount_options = {mounter.is_root ? "suid" : "nosuid",
                                mounter.is_root ? "dev" : "nodev"};
  for (const std::string& list : lists) {
    for (std::string option : SplitList(list)) {
      if (!option.empty()) options.changes.push_back(std::move(option));
    }
  }
  const bool remount = std::find(options.changes.begin(), options.changes.end(),
                                 "remount") != options.changes.end();
  for (const std::string& option : options.changes) {
    if (remount && IsShownByKernel(option)) continue;
    VARVE_RETURN_IF_ERROR(ParseOption(option, options));
  }
  VARVE_RETURN_IF_ERROR(CheckAllowed(options, mounter));
  return options;
}

std::optional<KernelFlag> KernelFlagOf(absl::string_view option) {
  const MountOptionRow* const row = FindRow(TakeApart(option));
  if (row == nullptr || row->flag.bit == 0) return std::nullopt;
  return row->flag;
}

std::vector<MountOptionText> DescribeMountOptions() {
  std::vector<MountOptionText> result;
  MountOptionText text;
  for (const MountOptionRow& row : MountOptionRows()) {
    text.names.push_back(NameWithValue(row));
    if (row.help.empty()) continue;
    text.help = std::string(row.help);
    text.details = std::string(row.details);
    result.push_back(std::exchange(text, {}));
  }
  return result;
}

std::string MountOptionsHelp() {
  constexpr size_t kIndent = 30;
  std::string result;
  for (const MountOptionText& option : DescribeMountOptions()) {
    std::string head = absl::StrCat("  ", absl::StrJoin(option.names, ", "));
    if (head.size() + 2 > kIndent) {
      absl::StrAppend(&result, head, "\n");
      head.clear();
    }
    head.resize(kIndent, ' ');
    result += head;
    AppendWrapped(option.help, kIndent, &result);
  }
  return result;
}

}  // namespace varve::tools
