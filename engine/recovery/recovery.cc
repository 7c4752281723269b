#include "engine/recovery/recovery.h"

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/entry/byte_source.h"
#include "engine/entry/layout.h"
#include "engine/mend/link_mend.h"
#include "engine/recovery/chain_indexer.h"
#include "engine/recovery/tail_finder.h"

namespace varve {
namespace {

// How far a walk of the chain has come.
struct Walk {
  // The first entry of the chain; nothing if the chain breaks before it, or if
  // an image of the index ended the walk.
  std::optional<EntryLocation> first;
  bool has_image = false;
  uint64_t indexed = 0;

  bool is_whole() const { return first.has_value() || has_image; }
};

// Fills `index` with the newest entry of each key in the chain that ends at
// `tail`.
absl::StatusOr<Walk> IndexChain(const RecoveryInput& input, uint64_t tail,
                                Index& index) {
  ChainIndexer indexer(input.mapping, tail, input.index_image_key);
  while (indexer.Next()) {
    indexer.Prefetch(index);
    VARVE_RETURN_IF_ERROR(index.Reserve(indexer.block_size()));
    indexer.AddTo(index);
  }
  if (indexer.is_broken()) return Walk{};
  Walk walk = {.first = indexer.first(), .indexed = indexer.count()};
  if (auto image = indexer.TakeImage()) {
    walk.has_image = true;
    walk.first.reset();
    index.SetBase(std::move(image));
  }
  return walk;
}

class Recovery {
 public:
  Recovery(const RecoveryInput& input, Index& index)
      : input_(input),
        index_(index),
        scan_(NewSource()),
        probe_(NewSource()),
        finder_(*scan_, *probe_, input.locked) {}

  absl::StatusOr<RecoveredTail> Run() {
    RecoveredTail result;
    VARVE_ASSIGN_OR_RETURN(result.tail, FindTail());
    if (result.tail < input_.file_size) {
      VARVE_ASSIGN_OR_RETURN(result.mend, FindMend(result.tail));
      if (result.mend.has_value()) return result;
    }
    if (input_.durable_tail != nullptr) {
      VARVE_ASSIGN_OR_RETURN(result, CutAtTornEntry(result.tail));
    }
    result.indexed = indexed_;
    result.index_deferred = index_deferred_;
    index_.ForgetDeleted();
    if (result.tail == 0) {
      return ErrorWithCode(
          absl::StatusCode::kDataLoss, EIO,
          absl::StrCat(input_.path,
                       " is not a store: it holds no valid entry. "
                       "It has not been changed"));
    }
    return result;
  }

  // Whether a part of the chain was passed over.
  bool used_image() const { return used_image_; }

 private:
  std::unique_ptr<ByteSource> NewSource() const {
    return input_.locked
               ? ByteSource::FromMapping(*input_.mapping, input_.file_size)
               : ByteSource::FromFile(*input_.file, input_.file_size);
  }

  absl::Span<const std::byte> file() const {
    return {input_.mapping->data(), static_cast<size_t>(input_.file_size)};
  }

  // Finds the tail by structure and by the last checksum alone, and fills the
  // index. Returns 0 if there is no tail.
  absl::StatusOr<uint64_t> FindTail() {
    if (finder_.LastEntryIsWhole()) {
      if (input_.defer_index && IsVouchedFor()) {
        index_deferred_ = true;
        return input_.file_size;
      }
      VARVE_ASSIGN_OR_RETURN(const Walk walk,
                             IndexChain(input_, input_.file_size, index_));
      Note(walk);
      // The writer of the image had walked from the start of the file.
      if (walk.has_image ||
          (walk.first.has_value() && finder_.BeginsTheFile(*walk.first))) {
        return input_.file_size;
      }
    }
    const uint64_t tail = finder_.FindTail();
    VARVE_RETURN_IF_ERROR(IndexAnew(tail));
    return tail;
  }

  void Note(const Walk& walk) {
    indexed_ = walk.indexed;
    used_image_ |= walk.has_image;
  }

  // Whether an entry near the end of the file declares a durable prefix, and
  // the chain leads from the end of the file to the end of that prefix.
  bool IsVouchedFor() {
    if (input_.durable_tail == nullptr) return false;
    uint64_t vouched = 0;
    for (uint64_t end = input_.file_size; end > 0;) {
      const std::optional<EntryLocation> entry =
          LocateEntryEndingAt(file(), end);
      if (!entry.has_value()) return false;
      if (vouched == 0 && VouchedBy(*entry) > 0 &&
          probe_->HasValidChecksum(*entry)) {
        vouched = VouchedBy(*entry);
      }
      if (vouched > 0 && end <= vouched) return end == vouched;
      end = entry->prev_tail;
    }
    return false;
  }

