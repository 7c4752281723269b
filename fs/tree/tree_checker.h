// Checks that the items of a tree are consistent with each other. Readers rely
// on that, and do not check it each time.
//
// Thread-safe: there is no state.

#ifndef VARVE_FS_TREE_TREE_CHECKER_H_
#define VARVE_FS_TREE_TREE_CHECKER_H_

#include <string>
#include <vector>

#include "fs/tree/items.h"
#include "fs/tree/tree_reader.h"

namespace varve::fs {

// Returns a sentence for each inconsistency; nothing if the tree is sound.
// `totals` are the counts that the tree claims. Takes time in proportion to the
// tree.
std::vector<std::string> CheckTree(const TreeReader& tree,
                                   const TreeTotals& totals);

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_TREE_CHECKER_H_
