// Directories of Tree (tree.h), the model for tests. Name: one name of an
// inode, in a directory. Directory: the names in one directory, which can be
// found by text and are listed in the order in which they came. NameMemory:
// allocates the names of a tree.
//
// Thread rules: like a standard container; all objects of one tree count as
// one.

#ifndef VARVE_FS_TREE_DIRECTORY_H_
#define VARVE_FS_TREE_DIRECTORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/hash/hash.h"
#include "absl/strings/string_view.h"
#include "fs/tree/slabs.h"

namespace varve::fs {

struct Inode;

// A name in the NameMemory of its tree. Its text lies directly behind it.
struct Name {
  // The neighbours in the list of names of an inode that has several.
  struct Links {
    Name* next = nullptr;
    Name* previous = nullptr;
  };

  Inode* parent;
  Inode* inode;
  Links* links;          // owned; null if it is the only name of its inode
  uint64_t cookie : 56;  // order in the directory; see Directory
  uint64_t size : 8;

  absl::string_view text() const {
    return {reinterpret_cast<const char*>(this + 1), size};
  }
  // The next name of the same inode; null if it is the last one.
  Name* next_link() const { return links == nullptr ? nullptr : links->next; }

  // Adds this name to the list of an inode's names, whose head is `first`: as
  // the first one if the list is empty, or else directly behind the first. (So
  // if the first name goes, the name added last becomes the first.)
  void LinkTo(Name** first);
  // Makes this name, which must be in that list, the first.
  void MakeFirst(Name** first);
  // Takes this name out of that list, in constant time.
  void UnlinkFrom(Name** first);
};

// Must outlive its names.
class NameMemory {
 public:
  NameMemory();
  // Makes a name that is in no directory and no list yet. `text` has 1 to 255
  // bytes.
  Name* New(Inode* parent, Inode* inode, absl::string_view text);
  static void Delete(Name* name);

 private:
  // By size, in steps of 8 bytes.
  std::vector<std::unique_ptr<Slabs>> slabs_;
};

// Keeps names in the order in which they came. Each name has a cookie that
// gives its position in this order; a new name gets a larger cookie than all
// before. A name that takes the place of another (Tree says when) gets the
// cookie of the other.
//
// Owns its names, which must be fewer than 2^31.
class Directory {
 public:
  // The cookies that "." and ".." have in listings. The directory itself does
  // not hold these names.
  static constexpr uint64_t kCookieLimit = uint64_t{1} << 38;
  static constexpr uint64_t kSelfCookie = 1;
  static constexpr uint64_t kParentCookie = 2;

  Directory() = default;
  // Starts with this cookie instead of 3; for tests.
  explicit Directory(uint64_t next_cookie) : next_cookie_(next_cookie) {}
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  static uint64_t Hash(absl::string_view text) {
    return absl::Hash<absl::string_view>{}(text);
  }

  Name* Find(absl::string_view text) const { return Find(text, Hash(text)); }
  // The same, for a caller that has the hash already.
  Name* Find(absl::string_view text, uint64_t hash) const;
  // Calls `visit` with the names whose cookie is larger than `cookie`, in
  // order, until `visit` returns false. `visit` must not change the directory.
  // The directory may change between two calls of ForEachAfter(); cookies stay
  // valid.
  template <typename Visit>
  void ForEachAfter(uint64_t cookie, const Visit& visit) const {
    for (size_t i = FirstAfter(cookie); i < places_.size(); ++i) {
      if (places_[i].is_hole()) continue;
      const Name& name = *places_[i].name();
      if (!visit(name)) return;
    }
  }
  // Larger than the cookie of any name, and not larger than the cookies that
  // new names will get.
  uint64_t end() const {
    return places_.empty() ? kFirstCookie : places_.back().cookie() + 1;
  }
  // Takes a name whose text the directory does not have yet, and gives it a new
  // cookie. When cookies are used up, all names get new ones, in the same
  // order; a listing that is under way may then miss names or repeat them.
  void Insert(Name* name) { Insert(name, Hash(name->text())); }
  void Insert(Name* name, uint64_t hash);
  // The same, but with the cookie of a name that was removed, if that cookie is
  // free. Fast if that name was removed last.
  void InsertAt(uint64_t cookie, Name* name) {
    InsertAt(cookie, name, Hash(name->text()));
  }
  void InsertAt(uint64_t cookie, Name* name, uint64_t hash);
  void Remove(Name* name);  // and deletes it
  size_t size() const { return places_.size() - holes_; }
  bool empty() const { return size() == 0; }

 private:
  // A name, or a hole: the cookie of a name that is gone, so that places stay
  // sorted and can be searched.
  class Place {
   public:
    explicit Place(Name* name) : bits_(reinterpret_cast<uint64_t>(name)) {}
    static Place Hole(uint64_t cookie) {
      Place place(nullptr);
      place.bits_ = cookie << 1 | 1;
      return place;
    }
    bool is_hole() const { return (bits_ & 1) != 0; }
    Name* name() const { return reinterpret_cast<Name*>(bits_); }
    uint64_t cookie() const { return is_hole() ? bits_ >> 1 : name()->cookie; }

   private:
    uint64_t bits_;
  };

  static constexpr uint64_t kFirstCookie = 3;
  // Directories of up to so many names and holes are searched linearly.
  static constexpr size_t kMaxUnindexed = 8;

  // The first place with a larger cookie. Skips the holes at the beginning in
  // one step.
  size_t FirstAfter(uint64_t cookie) const;
  size_t slot_count() const {
    return slots_ == nullptr ? 0 : size_t{1} << slot_bits_;
  }
  // The value of a slot for this place and hash.
  uint32_t SlotValue(size_t place, uint64_t hash) const;
  void AddSlot(size_t place, uint64_t hash);
  // Adds the name at `place` to the index, if the directory is large enough to
  // have one.
  void Index(size_t place, uint64_t hash);
  // The first place with this hash for which `is_it` returns true; kNowhere if
  // there is none.
  template <typename IsIt>
  size_t FindPlace(uint64_t hash, const IsIt& is_it) const;
  // Removes the holes, and makes room for a few more names.
  void Rebuild();
  void Renumber();

  static constexpr size_t kNowhere = ~size_t{0};

  // Sorted by cookie. There are at most about as many holes as names. The last
  // place is a name.
  std::vector<Place> places_;
  uint32_t holes_ = 0;
  uint32_t first_ = 0;  // all places before it are holes
  uint64_t next_cookie_ = kFirstCookie;
  // The index: a hash table with open addressing and linear probing. A slot of
  // 0 is free. Otherwise, its lower slot_bits_ bits are a place plus 1, and the
  // others are bits of the hash of the name at that place. Slots of names that
  // are gone stay until the next Rebuild().
  std::unique_ptr<uint32_t[]> slots_;
  uint32_t used_slots_ = 0;
  uint8_t slot_bits_ = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_DIRECTORY_H_
