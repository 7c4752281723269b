#include "tools/bench/floor_tree.h"

#include <errno.h>
#include <linux/fs.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace varve::bench {
namespace {

constexpr size_t kChunk = size_t{1} << 20;
constexpr double kForever = 10.0 * 365 * 86400;

struct timespec Now() {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return now;
}

const char* Zeros() {
  static const std::array<char, kChunk> zeros = {};
  return zeros.data();
}

void NoteSize(const FloorContent& content, struct stat& attributes) {
  attributes.st_size = static_cast<off_t>(content.size());
  attributes.st_blocks = static_cast<blkcnt_t>((content.size() + 511) / 512);
  attributes.st_mtim = attributes.st_ctim = Now();
}

}  // namespace

void FloorContent::Resize(size_t size) {
  chunks_.resize((size + kChunk - 1) / kChunk);
  const size_t last = size % kChunk;
  if (last != 0 && chunks_.back().size() > last) chunks_.back().resize(last);
  size_ = size;
}

void FloorContent::Write(size_t offset, absl::string_view bytes) {
  if (offset + bytes.size() > size_) Resize(offset + bytes.size());
  while (!bytes.empty()) {
    const size_t index = offset / kChunk;
    const size_t start = offset % kChunk;
    const size_t count = std::min(bytes.size(), kChunk - start);
    std::string& chunk = chunks_[index];
    // The chunks of a long file get full one after the other.
    if (index > 0 && chunk.empty()) chunk.reserve(kChunk);
    if (chunk.size() < start) chunk.resize(start);
    const size_t old = std::min(count, chunk.size() - start);
    std::memcpy(chunk.data() + start, bytes.data(), old);
    chunk.append(bytes.data() + old, count - old);
    bytes.remove_prefix(count);
    offset += count;
  }
}

std::vector<struct iovec> FloorContent::Pieces(size_t offset,
                                               size_t size) const {
  std::vector<struct iovec> pieces;
  const size_t end = std::min(size_, offset + size);
  while (offset < end) {
    const std::string& chunk = chunks_[offset / kChunk];
    const size_t start = offset % kChunk;
    size_t count = std::min(end - offset, kChunk - start);
    const char* bytes = Zeros();
    if (start < chunk.size()) {
      count = std::min(count, chunk.size() - start);
      bytes = chunk.data() + start;
    }
    pieces.push_back({const_cast<char*>(bytes), count});
    offset += count;
  }
  return pieces;
}

FloorTree::FloorTree() {
  const absl::MutexLock lock(&root_.mutex);
  root_.attributes.st_ino = FUSE_ROOT_ID;
  root_.attributes.st_mode = S_IFDIR | 0755;
  root_.attributes.st_nlink = 2;
  root_.attributes.st_uid = getuid();
  root_.attributes.st_gid = getgid();
  NoteSize(root_.content, root_.attributes);
  root_.attributes.st_atim = root_.attributes.st_mtim;
  root_.parent = &root_;
}

bool FloorTree::IsDirectory(Inode& inode) {
  const absl::MutexLock lock(&inode.mutex);
  return S_ISDIR(inode.attributes.st_mode);
}

FloorTree::Inode* FloorTree::Find(const Inode& directory,
                                  absl::string_view name) {
  const auto found = directory.cookies.find(name);
  if (found == directory.cookies.end()) return nullptr;
  return directory.children.at(found->second).inode;
}

void FloorTree::CountLinks(Inode& inode, int change) {
  const absl::MutexLock lock(&inode.mutex);
  inode.attributes.st_nlink += static_cast<nlink_t>(change);
  inode.attributes.st_ctim = Now();
}

void FloorTree::Enter(Inode& inode, struct fuse_entry_param& entry) {
  ++inode.lookups;
  entry.ino = NodeOf(inode);
  entry.attr_timeout = entry.entry_timeout = kForever;
  const absl::MutexLock lock(&inode.mutex);
  entry.attr = inode.attributes;
}

void FloorTree::Add(Inode& directory, absl::string_view name, Inode& inode) {
  const uint64_t cookie = directory.next_cookie++;
  directory.cookies.emplace(name, cookie);
  directory.children.emplace(cookie, Child{std::string(name), &inode});
  const bool is_directory = IsDirectory(inode);
  if (is_directory) inode.parent = &directory;
  const absl::MutexLock lock(&directory.mutex);
  if (is_directory) ++directory.attributes.st_nlink;
  directory.attributes.st_mtim = directory.attributes.st_ctim = Now();
}

