// The -o options of `varve mount`, a row each: to add one, add a row, and a
// field of VolumeOptions or FuseOptions that its setter fills in. For the other
// sources of mount_options.h; everybody else uses that.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_MOUNT_OPTION_ROWS_H_
#define VARVE_TOOLS_VARVE_MOUNT_OPTION_ROWS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "tools/varve/mount_options.h"

namespace varve::tools {

// What one word of a list says: "ro", "compact=0.5".
struct MountOptionWord {
  absl::string_view text;
  absl::string_view name;   // up to the first "="
  absl::string_view value;  // behind it
  bool has_value = false;
};

MountOptionWord TakeApart(absl::string_view text);

// "mount option WORD WHY", as ExitStatus::kUsage.
absl::Status BadMountOption(const MountOptionWord& word, absl::string_view why);

// Whether the option is among those for kernel and libfuse.
bool IsPassedOn(const MountOptions& options, absl::string_view option);

// Rows up to one with a help are explained together, by that help.
struct MountOptionRow {
  absl::string_view name;
  // What stands behind the "=", as users are told; none if empty. In brackets
  // if it may be left out.
  absl::string_view value = "";
  // Leaves in `options` what the word says, or says what is wrong with it.
  absl::Status (*set)(const MountOptionWord& word,
                      MountOptions& options) = nullptr;
  KernelFlag flag = {};
  absl::string_view help = "";     // a phrase
  absl::string_view details = "";  // sentences; see MountOptionText
};

absl::Span<const MountOptionRow> MountOptionRows();

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_MOUNT_OPTION_ROWS_H_
