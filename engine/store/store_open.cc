// Opening a store: the lock, recovery, and the state from which a StoreImpl
// starts.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/index/index_image.h"
#include "engine/io/bus_guard.h"
#include "engine/io/resolved_path.h"
#include "engine/mend/mended_file.h"
#include "engine/recovery/recovery.h"
#include "engine/store/store_impl.h"

namespace varve {
namespace {

// Each mend takes another recovery. A store that needs more is beyond help.
constexpr size_t kMaxBrokenLinks = 64;

struct LockedFile {
  std::unique_ptr<File> file;
  FileInfo info;
};

absl::StatusOr<LockedFile> OpenAndLock(const std::string& path,
                                       const OpenOptions& options) {
  FileSystem& file_system = *options.file_system;
  const auto begin = std::chrono::steady_clock::now();
  while (true) {
    VARVE_ASSIGN_OR_RETURN(
        std::unique_ptr<File> file,
        file_system.Open(path, options.mode, options.permissions));
    const absl::Duration waited =
        absl::FromChrono(std::chrono::steady_clock::now() - begin);
    VARVE_RETURN_IF_ERROR(file->LockExclusive(
        std::max(absl::ZeroDuration(), options.lock_wait - waited)));
    VARVE_ASSIGN_OR_RETURN(const FileInfo info, file->Info());
    // While this waited, a compaction may have put another file in its place. A
    // lock on the old file would protect nothing.
    const absl::StatusOr<FileInfo> named = file_system.Info(path);
    if (named.ok() && IsSameFile(*named, info)) {
      return LockedFile{std::move(file), info};
    }
    if (!named.ok() && !absl::IsNotFound(named.status())) {
      return named.status();
    }
  }
}

absl::StatusOr<StoreImpl::Opened> OpenForReading(const std::string& path,
                                                 OpenOptions options) {
  VARVE_ASSIGN_OR_RETURN(
      std::unique_ptr<File> file,
      options.file_system->Open(path, OpenMode::kRead, options.permissions));
  VARVE_RETURN_IF_ERROR(file->LockForReading());
  const std::vector<Mend> mends = options.mends;
  if (!mends.empty()) file = MakeMendedFile(std::move(file), mends);
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, file->Info());
  // Map no more than there is: this store will not grow.
  VARVE_ASSIGN_OR_RETURN(std::shared_ptr<const Mapping> mapping,
                         file->Map(std::max<uint64_t>(info.size, 1)));
  return StoreImpl::Opened{
      .path = path,
      .options = std::move(options),
      .generation = std::make_shared<Generation>(std::move(file), mapping),
      .recovery = {.file_size = info.size, .mends = mends}};
}

absl::StatusOr<StoreImpl::Opened> OpenForWriting(const std::string& path,
                                                 OpenOptions options) {
  VARVE_ASSIGN_OR_RETURN(LockedFile locked, OpenAndLock(path, options));
  VARVE_ASSIGN_OR_RETURN(std::shared_ptr<const Mapping> mapping,
                         MapGenerously(*locked.file, locked.info.size));
  return StoreImpl::Opened{.path = path,
                           .options = std::move(options),
                           .generation = std::make_shared<Generation>(
                               std::move(locked.file), mapping),
                           .recovery = {.file_size = locked.info.size}};
}

// Checks that recovery has seen the file as it is. Bytes that could not be read
// must not be taken for a torn end and moved aside.
absl::Status CheckRead(const StoreImpl::Opened& opened, uint64_t tail) {
  const Generation& generation = *opened.generation;
  // A writer may cut off bytes behind the tail while we read.
  const uint64_t end =
      opened.options.mode == OpenMode::kRead ? tail : opened.recovery.file_size;
  VARVE_ASSIGN_OR_RETURN(const FileInfo info, generation.file().Info());
  if (info.size >= end && !HasLostBytes({generation.mapping()->data(), end})) {
    return absl::OkStatus();
  }
  return ErrorWithCode(
      absl::StatusCode::kDataLoss, EIO,
      absl::StrCat(opened.path, " could not be read as it was opened: ",
                   info.size < end ? "it was truncated" : "its disk fails"));
}

// If this returns a mend, the store must be opened again with it.
absl::StatusOr<std::optional<Mend>> RunRecovery(StoreImpl::Opened& opened) {
  Generation& generation = *opened.generation;
  RecoveryReport& report = opened.recovery;
  const bool is_locked = opened.options.mode != OpenMode::kRead;
  // In a store that is known to be damaged, walk the whole chain.
  const std::optional<uint64_t> image_key = opened.options.mends.empty()
                                                ? opened.options.index_image_key
                                                : std::nullopt;
  VARVE_ASSIGN_OR_RETURN(const RecoveredTail recovered,
                         Recover({.path = opened.path,
                                  .file = &generation.file(),
                                  .mapping = generation.mapping(),
                                  .file_size = report.file_size,
                                  .locked = is_locked,
                                  .durable_tail = opened.options.durable_tail,
                                  .index_image_key = image_key,
                                  .defer_index = opened.options.defer_index &&
                                                 opened.options.mends.empty()},
                                 generation.mutable_index()));
  VARVE_RETURN_IF_ERROR(CheckRead(
      opened, recovered.mend.has_value() ? report.file_size : recovered.tail));
  if (recovered.mend.has_value()) return recovered.mend;
  report.tail = recovered.tail;
  report.torn_bytes = report.file_size - report.tail;
  report.durable_tail = recovered.durable_tail;
  if (is_locked && report.torn_bytes > 0) {
    VARVE_ASSIGN_OR_RETURN(
        report.sidecar,
        MoveTornBytes(*opened.options.file_system, ResolvedPath(opened.path),
                      generation.file(), report.tail, report.file_size));
  }
  generation.set_written_end(report.tail);
  generation.Publish({}, report.tail);
  if (recovered.index_deferred) {
    generation.DeferIndex(image_key);
    return std::nullopt;
  }
  const IndexImage* const base = generation.index().base();
  generation.NoteImage(base == nullptr ? 0 : base->location().metadata_offset(),
                       recovered.indexed);
  return std::nullopt;
}

// Opens the store with the mends of `options`. Returns the store, or another
// mend that it needs.
absl::StatusOr<std::variant<StoreImpl::Opened, Mend>> TryOpen(
    const std::string& path, const OpenOptions& options) {
  VARVE_ASSIGN_OR_RETURN(StoreImpl::Opened opened,
                         options.mode == OpenMode::kRead
                             ? OpenForReading(path, options)
                             : OpenForWriting(path, options));
  VARVE_ASSIGN_OR_RETURN(std::optional<Mend> mend, RunRecovery(opened));
  if (mend.has_value()) return *std::move(mend);
  return opened;
}

// Opens a store for reading whose chain needs `mend`, and perhaps more mends.
absl::StatusOr<StoreImpl::Opened> OpenMended(const std::string& path,
                                             OpenOptions options, Mend mend) {
  const size_t most = options.mends.size() + kMaxBrokenLinks;
  while (options.mode == OpenMode::kRead && options.mends.size() < most) {
    options.mends.push_back(std::move(mend));
    VARVE_ASSIGN_OR_RETURN(auto opened, TryOpen(path, options));
    if (auto* sound = std::get_if<StoreImpl::Opened>(&opened)) {
      return std::move(*sound);
    }
    mend = std::get<Mend>(std::move(opened));
  }
  return ErrorWithCode(
      absl::StatusCode::kDataLoss, EIO,
      absl::StrCat(path, " is damaged: ", mend.reason,
                   ". Nothing has been changed; what is there can be read, "
                   "and `varve check --repair` makes a sound store of it"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<StoreImpl>> StoreImpl::Open(
    const std::string& path, OpenOptions options) {
  VARVE_ASSIGN_OR_RETURN(auto opened, TryOpen(path, options));
  if (auto* mend = std::get_if<Mend>(&opened)) {
    VARVE_ASSIGN_OR_RETURN(
        opened, OpenMended(path, std::move(options), std::move(*mend)));
  }
  return std::make_unique<StoreImpl>(std::get<Opened>(std::move(opened)));
}

StoreImpl::StoreImpl(Opened opened)
    : path_(std::move(opened.path)),
      file_path_(ResolvedPath(path_)),
      options_(std::move(opened.options)),
      recovery_(std::move(opened.recovery)),
      current_(opened.generation.get()),
      read_only_(options_.mode == OpenMode::kRead),
      generation_(std::move(opened.generation)),
      reserve_(options_.file_system, file_path_),
      synced_generation_(current_.load(std::memory_order_relaxed)),
      durable_tail_(recovery_.durable_tail),
      // It may just have been created, or have taken another file's place in a
      // compaction that was killed before it could say so for good.
      must_sync_directory_(!read_only()),
      write_out_([this](uint64_t offset, uint64_t length) {
        return BeginWriteOut(offset, length);
      }) {
  write_out_.Restart(recovery_.tail);
  // On a full disk there will be none, or a small one.
  if (!read_only()) reserve_.Renew(generation_->file(), recovery_.tail);
}

StoreImpl::~StoreImpl() {
  write_out_.Stop();
  // One more attempt, so that the next open finds a clean end.
  absl::MutexLock lock(&writer_mutex_);
  FinishCuttingBack().IgnoreError();
  reserve_.GiveBack(generation_->file(), generation_->written_end());
}

}  // namespace varve
