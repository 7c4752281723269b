// InodeTable: all inodes of a tree, by number. Numbers are drawn one after the
// other, so inodes lie in pages of neighbours; but any number is as good, and
// costs no more than one page.
//
// Thread rules: like a standard container. Pointers to inodes stay valid until
// they are dropped.

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

  // Null if there is none of that number.
  const Inode* Find(uint64_t ino) const {
    const auto it = pages_.find(ino / kPageSize);
    return it == pages_.end() ? nullptr : (*it->second)[ino % kPageSize];
  }
  // The same for the one who may change the table: quicker for numbers near
  // those asked for before.
  Inode* FindMutable(uint64_t ino);

  // A new inode of a number that there is none of.
  Inode* Make(uint64_t ino);
  // Ends an inode of this table.
  void Drop(Inode* inode);

  size_t size() const { return size_; }
  // Every inode, in no order.
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
  // Small, so that a lone inode that outlived its neighbours keeps little.
  static constexpr size_t kPageSize = 16;
  static constexpr size_t kRecentPages = 8;
  using Page = std::array<Inode*, kPageSize>;

  struct Recent {
    uint64_t number = ~uint64_t{0};  // of no page
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
