// What many snapshots of a large tree cost, and what it costs to look at them.

#ifndef VARVE_TOOLS_BENCH_TREE_PAST_H_
#define VARVE_TOOLS_BENCH_TREE_PAST_H_

#include <nlohmann/json.hpp>

#include "tools/bench/tree_beside.h"

namespace varve::bench {

// Makes `rounds` snapshots, each after `changes` changes at random. In seconds
// what one takes, those of the first tenth and of the last one; by how many
// bytes the store has grown for each, changes included.
nlohmann::json MakeSnapshots(const Arguments& arguments);

// Opens each of these snapshots, in an order that is not theirs; lists all of
// one of them and of the present; and compares neighbours. In seconds each: for
// a snapshot, an entry, and a comparison.
nlohmann::json LookAtSnapshots(const Arguments& arguments);

}  // namespace varve::bench

#endif  // VARVE_TOOLS_BENCH_TREE_PAST_H_
