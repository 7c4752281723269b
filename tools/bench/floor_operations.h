// The floor's answers to the kernel's requests.

#ifndef VARVE_TOOLS_BENCH_FLOOR_OPERATIONS_H_
#define VARVE_TOOLS_BENCH_FLOOR_OPERATIONS_H_

#include "tools/bench/floor_tree.h"

namespace varve::bench {

// The user data of the session, which it must outlive.
struct FloorOptions {
  bool writeback = false;  // let the kernel delay writes
};

// The files of this process.
FloorTree& Tree();

struct fuse_lowlevel_ops FloorOperations();

}  // namespace varve::bench

#endif  // VARVE_TOOLS_BENCH_FLOOR_OPERATIONS_H_
