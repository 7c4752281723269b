// Progress of verbs that read for long before they have anything to show.
//
//   ShowUntilOutput("reading photos.varve");
//   …
//   Print(text);  // takes the line away
//
// Not thread-safe: for the main thread. On a terminal there is a thread from
// the first call until the end, so the process must not fork in between.

#ifndef VARVE_TOOLS_VARVE_LONG_WORK_H_
#define VARVE_TOOLS_VARVE_LONG_WORK_H_

#include <string>

namespace varve::tools {

// Shows a line of progress, as Progress does, until the command prints
// something or EndShown() is called. Replaces the line of a call before.
void ShowUntilOutput(const std::string& doing);

// Takes the line away. Does nothing if there is none.
void EndShown();

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_LONG_WORK_H_
