#include "fs/volume/open_tree.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/compaction/compactor.h"
#include "fs/history/moment_names.h"
#include "fs/history/purge.h"
#include "fs/log/checkpoint.h"
#include "fs/log/commit.h"
#include "fs/log/loader.h"
#include "fs/log/past_tree.h"
#include "fs/log/store_identity.h"
#include "fs/tree/data_id_ranges.h"
#include "fs/volume/takeover.h"

namespace varve::fs {
namespace {

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
  // A tree finds what it needs by place, and hardly ever by key.
  result.defer_index = !options.whole_chain;
  const absl::StatusOr<FileInfo> info = options.file_system->Info(path);
  if (absl::IsNotFound(info.status())) return result;
  VARVE_RETURN_IF_ERROR(info.status());
  if (info->size == 0) return result;
  VARVE_ASSIGN_OR_RETURN(const auto identity,
                         FindIdentity(*options.file_system, path, mends));
  if (!identity.has_value()) return result;
  result.durable_tail = DurableTailOf(*identity);
  if (!options.read_only && info->size < identity->least_length.value_or(0)) {
    // Check this before a torn end is moved aside.
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

// Fails if the store has a tree whose identity is damaged: making another tree
// would hide it.
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

// Sentences about what recovery found.
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
    notes.push_back(
        absl::StrCat("the store is damaged: ", mend.reason,
                     "; this is corrected in memory, not in the file"));
  }
  return notes;
}

class TreeOpener {
 public:
  TreeOpener(const OpenContext& context, Core& core, OpenReport& report)
      : context_(context), core_(core), report_(report) {}

  // Called once the store is open.
  absl::Status Load();

 private:
  const VolumeOptions& options() const { return context_.options; }

  // Loads the newest tree, or makes one; nothing if there was none to load.
  absl::StatusOr<std::optional<LoadResult>> LoadOrMake();
  // Takes over what other programs did, and what an unclean stop has left.
  absl::Status BeginSession(const LoadResult& loaded);
  absl::Status MakeTree();
  // Replaces the newest tree by that of the moment in the options.
  absl::Status GoBack();
  // Commits that no past moment is kept, as another program has moved what they
  // consist of.
  absl::Status ForgetMoved();
  // Commits which data entries an unclean stop left without a commit, so that
  // they stay visible as unnamed entries.
  absl::Status KeepUnfinishedData(const LoadResult& loaded);
  // Removes the file of an interrupted compaction.
  void RemoveLeftover();

