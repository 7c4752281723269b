// Recovery: finds the tail of a store and builds its index (docs/format.md,
// "Recovery"), and moves torn bytes behind the tail to a file of their own. Not
// thread-safe: only the thread that opens the store calls it.

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
  // Whether the caller holds the store's lock. Otherwise a writer may shorten
  // the file.
  bool locked = false;
  // See OpenOptions::durable_tail; may be empty.
  std::function<uint64_t(const EntryView& entry)> durable_tail;
  // See OpenOptions::index_image_key.
  std::optional<uint64_t> index_image_key;
  // Whether to leave the index empty where the tail can be found without it.
  bool defer_index = false;
};

struct RecoveredTail {
  uint64_t tail = 0;
  uint64_t durable_tail = 0;
  // The number of entries that were indexed one by one: all, or those above the
  // image that is the base of the index.
  uint64_t indexed = 0;
  // Whether the index was left empty.
  bool index_deferred = false;
  // If set, the file is damaged, this would mend it, and the bytes behind are
  // not a torn write. Tail and index mean nothing then.
  std::optional<Mend> mend;
};

// Finds the tail and fills `index`, which must be empty. Follows the chain down
// to the newest image of the index, and further only if something above the
// image is wrong. If the index may be deferred, follows the chain only down to
// where an entry declares it to be durable. Writes nothing. DATA_LOSS if the
// file is not empty and holds no valid entry, or if it is damaged below a point
// that is known to have been synced and nothing mends it.
absl::StatusOr<RecoveredTail> Recover(const RecoveryInput& input, Index& index);

// Copies the bytes of `file` from `tail` to `file_size` into a new file beside
// the store, "<path>.torn-<tail>" or the like, makes that durable, and cuts the
// bytes off `file`. Returns the path of the new file. On failure the store is
// as it was. If the disk is too full for the copy, this releases the blocks
// that `file` may have behind its end and moves the bytes piece by piece; a
// failure may then leave some of them in the new file and the rest in `file`.
absl::StatusOr<std::string> MoveTornBytes(FileSystem& file_system,
                                          const std::string& path, File& file,
                                          uint64_t tail, uint64_t file_size);

}  // namespace varve

#endif  // VARVE_ENGINE_RECOVERY_RECOVERY_H_
