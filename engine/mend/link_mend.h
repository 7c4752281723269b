// Finding mends: which bit of a damaged store was flipped, and where a broken
// chain goes on.
//
// A single flipped bit changes a CRC-32 in a way that no other bit within 2^32
// of it does; from the two checksums follows which bit it is.
//
// Free functions without state; a ByteSource is for one thread at a time.

#ifndef VARVE_ENGINE_MEND_LINK_MEND_H_
#define VARVE_ENGINE_MEND_LINK_MEND_H_

#include <cstdint>
#include <optional>

#include "engine/entry/byte_source.h"
#include "engine/entry/checked_offset.h"
#include "engine/mend/mend.h"

namespace varve {

// Which bit of `length` bytes is to be flipped to change their checksum by
// `difference` (the exclusive or of the two): 8 times the byte's offset plus
// the number of the bit. Nothing if no single one does. Linear in `length`.
std::optional<uint64_t> FindFlippedBit(uint32_t difference, uint64_t length);

// Where a chain is broken.
struct Break {
  // The end of the newest entry from which the chain reaches the start.
  uint64_t tail = 0;
  // The end of an entry above the break that is known to be good, or that of
  // the file.
  uint64_t upper = 0;
  // Whether there is proof that the entries above belong to the store.
  bool certain = false;
};

// The mend by which the chain down from `at.upper` reaches `at.tail`. If not
// `certain`, only one of a single bit, proved by the entry's checksum: a write
// that a power cut has torn does not look like that. Otherwise any link, and
// where more than a link is damaged, one that puts what lies between the two
// into the payload of one entry, whose checksum then fails. Nothing if there is
// none.
std::optional<Mend> FindLinkMend(ByteSource& bytes, const Break& at);

// The mend of the link of the entry with metadata at `metadata_offset`, whose
// checksum fails, if it leads elsewhere by one flipped bit.
std::optional<Mend> FindFlippedLink(ByteSource& bytes,
                                    CheckedOffset metadata_offset);

}  // namespace varve

#endif  // VARVE_ENGINE_MEND_LINK_MEND_H_
