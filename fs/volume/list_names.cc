#include "fs/volume/list_names.h"

#include "engine/base/status.h"
#include "fs/volume/listing_position.h"

namespace varve::fs {

absl::Status ListNames(
    const TreeReader& tree, const InodeItem& directory, uint64_t cookie,
    absl::FunctionRef<absl::StatusOr<bool>(const ListedName&)> visit) {
  ListingPosition at = cookie == 0 || cookie == kCookieBehindDots
                           ? ListingPosition::Start(directory.next_place)
                           : ListingPosition::Decode(cookie);
  if (cookie == kCookieBehindDots) at.after = ListingPosition::kParent;
  const auto show = [&](absl::string_view text, const NameItem* item,
                        uint64_t place) {
    at.after = place;
    return visit({.text = text, .item = item, .cookie = at.Encode()});
  };
  if (at.after < ListingPosition::kSelf) {
    VARVE_ASSIGN_OR_RETURN(const bool more,
                           show(".", nullptr, ListingPosition::kSelf));
    if (!more) return absl::OkStatus();
  }
  if (at.after < ListingPosition::kParent) {
    VARVE_ASSIGN_OR_RETURN(const bool more,
                           show("..", nullptr, ListingPosition::kParent));
    if (!more) return absl::OkStatus();
  }
  absl::Status status;
  VARVE_RETURN_IF_ERROR(
      tree.ForEachNameAfter({.directory = directory.ino, .place = at.after},
                            [&](const NameItem& name) {
                              if (name.place.place >= at.end) return false;
                              const absl::StatusOr<bool> more =
                                  show(name.text, &name, name.place.place);
                              status = more.status();
                              return more.ok() && *more;
                            }));
  return status;
}

}  // namespace varve::fs
