// Translation: maps offsets in an old store to where the bytes were copied in a
// new one.
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
  // Notes that the bytes [old_offset, old_offset + now.length) were copied to
  // the extent `now`, whose file offset is ignored. If bytes are copied twice,
  // the first copy counts.
  void Add(uint64_t old_offset, const Extent& now);

  // The extents in the new store for an extent in the old one. Parts that were
  // not copied are returned unchanged, and appended to `unknown` unless that is
  // null.
  std::vector<Extent> Translate(const Extent& extent,
                                std::vector<Extent>* unknown) const;

  // Where one byte was copied: returns the extent, and sets `skip` to the
  // byte's offset in it. Null if the byte was not copied.
  const Extent* Find(uint64_t old_offset, uint64_t* skip) const;

 private:
  using Map = absl::btree_map<uint64_t, Extent>;  // by old offset, disjoint
  Map places_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_TRANSLATION_H_
