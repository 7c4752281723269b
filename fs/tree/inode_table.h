// InodeTable: all inodes of a Tree (tree.h), by number. Numbers are usually
// drawn in ascending order, so inodes lie in pages of neighbours. But any
// number is allowed, and costs at most a page.
//
// Thread rules: like a standard container. A pointer to an inode stays valid
// until the inode is dropped.

#ifndef VARVE_FS_TREE_INODE_TABLE_H_
#define VARVE_FS_TREE_INODE_TABLE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "fs/tree/inode.h"
#include "fs/tree/slabs.h"

namespace varve::fs {

class InodeTable {
 public:
  InodeTable();
  ~InodeTable();
  InodeTable(const InodeTable&) = delete;
  InodeTable& operator=(const InodeTable&) = delete;

  // The inode with this number; null if there is none.
  const Inode* Find(uint64_t ino) const {
    const auto it = pages_.find(ino / kPageSize);
    return it == pages_.end() ? nullptr : (*it->second)[ino % kPageSize];
  }
  // The same, but needs to be alone: it remembers pages, so that numbers near
  // the last ones are found faster.
  Inode* FindMutable(uint64_t ino);

  // Makes an inode. The table must not have one with this number.
  Inode* Make(uint64_t ino);
  // Destroys an inode of this table.
  void Drop(Inode* inode);

  size_t size() const { return size_; }
  // Calls `visit` with every inode, in no particular order.
  template <typename Visit>
  void ForEach(const Visit& visit) {
    for (const auto& [number, page] : pages_) {
      for (Inode* inode : *page) {
        if (inode != nullptr) visit(*inode);
      }
    }
  }
  template <typename Visit>
  void ForEach(const Visit& visit) const {
    for (const auto& [number, page] : pages_) {
      for (const Inode* inode : *page) {
        if (inode != nullptr) visit(*inode);
      }
    }
  }

 private:
  // Small, so that an inode that outlives its neighbours keeps little memory.
  static constexpr size_t kPageSize = 16;
  static constexpr size_t kRecentPages = 8;
  using Page = std::array<Inode*, kPageSize>;

  struct Recent {
    uint64_t number = ~uint64_t{0};  // no page has this number
    Page* page = nullptr;
  };

  // Null if there is no such page.
  Page* FindPage(uint64_t number);

  Slabs inode_memory_;
  Slabs page_memory_;
  absl::flat_hash_map<uint64_t, Page*> pages_;  // by ino / kPageSize
  std::array<Recent, kRecentPages> recent_;
  size_t size_ = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_INODE_TABLE_H_
