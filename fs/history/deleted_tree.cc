#include "fs/history/deleted_tree.h"

#include <sys/stat.h>
#include <time.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/status.h"
#include "engine/entry/entry.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

// The seed is for hashes of names, and the names are not among the items.
constexpr uint64_t kNoSeed = 0;
// What a name takes beside its items: itself, and its places in the maps.
constexpr size_t kNameBytes = 192;

// The time, a few nanoseconds off.
Timestamp Shifted(Timestamp time, uint32_t nanoseconds) {
  struct timespec shifted = time.ToTimespec();
  shifted.tv_nsec = (shifted.tv_nsec + nanoseconds) % 1'000'000'000;
  return Timestamp::From(shifted);
}

// Whether `newest` lacks the name, or one below it, that is held.
template <typename Name>
absl::StatusOr<bool> IsDeleted(const Name& top, absl::string_view path,
                               const TreeReader& newest) {
  VARVE_ASSIGN_OR_RETURN(const auto inode, newest.Resolve(path));
  if (!inode.has_value()) return top.is_held;
  // What was in a directory is gone if there is a file now.
  const auto has_lost_all = [](const Name& name) {
    return name.is_held && !name.children.empty();
  };
  if (!inode->is_directory()) return has_lost_all(top);
  std::vector<std::pair<const Name*, uint64_t>> there = {{&top, inode->ino}};
  while (!there.empty()) {
    const auto [directory, ino] = there.back();
    there.pop_back();
    for (const auto& [id, child] : directory->children) {
      VARVE_ASSIGN_OR_RETURN(const auto item,
                             newest.FindName(ino, child->text));
      if (!item.has_value()) {
        if (child->is_held) return true;
      } else if (S_ISDIR(item->mode_type())) {
        there.emplace_back(child, item->ino);
      } else if (has_lost_all(*child)) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

DeletedTree::DeletedTree(size_t most_bytes)
    : most_bytes_(most_bytes),
      nothing_(nullptr, std::nullopt),
      layers_({&items_}, &nothing_),
      reader_(&layers_, kNoSeed) {
  auto root = std::make_unique<Name>();
  root_ = root.get();
  root_->id = next_id_++;
  names_.emplace(root_->id, std::move(root));
}

size_t DeletedTree::memory() const {
  return items_.memory() + names_.size() * kNameBytes;
}

DeletedTree::Name* DeletedTree::FindName(const Name& parent,
                                         absl::string_view text) const {
  const auto it = places_.find(Place{&parent, text});
  return it == places_.end() ? nullptr : *it;
}

DeletedTree::Name& DeletedTree::MakeName(Name& parent, absl::string_view text) {
  if (Name* const found = FindName(parent, text)) return *found;
  auto made = std::make_unique<Name>();
  Name& name = *made;
  name.id = next_id_++;
  name.parent = &parent;
  name.text = std::string(text);
  parent.children.emplace(name.id, &name);
  places_.insert(&name);
  names_.emplace(name.id, std::move(made));
  return name;
}

std::string DeletedTree::PathOf(const Name& name) {
  std::vector<absl::string_view> parts;
  for (const Name* at = &name; at->parent != nullptr; at = at->parent) {
    parts.push_back(at->text);
  }
  std::string path;
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    absl::StrAppend(&path, path.empty() ? "" : "/", *part);
  }
  return path;
}

void DeletedTree::GiveNumber(Name& name) {
  auto node = names_.extract(name.id);
  name.parent->children.erase(name.id);
  name.id = next_id_++;
  node.key() = name.id;
  names_.insert(std::move(node));
  name.parent->children.emplace(name.id, &name);
}

void DeletedTree::LetGo(Name& name) {
  if (!name.is_held) return;
  name.is_held = false;
  std::vector<std::string> keys;
  const Overlay::Map& items = items_.items();
  const auto end = items.lower_bound(InodeKey(name.id + 1));
  for (auto it = items.lower_bound(InodeKey(name.id)); it != end; ++it) {
    keys.push_back(it->first);
  }
  for (const std::string& key : keys) items_.Erase(key);
}

void DeletedTree::Prune(Name* name) {
  while (name != root_ && !name->is_held && name->children.empty()) {
    Name* const parent = name->parent;
    parent->children.erase(name->id);
    places_.erase(name);
    names_.erase(name->id);
    name = parent;
  }
}

void DeletedTree::DropBelow(Name& top, uint64_t before) {
  std::vector<Name*> below = {&top};
  for (size_t i = 0; i < below.size(); ++i) {
    for (const auto& [id, child] : below[i]->children) below.push_back(child);
  }
  // From the bottom up, so that a directory comes when it has lost its names.
  for (size_t i = below.size(); i-- > 1;) {
    Name* const one = below[i];
    if (one->moment < before) LetGo(*one);
    if (one->is_held || !one->children.empty()) continue;
    one->parent->children.erase(one->id);
    places_.erase(one);
    names_.erase(one->id);
  }
}

void DeletedTree::Clear(Name& name) { DropBelow(name, UINT64_MAX); }

void DeletedTree::Purge(const PurgedPath& purged) {
  Name* name = root_;
  for (const absl::string_view part : absl::StrSplit(purged.path, '/')) {
    name = FindName(*name, part);
    if (name == nullptr) return;
  }
  DropBelow(*name, purged.before);
  if (name->moment < purged.before) LetGo(*name);
  Prune(name);
}

absl::Status DeletedTree::Hold(Name& name, const TreeReader& tree,
                               const InodeItem& inode, uint64_t moment) {
  LetGo(name);
  const bool was_this = name.moment == moment;
  const bool stays_directory = name.is_directory && inode.is_directory();
  if (!inode.is_directory()) Clear(name);
  // The kernel keeps what it has read of a file under its number.
  if (!stays_directory &&
      (!was_this || inode.is_directory() || name.is_directory)) {
    GiveNumber(name);
  }
  if (!was_this) name.dropped = 0;
  name.moment = moment;
  name.is_directory = inode.is_directory();
  InodeItem item = inode;
  item.first_name = {};
  item.links = 0;
  item.name_count = 0;
  item.next_place = NamePlace::kFirst;
  Overlay held;
  held.PutNew(InodeKey(name.id), EncodeInode(item));
  if (item.extent_count > 0) {
    VARVE_RETURN_IF_ERROR(
        tree.ForEachExtent(inode, 0, kMaxFileSize, [&](const Extent& extent) {
          held.PutNew(ExtentKey(name.id, extent.file_offset),
                      EncodeExtentItem(extent));
          return true;
        }));
  }
  VARVE_ASSIGN_OR_RETURN(const auto xattrs, tree.AllXattrs(inode.ino));
  for (const auto& [text, value] : xattrs) {
    PutXattrItems(name.id, text, value, &held);
  }
  items_.Absorb(std::move(held));
  name.is_held = true;
  return absl::OkStatus();
}

absl::Status DeletedTree::Add(absl::string_view path, const TreeReader& tree,
                              const InodeItem& inode, uint64_t moment,
                              bool deep) {
  Name* name = root_;
  for (const absl::string_view part :
       absl::StrSplit(path, '/', absl::SkipEmpty())) {
    // A directory that was there later than when it was deleted exists again.
    // From now on its present owner says who may look into it.
    if (name->is_held && name->moment < moment) {
      LetGo(*name);
      if (!name->is_directory) GiveNumber(*name);
      name->is_directory = true;
      name->moment = 0;
    }
    name = &MakeName(*name, part);
  }
  if (name == root_) return absl::OkStatus();
  const absl::Status held = Hold(*name, tree, inode, moment);
  if (!held.ok()) {
    Prune(name);
    return held;
  }
  if (!deep || !inode.is_directory() || inode.name_count == 0) {
    return absl::OkStatus();
  }
  return AddBelow(*name, tree, inode.ino, moment);
}

absl::Status DeletedTree::AddBelow(Name& top, const TreeReader& tree,
                                   uint64_t ino, uint64_t moment) {
  // Trees may be deep, so this does not recurse.
  std::vector<std::pair<Name*, uint64_t>> directories = {{&top, ino}};
  absl::flat_hash_set<uint64_t> seen;
  while (!directories.empty()) {
    const auto [directory, of] = directories.back();
    directories.pop_back();
    if (!seen.insert(of).second) {
      return DamageError(absl::StrCat("directory ", of, " is in two places"));
    }
    absl::Status status;
    VARVE_RETURN_IF_ERROR(tree.ForEachNameAfter(
        {.directory = of}, [&, to = directory](const NameItem& item) {
          const absl::StatusOr<InodeItem> inode = tree.GetInode(item.ino);
          status = inode.status();
          if (!status.ok()) return false;
          Name& name = MakeName(*to, item.text);
          status = Hold(name, tree, *inode, moment);
          if (inode->is_directory()) directories.emplace_back(&name, item.ino);
          return status.ok();
        }));
    VARVE_RETURN_IF_ERROR(status);
    // Trim() may not drop anything meanwhile.
    if (memory() > 2 * most_bytes_) break;
  }
  return absl::OkStatus();
}

absl::Status DeletedTree::Remove(absl::string_view path, const TreeReader& tree,
                                 const InodeItem& inode) {
  Name* top = root_;
  for (const absl::string_view part :
       absl::StrSplit(path, '/', absl::SkipEmpty())) {
    top = FindName(*top, part);
    if (top == nullptr) return absl::OkStatus();
  }
  if (top == root_) return absl::OkStatus();
  struct Present {
    Name* name;
    InodeItem inode;
  };
  std::vector<Present> present = {{top, inode}};
  for (size_t i = 0; i < present.size(); ++i) {
    Name& name = *present[i].name;
    const InodeItem& found = present[i].inode;
    const uint64_t ino = found.ino;
    if (!found.is_directory()) {
      // Names that were in a directory are still gone.
      if (!name.is_directory || name.children.empty()) LetGo(name);
      continue;
    }
    LetGo(name);
    for (const auto& [id, child] : name.children) {
      VARVE_ASSIGN_OR_RETURN(const auto item, tree.FindName(ino, child->text));
      if (!item.has_value()) continue;
      VARVE_ASSIGN_OR_RETURN(InodeItem below, tree.GetInode(item->ino));
      present.push_back({child, std::move(below)});
    }
  }
  // Those below come behind their directories.
  for (size_t i = present.size(); i-- > 1;) {
    Name* const name = present[i].name;
    if (name->is_held || !name->children.empty()) continue;
    name->parent->children.erase(name->id);
    places_.erase(name);
    names_.erase(name->id);
  }
  Prune(top);
  return absl::OkStatus();
}

void DeletedTree::Trim() {
  if (memory() <= most_bytes_) return;
  std::vector<Name*> held;
  for (const auto& [id, name] : names_) {
    if (name->is_held) held.push_back(name.get());
  }
  // Of one moment, what lies in a directory comes before it, as it was made
  // later.
  std::sort(held.begin(), held.end(), [](const Name* a, const Name* b) {
    return a->moment != b->moment ? a->moment < b->moment : a->id > b->id;
  });
  for (Name* const name : held) {
    // So that not each new name takes a walk over all others.
    if (memory() <= most_bytes_ - most_bytes_ / 8) break;
    LetGo(*name);
    ++name->parent->dropped;
    Prune(name);
  }
}

void DeletedTree::BeginAnew() {
  items_ = Overlay();
  for (const auto& [id, name] : names_) name->is_held = false;
}

void DeletedTree::EndAnew() {
  std::vector<uint64_t> all;
  all.reserve(names_.size());
  for (const auto& [id, name] : names_) all.push_back(id);
  for (const uint64_t id : all) {
    const auto it = names_.find(id);
    if (it == names_.end()) continue;
    Name* const name = it->second.get();
    if (name == root_ || name->is_held || !name->children.empty()) continue;
    ++name->parent->dropped;
    Prune(name);
  }
}

absl::StatusOr<std::optional<DeletedTree::Found>> DeletedTree::Show(
    const Name& name, const TreeReader& newest) const {
  const std::string path = PathOf(name);
  VARVE_ASSIGN_OR_RETURN(const auto present, newest.Resolve(path));
  Found found = {.id = name.id, .name = name.text};
  if (name.is_held) {
    found.tree = &reader_;
    VARVE_ASSIGN_OR_RETURN(found.inode, reader_.GetInode(name.id));
  } else {
    // What is neither held nor there was dropped by Trim(). Who might enter it
    // is not known.
    if (!present.has_value() || !present->is_directory()) {
      return std::optional<Found>();
    }
    found.tree = &newest;
    found.inode = *present;
  }
  // A listing that the kernel has is read again if the time differs. That of a
  // directory that exists changes all the time.
  Timestamp& mtime = found.inode.attributes.mtime;
  if (name.is_directory && present.has_value()) {
    mtime = Timestamp::Now();
  } else if (name.dropped > 0) {
    mtime = Shifted(mtime, name.dropped);
  }
  found.generation = static_cast<uint32_t>(
      HashKey(absl::StrCat(name.is_directory ? 0 : name.moment, "/", path)));
  return std::optional(std::move(found));
}

absl::StatusOr<std::optional<DeletedTree::Found>> DeletedTree::Find(
    uint64_t id, const TreeReader& newest) const {
  const auto it = names_.find(id);
  if (it == names_.end()) return std::optional<Found>();
  return Show(*it->second, newest);
}

absl::StatusOr<std::optional<DeletedTree::Found>> DeletedTree::FindIn(
    uint64_t directory, absl::string_view name,
    const TreeReader& newest) const {
  const auto it = names_.find(directory);
  const Name* const found =
      it == names_.end() ? nullptr : FindName(*it->second, name);
  if (found == nullptr) return std::optional<Found>();
  return Show(*found, newest);
}

absl::Status DeletedTree::ForEachIn(
    uint64_t directory, uint64_t after, const TreeReader& newest,
    absl::FunctionRef<bool(const Found&)> visit) const {
  const auto it = names_.find(directory);
  if (it == names_.end()) return absl::OkStatus();
  const auto& children = it->second->children;
  for (auto at = children.upper_bound(after); at != children.end(); ++at) {
    const Name& name = *at->second;
    VARVE_ASSIGN_OR_RETURN(const bool is_deleted,
                           IsDeleted(name, PathOf(name), newest));
    if (!is_deleted) continue;
    VARVE_ASSIGN_OR_RETURN(const auto found, Show(name, newest));
    if (found.has_value() && !visit(*found)) break;
  }
  return absl::OkStatus();
}

uint64_t DeletedTree::ParentOf(uint64_t id) const {
  const auto it = names_.find(id);
  if (it == names_.end() || it->second->parent == nullptr) return id;
  return it->second->parent->id;
}

}  // namespace varve::fs
