// Disk: computes what a power cut may leave of files, from the calls on them
// that a FaultFileSystem has recorded.
//
// Not thread-safe.

#ifndef VARVE_FS_VOLUME_CRASH_DISK_H_
#define VARVE_FS_VOLUME_CRASH_DISK_H_

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/io/fault_file.h"
#include "engine/io/file.h"

namespace varve::fs {

using Random = std::mt19937_64;

// Applies recorded calls: knows which files have which names, and which changes
// a power cut may undo.
class Disk {
 public:
  using Files = std::map<std::string, std::string>;  // by path

  // If `syncs_work` is false, syncing a file has no effect. For control
  // experiments.
  explicit Disk(bool syncs_work) : syncs_work_(syncs_work) {}

  void Apply(const FileEvent& event) {
    switch (event.op) {
      case kOpOpen:
        if (!names_.contains(event.path)) {
          Rename({.added = event.path, .inode = contents_.size()});
          contents_.emplace_back();
        }
        open_[event.path] = names_[event.path];
        break;
      case kOpRename:
        Rename({.removed = event.path,
                .added = event.target,
                .inode = names_.at(event.path)});
        break;
      case kOpRemove:
        Rename({.removed = event.path});
        break;
      case kOpSyncDirectory:
        durable_names_ = names_;
        pending_names_.clear();
        break;
      case kOpSync:
        if (syncs_work_) contents_[open_.at(event.path)].Settle();
        break;
      case kOpWrite:
      case kOpTruncate:
      case kOpPunchHole:
        contents_[open_.at(event.path)].pending.push_back(event);
        break;
      default:
        break;
    }
  }

  // The state if all changes have reached the disk.
  Files Everything() const {
    Files files;
    for (const auto& [path, inode] : names_) {
      files[path] = contents_[inode].Newest();
    }
    return files;
  }

  // The state if only synced changes have reached the disk.
  Files NothingUnsynced() const {
    Files files;
    for (const auto& [path, inode] : durable_names_) {
      files[path] = contents_[inode].durable;
    }
    return files;
  }

  // One of the many states in between.
  Files Something(Random& random) const {
    std::map<std::string, size_t> names = durable_names_;
    size_t count = random() % (pending_names_.size() + 1);
    for (const NameChange& change : pending_names_) {
      if (count-- == 0) break;
      change.ApplyTo(names);
    }
    Files files;
    for (const auto& [path, inode] : names) {
      files[path] = contents_[inode].Something(random);
    }
    return files;
  }

 private:
  struct NameChange {
    std::string removed;
    std::string added;
    size_t inode = 0;
    void ApplyTo(std::map<std::string, size_t>& names) const {
      if (!removed.empty()) names.erase(removed);
      if (!added.empty()) names[added] = inode;
    }
  };

  struct Content {
    std::string durable;
    std::vector<FileEvent> pending;

    // Applies the call to the part of a file that begins at `begin`.
    static void Do(const FileEvent& event, uint64_t begin, std::string& bytes) {
      const uint64_t end = begin + bytes.size();
      const bool cuts = event.op == kOpTruncate;
      const uint64_t from = std::max(begin, cuts ? event.length : event.offset);
      const uint64_t to =
          cuts ? end : std::min(end, event.offset + event.length);
      if (from >= to) return;
      if (event.op == kOpWrite) {
        bytes.replace(from - begin, to - from, event.bytes, from - event.offset,
                      to - from);
      } else {
        bytes.replace(from - begin, to - from, to - from, '\0');
      }
    }

    uint64_t SizeAfter(size_t count) const {
      uint64_t size = durable.size();
      for (size_t i = 0; i < count; ++i) {
        const FileEvent& event = pending[i];
        if (event.op == kOpTruncate) size = event.length;
        if (event.op == kOpWrite) {
          size = std::max(size, event.offset + event.length);
        }
      }
      return size;
    }

    std::string Newest() const {
      std::string bytes = durable;
      for (size_t i = 0; i < pending.size(); ++i) {
        bytes.resize(std::max<uint64_t>(bytes.size(), SizeAfter(i + 1)));
        Do(pending[i], 0, bytes);
        bytes.resize(SizeAfter(i + 1));
      }
      return bytes;
    }

    void Settle() {
      durable = Newest();
      pending.clear();
    }

    // The length is that after any of the calls, or in the middle of a write.
    // Each block is as after any of the calls: bytes that did not arrive are
    // what was there before, or zeros.
    std::string Something(Random& random) const {
      // Half of the time, the length arrives before the data.
      const size_t sized =
          random() % 2 == 0 ? pending.size() : random() % (pending.size() + 1);
      uint64_t size = SizeAfter(sized);
      const uint64_t next = SizeAfter(std::min(sized + 1, pending.size()));
      if (next > size && random() % 2 == 0) {
        size = std::max(size, (size + random() % (next - size)) / 4096 * 4096);
      }
      std::string bytes = durable;
      bytes.resize(size);
      const uint64_t block = random() % 3 == 0 ? 512 : 4096;
      // Most blocks are written, most are lost, or half of each.
      const uint64_t chance = 1 + random() % 3;
      for (const uint64_t at : TouchedBlocks(block, size)) {
        const uint64_t length = std::min(block, size - at);
        const size_t done = random() % 4 < chance
                                ? pending.size()
                                : random() % (pending.size() + 1);
        std::string part =
            durable.substr(std::min<uint64_t>(at, durable.size()), length);
        part.resize(length);
        for (size_t i = 0; i < pending.size(); ++i) {
          // Bytes that were cut off do not come back when the file grows.
          const bool cut = pending[i].op == kOpTruncate && i < sized;
          if (i < done || cut) Do(pending[i], at, part);
        }
        bytes.replace(at, length, part);
      }
      return bytes;
    }

    std::set<uint64_t> TouchedBlocks(uint64_t block, uint64_t size) const {
      std::set<uint64_t> result;
      for (const FileEvent& event : pending) {
        const bool cuts = event.op == kOpTruncate;
        const uint64_t begin = cuts ? event.length : event.offset;
        const uint64_t end =
            cuts ? size : std::min(size, event.offset + event.length);
        for (uint64_t at = begin / block * block; at < end; at += block) {
          result.insert(at);
        }
      }
      return result;
    }
  };

  void Rename(NameChange change) {
    change.ApplyTo(names_);
    pending_names_.push_back(std::move(change));
  }

  const bool syncs_work_;
  std::vector<Content> contents_;
  std::map<std::string, size_t> names_;  // -> place in contents_
  std::map<std::string, size_t> durable_names_;
  std::vector<NameChange> pending_names_;
  // The file that was last opened under each name. A store that has taken
  // another's place is known by the name under which it was made, so at most
  // one compaction may run between two opens.
  std::map<std::string, size_t> open_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_CRASH_DISK_H_
