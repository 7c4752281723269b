// TreeCopier: copies what is live of a store into another one that is empty.
// Files are written in the order of a walk through the tree, names sorted, each
// as one plain entry under its present path; a file with holes keeps them, its
// data lying in entries that it shares with other small pieces. What files have
// in common (clones) stays so: the first one is plain, and the others have
// extents in its entry.

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
  // `core` is loaded from `source`, but has the empty store already; its tree
  // comes to say where things lie there. `new_data_id` draws data ids.
  TreeCopier(Store& source, Core& core, std::function<uint64_t()> new_data_id,
             CompactionMonitor& monitor, Translation& translation)
      : source_(source),
        pinned_(source),
        core_(core),
        new_data_id_(std::move(new_data_id)),
        monitor_(monitor),
        translation_(translation) {}

  // Is told of each file that is damaged, which is then left without content,
  // instead of ending the copying.
  void set_on_damaged(
      std::function<absl::Status(const InodeItem&)> on_damaged) {
    on_damaged_ = std::move(on_damaged);
  }

  // Copies identity and all content. DATA_LOSS, naming the file, if something
  // is damaged: damage must not be given a fresh checksum.
  absl::Status CopyTree();
  // Copies entries as they are, under their key hashes.
  absl::Status CopyEntries(const std::vector<EntryLocation>& entries);

 private:
  absl::Status CopyDirectory(uint64_t ino, std::vector<uint64_t>& directories);
  absl::Status CopyInode(uint64_t ino);
  absl::Status CopyPlain(const InodeItem& inode, const ExtentMap& content);
  absl::Status CopyLarge(const InodeItem& inode, const ExtentMap& content);
  absl::Status CopyPieces(const InodeItem& inode, const ExtentMap& content);
  // Lets the file share with others what has been copied for them.
  absl::Status CopyClone(const InodeItem& inode, const ExtentMap& content);
  // Bytes of the content that have been copied already.
  absl::StatusOr<uint64_t> CopiedBytes(const ExtentMap& content);
  // Whether all of that range has been.
  bool IsCopied(const Extent& extent) const;
  absl::StatusOr<bool> MustStayInPieces(const InodeItem& inode,
                                        const ExtentMap& content);
  absl::Status VerifyAll(const InodeItem& inode, const ExtentMap& content);

  absl::StatusOr<std::string> PathOf(const InodeItem& inode) const;
  // The tree has these contents from now on.
  absl::Status Apply(absl::Span<const SetContent> contents);

  // Write what has been gathered.
  absl::Status Flush();
  absl::Status FlushPieces();

  Store& source_;
  PinnedSource pinned_;  // what of the source is gathered
  Core& core_;
  const std::function<uint64_t()> new_data_id_;
  CompactionMonitor& monitor_;
  Translation& translation_;
  std::function<absl::Status(const InodeItem&)> on_damaged_;

  // Whole files to be written, and what they become.
  struct PlainFile {
    uint64_t ino;
    uint64_t key_hash;
    std::vector<Extent> old;
    std::vector<absl::Span<const std::byte>> bytes;
  };
  std::vector<PlainFile> plain_;
  uint64_t plain_bytes_ = 0;
  // Pieces of files to be written as one entry.
  struct Piece {
    uint64_t ino;
    Extent old;
    absl::Span<const std::byte> bytes;
  };
  std::vector<Piece> pieces_;
  uint64_t piece_bytes_ = 0;
  // Where in the old store the extents begin that are in `plain_` and
  // `pieces_`, or were there lately.
  absl::flat_hash_set<uint64_t> gathered_;
};

// Has the identity say how long the store is up to the end of its first
// checkpoint, with which nothing is missing: for the copy that CopyTree() has
// begun and nobody uses yet. The caller syncs.
absl::Status WriteLeastLength(FileSystem& file_system, Core& core)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(core.commit_mu);

}  // namespace varve::fs

#endif  // VARVE_FS_COMPACTION_TREE_COPIER_H_
