#include "fs/tree/tree.h"

#include <algorithm>
#include <cstring>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

absl::Status NoInode(uint64_t ino) {
  return DamageError(
      absl::StrCat("a change names inode ", ino, ", which does not exist"));
}

InodeDetail& DetailOf(Inode& inode) {
  if (inode.detail == nullptr) inode.detail = std::make_unique<InodeDetail>();
  return *inode.detail;
}

}  // namespace

Tree::Tree() {
  Inode& root = *inodes_.Make(kRootIno);
  root.attributes.mode = S_IFDIR | 0755;
  root.link_count = 2;
  DetailOf(root);
}

Tree::~Tree() = default;

const std::string* Inode::FindXattr(absl::string_view name) const {
  if (detail == nullptr) return nullptr;
  const auto it = detail->xattrs.find(std::string(name));
  return it == detail->xattrs.end() ? nullptr : &it->second;
}

void Tree::MakeFirst(uint64_t directory, absl::string_view name) {
  Name* found = Find(directory)->directory().Find(name);
  found->MakeFirst(&found->inode->names);
}

void Tree::Clear() {
  auto on_make = std::move(on_make_);
  auto on_drop = std::move(on_drop_);
  this->~Tree();
  new (this) Tree();
  on_make_ = std::move(on_make);
  on_drop_ = std::move(on_drop);
}

void Tree::SetAccessTime(uint64_t ino, Timestamp time) {
  if (Inode* inode = FindMutable(ino)) inode->attributes.atime = time;
}

const Inode* Tree::Lookup(const Inode& directory,
                          absl::string_view name) const {
  const Name* found = directory.directory().Find(name);
  return found == nullptr ? nullptr : found->inode;
}

const Inode* Tree::Resolve(absl::string_view path) const {
  const Inode* inode = root();
  while (!path.empty()) {
    if (!inode->is_directory()) return nullptr;
    const size_t slash = path.find('/');
    inode = Lookup(*inode, path.substr(0, slash));
    if (inode == nullptr) return nullptr;
    path = slash == absl::string_view::npos ? "" : path.substr(slash + 1);
  }
  return inode;
}

std::string Tree::PathOf(const Name& name) {
  size_t size = name.size;
  for (const Name* up = name.parent->names; up; up = up->parent->names) {
    size += up->size + 1;
  }
  // Fill the path from its end.
  std::string path(size, '/');
  size_t end = size;
  for (const Name* n = &name; n != nullptr; n = n->parent->names) {
    end -= n->size;
    std::memcpy(&path[end], n->text().data(), n->size);
    if (end > 0) --end;  // the slash before it
  }
  return path;
}

std::string Tree::PathOf(const Inode& inode) {
  return inode.names == nullptr ? std::string() : PathOf(*inode.names);
}

std::string Tree::PathIn(const Inode& directory, absl::string_view name) {
  std::string path = PathOf(directory);
  if (!path.empty()) path += '/';
  path.append(name.data(), name.size());
  return path;
}

bool Tree::IsWithin(const Inode& inode, const Inode& directory) {
  for (const Inode* up = &inode;; up = up->parent()) {
    if (up == &directory) return true;
    if (up == up->parent()) return false;
  }
}

ExtentMap Tree::ContentOf(const Inode& inode) {
  if (inode.whole_entry == Inode::kNone) {
    return inode.detail == nullptr ? ExtentMap() : inode.detail->extents;
  }
  ExtentMap content;
  content.Overlay(inode.WholeExtent());
  return content;
}

void Tree::TakeLocations(Tree& other) {
  inodes_.ForEach([&other](Inode& inode) {
    Inode* const from = other.FindMutable(inode.ino);
    if (from == nullptr || inode.is_directory()) return;
    inode.whole_entry = from->whole_entry;
    inode.whole_entry_hash = from->whole_entry_hash;
    inode.whole_entry_crc32 = from->whole_entry_crc32;
    if (from->detail != nullptr && !from->detail->extents.empty()) {
      InodeDetail& detail = DetailOf(inode);
      detail.extents = std::move(from->detail->extents);
      detail.patched = from->detail->patched;
    } else if (inode.detail != nullptr) {
      inode.detail->extents.Clear();
      inode.detail->patched = 0;
      if (inode.detail->xattrs.empty()) inode.detail.reset();
    }
  });
  extent_count_ = other.extent_count_;
  may_have_clones_ = may_have_clones_ || other.may_have_clones_;
}

