#include "tools/varve/checker.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "engine/base/status.h"
#include "fs/content/content_reader.h"
#include "fs/log/store_identity.h"
#include "fs/tree/tree_checker.h"
#include "tools/varve/exit_status.h"
#include "tools/varve/host.h"
#include "tools/varve/open_store.h"

namespace varve::tools {
namespace {

// The entries that hold the content of one file.
struct FileExtents {
  std::string path;
  std::vector<fs::Extent> extents;
};

absl::StatusOr<FileExtents> ExtentsOf(const fs::TreeReader& tree,
                                      const fs::InodeItem& inode) {
  FileExtents file;
  VARVE_ASSIGN_OR_RETURN(file.path, tree.PathOf(inode));
  VARVE_RETURN_IF_ERROR(tree.ForEachExtent(inode, 0, fs::kMaxFileSize,
                                           [&file](const fs::Extent& extent) {
                                             file.extents.push_back(extent);
                                             return true;
                                           }));
  return file;
}

}  // namespace

absl::StatusOr<CheckResult> Checker::Check() {
  // Use the volume's own store, so that the same bytes count as torn as in a
  // mount.
  const auto volume =
      OpenVolume(path_, {.read_only = true, .whole_chain = true});
  if (volume.ok()) {
    CheckStore((*volume)->store());
    if (result_.has_tree) {
      CheckTree(**volume);
      CheckPast(**volume);
    }
    if (!(*volume)->cut_short().ok()) {
      result_.incomplete = std::string((*volume)->cut_short().message());
    } else if (!(*volume)->closed_properly() && !IsInUse(path_)) {
      result_.incomplete = absl::StrCat("the store ", kNotClosed);
    }
    return std::move(result_);
  }
  if (!absl::IsDataLoss(volume.status())) return volume.status();
  VARVE_ASSIGN_OR_RETURN(const auto store, OpenStore(path_, OpenMode::kRead));
  CheckStore(*store);
  result_.problems.push_back(
      {.kind = Problem::Kind::kTree,
       .message = absl::StrCat("the tree cannot be read: ",
                               volume.status().message())});
  return std::move(result_);
}

void Checker::CheckStore(const Store& store) {
  progress_ =
      std::make_unique<Progress>(absl::StrCat("checking ", LastPartOf(path_)));
  const uint64_t size = store.file_size();
  // It is not known yet which dead entries the tree uses.
  progress_->SetTotalBytes(size -
                           std::min(size, store.EstimateCompactionSavings()));
  if (store.recovery().torn_bytes > 0) {
    result_.notes.push_back(absl::StrCat(
        "the store ends in ", store.recovery().torn_bytes,
        " bytes of a write that is not finished; they do not count"));
  }
  for (const Mend& mend : store.recovery().mends) {
    result_.problems.push_back({.kind = Problem::Kind::kChain,
                                .message = mend.reason,
                                .offset = mend.offset});
  }
  const absl::StatusOr<EntryView> identity = fs::FindIdentityEntry(store);
  result_.has_tree = identity.ok();
  if (identity.ok()) {
    // If it is damaged, that is reported with the other entries.
    auto decoded = fs::Identity::Decode(identity->payload_text());
    if (decoded.ok()) identity_ = *std::move(decoded);
  }
  CheckChain(store);
  CheckEntries(store);
}

void Checker::CheckChain(const Store& store) {
  const absl::Status status = store.ForEachInChain([this](const EntryView&) {
    ++result_.chain_entries;
    return true;
  });
  if (!status.ok()) {
    result_.problems.push_back({.kind = Problem::Kind::kChain,
                                .message = std::string(status.message())});
  }
}

void Checker::AddVerified(uint64_t bytes) {
  result_.verified_bytes += bytes;
  progress_->AddBytes(bytes);
}

void Checker::AddDamagedEntry(const EntryLocation& entry,
                              const absl::Status& status) {
  bad_.emplace(entry.payload_offset, result_.problems.size());
  result_.problems.push_back({.kind = Problem::Kind::kEntry,
                              .message = std::string(status.message()),
                              .offset = entry.payload_offset,
                              .key_hash = entry.key_hash});
}

absl::Status Checker::Verify(const Store& store,
                             const EntryLocation& entry) const {
  const absl::Status status = store.Verify(entry);
  if (status.ok() || !identity_.has_value()) return status;
  return absl::Status(
      status.code(),
      absl::StrCat(status.message(),
                   fs::DescribeDamage(store, *identity_, entry)));
}

void Checker::CheckEntries(const Store& store) {
  absl::Mutex mu;
  store.ForEachParallel([&](const EntryView& entry) {
    const absl::Status status = Verify(store, entry.location());
    absl::MutexLock lock(&mu);
    ++result_.live_entries;
    AddVerified(entry.size());
    if (status.ok()) {
      good_.insert(entry.location().payload_offset);
    } else {
      AddDamagedEntry(entry.location(), status);
    }
  });
  // The order in which threads found problems means nothing.
  std::sort(result_.problems.begin(), result_.problems.end(),
            [](const Problem& a, const Problem& b) {
              return std::pair(a.kind, a.offset) < std::pair(b.kind, b.offset);
            });
  for (size_t i = 0; i < result_.problems.size(); ++i) {
    const Problem& problem = result_.problems[i];
    if (problem.kind == Problem::Kind::kEntry) bad_[*problem.offset] = i;
  }
}

void Checker::CheckExtent(const Store& store, const fs::Extent& extent,
                          const std::string& file) {
  const uint64_t offset = extent.payload_offset();
  if (!fs::VerifyEntryOf(store, extent, /*checksum=*/false).ok()) {
    result_.problems.push_back(
        {.kind = Problem::Kind::kContent,
         .message =
             absl::StrCat("the content at file offset ", extent.file_offset,
                          " lies in an entry that does not exist"),
         .offset = offset,
         .key_hash = extent.key_hash,
         .files = {file}});
    return;
  }
  if (good_.contains(offset)) return;
  if (!bad_.contains(offset)) {
    // Not a live entry, but one that the tree uses although its key has a newer
    // entry.
    const absl::StatusOr<EntryView> entry =
        store.EntryEndingAt(extent.entry_metadata_offset() + kMetadataSize);
    const absl::Status status =
        entry.ok() ? Verify(store, entry->location()) : entry.status();
    AddVerified(extent.entry_size);
    if (status.ok()) {
      good_.insert(offset);
      return;
    }
    AddDamagedEntry({.key_hash = extent.key_hash, .payload_offset = offset},
                    status);
  }
  std::vector<std::string>& files = result_.problems[bad_[offset]].files;
  if (files.empty() || files.back() != file) files.push_back(file);
}

void Checker::CheckTree(fs::Volume& volume) {
  const fs::TreeTotals totals = volume.totals();
  std::vector<FileExtents> files;
  volume.WithTree([&](const fs::TreeReader& tree) {
    for (std::string& message : fs::CheckTree(tree, totals)) {
      result_.problems.push_back(
          {.kind = Problem::Kind::kTree, .message = std::move(message)});
    }
    // What a damaged node keeps from being read has been told.
    const absl::Status read =
        tree.ForEachInode([&](const fs::InodeItem& inode) {
          if (inode.is_directory()) return true;
          absl::StatusOr<FileExtents> file = ExtentsOf(tree, inode);
          if (file.ok()) files.push_back(*std::move(file));
          return true;
        });
    if (!read.ok() && result_.problems.empty()) {
      result_.problems.push_back({.kind = Problem::Kind::kTree,
                                  .message = std::string(read.message())});
    }
  });
  result_.files = files.size();
  for (const FileExtents& file : files) {
    for (const fs::Extent& extent : file.extents) {
      CheckExtent(volume.store(), extent, file.path);
    }
  }
}

void Checker::CheckPast(fs::Volume& volume) {
  const Store& store = volume.store();
  const std::string file = "of the past";
  const absl::StatusOr<uint64_t> window = volume.history().ForEachPastExtent(
      [&](const fs::Extent& extent) { CheckExtent(store, extent, file); });
  if (!window.ok()) {
    result_.problems.push_back(
        {.kind = Problem::Kind::kTree,
         .message = absl::StrCat("a past moment cannot be read: ",
                                 window.status().message())});
    return;
  }
  // In the window, everything is kept. If the chain is damaged, that has been
  // told.
  store
      .ForEachInChain([&](const EntryView& entry) {
        const EntryLocation& location = entry.location();
        if (location.end() <= *window) return false;
        const uint64_t offset = location.payload_offset;
        if (good_.contains(offset) || bad_.contains(offset)) return true;
        const absl::Status status = Verify(store, location);
        AddVerified(location.payload_size);
        if (status.ok()) {
          good_.insert(offset);
        } else {
          AddDamagedEntry(location, status);
          result_.problems.back().files.push_back(file);
        }
        return true;
      })
      .IgnoreError();
}

}  // namespace varve::tools
