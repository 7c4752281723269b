#include "fs/tree/directory.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>
#include <utility>

namespace varve::fs {
namespace {

constexpr size_t kMaxText = 255;
constexpr size_t kStep = 8;

// At most three quarters of the slots are used.
constexpr size_t MostUsed(size_t slots) { return slots / 4 * 3; }

size_t ClassOf(size_t text_size) { return (text_size + kStep - 1) / kStep; }

}  // namespace

void Name::LinkTo(Name** first) {
  if (*first == nullptr) {
    *first = this;
    return;
  }
  Name* head = *first;
  if (head->links == nullptr) head->links = new Links;
  links = new Links{.next = head->links->next, .previous = head};
  if (links->next != nullptr) links->next->links->previous = this;
  head->links->next = this;
}

void Name::MakeFirst(Name** first) {
  if (*first == this) return;
  Name* before = *first;
  links->previous->links->next = links->next;
  if (links->next != nullptr) links->next->links->previous = links->previous;
  links->previous = nullptr;
  links->next = before;
  before->links->previous = this;
  *first = this;
}

void Name::UnlinkFrom(Name** first) {
  if (links == nullptr) {
    *first = nullptr;
    return;
  }
  if (links->next != nullptr) links->next->links->previous = links->previous;
  if (links->previous != nullptr) {
    links->previous->links->next = links->next;
  } else {
    *first = links->next;
  }
  delete links;
  links = nullptr;
  // A single name needs no list.
  if ((*first)->links->next == nullptr) {
    delete (*first)->links;
    (*first)->links = nullptr;
  }
}

NameMemory::NameMemory() {
  for (size_t i = 0; i <= ClassOf(kMaxText); ++i) {
    slabs_.push_back(std::make_unique<Slabs>(sizeof(Name) + i * kStep));
  }
}

Name* NameMemory::New(Inode* parent, Inode* inode, absl::string_view text) {
  assert(!text.empty() && text.size() <= kMaxText);
  Name* name = new (slabs_[ClassOf(text.size())]->Allocate())
      Name{.parent = parent,
           .inode = inode,
           .links = nullptr,
           .cookie = 0,
           .size = static_cast<uint8_t>(text.size())};
  std::memcpy(reinterpret_cast<char*>(name + 1), text.data(), text.size());
  return name;
}

void NameMemory::Delete(Name* name) {
  delete name->links;
  Slabs::Free(name);
}

Directory::~Directory() {
  for (const Place place : places_) {
    if (!place.is_hole()) NameMemory::Delete(place.name());
  }
}

uint32_t Directory::SlotValue(size_t place, uint64_t hash) const {
  const auto tag = static_cast<uint32_t>(hash >> 32);
  return (tag & ~uint32_t{0} << slot_bits_) | static_cast<uint32_t>(place + 1);
}

template <typename IsIt>
size_t Directory::FindPlace(uint64_t hash, const IsIt& is_it) const {
  if (slots_ == nullptr) {
    for (size_t i = first_; i < places_.size(); ++i) {
      if (!places_[i].is_hole() && is_it(*places_[i].name())) return i;
    }
    return kNowhere;
  }
  const size_t mask = slot_count() - 1;
  const uint32_t tag = SlotValue(0, hash) >> slot_bits_;
  for (size_t at = hash & mask; slots_[at] != 0; at = (at + 1) & mask) {
    const uint32_t slot = slots_[at];
    if (slot >> slot_bits_ != tag) continue;
    const size_t place = (slot & mask) - 1;
    if (place < places_.size() && !places_[place].is_hole() &&
        is_it(*places_[place].name())) {
      return place;
    }
  }
  return kNowhere;
}

Name* Directory::Find(absl::string_view text, uint64_t hash) const {
  const size_t place =
      FindPlace(hash, [text](const Name& name) { return name.text() == text; });
  return place == kNowhere ? nullptr : places_[place].name();
}

size_t Directory::FirstAfter(uint64_t cookie) const {
  // Names often come and go in order, and a listing starts at the beginning.
  if (first_ == places_.size() || places_[first_].cookie() > cookie) {
    return first_;
  }
  return std::upper_bound(places_.begin() + static_cast<ptrdiff_t>(first_),
                          places_.end(), cookie,
                          [](uint64_t value, const Place place) {
                            return value < place.cookie();
                          }) -
         places_.begin();
}

void Directory::AddSlot(size_t place, uint64_t hash) {
  const size_t mask = slot_count() - 1;
  const uint32_t value = SlotValue(place, hash);
  size_t at = hash & mask;
  // An old slot of the same name may be used again.
  while (slots_[at] != 0 && slots_[at] != value) at = (at + 1) & mask;
  if (slots_[at] == 0) ++used_slots_;
  slots_[at] = value;
}

void Directory::Index(size_t place, uint64_t hash) {
  const bool is_full = slots_ == nullptr
                           ? places_.size() > kMaxUnindexed
                           : used_slots_ + 1 > MostUsed(slot_count());
  if (is_full) return Rebuild();
  if (slots_ != nullptr) AddSlot(place, hash);
}

void Directory::Insert(Name* name, uint64_t hash) {
  if (next_cookie_ >= kCookieLimit) Renumber();
  name->cookie = next_cookie_++;
  places_.push_back(Place(name));
  Index(places_.size() - 1, hash);
}

void Directory::InsertAt(uint64_t cookie, Name* name, uint64_t hash) {
  const auto it = std::lower_bound(
      places_.begin(), places_.end(), cookie,
      [](const Place place, uint64_t value) { return place.cookie() < value; });
  const bool is_there = it != places_.end() && it->cookie() == cookie;
  // Neither happens, unless cookies were renumbered meanwhile.
  if (cookie >= next_cookie_ || (is_there && !it->is_hole())) {
    return Insert(name, hash);
  }
  const auto place = static_cast<uint32_t>(it - places_.begin());
  name->cookie = cookie;
  first_ = std::min(first_, place);
  if (is_there) {
    *it = Place(name);
    --holes_;
    return Index(place, hash);
  }
  const bool is_last = it == places_.end();
  places_.insert(it, Place(name));
  if (is_last) return Index(place, hash);
  // The name's hole has been removed, and the places behind it have moved. This
  // is as rare as a Rebuild() in Remove().
  Rebuild();
}

void Directory::Remove(Name* name) {
  const size_t place = FindPlace(
      Hash(name->text()), [name](const Name& other) { return &other == name; });
  assert(place != kNowhere);
  places_[place] = Place::Hole(name->cookie);
  ++holes_;
  NameMemory::Delete(name);
  while (!places_.empty() && places_.back().is_hole()) {
    places_.pop_back();
    --holes_;
  }
  first_ = std::min(first_, static_cast<uint32_t>(places_.size()));
  while (first_ < places_.size() && places_[first_].is_hole()) ++first_;
  const size_t taken = std::max<size_t>(places_.size(), used_slots_);
  if (taken > kMaxUnindexed && size() < taken / 2) Rebuild();
}

void Directory::Renumber() {
  Rebuild();
  next_cookie_ = kFirstCookie;
  for (const Place place : places_) place.name()->cookie = next_cookie_++;
}

void Directory::Rebuild() {
  // Leave room for a quarter more, so that the next rebuild is not soon.
  const size_t room = size() + size() / 4 + 1;
  if (holes_ > 0 || places_.capacity() / 2 > room) {
    std::vector<Place> names;
    names.reserve(room);
    for (const Place place : places_) {
      if (!place.is_hole()) names.push_back(place);
    }
    places_ = std::move(names);
    holes_ = 0;
    first_ = 0;
  }
  slots_.reset();
  slot_bits_ = 0;
  used_slots_ = 0;
  if (room <= kMaxUnindexed) return;
  slot_bits_ = 4;
  while (MostUsed(size_t{1} << slot_bits_) < room) ++slot_bits_;
  slots_ = std::make_unique<uint32_t[]>(size_t{1} << slot_bits_);
  for (size_t i = 0; i < places_.size(); ++i) {
    AddSlot(i, Hash(places_[i].name()->text()));
  }
}

}  // namespace varve::fs