  absl::Status IndexAnew(uint64_t tail) {
    index_.Clear();
    if (tail == 0) return absl::OkStatus();
    // The chain has been followed before.
    index_deferred_ = input_.defer_index;
    if (index_deferred_) return absl::OkStatus();
    VARVE_ASSIGN_OR_RETURN(const Walk walk, IndexChain(input_, tail, index_));
    Note(walk);
    return walk.is_whole() ? absl::OkStatus() : Changed();
  }

  // The chain was walked before. This happens only if the file changes
  // meanwhile, or if the disk returns different bytes each time.
  absl::Status Changed() const {
    return ErrorWithCode(
        absl::StatusCode::kDataLoss, EIO,
        absl::StrCat(input_.path, " changed while it was being opened"));
  }

  // The longest durable prefix that an entry with a valid checksum declares.
  uint64_t VouchedBy(const EntryLocation& entry) const {
    return std::min(input_.durable_tail(EntryView(input_.mapping, entry)),
                    entry.end());
  }

  // Nothing behind a torn write was synced. So if an entry behind the tail
  // declares a longer durable prefix, the chain is damaged, and cutting it
  // would lose good entries. The same is true if the last entry is whole except
  // for its link.
  absl::StatusOr<std::optional<Mend>> FindMend(uint64_t tail) {
    auto mend =
        FindLinkMend(*probe_, {.tail = tail, .upper = input_.file_size});
    if (mend.has_value() || input_.durable_tail == nullptr) return mend;
    uint64_t vouched = 0;
    uint64_t upper = 0;
    finder_.ForEachWholeEntry(tail, [&](const EntryLocation& entry) {
      vouched = VouchedBy(entry);
      upper = entry.end();
      return vouched <= tail;
    });
    if (vouched <= tail) return mend;
    mend =
        FindLinkMend(*probe_, {.tail = tail, .upper = upper, .certain = true});
    if (mend.has_value()) return mend;
    return ErrorWithCode(
        absl::StatusCode::kDataLoss, EIO,
        absl::StrCat(input_.path, " is damaged at offset ", tail,
                     ": the chain of entries breaks there, though the file was "
                     "whole up to offset ",
                     vouched, " once. Nothing has been changed"));
  }

  // Verifies the entries that are not known to have been synced, and drops
  // everything from the first one that did not reach the disk.
  absl::StatusOr<RecoveredTail> CutAtTornEntry(uint64_t tail) {
    RecoveredTail result{.tail = tail};
    for (uint64_t end = tail; end > result.durable_tail;) {
      // IndexChain() has walked here, or has found an image above.
      const std::optional<EntryLocation> found =
          LocateEntryEndingAt(file(), end);
      if (!found.has_value()) return Changed();
      const EntryLocation& entry = *found;
      end = entry.prev_tail;
      if (!probe_->HasValidChecksum(entry)) {
        result.tail = entry.prev_tail;
      } else if (result.durable_tail == 0) {
        result.durable_tail = VouchedBy(entry);
      }
    }
    // Keep the declared prefix even if the tail was cut below its end. That
    // happens only if the declared length is not a tail of the chain.
    result.durable_tail = std::min(result.durable_tail, result.tail);
    if (result.tail < tail) VARVE_RETURN_IF_ERROR(IndexAnew(result.tail));
    return result;
  }

  const RecoveryInput& input_;
  Index& index_;
  const std::unique_ptr<ByteSource> scan_;
  const std::unique_ptr<ByteSource> probe_;
  TailFinder finder_;
  uint64_t indexed_ = 0;
  bool used_image_ = false;
  bool index_deferred_ = false;
};

}  // namespace

absl::StatusOr<RecoveredTail> Recover(const RecoveryInput& input,
                                      Index& index) {
  if (input.file_size == 0) {
    return RecoveredTail{.index_deferred = input.defer_index};
  }
  Recovery recovery(input, index);
  absl::StatusOr<RecoveredTail> result = recovery.Run();
  if (result.ok() || !(recovery.used_image() || input.defer_index)) {
    return result;
  }
  // The damage may lie below an image, where the walk has not looked. Walking
  // the whole chain finds more.
  index.Clear();
  RecoveryInput thorough = input;
  thorough.index_image_key.reset();
  thorough.defer_index = false;
  return Recovery(thorough, index).Run();
}

}  // namespace varve
