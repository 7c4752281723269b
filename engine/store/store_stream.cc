// Streams: StreamState, Stream, and the parts of StoreImpl that serve them.

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "engine/base/random.h"
#include "engine/base/status.h"
#include "engine/entry/crc32_combine.h"
#include "engine/store/store_impl.h"

namespace varve {
namespace {

constexpr size_t kReadChunk = size_t{256} << 10;

}  // namespace

// --- StreamState -------------------------------------------------------------

StreamState::StreamState(StoreImpl& store,
                         std::function<EntryKeys()> fallback_keys,
                         PieceFate fate)
    : store_(store), fallback_keys_(std::move(fallback_keys)), fate_(fate) {
  store_.AddStream(this);
}

StreamState::~StreamState() { store_.RemoveStream(this); }

StreamState::Unsealed StreamState::unsealed() const {
  absl::MutexLock lock(&mutex_);
  return unsealed_;
}

std::vector<EntryLocation> StreamState::sealed() const {
  absl::MutexLock lock(&mutex_);
  return sealed_;
}

std::vector<EntryView> StreamState::sealed_views() const {
  absl::MutexLock lock(&mutex_);
  return sealed_views_;
}

void StreamState::Wrote(const Unsealed& unsealed,
                        absl::Span<const std::byte> bytes) {
  summer_.Add(bytes);
  absl::MutexLock lock(&mutex_);
  unsealed_ = unsealed;
}

void StreamState::End(const EntryView& entry, bool is_piece) {
  summer_ = {};
  absl::MutexLock lock(&mutex_);
  unsealed_ = {};
  if (!is_piece) return;
  if (fate_ == PieceFate::kDead) {
    sealed_views_.push_back(entry);
  } else {
    sealed_.push_back(entry.location());
  }
}

void StreamState::Relocate(const Generation& generation) {
  absl::MutexLock lock(&mutex_);
  for (EntryLocation& piece : sealed_) {
    const std::optional<uint64_t> offset = generation.Find(piece.key_hash);
    if (!offset.has_value()) continue;  // deleted, and gone
    const absl::StatusOr<EntryView> moved =
        generation.ViewOf(piece.key_hash, *offset);
    if (moved.ok()) piece = moved->location();
  }
}

// --- Stream ------------------------------------------------------------------

Stream::Stream(std::unique_ptr<StreamState> state) : state_(std::move(state)) {}
Stream::~Stream() = default;

absl::StatusOr<uint64_t> Stream::Write(absl::Span<const std::byte> bytes) {
  return state_->store().WriteToStream(*state_, bytes);
}

std::vector<EntryLocation> Stream::sealed() const { return state_->sealed(); }
uint64_t Stream::unsealed_size() const { return state_->unsealed().size; }
uint64_t Stream::unsealed_offset() const { return state_->unsealed().offset; }

std::unique_ptr<Stream> Store::BeginStream(
    std::function<EntryKeys()> fallback_keys) {
  return absl::WrapUnique(new Stream(std::make_unique<StreamState>(
      *impl_, std::move(fallback_keys), PieceFate::kLive)));
}

// --- StoreImpl ---------------------------------------------------------------

void StoreImpl::AddStream(StreamState* stream) {
  absl::MutexLock lock(&streams_mutex_);
  streams_.insert(stream);
}

void StoreImpl::RemoveStream(StreamState* stream) {
  absl::MutexLock lock(&writer_mutex_);
  if (active_ == stream) {
    active_ = nullptr;
    CutBackTo(generation_->tail());
  }
  absl::MutexLock streams_lock(&streams_mutex_);
  streams_.erase(stream);
}

absl::StatusOr<uint64_t> StoreImpl::WriteToStream(
    StreamState& stream, absl::Span<const std::byte> bytes) {
  if (bytes.empty()) return absl::InvalidArgumentError("nothing to write");
  absl::MutexLock lock(&writer_mutex_);
  const bool is_first = active_ != &stream;
  if (is_first && bytes.size() == 1 && bytes[0] == std::byte{0}) {
    // It could not be sealed, because as an entry it would read as a tombstone.
    return absl::InvalidArgumentError(
        "a piece of a stream cannot begin with a single NUL byte");
  }
  PendingAppend pending;
  StartAppend(pending, /*finishing=*/&stream);
  StreamState::Unsealed unsealed = stream.unsealed();
  if (is_first) {
    unsealed = {.offset = Align64(pending.append.end())};
  }
  const uint64_t offset = unsealed.end();
  pending.append.AddStreamBytes(bytes, is_first);
  unsealed.size += bytes.size();
  VARVE_RETURN_IF_ERROR(Commit(pending));
  stream.Wrote(unsealed, bytes);
  active_ = &stream;
  return offset;
}

uint64_t StoreImpl::UnusedKeyHash() {
  while (true) {
    const uint64_t key_hash = RandomWord();
    if (!generation_->Find(key_hash).has_value()) return key_hash;
  }
}

absl::StatusOr<EntryLocation> StoreImpl::WriteFrom(uint64_t key_hash,
                                                   std::istream& source) {
  VARVE_RETURN_IF_ERROR(CheckWritable());
  StreamState stream(*this, nullptr, PieceFate::kDead);
  std::vector<char> buffer(kReadChunk);
  absl::Span<const std::byte> rest;  // read, but not in the stream
  bool at_end = false;
  while (!at_end) {
    source.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    at_end = !source.good();
    if (source.bad() || (at_end && !source.eof())) {
      return ErrorWithCode(absl::StatusCode::kDataLoss, EIO,
                           "the source of the stream has failed");
    }
    rest =
        absl::MakeConstSpan(reinterpret_cast<const std::byte*>(buffer.data()),
                            static_cast<size_t>(source.gcount()));
    // Only a short last chunk may be too short to begin a piece.
    if (rest.size() < 2) break;
    VARVE_RETURN_IF_ERROR(WriteToStream(stream, rest).status());
    rest = {};
  }
  return JoinStream(stream, key_hash, rest);
}

absl::StatusOr<EntryLocation> StoreImpl::JoinStream(
    StreamState& stream, uint64_t key_hash, absl::Span<const std::byte> rest) {
  absl::MutexLock lock(&writer_mutex_);
  const std::vector<EntryView> views = stream.sealed_views();
  if (views.empty() && rest.empty() && active_ == &stream) {
    PendingAppend pending;
    StartAppend(pending, &stream);
    EndActiveStream(pending, key_hash);
    VARVE_RETURN_IF_ERROR(Commit(pending));
    return pending.ended_entry;
  }
  std::vector<absl::Span<const std::byte>> pieces;
  uint32_t crc = 0;
  const auto add = [&](absl::Span<const std::byte> bytes, uint32_t piece_crc) {
    pieces.push_back(bytes);
    crc = Crc32Combine(crc, piece_crc, bytes.size());
  };
  for (const EntryView& view : views) add(view.payload(), view.checksum());
  if (active_ == &stream) {
    // The same append is about to seal it.
    const StreamState::Unsealed last = stream.unsealed();
    add({generation_->mapping()->data() + last.offset,
         static_cast<size_t>(last.size)},
        stream.summer().crc32());
  }
  if (!rest.empty()) add(rest, Crc32(0, rest));
  VARVE_RETURN_IF_ERROR(CheckPayload(pieces));
  PendingAppend pending;
  StartAppend(pending);
  const EntryLocation entry = pending.append.Add(key_hash, pieces, crc);
  VARVE_RETURN_IF_ERROR(Commit(pending));
  return entry;
}

}  // namespace varve
