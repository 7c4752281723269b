// Opening and closing of a volume.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/log/checkpoint.h"
#include "fs/log/commit.h"
#include "fs/log/loader.h"
#include "fs/log/mender.h"
#include "fs/log/store_identity.h"
#include "fs/volume/volume.h"

namespace varve::fs {
namespace {

// A checkpoint is written at every clean close of trees up to about this size,
// and of larger ones, of which it costs more, when there is that much log.
constexpr uint64_t kSmallTreeInodes = 10'000;
constexpr uint64_t kCloseLogBytes = uint64_t{64} << 10;
// For how long no checkpoint is tried once several have failed.
constexpr absl::Duration kLongestCheckpointPause = absl::Minutes(5);

absl::StatusOr<OpenOptions> OptionsFor(const std::string& path,
                                       const VolumeOptions& options,
                                       const std::vector<Mend>& mends) {
  OpenOptions result;
  result.mode = options.read_only ? OpenMode::kRead
                                  : (options.create ? OpenMode::kCreate
                                                    : OpenMode::kReadWrite);
  result.lock_wait = options.lock_wait;
  result.file_system = options.file_system;
  result.mends = mends;
  const absl::StatusOr<FileInfo> info = options.file_system->Info(path);
  if (absl::IsNotFound(info.status())) return result;
  VARVE_RETURN_IF_ERROR(info.status());
  if (info->size == 0) return result;
  VARVE_ASSIGN_OR_RETURN(const auto identity,
                         FindIdentity(*options.file_system, path, mends));
  if (!identity.has_value()) return result;
  result.durable_tail = DurableTailOf(*identity);
  if (!options.read_only && info->size < identity->least_length.value_or(0)) {
    // Before a torn end is moved aside.
    OpenOptions reading = result;
    reading.mode = OpenMode::kRead;
    VARVE_ASSIGN_OR_RETURN(const auto store, Store::Open(path, reading));
    VARVE_RETURN_IF_ERROR(CheckNotCutShort(*store, *identity));
  }
  if (!options.whole_chain) {
    result.index_image_key = identity->IndexImageKeyHash();
  }
  return result;
}

// A tree that is made where there is one already would hide it.
absl::Status CheckHasNoIdentity(const Store& store) {
  uint64_t first_end = 0;
  VARVE_RETURN_IF_ERROR(store.ForEachInChain([&](const EntryView& entry) {
    first_end = entry.location().end();
    return true;
  }));
  const absl::StatusOr<EntryView> first = store.EntryEndingAt(first_end);
  if (!first.ok() || first->is_tombstone() ||
      !Identity::LooksLikeOne(first->payload_text())) {
    return absl::OkStatus();
  }
  return DamageError(
      "the key of the store's identity, its first entry, is damaged");
}

// Sentences about what recovery met.
std::vector<std::string> NotesOf(const RecoveryReport& recovery) {
  std::vector<std::string> notes;
  if (recovery.torn_bytes > 0) {
    notes.push_back(
        absl::StrCat("the store ended in ", recovery.torn_bytes,
                     " bytes of an unfinished write",
                     recovery.sidecar.empty()
                         ? std::string(", which are left alone")
                         : absl::StrCat(", moved to ", recovery.sidecar)));
  }
  for (const Mend& mend : recovery.mends) {
    notes.push_back(absl::StrCat("the store is damaged: ", mend.reason,
                                 "; it is read as if it were not"));
  }
  return notes;
}

}  // namespace

Volume::Volume(VolumeOptions options)
    : options_(std::move(options)),
      reader_(core_),
      writer_(core_, reader_, copy_gate_, options_.dirty_budget),
      scrubber_(core_, reader_,
                [this](uint64_t ino, const absl::Status& status) {
                  Report(WithFile(status, reader_.PathOf(ino)));
                  // The kernel may have some of it in its cache.
                  TellStale(ino);
                }),
      policy_(options_.auto_compaction) {}

absl::StatusOr<std::unique_ptr<Volume>> Volume::Open(const std::string& path,
                                                     VolumeOptions options) {
  absl::StatusOr<std::unique_ptr<Volume>> volume =
      OpenMended(path, options, {});
  if (volume.ok() || !absl::IsDataLoss(volume.status()) ||
      !(options.read_only || options.read_damaged)) {
    return volume;
  }
  const bool may_write = !options.read_only;
  options.read_only = true;
  const auto mends = FindMends(*options.file_system, path);
  if (!mends.ok()) return volume.status();  // no store at all
  auto mended = OpenMended(path, std::move(options), *mends);
  // What is wrong beside that comes out now.
  if (mended.ok() && may_write) {
    (*mended)->damage_ = volume.status();
  }
  return mended;
}

absl::StatusOr<std::unique_ptr<Volume>> Volume::OpenMended(
    const std::string& path, VolumeOptions options,
    const std::vector<Mend>& mends) {
  VARVE_ASSIGN_OR_RETURN(OpenOptions open_options,
                         OptionsFor(path, options, mends));
  auto volume = std::unique_ptr<Volume>(new Volume(std::move(options)));
  volume->core_.min_entries_for_image = volume->options_.min_entries_for_image;
  open_options.on_shortage = [v = volume.get()] { v->NoteSpacePressure(); };
  volume->closed_ = true;  // nothing to close until all is loaded
  VARVE_ASSIGN_OR_RETURN(volume->core_.store,
                         Store::Open(path, std::move(open_options)));
  VARVE_RETURN_IF_ERROR(volume->Load());
  volume->closed_ = false;
  if (volume->options_.scrub_after != absl::InfiniteDuration()) {
    volume->reader_.set_on_large(
        [v = volume.get()](uint64_t ino) { v->scrubber_.Hurry(ino); });
    volume->scrubber_.Start(volume->options_.scrub_after);
  }
  if (!volume->read_only()) {
    volume->syncer_ =
        std::thread([v = volume.get()] { v->SyncPeriodically(); });
  }
  return volume;
}

Volume::~Volume() {
  if (!closed_) Close().IgnoreError();  // those who care call Close()
}

absl::Status Volume::Load() {
  Store& store = *core_.store;
  notes_ = NotesOf(store.recovery());
  unnamed_.SetLimit(store.tail());
  const absl::StatusOr<EntryView> identity = FindIdentityEntry(store);
  if (!identity.ok() && !absl::IsNotFound(identity.status())) {
    return identity.status();
  }
  if (!identity.ok()) {
    // No tree yet: a new store, or one of another program.
    VARVE_RETURN_IF_ERROR(CheckHasNoIdentity(store));
    core_.identity = Identity::Make(options_.now());
    return read_only() ? absl::OkStatus() : MakeTree();
  }
  VARVE_RETURN_IF_ERROR(store.Verify(identity->location()));
  VARVE_ASSIGN_OR_RETURN(core_.identity,
                         Identity::Decode(identity->payload_text()));
  cut_short_ = CheckNotCutShort(store, core_.identity);
  if (!cut_short_.ok()) {
    if (!read_only()) return cut_short_;
    notes_.push_back(std::string(cut_short_.message()));
  }
  if (!read_only()) RemoveLeftover();
  VARVE_ASSIGN_OR_RETURN(const LoadResult loaded, LoadTree(core_));
  notes_.insert(notes_.end(), loaded.notes.begin(), loaded.notes.end());
  if (loaded.relocated) {
    notes_.push_back("the store was compacted by another program");
  }
  closed_properly_ = loaded.clean;
  if (loaded.clean) VARVE_RETURN_IF_ERROR(TakeOver(loaded));
  if ((loaded.relocated || loaded.rebuilt) && !read_only()) {
    // So that the next open need not look for everything again; on a full disk
    // it will have to.
    Report(WriteCheckpoint(core_, options_.now()));
  }
  if (loaded.clean) return absl::OkStatus();
  {
    absl::MutexLock lock(&core_.commit_mu);
    if (core_.last_sequence > 0) {
      notes_.push_back(
          "the store was not closed properly; its last commit is " +
          absl::StrCat(core_.last_sequence));
    }
  }
  // On a full disk the tree is usable all the same.
  if (!read_only()) Report(KeepUnfinishedData(loaded));
  return absl::OkStatus();
}

absl::Status Volume::MakeTree() {
  const std::string payload = core_.identity.Encode();
  absl::MutexLock lock(&core_.commit_mu);
  {
    absl::MutexLock tree_lock(&core_.tree_mu);
    VARVE_RETURN_IF_ERROR(ResetLogTree(core_));
  }
  const Timestamp now = options_.now();
  Commit commit(core_, now);
  commit.AddEntry(HashKey(Identity::Key()), {AsBytes(payload)});
  const Caller owner = {.uid = options_.root_uid, .gid = options_.root_gid};
  commit.Add(PutInode{.ino = kRootIno,
                      .attributes = NewAttributes(S_IFDIR | 0755, owner, now)});
  VARVE_RETURN_IF_ERROR(commit.Finish());
  // A power cut now must not leave a file that is no store, and in the way.
  return SyncAll();
}

absl::Status Volume::KeepUnfinishedData(const LoadResult& loaded) {
  // Ids are drawn one after the other, but those of a commit that failed were
  // never used.
  constexpr uint64_t kMaxGap = 256;
  uint64_t next = core_.next_data_id.load();
  if (next - std::min(next, loaded.first_data_id) > kMaxKnownDataIds) {
    return DamageError(absl::StrCat(
        "data ids up to ", next,
        " are said to be in use; unfinished data is not looked for"));
  }
  std::vector<KeepUnfinished> ranges;
  for (uint64_t id = loaded.first_data_id;
       id < std::min(next + kMaxGap, kMaxId); ++id) {
    const uint64_t hash = core_.identity.DataKeyHash(id);
    if (!core_.store->ExistsHashed(hash)) continue;
    next = std::max(next, id + 1);
    if (loaded.named.contains(hash)) continue;
    if (!ranges.empty() && ranges.back().end == id) {
      ranges.back().end = id + 1;
    } else {
      ranges.push_back({.begin = id, .end = id + 1});
    }
  }
  // An earlier mount may have kept them already.
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const DataIdRanges& kept = core_.tree.unfinished();
    std::erase_if(ranges, [&](const KeepUnfinished& range) {
      return kept.ContainsAll(range.begin, range.end);
    });
  }
  core_.next_data_id.store(next);
  if (ranges.empty()) return absl::OkStatus();
  absl::MutexLock lock(&core_.commit_mu);
  Commit commit(core_, options_.now());
  for (const KeepUnfinished& range : ranges) commit.Add(range);
  return commit.Finish();
}