void FloorTree::Remove(Inode& directory, absl::string_view name) {
  const auto found = directory.cookies.find(name);
  const auto child = directory.children.find(found->second);
  const bool is_directory = IsDirectory(*child->second.inode);
  directory.children.erase(child);
  directory.cookies.erase(found);
  const absl::MutexLock lock(&directory.mutex);
  if (is_directory) --directory.attributes.st_nlink;
  directory.attributes.st_mtim = directory.attributes.st_ctim = Now();
}

void FloorTree::FreeIfUnused(Inode& inode) {
  if (inode.lookups > 0 || &inode == &root_) return;
  {
    const absl::MutexLock lock(&inode.mutex);
    if (inode.attributes.st_nlink > 0) return;
  }
  delete &inode;
}

int FloorTree::Lookup(uint64_t parent, absl::string_view name,
                      struct fuse_entry_param& entry) {
  const absl::MutexLock lock(&mutex_);
  Inode* const inode = Find(At(parent), name);
  if (inode == nullptr) return ENOENT;
  Enter(*inode, entry);
  return 0;
}

void FloorTree::Forget(uint64_t node, uint64_t lookups) {
  const absl::MutexLock lock(&mutex_);
  Inode& inode = At(node);
  inode.lookups -= std::min(lookups, inode.lookups);
  FreeIfUnused(inode);
}

void FloorTree::ForgetAll() {
  const absl::MutexLock lock(&mutex_);
  ForgetBelow(root_);
}

void FloorTree::ForgetBelow(Inode& directory) {
  directory.lookups = 0;
  for (const auto& [cookie, child] : directory.children) {
    ForgetBelow(*child.inode);
  }
}

struct stat FloorTree::Attributes(uint64_t node) {
  Inode& inode = At(node);
  const absl::MutexLock lock(&inode.mutex);
  return inode.attributes;
}

struct stat FloorTree::SetAttributes(uint64_t node, const struct stat& from,
                                     int to_set) {
  Inode& inode = At(node);
  const struct timespec now = Now();
  const absl::MutexLock lock(&inode.mutex);
  struct stat& to = inode.attributes;
  if (to_set & FUSE_SET_ATTR_MODE) {
    to.st_mode = (to.st_mode & S_IFMT) | (from.st_mode & 07777);
  }
  if (to_set & FUSE_SET_ATTR_UID) to.st_uid = from.st_uid;
  if (to_set & FUSE_SET_ATTR_GID) to.st_gid = from.st_gid;
  if (to_set & FUSE_SET_ATTR_SIZE) {
    inode.content.Resize(static_cast<size_t>(from.st_size));
    NoteSize(inode.content, to);
  }
  if (to_set & FUSE_SET_ATTR_ATIME) to.st_atim = from.st_atim;
  if (to_set & FUSE_SET_ATTR_MTIME) to.st_mtim = from.st_mtim;
  if (to_set & FUSE_SET_ATTR_ATIME_NOW) to.st_atim = now;
  if (to_set & FUSE_SET_ATTR_MTIME_NOW) to.st_mtim = now;
  to.st_ctim = now;
  return to;
}

const std::string& FloorTree::Target(uint64_t node) { return At(node).target; }

int FloorTree::Make(uint64_t parent, absl::string_view name, mode_t mode,
                    dev_t rdev, absl::string_view target,
                    const FloorOwner& owner, struct fuse_entry_param& entry) {
  const absl::MutexLock lock(&mutex_);
  Inode& directory = At(parent);
  if (Find(directory, name) != nullptr) return EEXIST;
  auto* const inode = new Inode;  // FreeIfUnused() deletes it
  inode->target = std::string(target);
  {
    const absl::MutexLock inode_lock(&inode->mutex);
    struct stat& attributes = inode->attributes;
    NoteSize(inode->content, attributes);
    attributes.st_atim = attributes.st_mtim;
    attributes.st_ino = next_number_++;
    attributes.st_mode = S_ISLNK(mode) ? mode : mode & ~owner.umask;
    attributes.st_nlink = S_ISDIR(mode) ? 2 : 1;
    attributes.st_uid = owner.uid;
    attributes.st_gid = owner.gid;
    attributes.st_rdev = rdev;
    attributes.st_blksize = 4096;
    if (S_ISLNK(mode)) attributes.st_size = static_cast<off_t>(target.size());
  }
  Add(directory, name, *inode);
  Enter(*inode, entry);
  return 0;
}

