#include "fs/volume/volume.h"

#include <algorithm>
#include <utility>

#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/compaction/live_bytes.h"
#include "fs/log/checkpoint.h"
#include "fs/log/commit.h"
#include "fs/mend/mender.h"

namespace varve::fs {
namespace {

// Closing writes a checkpoint in any case if the tree is smaller than this; for
// a larger tree, where a checkpoint costs more, only if the log has at least
// kCloseLogBytes.
constexpr uint64_t kSmallTreeInodes = 10'000;
constexpr uint64_t kCloseLogBytes = uint64_t{64} << 10;
// The longest pause between attempts to write a checkpoint after several have
// failed. If one fails for lack of space, the next probably will, too.
constexpr absl::Duration kLongestPause = absl::Minutes(5);

}  // namespace

Volume::Volume(VolumeOptions options)
    : options_(std::move(options)),
      reader_(core_),
      writer_(core_, reader_, copy_gate_, options_.dirty_budget, options_.now),
      scrubber_(core_, reader_,
                [this](uint64_t ino, const absl::Status& status) {
                  incidents_.Report(WithFile(status, reader_.PathOf(ino)));
                  // The kernel may have damaged content in its cache.
                  TellStale(ino);
                }),
      compactions_({.core = core_,
                    .open_files = open_files_,
                    .reader = reader_,
                    .unnamed = unnamed_,
                    .copy_gate = copy_gate_,
                    .answers = answers_,
                    .incidents = incidents_,
                    .file_system = options_.file_system,
                    .now = options_.now},
                   options_.auto_compaction),
      checkpoint_backoff_(options_.sync_interval, kLongestPause),
      policy_backoff_(options_.sync_interval, kLongestPause),
      syncer_(options_.sync_interval,
              {// Sessions may be too short for anything else. What copying
               // takes would be in vain in them.
               .begin = [this] { compactions_.StartIfDue(/*may_copy=*/false); },
               .sync = [this] { SyncAndCheckpoint(); },
               .make_room = [this] { return compactions_.MakeRoom(); },
               .look = [this] { compactions_.StartIfDue(); }}) {}

absl::StatusOr<std::unique_ptr<Volume>> Volume::Open(const std::string& path,
                                                     VolumeOptions options) {
  absl::StatusOr<std::unique_ptr<Volume>> volume =
      OpenWith(path, options, /*mends=*/{});
  if (volume.ok() || !absl::IsDataLoss(volume.status()) ||
      !(options.read_only || options.read_damaged)) {
    return volume;
  }
  return OpenDamaged(path, std::move(options), volume.status());
}

absl::StatusOr<std::unique_ptr<Volume>> Volume::OpenDamaged(
    const std::string& path, VolumeOptions options,
    const absl::Status& damage) {
  const bool may_write = !options.read_only;
  options.read_only = true;
  // With an image of the index, recovery would not notice all damage.
  options.whole_chain = true;
  const auto mends = FindMends(*options.file_system, path);
  if (!mends.ok()) return damage;  // not a store at all
  auto volume = OpenWith(path, std::move(options), *mends);
  // If there is other damage, this fails with it.
  if (volume.ok() && may_write) (*volume)->opened_.damage = damage;
  return volume;
}

absl::StatusOr<std::unique_ptr<Volume>> Volume::OpenWith(
    const std::string& path, VolumeOptions options,
    const std::vector<Mend>& mends) {
  auto volume = std::unique_ptr<Volume>(new Volume(std::move(options)));
  VARVE_RETURN_IF_ERROR(volume->Start(path, mends));
  return volume;
}

absl::Status Volume::Start(const std::string& path,
                           const std::vector<Mend>& mends) {
  VARVE_RETURN_IF_ERROR(
      OpenTree(path,
               {.options = options_,
                .mends = mends,
                .on_space_pressure = [this] { syncer_.NoteSpacePressure(); },
                .incidents = incidents_},
               core_, opened_));
  // Of a past moment, nothing is unnamed.
  unnamed_.SetLimit(options_.at.empty() ? opened_.first_tail : 0);
  closed_ = false;
  if (options_.scrub_after != absl::InfiniteDuration()) {
    scrubber_.Start(options_.scrub_after);
  }
  return read_only() ? absl::OkStatus() : syncer_.Start();
}

Volume::~Volume() {
  if (!closed_)
    Close().IgnoreError();  // callers that need the result call Close()
}

absl::StatusOr<StoreStatistics> Volume::GetStatistics() {
  return CountStatistics(core_, open_files_, unnamed_);
}

void Volume::SyncAndCheckpoint() {
  file_watch_.Look();
  if (!core_.store->read_only() &&
      core_.store->durable_tail() < core_.store->tail()) {
    incidents_.Report(SyncAll());
  }
  ReportNodeDamage();
  if (core_.store->read_only() || copy_gate_.closed()) return;
  incidents_.Report(attributes_.CommitAccessTimesIfMany());
  if (policy_backoff_.MayTry(Wakeup::Clock::now())) {
    const absl::Status status = history_.ApplyPolicy();
    policy_backoff_.NoteResult(status.ok(), Wakeup::Clock::now());
    incidents_.Report(status);
  }
  // If a checkpoint fails, the log is only longer.
  if (!CheckpointIsDue(core_) ||
      !checkpoint_backoff_.MayTry(Wakeup::Clock::now())) {
    return;
  }
  const absl::Status status = WriteCheckpoint(core_, options_.now());
  checkpoint_backoff_.NoteResult(status.ok(), Wakeup::Clock::now());
  incidents_.Report(status);
}

void Volume::ReportNodeDamage() {
  std::shared_ptr<LogTree> tree;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    tree = core_.log_tree;
  }
  incidents_.Report(tree->segments.TakeDamage());
}

