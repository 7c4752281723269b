// TreeCopier: copies the live content of a store into an empty one. It walks
// through the tree, names sorted, and writes each file as one plain entry under
// its present path. A file with holes keeps them; its data goes into entries
// together with other small pieces. Files that share bytes (clones) still share
// them: the first is plain, and the others get extents in its entry. Not
// thread-safe.

#ifndef VARVE_FS_COMPACTION_TREE_COPIER_H_
#define VARVE_FS_COMPACTION_TREE_COPIER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/store/store.h"
#include "fs/compaction/compaction_monitor.h"
#include "fs/compaction/pinned_source.h"
#include "fs/compaction/translation.h"
#include "fs/log/core.h"

namespace varve::fs {

class TreeCopier {
 public:
  // `core` has the tree loaded from `source`, but already the empty store.
  // CopyTree() changes the extents of the tree to those in the new store.
  // `new_data_id` draws data ids.
  TreeCopier(Store& source, Core& core, std::function<uint64_t()> new_data_id,
             CompactionMonitor& monitor, Translation& translation)
      : source_(source),
        pinned_(source),
        core_(core),
        new_data_id_(std::move(new_data_id)),
        monitor_(monitor),
        translation_(translation) {}

  // Makes the copier leave damaged files without content, and call `on_damaged`
  // for each, instead of failing.
  void set_on_damaged(
      std::function<absl::Status(const InodeItem&)> on_damaged) {
    on_damaged_ = std::move(on_damaged);
  }

  // Copies the identity and all content. DATA_LOSS, naming the file, if an
  // entry is damaged: damaged bytes must not get a new, valid checksum.
  absl::Status CopyTree();
  // Copies entries unchanged, under the same key hashes.
  absl::Status CopyEntries(const std::vector<EntryLocation>& entries);

 private:
  absl::Status CopyDirectory(uint64_t ino, std::vector<uint64_t>& directories);
  absl::Status CopyInode(uint64_t ino);
  absl::Status CopyPlain(const InodeItem& inode, const ExtentMap& content);
  absl::Status CopyLarge(const InodeItem& inode, const ExtentMap& content);
  absl::Status CopyPieces(const InodeItem& inode, const ExtentMap& content);
  // Makes the file share bytes that were copied for other files.
  absl::Status CopyClone(const InodeItem& inode, const ExtentMap& content);
  // How many bytes of the content were copied for other files.
  absl::StatusOr<uint64_t> CopiedBytes(const ExtentMap& content);
  // Whether all bytes of the extent were.
  bool IsCopied(const Extent& extent) const;
  absl::StatusOr<bool> MustStayInPieces(const InodeItem& inode,
                                        const ExtentMap& content);
  absl::Status VerifyAll(const InodeItem& inode, const ExtentMap& content);

  absl::StatusOr<std::string> PathOf(const InodeItem& inode) const;
  // Sets these contents in the tree.
  absl::Status Apply(absl::Span<const SetContent> contents);

  // Write the files and pieces gathered so far.
  absl::Status Flush();
  absl::Status FlushPieces();

  Store& source_;
  PinnedSource pinned_;  // the bytes gathered so far
  Core& core_;
  const std::function<uint64_t()> new_data_id_;
  CompactionMonitor& monitor_;
  Translation& translation_;
  std::function<absl::Status(const InodeItem&)> on_damaged_;

  // Whole files to be written, and their extents so far.
  struct PlainFile {
    uint64_t ino;
    uint64_t key_hash;
    std::vector<Extent> old;
    std::vector<absl::Span<const std::byte>> bytes;
  };
  std::vector<PlainFile> plain_;
  uint64_t plain_bytes_ = 0;
  // Pieces of files to be written together as one entry.
  struct Piece {
    uint64_t ino;
    Extent old;
    absl::Span<const std::byte> bytes;
  };
  std::vector<Piece> pieces_;
  uint64_t piece_bytes_ = 0;
  // Offsets in the old store at which extents in plain_ and pieces_ begin. It
  // may also have some that were written since.
  absl::flat_hash_set<uint64_t> gathered_;
};

// Writes into the identity of a new store how long the store is at the end of
// its checkpoints, so that a shorter copy of the file is recognized. Only for a
// store that CopyTree() began and nobody uses yet. The caller must sync.
absl::Status WriteLeastLength(FileSystem& file_system, Core& core)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_TREE_COPIER_H_
