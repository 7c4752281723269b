// ListingPosition: how far a listing of a directory has come, as the number
// that travels between the kernel and a volume.
//
// Thread-safe: it is a value.

#ifndef VARVE_FS_VOLUME_LISTING_POSITION_H_
#define VARVE_FS_VOLUME_LISTING_POSITION_H_

#include <cstdint>

namespace varve::fs {

// How far a listing of a directory has come, and where it is to end: names that
// come after its start are behind that. Both travel in the number that a
// listing goes on from, so that nothing need be kept for it.
struct ListingPosition {
  // The cookies of "." and ".."; those of names are their places.
  static constexpr uint64_t kSelf = 1;
  static constexpr uint64_t kParent = 2;

  uint64_t after = 0;  // the cookie of the name that was listed last
  uint64_t end = 0;    // only smaller cookies are listed

  // A listing that starts now of a directory with that InodeItem::next_place.
  // That of the listing is somewhat larger if `end` is beyond 2^20.
  static ListingPosition Start(uint64_t end);
  // Not 0, below 2^63, and below 2^31 in directories of up to 8000 cookies.
  // `end` comes back exactly if it is that of Start().
  uint64_t Encode() const;
  // Makes something harmless of any number.
  static ListingPosition Decode(uint64_t encoded);
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_LISTING_POSITION_H_
