// What it costs that the bytes of a large file are compared with their
// checksums before they are served.

#ifndef VARVE_TOOLS_BENCH_TREE_LARGE_H_
#define VARVE_TOOLS_BENCH_TREE_LARGE_H_

#include <nlohmann/json.hpp>

#include "tools/bench/tree_beside.h"

namespace varve::bench {

// Makes a file in a new store, and in each round opens the store and reads the
// file from front to back: once from the disk, and in another session twice
// from the host's memory; then, in a third one, bytes of blocks at random that
// have not been read, and those again. In seconds: each of these, and for the
// bytes at random each read of them.
nlohmann::json ReadALargeFile(const Arguments& arguments);

}  // namespace varve::bench

#endif  // VARVE_TOOLS_BENCH_TREE_LARGE_H_