void Tree::SetLocations(Inode& inode, const std::vector<Extent>& extents) {
  inode.whole_entry = Inode::kNone;
  ExtentMap& map = DetailOf(inode).extents;
  map.Clear();
  for (const Extent& extent : extents) map.Overlay(extent);
}

void Tree::ForEach(const std::function<void(const Inode&)>& visit) const {
  std::vector<const Inode*> pending = {root()};
  absl::flat_hash_set<uint64_t> linked;  // inodes with several names, seen once
  while (!pending.empty()) {
    const Inode* inode = pending.back();
    pending.pop_back();
    visit(*inode);
    if (!inode->is_directory()) continue;
    const auto begin = static_cast<ptrdiff_t>(pending.size());
    inode->directory().ForEachAfter(0, [&](const Name& name) {
      const Inode* child = name.inode;
      if (child->is_directory() || child->link_count == 1 ||
          linked.insert(child->ino).second) {
        pending.push_back(child);
      }
      return true;
    });
    // Visit them in order, too: `pending` is popped from its end.
    std::reverse(pending.begin() + begin, pending.end());
  }
}

std::vector<std::string> Tree::CheckConsistency() const {
  std::vector<std::string> problems;
  inodes_.ForEach([&problems](const Inode& inode) {
    if (inode.names == nullptr && !inode.is_root()) {
      problems.push_back(absl::StrCat("inode ", inode.ino, " has no name"));
    }
  });
  std::sort(problems.begin(), problems.end());
  return problems;
}

absl::Status Tree::Apply(const Change& change, std::optional<Timestamp> time) {
  return std::visit([&](const auto& c) { return Do(c, time); }, change);
}

void Tree::CountContent(const Inode& inode, int sign) {
  if (inode.is_regular()) {
    content_bytes_ += static_cast<uint64_t>(sign) * inode.attributes.size;
  }
  const auto factor = static_cast<uint64_t>(sign);
  data_bytes_ += factor * inode.data_bytes();
  if (inode.whole_entry == Inode::kNone && inode.detail != nullptr) {
    extent_count_ += factor * inode.detail->extents.extents().size();
  }
}

void Tree::ExpandWholeEntry(Inode& inode) {
  if (inode.whole_entry == Inode::kNone) return;
  DetailOf(inode).extents.Overlay(inode.WholeExtent());
  inode.whole_entry = Inode::kNone;
}

absl::Status Tree::Do(const PutInode& change, std::optional<Timestamp>) {
  Inode* inode = FindMutable(change.ino);
  const uint32_t type = change.attributes.mode & S_IFMT;
  if (inode == nullptr) {
    Inode& made = *inodes_.Make(change.ino);
    made.attributes = change.attributes;
    if (S_ISDIR(type)) {
      made.link_count = 2;
      DetailOf(made);
    }
    CountContent(made, 1);
    if (on_make_) on_make_(made);
    return absl::OkStatus();
  }
  if ((inode->attributes.mode & S_IFMT) != type) {
    return DamageError(
        absl::StrCat("a change alters the type of inode ", change.ino));
  }
  CountContent(*inode, -1);
  if (change.attributes.size != inode->attributes.size) {
    ExpandWholeEntry(*inode);
    if (inode->detail != nullptr) {
      inode->detail->extents.Truncate(change.attributes.size);
    }
  }
  inode->attributes = change.attributes;
  CountContent(*inode, 1);
  return absl::OkStatus();
}

absl::Status Tree::Do(const DropInode& change, std::optional<Timestamp>) {
  Inode* const found = FindMutable(change.ino);
  if (found == nullptr) return NoInode(change.ino);
  Inode& inode = *found;
  if (inode.names != nullptr || inode.is_root() ||
      (inode.is_directory() && !inode.directory().empty())) {
    return DamageError(absl::StrCat("a change drops inode ", change.ino,
                                    ", which is still in use"));
  }
  CountContent(inode, -1);
  inode.link_count = 0;
  std::unique_ptr<Inode> dropped;
  if (on_drop_) dropped = std::make_unique<Inode>(std::move(inode));
  inodes_.Drop(&inode);
  if (on_drop_) on_drop_(std::move(dropped));
  return absl::OkStatus();
}

