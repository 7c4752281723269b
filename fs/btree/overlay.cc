#include "fs/btree/overlay.h"

#include <iterator>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "engine/base/status.h"

namespace varve::fs {
namespace {

// The memory of an item besides its bytes: two strings, unused room in the
// map's nodes, and malloc's own data.
constexpr size_t kItemOverhead = 128;

}  // namespace

void Overlay::Set(std::string key, Change change) {
  const size_t key_size = key.size();
  const auto [it, is_added] = items_.try_emplace(std::move(key));
  Change& there = it->second;
  if (is_added) {
    bytes_ += key_size;
    there.is_new = change.is_new;
  } else if (there.value.has_value()) {
    bytes_ -= there.value->size();
  }
  if (there.is_new && !change.value.has_value()) {
    bytes_ -= key_size;
    items_.erase(it);
    return;
  }
  // Keep is_new: the older change knows whether a layer below has the item.
  there.value = std::move(change.value);
  bytes_ += there.value.has_value() ? there.value->size() : 0;
}

void Overlay::Put(absl::string_view key, absl::string_view value) {
  Set(std::string(key), {.value = std::string(value)});
}

void Overlay::PutNew(absl::string_view key, absl::string_view value) {
  Set(std::string(key), {.value = std::string(value), .is_new = true});
}

void Overlay::Erase(absl::string_view key) { Set(std::string(key), {}); }

void Overlay::Absorb(Overlay&& newer) {
  if (items_.empty()) {
    *this = std::exchange(newer, Overlay());
    return;
  }
  // Keys of a map cannot be moved out of it.
  for (auto& [key, change] : newer.items_) Set(key, std::move(change));
  newer = Overlay();
}

size_t Overlay::memory() const {
  return bytes_ + items_.size() * kItemOverhead;
}

absl::StatusOr<std::optional<absl::string_view>> LayeredTree::Get(
    absl::string_view key) const {
  for (const Overlay* overlay : overlays_) {
    const auto it = overlay->items().find(key);
    if (it == overlay->items().end()) continue;
    std::optional<absl::string_view> value;
    if (it->second.value.has_value()) value = *it->second.value;
    return value;
  }
  return stored_->Get(key);
}

absl::StatusOr<std::optional<LayeredTree::Found>> LayeredTree::FindAtOrBefore(
    absl::string_view key, absl::string_view low) const {
  std::string limit(key);
  bool includes_limit = true;
  while (true) {
    // Find the largest key of all layers. Of equal keys, that of the newest
    // layer counts.
    std::optional<std::string> found;
    std::optional<absl::string_view> value;
    for (const Overlay* overlay : overlays_) {
      auto it = includes_limit ? overlay->items().upper_bound(limit)
                               : overlay->items().lower_bound(limit);
      if (it == overlay->items().begin()) continue;
      --it;
      if (it->first < low || (found.has_value() && it->first <= *found)) {
        continue;
      }
      found = it->first;
      value.reset();
      if (it->second.value.has_value()) value = *it->second.value;
    }
    TreeCursor cursor(stored_);
    VARVE_RETURN_IF_ERROR(cursor.SeekAtOrBefore(limit));
    if (!includes_limit && cursor.valid() && cursor.key() == limit) {
      // An overlay has erased the stored item of this key, so look before it.
      VARVE_RETURN_IF_ERROR(cursor.Previous());
    }
    if (cursor.valid() && cursor.key() >= low &&
        (!found.has_value() || cursor.key() > *found)) {
      found = std::string(cursor.key());
      value = cursor.value();
    }
    if (!found.has_value()) return std::optional<Found>();
    if (value.has_value()) {
      return std::optional<Found>({*std::move(found), *value});
    }
    limit = *std::move(found);
    includes_limit = false;
  }
}

absl::Status LayeredCursor::Seek(absl::string_view key) {
  at_.clear();
  for (const Overlay* overlay : tree_->overlays_) {
    at_.push_back(overlay->items().lower_bound(key));
  }
  VARVE_RETURN_IF_ERROR(stored_.Seek(key));
  return Settle();
}

absl::Status LayeredCursor::PassOver(absl::string_view key) {
  for (size_t i = 0; i < at_.size(); ++i) {
    if (at_[i] != tree_->overlays_[i]->items().end() && at_[i]->first == key) {
      ++at_[i];
    }
  }
  if (stored_.valid() && stored_.key() == key) return stored_.Next();
  return absl::OkStatus();
}

absl::Status LayeredCursor::Settle() {
  while (true) {
    std::optional<absl::string_view> first;
    std::optional<absl::string_view> value;
    for (size_t i = 0; i < at_.size(); ++i) {
      if (at_[i] == tree_->overlays_[i]->items().end()) continue;
      const auto& [key, change] = *at_[i];
      if (first.has_value() && *first <= key) continue;
      first = key;
      value.reset();
      if (change.value.has_value()) value = *change.value;
    }
    if (stored_.valid() && (!first.has_value() || stored_.key() < *first)) {
      first = stored_.key();
      value = stored_.value();
    }
    const bool is_end =
        !first.has_value() || !absl::StartsWith(*first, prefix_);
    valid_ = !is_end && value.has_value();
    if (is_end) return absl::OkStatus();
    key_.assign(first->data(), first->size());
    if (valid_) {
      value_ = *value;
      return absl::OkStatus();
    }
    VARVE_RETURN_IF_ERROR(PassOver(key_));
  }
}

absl::Status LayeredCursor::Next() {
  VARVE_RETURN_IF_ERROR(PassOver(key_));
  return Settle();
}

}  // namespace varve::fs
