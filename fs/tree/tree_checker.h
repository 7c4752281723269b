// Checks that the items of a tree fit together: what a reader relies on, and
// does not look at each time.
//
// Thread-safe: there is no state.

#ifndef VARVE_FS_TREE_TREE_CHECKER_H_
#define VARVE_FS_TREE_TREE_CHECKER_H_

#include <string>
#include <vector>

#include "fs/tree/items.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {

// A sentence for each thing that is wrong; none if all is well. `totals` is
// what the tree is said to hold. Takes time in proportion to the tree.
std::vector<std::string> CheckTree(const TreeReader& tree,
                                   const TreeTotals& totals);

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_TREE_CHECKER_H_
