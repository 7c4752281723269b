#include "fs/volume/inodes_in_use.h"

#include <errno.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "engine/base/status.h"
#include "fs/base/error.h"

namespace varve::fs {
namespace {

uint64_t BlocksOf(uint64_t bytes) { return (bytes + 511) / 512; }

}  // namespace

Stat ToStat(const InodeItem& inode) {
  Stat stat{
      .ino = inode.ino, .attributes = inode.attributes, .nlink = inode.nlink()};
  if (inode.is_directory()) stat.attributes.size = 4096;
  if (inode.is_regular()) stat.blocks = BlocksOf(inode.data_bytes());
  return stat;
}

InodesInUse::InodesInUse(Core& core, const OpenFiles& open_files)
    : core_(core), open_files_(open_files) {
  absl::MutexLock lock(&core_.tree_mu);
  core_.is_in_use = [this](uint64_t ino) { return IsInUse(ino); };
}

bool InodesInUse::IsInUse(uint64_t ino) const {
  return references_.CountOf(ino) > 0 || open_files_.Find(ino) != nullptr;
}

Stat InodesInUse::StatOf(const LiveInode& inode) const {
  Stat stat = ToStat(inode);
  stat.nlink = inode.nlink();
  if (!inode.is_regular()) return stat;
  if (const auto open = open_files_.Find(inode.ino)) {
    const OpenInode::DirtyStat dirty = open->GetStat();
    if (dirty.dirty) {
      stat.attributes.size = dirty.size;
      stat.attributes.mtime = dirty.mtime;
      stat.attributes.ctime = std::max(dirty.ctime, stat.attributes.ctime);
      stat.blocks = BlocksOf(dirty.data_bytes);
    }
  }
  return stat;
}

absl::StatusOr<Stat> InodesInUse::Reference(uint64_t ino) {
  absl::ReaderMutexLock lock(&core_.tree_mu);
  VARVE_ASSIGN_OR_RETURN(const LiveInode inode, core_.GetInode(ino));
  Reference(inode);
  return StatOf(inode);
}

void InodesInUse::Forget(uint64_t ino, uint64_t count) {
  if (!references_.Remove(ino, count)) return;
  {
    absl::ReaderMutexLock lock(&core_.tree_mu);
    if (!core_.orphans.contains(ino)) return;
  }
  DropIfUnused(ino);
}

void InodesInUse::DropIfUnused(uint64_t ino) {
  absl::MutexLock lock(&core_.tree_mu);
  if (!core_.orphans.contains(ino) || IsInUse(ino)) return;
  core_.linkable.erase(ino);
  core_.orphans.Remove(ino);
}

}  // namespace varve::fs
