// DeletedFiles: reads files and directories that are deleted, or have another
// name now, by the names that they had; see history/deleted_names.h.
//
// Each call first takes in what has happened since the last one. The first one
// goes through all of history that is kept. Each may return ESTALE if the name
// is not there any more: because another file has been deleted under it, or no
// moment that has it is kept; and DATA_LOSS if the store is damaged.
//
// Thread-safe.

#ifndef VARVE_FS_VOLUME_DELETED_FILES_H_
#define VARVE_FS_VOLUME_DELETED_FILES_H_

#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "fs/content/content_reader.h"
#include "fs/history/deleted_names.h"
#include "fs/log/core.h"
#include "fs/volume/volume_types.h"

namespace varve::fs {

class DeletedFiles {
 public:
  // Names have numbers, which take the place of inode numbers. This is that of
  // the root.
  static constexpr uint64_t kRoot = DeletedTree::kRoot;

  // Both must outlive this object.
  DeletedFiles(Core& core, ContentReader& content)
      : core_(core), content_(content), names_(core) {}

  // The attributes of the moment that was the last to have the name. A
  // directory in which something was deleted since it exists has those of now;
  // any that exists has been changed just now, as its listing may differ each
  // time. Those of the root are had without looking at history.
  absl::StatusOr<Stat> GetAttributes(uint64_t id)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu, mu_);
  // The name may be "." or "..". ENOENT, ENOTDIR, ENAMETOOLONG.
  absl::StatusOr<Stat> Lookup(uint64_t parent, absl::string_view name)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu, mu_);
  // As Volume::ReadDirectory(). Names that exist again are not listed, unless
  // something below them is deleted; Lookup() still finds them. ENOTDIR.
  absl::Status ReadDirectory(
      uint64_t id, uint64_t cookie,
      absl::FunctionRef<bool(absl::string_view name, const Stat& stat,
                             uint64_t cookie)>
          visit) ABSL_LOCKS_EXCLUDED(core_.relocation_mu, mu_);
  // EINVAL if it is no symlink.
  absl::StatusOr<std::string> ReadSymlink(uint64_t id)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu, mu_);
  // ENODATA.
  absl::StatusOr<std::string> GetXattr(uint64_t id, absl::string_view name)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu, mu_);
  absl::StatusOr<std::string> ListXattrs(uint64_t id, bool trusted)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu, mu_);
  // EISDIR. The reply is valid while a section of Volume::answers() lives that
  // was begun before.
  absl::StatusOr<ReadReply> Read(uint64_t id, uint64_t offset, uint64_t size)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu, mu_);
  // SEEK_DATA and SEEK_HOLE. EINVAL, ENXIO.
  absl::StatusOr<uint64_t> Seek(uint64_t id, uint64_t offset, int whence)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu, mu_);

 private:
  using Found = DeletedTree::Found;

  // Calls `use` once the names are up to date.
  absl::Status WithNames(absl::FunctionRef<absl::Status()> use)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu, mu_);
  // Calls `use` with what the name shows.
  absl::Status With(uint64_t id,
                    absl::FunctionRef<absl::Status(const Found&)> use)
      ABSL_LOCKS_EXCLUDED(core_.relocation_mu, mu_);
  absl::StatusOr<Found> Find(uint64_t id) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  Stat StatOf(const Found& found) const ABSL_SHARED_LOCKS_REQUIRED(mu_);

  Core& core_;
  ContentReader& content_;
  absl::Mutex mu_;
  DeletedNames names_ ABSL_GUARDED_BY(mu_);
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_DELETED_FILES_H_
