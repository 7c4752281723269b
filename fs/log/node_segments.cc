#include "fs/log/node_segments.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/log/segment_parity.h"

namespace varve::fs {
namespace {

absl::string_view TextOf(const Store::PinnedBytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.bytes.data()),
          bytes.bytes.size()};
}

absl::StatusOr<absl::string_view> NodeIn(absl::string_view nodes,
                                         const NodePointer& pointer) {
  if (pointer.offset > nodes.size() ||
      pointer.size > nodes.size() - pointer.offset) {
    return DamageError(
        absl::StrCat(DescribeNode(pointer), " lies beyond the segment's end"));
  }
  return nodes.substr(pointer.offset, pointer.size);
}

}  // namespace

NodeSegments::NodeSegments(const NodeSegments& other)
    : store_(other.store_.load()), end_(other.end_.load()) {
  absl::ReaderMutexLock lock(&other.mu_);
  for (const auto& [number, mapped] : other.segments_) {
    segments_.emplace(number,
                      Mapped{.segment = mapped.segment, .whole = mapped.whole});
  }
}

absl::string_view NodeSegments::Mapped::nodes() const {
  if (recovered != nullptr) return *recovered;
  const absl::string_view all = TextOf(whole);
  if (all.empty()) return all;
  return all.substr(BytesBeforeNodes(segment.nodes_size), segment.nodes_size);
}

void NodeSegments::Add(const Segment& segment) {
  absl::MutexLock lock(&mu_);
  segments_[segment.number].segment = segment;
  // Retired segments are not read; and after another program has compacted the
  // store, their offsets may be stale.
  if (segment.is_retired()) return;
  end_.store(std::max(end_.load(), segment.nodes_offset + segment.nodes_size +
                                       BytesBehindNodes(segment.nodes_size)));
}

void NodeSegments::AddRetired(std::vector<Segment> segments) {
  for (Segment& segment : segments) {
    segment.live_bytes = 0;
    Add(segment);
  }
}

void NodeSegments::Remove(uint32_t number) {
  absl::MutexLock lock(&mu_);
  segments_.erase(number);
}

absl::string_view NodeSegments::FindMapped(uint32_t number) const {
  absl::ReaderMutexLock lock(&mu_);
  const auto it = segments_.find(number);
  return it == segments_.end() ? absl::string_view() : it->second.nodes();
}

absl::Status NodeSegments::MapLocked(Mapped& mapped) const {
  const Segment& segment = mapped.segment;
  Store* const store = store_.load();
  const uint64_t before = BytesBeforeNodes(segment.nodes_size);
  absl::StatusOr<Store::PinnedBytes> whole =
      store == nullptr || segment.nodes_size > kMaxNodesSize ||
              segment.nodes_offset < before
          ? absl::OutOfRangeError("its offset or size is impossible")
          : store->View(segment.nodes_offset - before,
                        before + segment.nodes_size +
                            BytesBehindNodes(segment.nodes_size));
  if (!whole.ok()) {
    return DamageError(
        absl::StrCat("segment ", segment.number,
                     " of the tree: ", whole.status().message()));
  }
  mapped.whole = *std::move(whole);
  return absl::OkStatus();
}

absl::StatusOr<absl::string_view> NodeSegments::Map(uint32_t number) const {
  absl::MutexLock lock(&mu_);
  const auto it = segments_.find(number);
  if (it == segments_.end()) {
    return DamageError(
        absl::StrCat("the tree has no segment ", number, " of nodes"));
  }
  VARVE_RETURN_IF_ERROR(MapLocked(it->second));
  return it->second.nodes();
}

absl::StatusOr<absl::string_view> NodeSegments::RecoverLocked(
    Mapped& segment) const {
  if (segment.recovered != nullptr) return *segment.recovered;
  const absl::string_view whole = TextOf(segment.whole);
  absl::StatusOr<std::string> nodes =
      RecoverNodes(whole, segment.segment.nodes_size);
  const std::string name =
      absl::StrCat("segment ", segment.segment.number, " of the tree");
  if (!nodes.ok()) return Annotate(nodes.status(), name);
  segment.recovered = std::make_unique<const std::string>(*std::move(nodes));
  damage_.Update(DamageError(absl::StrCat(
      name,
      " is damaged; its nodes were recovered from its parity, in memory")));
  return *segment.recovered;
}

absl::StatusOr<absl::string_view> NodeSegments::Recover(
    const NodePointer& pointer) const {
  absl::MutexLock lock(&mu_);
  const auto it = segments_.find(pointer.segment);
  if (it == segments_.end() || it->second.nodes().empty()) {
    return DamageError(
        absl::StrCat("the tree has no segment ", pointer.segment, " of nodes"));
  }
  VARVE_ASSIGN_OR_RETURN(const absl::string_view nodes,
                         RecoverLocked(it->second));
  return NodeIn(nodes, pointer);
}

void NodeSegments::NoteDamage(const absl::Status& damage) {
  if (damage.ok()) return;
  absl::MutexLock lock(&mu_);
  damage_.Update(damage);
}

absl::Status NodeSegments::TakeDamage() {
  absl::MutexLock lock(&mu_);
  return std::exchange(damage_, absl::OkStatus());
}

absl::StatusOr<absl::string_view> NodeSegments::Fetch(
    const NodePointer& pointer) const {
  absl::string_view nodes = FindMapped(pointer.segment);
  if (nodes.empty()) {
    VARVE_ASSIGN_OR_RETURN(nodes, Map(pointer.segment));
  }
  return NodeIn(nodes, pointer);
}

std::vector<Segment> NodeSegments::All() const {
  absl::ReaderMutexLock lock(&mu_);
  std::vector<Segment> all;
  all.reserve(segments_.size());
  for (const auto& [number, mapped] : segments_) {
    all.push_back(mapped.segment);
  }
  return all;
}

absl::Status NodeSegments::Detach() {
  absl::MutexLock lock(&mu_);
  for (auto& [number, mapped] : segments_) {
    // Retired segments are not read.
    if (mapped.segment.is_retired() || !mapped.nodes().empty()) continue;
    VARVE_RETURN_IF_ERROR(MapLocked(mapped));
  }
  store_.store(nullptr);
  return absl::OkStatus();
}

}  // namespace varve::fs
