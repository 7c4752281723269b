#include "fs/volume/inodes_in_use.h"

#include <errno.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "fs/base/error.h"

namespace varve::fs {

InodesInUse::InodesInUse(Core& core, const OpenFiles& open_files)
    : core_(core), open_files_(open_files) {
  absl::MutexLock lock(&core_.tree_mu);
  core_.tree.set_on_make([this](Inode& inode) {
    core_.tree_mu.AssertHeld();
    TakeOverOrphan(inode);
  });
  core_.tree.set_on_drop([this](std::unique_ptr<Inode> inode) {
    core_.tree_mu.AssertHeld();
    const uint64_t ino = inode->ino;
    if (inode->kernel_references.load() > 0 ||
        open_files_.Find(ino) != nullptr) {
      core_.orphans.emplace(ino, std::move(inode));
    }
  });
}

Stat InodesInUse::StatOf(const Inode& inode) const {
  Stat stat{.ino = inode.ino,
            .attributes = inode.attributes,
            .nlink = inode.link_count};
  if (inode.is_directory()) {
    stat.attributes.size = 4096;
    return stat;
  }
  if (!inode.is_regular()) return stat;
  uint64_t data = inode.data_bytes();
  if (const auto open = open_files_.Find(inode.ino)) {
    const OpenInode::DirtyStat dirty = open->GetStat();
    if (dirty.dirty) {
      stat.attributes.size = dirty.size;
      stat.attributes.mtime = dirty.mtime;
      stat.attributes.ctime = std::max(dirty.ctime, stat.attributes.ctime);
      data = dirty.data_bytes;
    }
  }
  stat.blocks = (data + 511) / 512;
  return stat;
}

absl::StatusOr<Stat> InodesInUse::Reference(uint64_t ino) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  const Inode* inode = core_.FindInode(ino);
  if (inode == nullptr) return PosixError(ENOENT);
  inode->kernel_references.fetch_add(1, std::memory_order_relaxed);
  return StatOf(*inode);
}

void InodesInUse::Forget(uint64_t ino, uint64_t count) {
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    const Inode* inode = core_.FindInode(ino);
    if (inode == nullptr) return;
    const uint32_t before = inode->kernel_references.fetch_sub(
        static_cast<uint32_t>(count), std::memory_order_acq_rel);
    if (before != count || inode->link_count != 0) return;
  }
  DropIfUnused(ino);
}

void InodesInUse::DropIfUnused(uint64_t ino) {
  absl::MutexLock lock(&core_.tree_mu);
  const auto it = core_.orphans.find(ino);
  if (it == core_.orphans.end() || it->second->kernel_references.load() > 0 ||
      open_files_.Find(ino) != nullptr) {
    return;
  }
  core_.linkable.erase(ino);
  core_.orphans.erase(it);
}

void InodesInUse::TakeOverOrphan(Inode& inode) {
  const auto it = core_.orphans.find(inode.ino);
  if (it == core_.orphans.end()) return;
  inode.kernel_references = it->second->kernel_references.load();
  core_.linkable.erase(inode.ino);
  core_.orphans.erase(it);
}

}  // namespace varve::fs
