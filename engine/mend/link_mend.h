// Finding mends: which bit of a damaged store was flipped, and where a broken
// chain continues.
//
// Within 2^32 bits, each single flipped bit changes a CRC-32 in a way of its
// own. So the expected and the actual checksum together tell which bit it was.
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

// The bit of `length` bytes that must be flipped to change their checksum by
// `difference` (the exclusive or of the two checksums), as 8 times the offset
// of its byte plus the number of the bit. Nothing if no single bit does that.
// Linear in `length`.
std::optional<uint64_t> FindFlippedBit(uint32_t difference, uint64_t length);

// Where a chain is broken.
struct Break {
  // The end of the newest entry from which the chain reaches the start.
  uint64_t tail = 0;
  // The end of an entry above the break that is known to be good, or the end of
  // the file.
  uint64_t upper = 0;
  // Whether there is proof that the entries above belong to the store.
  bool certain = false;
};

// The mend by which the chain down from `at.upper` reaches `at.tail`; nothing
// if there is none. If the break is not `certain`, the mend flips a single bit
// and the entry's checksum proves it: a write that a power cut has torn does
// not look like that. If it is `certain`, the mend may change any link. Where
// more than a link is damaged, it makes everything between the two points the
// payload of one entry, whose checksum then fails.
std::optional<Mend> FindLinkMend(ByteSource& bytes, const Break& at);

// The mend for an entry with metadata at `metadata_offset` whose checksum fails
// because one bit of its link was flipped. Nothing if that is not the cause.
std::optional<Mend> FindFlippedLink(ByteSource& bytes,
                                    CheckedOffset metadata_offset);

}  // namespace varve

#endif  // VARVE_ENGINE_MEND_LINK_MEND_H_
