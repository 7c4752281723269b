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
#include "fs/compaction/moved_tree.h"
#include "fs/compaction/pinned_source.h"
#include "fs/compaction/translation.h"
#include "fs/log/core.h"

namespace varve::fs {

class TreeCopier {
 public:
  // `core` is loaded from `source`, but has the empty store already; its tree
  // stays as it is, and `translation` comes to say where things lie there.
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

  // Says that this tree alone is copied, and not those of its snapshots.
  void set_drops_snapshots() { exceptions_.drops_snapshots = true; }
  // Has the new tree say that all moments from this number on are kept.
  void set_kept_from(uint64_t sequence) { exceptions_.kept_from = sequence; }

  // Copies the identity and all content. DATA_LOSS, naming the file, if an
  // entry is damaged: damaged bytes must not get a new, valid checksum.
  absl::Status CopyTree();
  // The tree as it is in the new store, once it has been copied. Valid as long
  // as the translation.
  MovedTree Moved() const;
  // Copies entries as they are, under their key hashes.
  absl::Status CopyEntries(const std::vector<EntryLocation>& entries);

 private:
  absl::Status CopyDirectory(uint64_t ino, std::vector<uint64_t>& directories);
  absl::Status CopyInode(uint64_t ino);
  absl::Status CopyPlain(const InodeItem& inode, const ExtentMap& content);
  absl::Status CopyLarge(const InodeItem& inode, const ExtentMap& content);
  absl::Status CopyPieces(const ExtentMap& content);
  // Lets the file share with others what has been copied for them.
  absl::Status CopyClone(const ExtentMap& content);
  // Bytes of the content that have been copied already.
  absl::StatusOr<uint64_t> CopiedBytes(const ExtentMap& content);
  absl::StatusOr<bool> MustStayInPieces(const InodeItem& inode,
                                        const ExtentMap& content);
  absl::Status VerifyAll(const InodeItem& inode, const ExtentMap& content);

  absl::StatusOr<std::string> PathOf(const InodeItem& inode) const;
  // Says that the content of the file, which lay there, is all of that entry.
  absl::Status NoteWhole(uint64_t ino, absl::Span<const Extent> old,
                         const Extent& now);

  // Write the files and pieces gathered so far.
  absl::Status Flush();
  absl::Status FlushPieces();
  void ForgetGathered();

  Store& source_;
  PinnedSource pinned_;  // the bytes gathered so far
  Core& core_;
  const std::function<uint64_t()> new_data_id_;
  CompactionMonitor& monitor_;
  Translation& translation_;
  std::function<absl::Status(const InodeItem&)> on_damaged_;

  MovedTree::Exceptions exceptions_;

  // Whole files to be written, and what they become.
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
