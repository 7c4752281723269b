// Recovery: from the bytes of a file to tail and index (docs/format.md,
// "Recovery"), and moving what lies behind the tail out of the way.

#ifndef VARVE_ENGINE_RECOVERY_RECOVERY_H_
#define VARVE_ENGINE_RECOVERY_RECOVERY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/entry/entry.h"
#include "engine/index/index.h"
#include "engine/io/file.h"
#include "engine/mend/mend.h"

namespace varve {

struct RecoveryInput {
  std::string path;  // for messages
  File* file = nullptr;
  std::shared_ptr<const Mapping> mapping;  // covers the file
  uint64_t file_size = 0;
  // Whether the store's lock is held. If not, somebody may shorten the file.
  bool locked = false;
  // See OpenOptions::durable_tail; may be empty.
  std::function<uint64_t(const EntryView& entry)> durable_tail;
  // See OpenOptions::index_image_key.
  std::optional<uint64_t> index_image_key;
};

struct RecoveredTail {
  uint64_t tail = 0;
  uint64_t durable_tail = 0;
  // Entries that were indexed one by one: all, or those since the image that is
  // the base of the index.
  uint64_t indexed = 0;
  // If set, the file is damaged in a way that this would mend, and what lies
  // behind is no torn write: tail and index mean nothing.
  std::optional<Mend> mend;
};

// Finds the tail and fills `index`, which is empty. The chain is not followed
// below an image of the index, unless something is wrong above it. Writes
// nothing. DATA_LOSS
// if the file is not empty and holds no valid entry, or if it is damaged below
// a point that is known to have been synced, and nothing mends it.
absl::StatusOr<RecoveredTail> Recover(const RecoveryInput& input, Index& index);

// Copies the bytes of `file` from `tail` to `file_size` into a new file beside
// the store, "<path>.torn-<tail>" or the like, makes it durable, and cuts them
// off `file`. Returns the path of the new file. On failure the store is as it
// was. If the disk is too full for that, the blocks that `file` may have behind
// its end are given back, and the bytes moved piece by piece: a failure then
// may leave some of them in the new file, and the rest in `file`.
absl::StatusOr<std::string> MoveTornBytes(FileSystem& file_system,
                                          const std::string& path, File& file,
                                          uint64_t tail, uint64_t file_size);

}  // namespace varve

#endif  // VARVE_ENGINE_RECOVERY_RECOVERY_H_