bool Tree::MayHold(const Inode& directory, const Inode& parent) {
  if (!defers_cycle_check_) return !IsWithin(parent, directory);
  is_cycle_check_due_ = true;
  return true;
}

absl::Status Tree::EndCycleCheck() {
  defers_cycle_check_ = false;
  if (!std::exchange(is_cycle_check_due_, false)) return absl::OkStatus();
  // The directories that were seen, and the one from which the walk upwards
  // started.
  absl::flat_hash_map<const Inode*, const Inode*> met;
  absl::Status status;
  inodes_.ForEach([&](const Inode& inode) {
    if (!inode.is_directory()) return;
    const Inode* up = &inode;
    while (met.emplace(up, &inode).second && up != up->parent()) {
      up = up->parent();
    }
    if (up != up->parent() && met[up] == &inode) {
      status =
          DamageError(absl::StrCat("directory ", up->ino, " lies in itself"));
    }
  });
  return status;
}

std::optional<uint64_t> Tree::TakeCookieFor(const PutName& change,
                                            uint64_t hash) {
  Dropped* const end = dropped_.data() + dropped_count_;
  const auto find = [&](const auto& is_it) {
    return std::find_if(dropped_.data(), end, [&](const Dropped& dropped) {
      return dropped.parent == change.parent && is_it(dropped);
    });
  };
  Dropped* found = find([hash](const Dropped& d) { return d.hash == hash; });
  if (found == end) {
    found = find([&](const Dropped& d) { return d.ino == change.ino; });
  }
  if (found == end) return std::nullopt;
  const uint64_t cookie = found->cookie;
  std::copy(found + 1, end, found);
  --dropped_count_;
  return cookie;
}

absl::Status Tree::Do(const PutName& change, std::optional<Timestamp> time) {
  Inode* parent = FindMutable(change.parent);
  Inode* inode = FindMutable(change.ino);
  if (parent == nullptr) return NoInode(change.parent);
  if (inode == nullptr) return NoInode(change.ino);
  if (!parent->is_directory()) {
    return DamageError(absl::StrCat("a change puts a name into inode ",
                                    change.parent, ", which is no directory"));
  }
  const uint64_t hash = Directory::Hash(change.name);
  if (parent->directory().Find(change.name, hash) != nullptr) {
    return DamageError(
        absl::StrCat("a change puts a name that is taken into "
                     "directory ",
                     change.parent));
  }
  if (inode->is_directory()) {
    // A directory has only one name. A non-empty one must not come to lie in
    // itself.
    if (inode->is_root() || inode->names != nullptr || inode == parent ||
        (!inode->directory().empty() && !MayHold(*inode, *parent))) {
      return DamageError(absl::StrCat("a change makes directory ", change.ino,
                                      " lie in itself or in two places"));
    }
    ++parent->link_count;
  } else {
    ++inode->link_count;
  }
  Name* name = name_memory_.New(parent, inode, change.name);
  name->LinkTo(&inode->names);
  const std::optional<uint64_t> cookie = TakeCookieFor(change, hash);
  if (cookie.has_value()) {
    parent->detail->names.InsertAt(*cookie, name, hash);
  } else {
    parent->detail->names.Insert(name, hash);
  }
  ++name_count_;
  if (time.has_value()) {
    parent->attributes.mtime = parent->attributes.ctime = *time;
    inode->attributes.ctime = *time;
  }
  return absl::OkStatus();
}

absl::Status Tree::Do(const DropName& change, std::optional<Timestamp> time) {
  Inode* parent = FindMutable(change.parent);
  if (parent == nullptr || !parent->is_directory()) {
    return NoInode(change.parent);
  }
  const uint64_t hash = Directory::Hash(change.name);
  Name* name = parent->directory().Find(change.name, hash);
  if (name == nullptr) {
    return DamageError(
        absl::StrCat("a change drops a name that is not in "
                     "directory ",
                     change.parent));
  }
  Inode* inode = name->inode;
  name->UnlinkFrom(&inode->names);
  if (inode->is_directory()) {
    --parent->link_count;
  } else {
    --inode->link_count;
  }
  if (dropped_count_ == dropped_.size()) {
    std::copy(dropped_.begin() + 1, dropped_.end(), dropped_.begin());
    --dropped_count_;
  }
  dropped_[dropped_count_++] = {.parent = parent->ino,
                                .ino = inode->ino,
                                .hash = hash,
                                .cookie = name->cookie};
  parent->detail->names.Remove(name);
  --name_count_;
  if (time.has_value()) {
    parent->attributes.mtime = parent->attributes.ctime = *time;
    inode->attributes.ctime = *time;
  }
  return absl::OkStatus();
}

