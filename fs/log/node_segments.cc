#include "fs/log/node_segments.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

absl::string_view TextOf(const Store::PinnedBytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.bytes.data()),
          bytes.bytes.size()};
}

}  // namespace

void NodeSegments::Add(const Segment& segment) {
  absl::MutexLock lock(&mu_);
  segments_[segment.number].segment = segment;
}

void NodeSegments::Remove(uint32_t number) {
  absl::MutexLock lock(&mu_);
  segments_.erase(number);
}

absl::string_view NodeSegments::FindMapped(uint32_t number) const {
  absl::ReaderMutexLock lock(&mu_);
  const auto it = segments_.find(number);
  return it == segments_.end() ? absl::string_view() : TextOf(it->second.nodes);
}

absl::StatusOr<absl::string_view> NodeSegments::Map(uint32_t number) const {
  absl::MutexLock lock(&mu_);
  const auto it = segments_.find(number);
  if (it == segments_.end()) {
    return DamageError(
        absl::StrCat("the tree has no segment ", number, " of nodes"));
  }
  absl::StatusOr<Store::PinnedBytes> nodes = store_->View(
      it->second.segment.nodes_offset, it->second.segment.nodes_size);
  if (!nodes.ok()) {
    return DamageError(absl::StrCat(
        "segment ", number, " of the tree: ", nodes.status().message()));
  }
  it->second.nodes = *std::move(nodes);
  return TextOf(it->second.nodes);
}

absl::StatusOr<absl::string_view> NodeSegments::Fetch(
    const NodePointer& pointer) const {
  absl::string_view nodes = FindMapped(pointer.segment);
  if (nodes.empty()) {
    VARVE_ASSIGN_OR_RETURN(nodes, Map(pointer.segment));
  }
  if (pointer.offset > nodes.size() ||
      pointer.size > nodes.size() - pointer.offset) {
    return DamageError(
        absl::StrCat(DescribeNode(pointer), " lies behind the segment's end"));
  }
  return nodes.substr(pointer.offset, pointer.size);
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

void NodeSegments::SetStore(const Store* store) {
  absl::MutexLock lock(&mu_);
  store_ = store;
  for (auto& [number, mapped] : segments_) mapped.nodes = {};
}

}  // namespace varve::fs
