// The metrics of a mount, as docs/metrics.md lists them.

#ifndef VARVE_FS_FUSE_METRICS_H_
#define VARVE_FS_FUSE_METRICS_H_

#include <string>

#include "fs/fuse/context.h"

namespace varve::fs {

// All metrics, with their present values, in Prometheus' text format. May wait
// for an append that is under way. Thread-safe.
std::string MetricsOf(FuseContext& context);

}  // namespace varve::fs

#endif  // VARVE_FS_FUSE_METRICS_H_
