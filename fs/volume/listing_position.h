// ListingPosition: how far a listing of a directory has come, and its
// conversion to the number that the kernel keeps between two requests.
//
// Thread-safe: it is a value.

#ifndef VARVE_FS_VOLUME_LISTING_POSITION_H_
#define VARVE_FS_VOLUME_LISTING_POSITION_H_

#include <cstdint>

namespace varve::fs {

// How far a listing of a directory has come, and where it ends. Names that are
// made after the listing's start are behind its end. Both are encoded in the
// number that the kernel passes to go on, so the volume keeps no state.
struct ListingPosition {
  // The cookies of "." and "..". The cookie of a name is its place
  // (tree/items.h).
  static constexpr uint64_t kSelf = 1;
  static constexpr uint64_t kParent = 2;

  uint64_t after = 0;  // the cookie of the name that was listed last
  uint64_t end = 0;    // only smaller cookies are listed

  // The position at which a listing starts. `end` is the directory's
  // InodeItem::next_place. The end of the listing is somewhat larger if `end`
  // is beyond 2^20.
  static ListingPosition Start(uint64_t end);
  // The position as a number. Not 0, below 2^63, and below 2^31 in directories
  // of up to 8000 cookies. Decode() gives the exact `end` if it comes from
  // Start().
  uint64_t Encode() const;
  // Decodes any number; one that Encode() did not make gives a harmless
  // position.
  static ListingPosition Decode(uint64_t encoded);
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_LISTING_POSITION_H_
