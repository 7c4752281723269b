// Under which key the content of a file lies in the store, if it does.

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

// Whether the file lies in one entry that is known to be the newest of its key,
// without a look into the index: it was written to the path that it has. False
// if that cannot be told. DATA_LOSS if a node of the tree is damaged.
absl::StatusOr<bool> IsSurelyNewest(const Core& core, const InodeItem& inode)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// The key hash that leads readers of the entry level to content of this file,
// all of it or what it was before it was patched: what is to be hidden when
// the content goes. Nothing if there is none, or if the key's newest entry is
// another one, which is not this file's to hide. Needs
// the index of keys if IsSurelyNewest() is false. DATA_LOSS as above.
absl::StatusOr<std::optional<uint64_t>> KeyOfContent(const Core& core,
                                                     const InodeItem& inode)
    ABSL_SHARED_LOCKS_REQUIRED(core.tree_mu);

// A key for data whose payload begins with `head`: that of the first id that
// `new_id` gives under which the entry is not taken for a record.
uint64_t DataKeyFor(const Identity& identity,
                    const std::function<uint64_t()>& new_id,
                    absl::string_view head);

// The first bytes of a payload, as far as they tell whether it is a record.
std::string HeadOf(absl::Span<const absl::Span<const std::byte>> pieces);

}  // namespace varve::fs

#endif  // VARVE_FS_LOG_CONTENT_KEY_H_