int FloorTree::Link(uint64_t node, uint64_t parent, absl::string_view name,
                    struct fuse_entry_param& entry) {
  const absl::MutexLock lock(&mutex_);
  Inode& directory = At(parent);
  if (Find(directory, name) != nullptr) return EEXIST;
  CountLinks(At(node), 1);
  Add(directory, name, At(node));
  Enter(At(node), entry);
  return 0;
}

int FloorTree::Unlink(uint64_t parent, absl::string_view name) {
  const absl::MutexLock lock(&mutex_);
  Inode* const inode = Find(At(parent), name);
  if (inode == nullptr) return ENOENT;
  if (IsDirectory(*inode)) return EISDIR;
  Remove(At(parent), name);
  CountLinks(*inode, -1);
  FreeIfUnused(*inode);
  return 0;
}

int FloorTree::RemoveDirectory(uint64_t parent, absl::string_view name) {
  const absl::MutexLock lock(&mutex_);
  Inode* const inode = Find(At(parent), name);
  if (inode == nullptr) return ENOENT;
  if (!IsDirectory(*inode)) return ENOTDIR;
  if (!inode->children.empty()) return ENOTEMPTY;
  Remove(At(parent), name);
  CountLinks(*inode, -2);
  FreeIfUnused(*inode);
  return 0;
}

int FloorTree::Rename(uint64_t parent, absl::string_view name,
                      uint64_t new_parent, absl::string_view new_name,
                      unsigned flags) {
  if ((flags & ~static_cast<unsigned>(RENAME_NOREPLACE)) != 0) return EINVAL;
  const absl::MutexLock lock(&mutex_);
  Inode* const inode = Find(At(parent), name);
  if (inode == nullptr) return ENOENT;
  Inode* const replaced = Find(At(new_parent), new_name);
  if (replaced == inode) return 0;
  if (replaced != nullptr) {
    if (flags != 0) return EEXIST;
    const bool is_directory = IsDirectory(*replaced);
    if (is_directory != IsDirectory(*inode)) {
      return is_directory ? EISDIR : ENOTDIR;
    }
    if (!replaced->children.empty()) return ENOTEMPTY;
    Remove(At(new_parent), new_name);
    CountLinks(*replaced, is_directory ? -2 : -1);
    FreeIfUnused(*replaced);
  }
  Remove(At(parent), name);
  Add(At(new_parent), new_name, *inode);
  CountLinks(*inode, 0);
  return 0;
}

void FloorTree::ReadDirectory(uint64_t node, uint64_t cookie,
                              bool count_lookups, const AddEntry& add) {
  const absl::MutexLock lock(&mutex_);
  Inode& directory = At(node);
  const auto attributes_of = [](Inode& inode) {
    const absl::MutexLock inode_lock(&inode.mutex);
    return inode.attributes;
  };
  if (cookie < 1 && !add(".", attributes_of(directory), 0, 1)) return;
  if (cookie < 2 && !add("..", attributes_of(*directory.parent), 0, 2)) return;
  auto child = directory.children.upper_bound(cookie);
  for (; child != directory.children.end(); ++child) {
    Inode& inode = *child->second.inode;
    if (!add(child->second.name, attributes_of(inode), NodeOf(inode),
             child->first)) {
      return;
    }
    if (count_lookups) ++inode.lookups;
  }
}

void FloorTree::Read(uint64_t node, size_t offset, size_t size,
                     const SendPieces& send) {
  Inode& inode = At(node);
  const absl::ReaderMutexLock lock(&inode.mutex);
  send(inode.content.Pieces(offset, size));
}

void FloorTree::Write(uint64_t node, size_t offset, absl::string_view bytes) {
  Inode& inode = At(node);
  const absl::MutexLock lock(&inode.mutex);
  inode.content.Write(offset, bytes);
  NoteSize(inode.content, inode.attributes);
}

size_t FloorTree::Copy(uint64_t from, size_t from_offset, uint64_t to,
                       size_t to_offset, size_t length) {
  size_t copied = 0;
  while (copied < length) {
    std::string bytes;
    Read(from, from_offset + copied, std::min(kChunk, length - copied),
         [&bytes](const std::vector<struct iovec>& pieces) {
           for (const struct iovec& piece : pieces) {
             bytes.append(static_cast<const char*>(piece.iov_base),
                          piece.iov_len);
           }
         });
    if (bytes.empty()) break;
    Write(to, to_offset + copied, bytes);
    copied += bytes.size();
  }
  return copied;
}

}  // namespace varve::bench
