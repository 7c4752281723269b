// Translation: where the bytes of one store lie in another one, into which they
// have been copied.
//
// Not thread-safe.

#ifndef VARVE_FS_COMPACTION_TRANSLATION_H_
#define VARVE_FS_COMPACTION_TRANSLATION_H_

#include <cstdint>
#include <vector>

#include "absl/container/btree_map.h"
#include "fs/format/extent.h"

namespace varve::fs {

class Translation {
 public:
  // The bytes [old_offset, old_offset + now.length) have been copied to where
  // `now` says (its file offset means nothing). Of bytes copied twice, the
  // first copy counts.
  void Add(uint64_t old_offset, const Extent& now);

  // What the extent is in the other store. Parts that have not been copied are
  // left as they are, and listed in `unknown`.
  std::vector<Extent> Translate(const Extent& extent,
                                std::vector<Extent>* unknown) const;

  // The new place of one byte; nothing if it has not been copied.
  const Extent* Find(uint64_t old_offset, uint64_t* skip) const;

 private:
  using Map = absl::btree_map<uint64_t, Extent>;  // by old offset, disjoint
  Map places_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_TRANSLATION_H_
