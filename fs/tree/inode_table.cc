#include "fs/tree/inode_table.h"

#include <algorithm>
#include <cassert>
#include <new>

namespace varve::fs {

InodeTable::InodeTable()
    : inode_memory_(sizeof(Inode)), page_memory_(sizeof(Page)) {}

InodeTable::~InodeTable() {
  for (const auto& [number, page] : pages_) {
    for (Inode* inode : *page) {
      if (inode == nullptr) continue;
      inode->~Inode();
      Slabs::Free(inode);
    }
    Slabs::Free(page);
  }
}

InodeTable::Page* InodeTable::FindPage(uint64_t number) {
  Recent& recent = recent_[number % kRecentPages];
  if (recent.number == number) return recent.page;
  const auto it = pages_.find(number);
  if (it == pages_.end()) return nullptr;
  recent = {number, it->second};
  return it->second;
}

Inode* InodeTable::FindMutable(uint64_t ino) {
  Page* page = FindPage(ino / kPageSize);
  return page == nullptr ? nullptr : (*page)[ino % kPageSize];
}

Inode* InodeTable::Make(uint64_t ino) {
  const uint64_t number = ino / kPageSize;
  Page* page = FindPage(number);
  if (page == nullptr) {
    page = new (page_memory_.Allocate()) Page{};
    pages_.emplace(number, page);
    recent_[number % kRecentPages] = {number, page};
  }
  Inode*& place = (*page)[ino % kPageSize];
  assert(place == nullptr);
  place = new (inode_memory_.Allocate()) Inode;
  place->ino = ino;
  ++size_;
  return place;
}

void InodeTable::Drop(Inode* inode) {
  const uint64_t number = inode->ino / kPageSize;
  Page* page = FindPage(number);
  (*page)[inode->ino % kPageSize] = nullptr;
  inode->~Inode();
  Slabs::Free(inode);
  --size_;
  const bool empty = std::all_of(page->begin(), page->end(),
                                 [](const Inode* i) { return i == nullptr; });
  if (!empty) return;
  recent_[number % kRecentPages] = {};
  pages_.erase(number);
  Slabs::Free(page);
}

}  // namespace varve::fs