  const OpenContext& context_;
  Core& core_;
  OpenReport& report_;
};

absl::Status TreeOpener::Load() {
  VARVE_ASSIGN_OR_RETURN(const std::optional<LoadResult> loaded, LoadOrMake());
  if (!loaded.has_value()) return absl::OkStatus();
  if (!options().at.empty()) {
    if (!loaded->relocated) return GoBack();
    return absl::NotFoundError(
        "another program has compacted the store, so that no past moment is "
        "left");
  }
  return BeginSession(*loaded);
}

absl::StatusOr<std::optional<LoadResult>> TreeOpener::LoadOrMake() {
  Store& store = *core_.store;
  report_.notes = NotesOf(store.recovery());
  report_.first_tail = store.tail();
  const absl::StatusOr<EntryView> identity = FindIdentityEntry(store);
  if (!identity.ok() && !absl::IsNotFound(identity.status())) {
    return identity.status();
  }
  if (!identity.ok()) {
    // No tree yet: the store is new, or another program's.
    VARVE_RETURN_IF_ERROR(CheckHasNoIdentity(store));
    core_.identity = Identity::Make(options().now());
    if (!store.read_only()) {
      VARVE_RETURN_IF_ERROR(MakeTree());
    } else {
      absl::MutexLock lock(&core_.tree_mu);
      VARVE_RETURN_IF_ERROR(ResetLogTree(core_));
    }
    return std::optional<LoadResult>();
  }
  VARVE_RETURN_IF_ERROR(store.Verify(identity->location()));
  VARVE_ASSIGN_OR_RETURN(core_.identity,
                         Identity::Decode(identity->payload_text()));
  report_.cut_short = CheckNotCutShort(store, core_.identity);
  if (!report_.cut_short.ok()) {
    if (!core_.store->read_only()) return report_.cut_short;
    report_.notes.push_back(std::string(report_.cut_short.message()));
  }
  if (!core_.store->read_only()) RemoveLeftover();
  VARVE_ASSIGN_OR_RETURN(LoadResult loaded, LoadTree(core_));
  report_.notes.insert(report_.notes.end(), loaded.notes.begin(),
                       loaded.notes.end());
  if (loaded.relocated) {
    report_.notes.push_back("the store was compacted by another program");
    report_.past_is_lost = store.read_only();
  }
  report_.closed_properly = loaded.clean;
  return std::optional(std::move(loaded));
}

absl::Status TreeOpener::BeginSession(const LoadResult& loaded) {
  if (loaded.clean) {
    VARVE_ASSIGN_OR_RETURN(
        const bool changed,
        TakeOver(core_, loaded, options().now(), context_.incidents));
    if (changed) {
      report_.notes.emplace_back("another program changed files in the store");
    }
  }
  if (loaded.relocated && !core_.store->read_only()) {
    context_.incidents.Report(ForgetMoved());
  }
  if ((loaded.relocated || loaded.rebuilt) && !core_.store->read_only()) {
    // With a checkpoint, the next open need not find all offsets again. On a
    // full disk, it has to.
    context_.incidents.Report(WriteCheckpoint(core_, options().now()));
  }
  if (loaded.clean) return absl::OkStatus();
  {
    absl::MutexLock lock(&core_.commit_mu);
    if (core_.last_sequence > 0) {
      report_.notes.push_back(
          "the store was not closed properly; its last commit is " +
          absl::StrCat(core_.last_sequence));
    }
  }
  // On a full disk this fails, but the tree is usable all the same.
  if (!core_.store->read_only())
    context_.incidents.Report(KeepUnfinishedData(loaded));
  return absl::OkStatus();
}

absl::Status TreeOpener::GoBack() {
  if (!core_.store->read_only()) {
    return absl::InvalidArgumentError("past moments are read-only");
  }
  VARVE_ASSIGN_OR_RETURN(const MomentLocation place,
                         ResolveMoment(core_, options().at, options().now()));
  VARVE_ASSIGN_OR_RETURN(const std::vector<PurgedPath> purged,
                         ReadPurgedPaths(core_));
  VARVE_ASSIGN_OR_RETURN(
      const std::unique_ptr<PastTree> past,
      PastTree::Open(core_.store.get(), core_.identity, place, purged));
  absl::MutexLock commit_lock(&core_.commit_mu);
  absl::MutexLock lock(&core_.tree_mu);
  core_.log_tree = past->tree();
  core_.last_sequence = past->sequence();
  return absl::OkStatus();
}

absl::Status TreeOpener::ForgetMoved() {
  absl::MutexLock lock(&core_.commit_mu);
  std::vector<std::string> names;
  {
    absl::ReaderMutexLock tree_lock(&core_.tree_mu);
    VARVE_RETURN_IF_ERROR(
        core_.reader().ForEachSnapshot([&](const SnapshotItem& snapshot) {
          names.emplace_back(snapshot.name);
          return true;
        }));
  }
  core_.snapshots.clear();
  Commit commit(core_, options().now());
  for (const std::string& name : names) commit.Add(DropSnapshot{name});
  commit.Add(ForgetBefore{commit.sequence()});
  return commit.Finish();
}

absl::Status TreeOpener::MakeTree() {
  const std::string payload = core_.identity.Encode();
  absl::MutexLock lock(&core_.commit_mu);
  {
    absl::MutexLock tree_lock(&core_.tree_mu);
    VARVE_RETURN_IF_ERROR(ResetLogTree(core_));
  }
  const Timestamp now = options().now();
  Commit commit(core_, now);
  commit.AddEntry(HashKey(Identity::Key()), {AsBytes(payload)});
  const Caller owner = {.uid = options().root_uid, .gid = options().root_gid};
  commit.Add(PutInode{.ino = kRootIno,
                      .attributes = NewAttributes(S_IFDIR | 0755, owner, now)});
  VARVE_RETURN_IF_ERROR(commit.Finish());
  // Sync, so that a power cut does not leave a file that is not a store.
  return core_.store->Sync().status();
}

absl::Status TreeOpener::KeepUnfinishedData(const LoadResult& loaded) {
  // Ids are drawn in ascending order, but those of a failed commit were never
  // used, so there are gaps.
  constexpr uint64_t kMaxGap = 256;
  uint64_t next = core_.next_data_id.load();
  std::vector<KeepUnfinished> ranges;
  std::vector<uint64_t> ids = loaded.data_ids;
  std::sort(ids.begin(), ids.end());
  for (const uint64_t id : ids) {
    if (id < loaded.first_data_id) continue;
    // Some other program's key.
    if (id >= std::min(next + kMaxGap, kMaxId)) break;
    next = std::max(next, id + 1);
    if (loaded.named.contains(core_.identity.DataKeyHash(id))) continue;
    if (!ranges.empty() && ranges.back().end == id) {
      ranges.back().end = id + 1;
    } else {
      ranges.push_back({.begin = id, .end = id + 1});
    }
  }
  // An earlier mount may have committed them already.
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    VARVE_ASSIGN_OR_RETURN(const DataIdRanges kept,
                           UnfinishedIds(core_.reader()));
    std::erase_if(ranges, [&](const KeepUnfinished& range) {
      return kept.ContainsAll(range.begin, range.end);
    });
  }
  core_.next_data_id.store(next);
  if (ranges.empty()) return absl::OkStatus();
  absl::MutexLock lock(&core_.commit_mu);
  Commit commit(core_, options().now());
  for (const KeepUnfinished& range : ranges) commit.Add(range);
  return commit.Finish();
}

void TreeOpener::RemoveLeftover() {
  const std::string path = core_.store->replacement_path();
  FileSystem& files = *options().file_system;
  const absl::StatusOr<bool> leftover = IsLeftover(files, path, core_.identity);
  if (!leftover.ok() || !*leftover) return;
  const absl::Status removed = files.Remove(path);
  if (removed.ok()) {
    report_.notes.push_back(
        absl::StrCat("removed ", path, ", which a compaction had left behind"));
  } else {
    context_.incidents.Report(removed);
  }
}

}  // namespace

absl::Status OpenTree(const std::string& path, const OpenContext& context,
                      Core& core, OpenReport& report) {
  VARVE_ASSIGN_OR_RETURN(OpenOptions options,
                         OptionsFor(path, context.options, context.mends));
  options.on_space_pressure = context.on_space_pressure;
  core.min_entries_for_image = context.options.min_entries_for_image;
  VARVE_ASSIGN_OR_RETURN(core.store, Store::Open(path, std::move(options)));
  return TreeOpener(context, core, report).Load();
}

}  // namespace varve::fs