absl::Status Volume::CheckpointIfDue() {
  if (!CheckpointIsDue(core_) || Wakeup::Clock::now() < next_checkpoint_) {
    return absl::OkStatus();
  }
  const absl::Status status = WriteCheckpoint(core_, options_.now());
  // Where it fails for lack of space, it most likely will again, and of a large
  // tree it takes long, while nobody can change anything.
  checkpoint_pause_ =
      status.ok() ? absl::ZeroDuration()
                  : std::clamp(2 * checkpoint_pause_, options_.sync_interval,
                               kLongestCheckpointPause);
  next_checkpoint_ = Wakeup::After(checkpoint_pause_);
  return status;
}

void Volume::Report(const absl::Status& status) const {
  if (!status.ok() && options_.on_incident) options_.on_incident(status);
}

void Volume::SyncPeriodically() {
  // Sessions may be too short for anything else. What copying takes would be in
  // vain in them.
  CompactIfDue(/*may_copy=*/false);
  Wakeup::Clock::time_point next_sync = Wakeup::After(options_.sync_interval);
  Wakeup::Clock::time_point next_look = next_sync;
  while (true) {
    syncer_wakeup_.WaitUntil(next_look);
    bool relieve;
    {
      absl::MutexLock lock(&syncer_mu_);
      if (stop_syncer_) return;
      relieve = under_pressure_ && Wakeup::Clock::now() >= next_pressure_punch_;
      if (relieve) under_pressure_ = false;
    }
    if (Wakeup::Clock::now() >= next_sync) {
      WatchFile();
      SyncAndCheckpoint();
      next_sync = Wakeup::After(options_.sync_interval);
    }
    if (relieve) PunchForSpace();
    CompactIfDue();
    absl::MutexLock lock(&syncer_mu_);
    next_look =
        under_pressure_ ? std::min(next_sync, next_pressure_punch_) : next_sync;
  }
}

