// Name: one name of an inode, an entry of a directory. Directory: the names in
// one directory, by text and in the order in which they came. NameMemory: where
// the names of a tree lie.
//
// Thread rules: like a standard container, as the tree that they are part of.

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

// Its text lies behind it, and it in the memory of its tree's names.
struct Name {
  // The places beside it in the list of the names of an inode that has several.
  struct Links {
    Name* next = nullptr;
    Name* previous = nullptr;
  };

  Inode* parent;
  Inode* inode;
  Links* links;          // owned; null if it is the only name of its inode
  uint64_t cookie : 56;  // place in the directory; see there
  uint64_t size : 8;

  absl::string_view text() const {
    return {reinterpret_cast<const char*>(this + 1), size};
  }
  // The next name of the same inode; null if it is the last one.
  Name* next_link() const { return links == nullptr ? nullptr : links->next; }

  // Puts it into the list of an inode's names, of which `first` is the head:
  // as the first one, which is to stay the first, or next to that. (So the name
  // put last follows when the first one goes: checkpoints rely on it.)
  void LinkTo(Name** first);
  // Makes one that is in that list the first.
  void MakeFirst(Name** first);
  // Takes it out of that list, at the same cost however long it is.
  void UnlinkFrom(Name** first);
};

// Must outlive its names.
class NameMemory {
 public:
  NameMemory();
  // A name that is in no directory and no list yet. 1 to 255 bytes of text.
  Name* New(Inode* parent, Inode* inode, absl::string_view text);
  static void Delete(Name* name);

 private:
  // By size, in steps of 8 bytes.
  std::vector<std::unique_ptr<Slabs>> slabs_;
};

// Names are in the order in which they came, and each has a cookie, its place.
// It grows with each name that is new. A name that is put where another was
// (Tree says when) gets the other's.
//
// Owns its names. Holds less than 2^31 of them, which no memory does anyway.
class Directory {
 public:
  // The cookies "." and "..", which are not here, have in listings.
  static constexpr uint64_t kCookieLimit = uint64_t{1} << 38;
  static constexpr uint64_t kSelfCookie = 1;
  static constexpr uint64_t kParentCookie = 2;

  Directory() = default;
  // Starts with another cookie than 3; for tests.
  explicit Directory(uint64_t next_cookie) : next_cookie_(next_cookie) {}
  ~Directory();
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  static uint64_t Hash(absl::string_view text) {
    return absl::Hash<absl::string_view>{}(text);
  }

  Name* Find(absl::string_view text) const { return Find(text, Hash(text)); }
  // The same for those who have its hash already.
  Name* Find(absl::string_view text, uint64_t hash) const;
  // Calls `visit` with the names whose cookie is larger than `cookie`, in
  // order, until it returns false. `visit` must not change the directory;
  // between two calls anything may change, and cookies stay.
  template <typename Visit>
  void ForEachAfter(uint64_t cookie, const Visit& visit) const {
    for (size_t i = FirstAfter(cookie); i < places_.size(); ++i) {
      if (places_[i].is_hole()) continue;
      const Name& name = *places_[i].name();
      if (!visit(name)) return;
    }
  }
  // Larger than the cookie of any name, and no larger than those of names that
  // will be new.
  uint64_t end() const {
    return places_.empty() ? kFirstCookie : places_.back().cookie() + 1;
  }
  // Takes a name whose text is not there yet, and sets its cookie: a new one.
  // When all are used up, all names get new ones, in the same order; a listing
  // that is under way may then miss names or repeat them.
  void Insert(Name* name) { Insert(name, Hash(name->text())); }
  void Insert(Name* name, uint64_t hash);
  // The same, but with the cookie of a name that was removed, if it is free.
  // Quick if that was the last name to be removed.
  void InsertAt(uint64_t cookie, Name* name) {
    InsertAt(cookie, name, Hash(name->text()));
  }
  void InsertAt(uint64_t cookie, Name* name, uint64_t hash);
  void Remove(Name* name);  // and deletes it
  size_t size() const { return places_.size() - holes_; }
  bool empty() const { return size() == 0; }

 private:
  // A name, or the cookie of one that is gone: so the order stays searchable.
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
  // Directories of up to so many names and holes are searched one by one.
  static constexpr size_t kMaxUnindexed = 8;

  // The first place of a larger cookie, with nothing but holes before it that
  // are not passed one by one each time.
  size_t FirstAfter(uint64_t cookie) const;
  size_t slot_count() const {
    return slots_ == nullptr ? 0 : size_t{1} << slot_bits_;
  }
  // What a slot for that place and hash holds.
  uint32_t SlotValue(size_t place, uint64_t hash) const;
  void AddSlot(size_t place, uint64_t hash);
  // Lets the name that has just been put there be found.
  void Index(size_t place, uint64_t hash);
  // The place of the first name with this hash for which `is_it`; npos if there
  // is none.
  template <typename IsIt>
  size_t FindPlace(uint64_t hash, const IsIt& is_it) const;
  // Takes out the holes, and makes room for more names, but not much.
  void Rebuild();
  void Renumber();

  static constexpr size_t kNowhere = ~size_t{0};

  // By cookie, with holes: at most about as many as names. The last is a name.
  std::vector<Place> places_;
  uint32_t holes_ = 0;
  uint32_t first_ = 0;  // all places before it are holes
  uint64_t next_cookie_ = kFirstCookie;
  // The index: open addressing with linear steps. 0 is free; else the lower
  // slot_bits_ bits are a place plus 1, and the others are of the hash of a
  // name that is there or was. Slots of those that were stay until the next
  // Rebuild().
  std::unique_ptr<uint32_t[]> slots_;
  uint32_t used_slots_ = 0;
  uint8_t slot_bits_ = 0;
};

}  // namespace varve::fs

#endif  // VARVE_FS_TREE_DIRECTORY_H_
