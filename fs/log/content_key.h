// Keys of contents: under which key the content of a file lies in the store,
// and under which keys new content may be appended.
//
// Thread-safe, except as the annotations say.

#ifndef VARVE_FS_LOG_CONTENT_KEY_H_
#define VARVE_FS_LOG_CONTENT_KEY_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engine/store/store.h"
#include "fs/format/identity.h"
#include "fs/log/core.h"
#include "fs/tree/items.h"

namespace varve::fs {

// The key hash under which programs that know only entries find content of this
// file: its whole content, or what that was before it was patched. When the
// content goes, a tombstone has to hide that entry; with the key hash comes
// that of the block sums if there may be some. Nothing if there is no such key,
// or if the key's newest entry belongs to something else, which this file must
// not hide. Needs
// the index of keys unless the file lies in one entry where it was written.
// DATA_LOSS if a node of the tree is damaged.
absl::StatusOr<std::optional<EntryKeys>> KeyOfContent(const Core& core,
                                                      const InodeItem& inode)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// A key hash for data whose payload begins with `head`. It calls `new_id` until
// it gets an id under whose key the entry is not taken for a record or for
// block sums.
uint64_t DataKeyFor(const Identity& identity,
                    const std::function<uint64_t()>& new_id,
                    absl::string_view head);

// The first bytes of a payload: as many as Identity::Reserves() looks at.
std::string HeadOf(absl::Span<const absl::Span<const std::byte>> pieces);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_CONTENT_KEY_H_
