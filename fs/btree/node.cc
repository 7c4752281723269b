#include "fs/btree/node.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "fs/base/error.h"
#include "fs/format/wire.h"

namespace varve::fs {
namespace {

absl::Status Malformed(absl::string_view what) {
  return DamageError(absl::StrCat("not a node of the tree: ", what));
}

}  // namespace

size_t CommonPrefix(absl::string_view a, absl::string_view b) {
  const size_t limit = std::min(a.size(), b.size());
  size_t size = 0;
  while (size < limit && a[size] == b[size]) ++size;
  return size;
}

std::string DescribeNode(const NodePointer& pointer) {
  return absl::StrCat("node ", pointer.offset, " of segment ", pointer.segment,
                      " of the tree");
}

void EncodePointer(const NodePointer& pointer, std::string* out) {
  WireWriter writer(out);
  writer.Varint(pointer.segment);
  writer.Varint(pointer.offset);
  writer.Varint(pointer.size);
  writer.U64(pointer.checksum);
}

absl::StatusOr<NodePointer> DecodePointer(absl::string_view bytes) {
  WireReader reader(bytes);
  NodePointer pointer;
  pointer.segment = reader.Varint32();
  pointer.offset = reader.Varint32();
  pointer.size = reader.Varint32();
  pointer.checksum = reader.U64();
  if (!reader.ok() || !reader.at_end()) {
    return Malformed("a malformed pointer");
  }
  return pointer;
}

uint8_t NodeView::U8(size_t at) const {
  return at < bytes_.size() ? static_cast<uint8_t>(bytes_[at]) : 0;
}

uint16_t NodeView::U16(size_t at) const {
  uint16_t value = 0;
  if (at + sizeof(value) <= bytes_.size()) {
    std::memcpy(&value, bytes_.data() + at, sizeof(value));
  }
  return value;
}

absl::string_view NodeView::Slice(size_t at, size_t size) const {
  return at < bytes_.size() ? bytes_.substr(at, size) : absl::string_view();
}

absl::string_view NodeView::rest(size_t index) const {
  const size_t item = U16(slots() + 2 * index);
  return Slice(item + kItemHeaderSize, U16(item) & ~kErased);
}

std::string NodeView::key(size_t index) const {
  return absl::StrCat(prefix(), rest(index));
}

void NodeView::GetKey(size_t index, std::string* key) const {
  key->assign(prefix().data(), prefix().size());
  key->append(rest(index).data(), rest(index).size());
}

absl::string_view NodeView::value(size_t index) const {
  const size_t item = U16(slots() + 2 * index);
  return Slice(item + kItemHeaderSize + (U16(item) & ~kErased), U16(item + 2));
}

bool NodeView::is_erased(size_t index) const {
  return (U16(U16(slots() + 2 * index)) & kErased) != 0;
}

int NodeView::Compare(size_t index, absl::string_view key) const {
  const absl::string_view front = prefix();
  const int order = front.compare(key.substr(0, front.size()));
  // If `key` ends within the prefix, the comparison above was below already.
  return order != 0 ? order : rest(index).compare(key.substr(front.size()));
}

size_t NodeView::LowerBound(absl::string_view key) const {
  const absl::string_view front = prefix();
  const int order = front.compare(key.substr(0, front.size()));
  if (order != 0) return order > 0 ? 0 : count();
  const absl::string_view wanted = key.substr(front.size());
  size_t low = 0;
  size_t high = count();
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (rest(middle) < wanted) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

absl::Status NodeView::CheckItem(size_t index, size_t begin,
                                 size_t* end) const {
  if (U16(slots() + 2 * index) != begin) return Malformed("a slot");
  if (begin + kItemHeaderSize > bytes_.size()) return Malformed("its end");
  const size_t key_size = prefix().size() + rest(index).size();
  const size_t value_size = U16(begin + 2);
  const size_t rest_size = U16(begin) & ~kErased;
  *end = begin + kItemHeaderSize + rest_size + value_size;
  if (*end > bytes_.size()) return Malformed("an item's size");
  if (key_size > kMaxKeySize || value_size > kMaxValueSize) {
    return Malformed("an item beyond the limits");
  }
  if (is_erased(index) && (!is_delta() || value_size != 0)) {
    return Malformed("an erased item");
  }
  if (index > 0 && !(rest(index - 1) < rest(index))) {
    return Malformed("the order of its keys");
  }
  return absl::OkStatus();
}

absl::Status NodeView::Check() const {
  if (bytes_.size() < kHeaderSize || bytes_.size() > UINT16_MAX) {
    return Malformed("its size");
  }
  if (level() > kMaxLevel) return Malformed("its level");
  if (U8(1) > kDelta) return Malformed("unknown flags");
  if (is_delta() != (U16(6) != 0) || (is_delta() && level() != 0)) {
    return Malformed("its base");
  }
  if (count() == 0) return Malformed("no items");
  size_t end = slots() + 2 * count();
  if (end > bytes_.size()) return Malformed("the number of its items");
  for (size_t i = 0; i < count(); ++i) {
    const absl::Status status = CheckItem(i, end, &end);
    if (!status.ok()) return status;
  }
  if (end != bytes_.size()) return Malformed("bytes behind its items");
  if (CommonPrefix(rest(0), rest(count() - 1)) != 0) {
    return Malformed("its prefix");
  }
  return absl::OkStatus();
}

void NodeBuilder::Append(Item item) {
  item_bytes_ += item.key.size() + item.value.size();
  items_.push_back(std::move(item));
}

void NodeBuilder::Add(absl::string_view key, absl::string_view value) {
  Append({std::string(key), std::string(value)});
}

void NodeBuilder::AddErased(absl::string_view key) {
  Append({std::string(key), std::string(), true});
}

size_t NodeBuilder::size() const {
  if (items_.empty()) return NodeView::kHeaderSize;
  const size_t prefix = CommonPrefix(items_.front().key, items_.back().key);
  return NodeView::kHeaderSize + prefix + item_bytes_ +
         items_.size() * (NodeView::kItemHeaderSize + 2 - prefix);
}

std::string NodeBuilder::Encode(size_t count, int level,
                                absl::string_view base) const {
  const size_t prefix = CommonPrefix(items_[0].key, items_[count - 1].key);
  std::string node;
  WireWriter writer(&node);
  writer.U8(static_cast<uint8_t>(level));
  writer.U8(base.empty() ? 0 : NodeView::kDelta);
  writer.U16(static_cast<uint16_t>(count));
  writer.U16(static_cast<uint16_t>(prefix));
  writer.U16(static_cast<uint16_t>(base.size()));
  writer.Bytes(base);
  writer.Bytes(absl::string_view(items_[0].key).substr(0, prefix));
  size_t offset = node.size() + 2 * count;
  for (size_t i = 0; i < count; ++i) {
    writer.U16(static_cast<uint16_t>(offset));
    offset += NodeView::kItemHeaderSize + items_[i].key.size() - prefix +
              items_[i].value.size();
  }
  for (size_t i = 0; i < count; ++i) {
    const Item& item = items_[i];
    const auto rest_size = static_cast<uint16_t>(item.key.size() - prefix);
    writer.U16(item.is_erased ? rest_size | NodeView::kErased : rest_size);
    writer.U16(static_cast<uint16_t>(item.value.size()));
    writer.Bytes(absl::string_view(item.key).substr(prefix));
    writer.Bytes(item.value);
  }
  return node;
}

std::string NodeBuilder::Build(int level, absl::string_view base) {
  std::string node = Encode(items_.size(), level, base);
  items_.clear();
  item_bytes_ = 0;
  return node;
}

std::string NodeBuilder::BuildFirstHalf(int level) {
  size_t count = 0;
  size_t bytes = 0;
  while (count + 1 < items_.size() && (count == 0 || bytes < item_bytes_ / 2)) {
    bytes += items_[count].key.size() + items_[count].value.size();
    ++count;
  }
  std::string node = Encode(count, level, {});
  items_.erase(items_.begin(), items_.begin() + static_cast<ptrdiff_t>(count));
  item_bytes_ -= bytes;
  return node;
}

}  // namespace varve::fs
