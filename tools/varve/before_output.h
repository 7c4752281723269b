// What has to be done before a command writes to its standard output: taking a
// line of progress away, which is on the same terminal.
//
// Not thread-safe: for the thread that prints.

#ifndef VARVE_TOOLS_VARVE_BEFORE_OUTPUT_H_
#define VARVE_TOOLS_VARVE_BEFORE_OUTPUT_H_

#include <functional>

namespace varve::tools {

// Has Print() (host.h) call `call` once, before it writes next; replaces the
// one that was set before. An empty function takes it back.
void BeforeOutput(std::function<void()> call);

}  // namespace varve::tools

#endif  // VARVE_TOOLS_VARVE_BEFORE_OUTPUT_H_