absl::Status Volume::Close() {
  if (closed_) return absl::OkStatus();
  closed_ = true;
  syncer_.Stop();
  scrubber_.Stop();
  absl::Status result;
  compactions_.Stop();
  if (!options_.read_only) file_watch_.ReportIfDeleted();
  for (const auto& open : open_files_.All()) {
    // A file that was only emptied was about to be rewritten, so keep its
    // committed content.
    result.Update(writer_.CommitUnlessEmptied(*open));
    writer_.Discard(*open);
  }
  if (read_only()) return result;
  compactions_.PunchBeforeClosing();
  const bool was_purged = PurgeNeedsCheckpoint(core_);
  bool is_long;
  {
    absl::MutexLock lock(&core_.commit_mu);
    incidents_.Report(
        attributes_.CommitAccessTimes(SIZE_MAX));  // a failure does no harm
    if (core_.clean) return result;                // nothing was changed
    absl::ReaderMutexLock tree_lock(&core_.tree_mu);
    is_long = core_.log_bytes >
              (core_.totals().inodes < kSmallTreeInodes ? 0 : kCloseLogBytes);
  }
  {
    absl::Status status;
    if (is_long || was_purged) {
      status = WriteCheckpoint(core_, options_.now());
    } else {
      absl::MutexLock lock(&core_.commit_mu);
      status = WriteIndexImageIfDue(core_);
    }
    // On a full disk the log stays long, but the reserve has room for the
    // commit that marks the store as closed.
    if (IsOutOfSpace(status)) {
      incidents_.Report(status);
    } else {
      result.Update(status);
    }
  }
  ReportNodeDamage();
  // Everything before the commit that marks the store as closed must be durable
  // before that commit is.
  result.Update(SyncAll());
  if (!result.ok()) return result;
  absl::MutexLock lock(&core_.commit_mu);
  Commit commit(core_, options_.now());
  commit.set_flags(CommitHeader::kClean);
  commit.UseReserve();
  result.Update(commit.Finish());
  result.Update(SyncAll());
  return result;
}

void Volume::WithTree(absl::FunctionRef<void(const TreeReader&)> visit) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  visit(core_.reader());
}

TreeTotals Volume::totals() {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  return core_.totals();
}

}  // namespace varve::fs