absl::Status Tree::Do(const SetContent& change, std::optional<Timestamp> time) {
  Inode* inode = FindMutable(change.ino);
  if (inode == nullptr || inode->is_directory()) return NoInode(change.ino);
  CountContent(*inode, -1);
  ReplaceContent(change, *inode, /*from_checkpoint=*/!time.has_value());
  CountContent(*inode, 1);
  return absl::OkStatus();
}

void Tree::ReplaceContent(const SetContent& change, Inode& inode,
                          bool from_checkpoint) {
  inode.whole_entry = Inode::kNone;
  inode.verified.store(false, std::memory_order_relaxed);
  if (inode.detail != nullptr) {
    inode.detail->extents.Clear();
    inode.detail->patched = 0;
  }
  if (change.extents.size() == 1 && change.extents[0].owns_entry() &&
      change.extents[0].file_offset == 0 &&
      change.extents[0].length == inode.attributes.size) {
    inode.whole_entry = change.extents[0].store_offset;
    inode.whole_entry_hash = change.extents[0].key_hash;
    inode.whole_entry_crc32 = change.extents[0].entry_crc32;
    if (inode.detail != nullptr && inode.detail->xattrs.empty()) {
      inode.detail.reset();
    }
    return;
  }
  uint64_t total = 0;
  uint64_t largest = 0;
  for (const Extent& extent : change.extents) {
    DetailOf(inode).extents.Overlay(extent);
    if (extent.is_hole()) continue;
    if (extent.shared) {
      may_have_clones_ = true;
      continue;  // does not count as a patch, either
    }
    total += extent.length;
    largest = std::max(largest, extent.length);
  }
  // A checkpoint does not say how a file came to have several extents. All but
  // the largest count as patches.
  if (from_checkpoint && total > 0) {
    DetailOf(inode).patched = total - largest;
  }
}

absl::Status Tree::Do(const PatchContent& change, std::optional<Timestamp>) {
  Inode* inode = FindMutable(change.ino);
  if (inode == nullptr || inode->is_directory()) return NoInode(change.ino);
  CountContent(*inode, -1);
  ExpandWholeEntry(*inode);
  InodeDetail& detail = DetailOf(*inode);
  for (const Extent& extent : change.extents) {
    detail.extents.Overlay(extent);
    if (extent.is_hole()) continue;
    if (extent.shared) {
      may_have_clones_ = true;
    } else {
      detail.patched += extent.length;
    }
  }
  CountContent(*inode, 1);
  return absl::OkStatus();
}

absl::Status Tree::Do(const SetXattr& change, std::optional<Timestamp>) {
  Inode* inode = FindMutable(change.ino);
  if (inode == nullptr) return NoInode(change.ino);
  DetailOf(*inode).xattrs.insert_or_assign(
      std::string(change.name.data(), change.name.size()),
      std::string(change.value.data(), change.value.size()));
  return absl::OkStatus();
}

absl::Status Tree::Do(const DropXattr& change, std::optional<Timestamp>) {
  Inode* inode = FindMutable(change.ino);
  if (inode == nullptr) return NoInode(change.ino);
  if (inode->detail == nullptr ||
      inode->detail->xattrs.erase(
          std::string(change.name.data(), change.name.size())) == 0) {
    return DamageError(absl::StrCat("a change drops an attribute that inode ",
                                    change.ino, " does not have"));
  }
  return absl::OkStatus();
}

absl::Status Tree::Do(const KeepUnfinished& change, std::optional<Timestamp>) {
  unfinished_.Add(change.begin, change.end);
  return absl::OkStatus();
}

}  // namespace varve::fs
