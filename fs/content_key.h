// Under which key the content of a file lies in the store, if it does.

#ifndef VARVE_FS_CONTENT_KEY_H_
#define VARVE_FS_CONTENT_KEY_H_

#include <cstdint>
#include <optional>

#include "engine/store.h"
#include "fs/tree.h"

namespace varve::fs {

// The key hash that leads readers of the entry level to content of this file,
// all of it or what it was before it was patched: what is to be hidden when
// the content goes. Nothing if there is none, or if the key's newest entry is
// another one, which is not this file's to hide.
std::optional<uint64_t> KeyOfContent(const Store& store, const Inode& inode);

}  // namespace varve::fs

#endif  // VARVE_FS_CONTENT_KEY_H_
