#include "fs/directory.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <new>
#include <utility>

namespace varve::fs {
namespace {

constexpr size_t kMaxText = 255;
constexpr size_t kStep = 8;

// At most three slots in four are taken, by names and by holes.
constexpr size_t MostPlaces(size_t slots) { return slots / 4 * 3; }

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
  // One name that is left needs no list.
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
    if (!places_[place].is_hole() && is_it(*places_[place].name())) {
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
  // Names come and go in order often, and a directory is listed from its start.
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
  size_t at = hash & mask;
  while (slots_[at] != 0) at = (at + 1) & mask;
  slots_[at] = SlotValue(place, hash);
}

void Directory::Insert(Name* name, uint64_t hash) {
  name->cookie = next_cookie_++;
  const size_t most =
      slots_ == nullptr ? kMaxUnindexed : MostPlaces(slot_count());
  if (places_.size() + 1 > most) Rebuild();
  places_.push_back(Place(name));
  if (slots_ != nullptr) AddSlot(places_.size() - 1, hash);
}

void Directory::Remove(Name* name) {
  const size_t place = FindPlace(
      Hash(name->text()), [name](const Name& other) { return &other == name; });
  assert(place != kNowhere);
  places_[place] = Place::Hole(name->cookie);
  ++holes_;
  NameMemory::Delete(name);
  while (first_ < places_.size() && places_[first_].is_hole()) ++first_;
  if (holes_ > places_.size() / 2 && places_.size() > kMaxUnindexed) Rebuild();
}

void Directory::Rebuild() {
  // With room for a quarter more, so that the next time is some way off.
  const size_t room = size() + size() / 4 + 1;
  if (holes_ > 0) {
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
  if (room <= kMaxUnindexed) return;
  slot_bits_ = 4;
  while (MostPlaces(size_t{1} << slot_bits_) < room) ++slot_bits_;
  slots_ = std::make_unique<uint32_t[]>(size_t{1} << slot_bits_);
  for (size_t i = 0; i < places_.size(); ++i) {
    AddSlot(i, Hash(places_[i].name()->text()));
  }
}

}  // namespace varve::fs
