// PastFiles: reads files and directories of past moments, which are named by
// the number of their last commit.
//
// The trees of the moments that are in use are kept open. A compaction moves
// what they consist of; they are then opened anew, and a moment that is no
// longer kept cannot be read from then on. So each call may return ESTALE; and
// DATA_LOSS if the store is damaged.
//
// Thread-safe.

#ifndef VARVE_FS_VOLUME_PAST_FILES_H_
#define VARVE_FS_VOLUME_PAST_FILES_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "fs/content/content_reader.h"
#include "fs/history/moment_names.h"
#include "fs/log/core.h"
#include "fs/log/past_tree.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

class PastFiles {
 public:
  // Both must outlive this object.
  PastFiles(Core& core, ContentReader& content)
      : core_(core), content_(content) {}

  // The number of the moment that the text names; see history/moment_names.h,
  // also for the errors.
  absl::StatusOr<uint64_t> Resolve(absl::string_view text, Timestamp now)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // As FindMomentsAt().
  absl::StatusOr<std::vector<MomentAt>> LastMoments(
      const std::vector<Timestamp>& times)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);

  // ENOENT.
  absl::StatusOr<Stat> GetAttributes(uint64_t moment, uint64_t ino)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // The name may be "." or "..". ENOENT, ENOTDIR, ENAMETOOLONG.
  absl::StatusOr<Stat> Lookup(uint64_t moment, uint64_t parent,
                              absl::string_view name)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // As Volume::ReadDirectory(). ENOENT, ENOTDIR.
  absl::Status ReadDirectory(
      uint64_t moment, uint64_t ino, uint64_t cookie,
      absl::FunctionRef<bool(absl::string_view name, const Stat& stat,
                             uint64_t cookie)>
          visit) ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // ENOENT; EINVAL if it is no symlink.
  absl::StatusOr<std::string> ReadSymlink(uint64_t moment, uint64_t ino)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // ENODATA.
  absl::StatusOr<std::string> GetXattr(uint64_t moment, uint64_t ino,
                                       absl::string_view name)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  absl::StatusOr<std::string> ListXattrs(uint64_t moment, uint64_t ino,
                                         bool trusted)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // ENOENT, EISDIR. The reply is valid while a section of Volume::answers()
  // lives that was begun before.
  absl::StatusOr<ReadReply> Read(uint64_t moment, uint64_t ino, uint64_t offset,
                                 uint64_t size)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);
  // SEEK_DATA and SEEK_HOLE. ENOENT, EINVAL, ENXIO.
  absl::StatusOr<uint64_t> Seek(uint64_t moment, uint64_t ino, uint64_t offset,
                                int whence)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu);

 private:
  // The tree of a moment, open while it is one of those used last.
  struct OpenMoment {
    explicit OpenMoment(uint64_t m) : moment(m) {}
    const uint64_t moment;
    absl::Mutex mu;  // held while the tree is opened
    std::shared_ptr<const PastTree> tree ABSL_GUARDED_BY(mu);
    // As those of Core when the tree was found to be kept.
    uint64_t relocations ABSL_GUARDED_BY(mu) = 0;
    uint64_t changes ABSL_GUARDED_BY(mu) = 0;
    // How many paths had been purged when it was opened.
    size_t purged ABSL_GUARDED_BY(mu) = 0;
  };
  // Each takes memory for what changed since the checkpoint before it.
  static constexpr size_t kMostOpen = 16;

  // The tree, for as long as relocation_mu is held. ESTALE.
  absl::StatusOr<std::shared_ptr<const PastTree>> Use(uint64_t moment)
      ABSL_SHARED_LOCKS_REQUIRED(core_.relocation_mu);
  std::shared_ptr<OpenMoment> Find(uint64_t moment) ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<InodeItem> GetInode(const PastTree& past, uint64_t ino) const;

  Core& core_;
  ContentReader& content_;
  absl::Mutex mu_;
  // Those used last come first.
  std::list<std::shared_ptr<OpenMoment>> open_ ABSL_GUARDED_BY(mu_);
};

// What the two kinds of former files share. `inode` is one of `tree`, whose
// content is not reclaimed meanwhile.

// The target of a symlink; EINVAL if it is none.
absl::StatusOr<std::string> ReadTarget(ContentReader& content,
                                       const TreeReader& tree,
                                       const InodeItem& inode);
// As PastFiles::Seek().
absl::StatusOr<uint64_t> SeekIn(const TreeReader& tree, const InodeItem& inode,
                                uint64_t offset, int whence);

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_PAST_FILES_H_