void Volume::SyncAndCheckpoint() {
  if (!core_.store->read_only() &&
      core_.store->durable_tail() < core_.store->tail()) {
    Report(SyncAll());
  }
  if (core_.store->read_only() || copy_gate_.closed()) return;
  // A checkpoint is no more than a shortcut: without it the log is longer.
  Report(CheckpointIfDue());
}

absl::Status Volume::Close() {
  if (closed_) return absl::OkStatus();
  closed_ = true;
  if (syncer_.joinable()) {
    {
      absl::MutexLock lock(&syncer_mu_);
      stop_syncer_ = true;
    }
    syncer_wakeup_.Wake();
    syncer_.join();
  }
  scrubber_.Stop();
  absl::Status result;
  StopCompaction();
  ReportIfDeleted();
  for (const auto& open : open_files_.All()) {
    // Who has emptied a file is about to write it anew. It has not been done.
    result.Update(writer_.CommitUnlessEmptied(*open));
    writer_.Discard(*open);
  }
  if (read_only()) return result;
  PunchBeforeClosing();
  bool pays;
  {
    absl::MutexLock lock(&core_.commit_mu);
    Report(attributes_.CommitAccessTimes());  // nobody is owed them
    if (core_.clean) return result;           // nothing was changed
    absl::ReaderMutexLock tree_lock(&core_.tree_mu);
    pays = core_.log_bytes >
           (core_.tree.inode_count() < kSmallTreeInodes ? 0 : kCloseLogBytes);
  }
  {
    absl::Status status;
    if (pays) {
      status = WriteCheckpoint(core_, options_.now());
    } else {
      absl::MutexLock lock(&core_.commit_mu);
      status = WriteIndexImageIfDue(core_);
    }
    // On a full disk the log stays long, and there is room for the mark.
    if (IsOutOfSpace(status)) {
      Report(status);
    } else {
      result.Update(status);
    }
  }
  // What the mark vouches for is durable before the mark is.
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

void Volume::WithTree(const std::function<void(const Tree&)>& visit) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  visit(core_.tree);
}

}  // namespace varve::fs
