// The -o options of `varve mount`, with a row for each. To add an option, add a
// row, and a field of VolumeOptions or FuseOptions for its setter to fill in.
// Only the sources of mount_options.h use this header.
//
// Thread-safe: free functions without state.

#ifndef VARVE_TOOLS_VARVE_MOUNT_OPTION_ROWS_H_
#define VARVE_TOOLS_VARVE_MOUNT_OPTION_ROWS_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "tools/varve/mount_options.h"

namespace varve::tools {

// One word of a list: "ro", "compact=0.5".
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

// A row without help shares the help of the next row that has one.
struct MountOptionRow {
  absl::string_view name;
  // The placeholder for the value behind "=", in brackets if the value may be
  // left out; empty if the option takes none.
  absl::string_view value = "";
  // Stores the option in `options`, or returns what is wrong with the word.
  absl::Status (*set)(const MountOptionWord& word,
                      MountOptions& options) = nullptr;
  KernelFlag flag = {};
  absl::string_view help = "";     // a phrase
  absl::string_view details = "";  // sentences; see MountOptionText
};

absl::Span<const MountOptionRow> MountOptionRows();

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_MOUNT_OPTION_ROWS_H_
