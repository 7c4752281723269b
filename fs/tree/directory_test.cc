#include "fs/tree/directory.h"

#include <cstdint>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fs/tree/inode.h"
#include "fs/tree/items.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class DirectoryTest : public testing::Test {
 protected:
  Name* Add(const std::string& text) {
    Name* name = memory_.New(&inode_, &inode_, text);
    directory_.Insert(name);
    return name;
  }
  void Remove(const std::string& text) {
    directory_.Remove(directory_.Find(text));
  }
  std::vector<std::string> ListAfter(uint64_t cookie) const {
    std::vector<std::string> list;
    directory_.ForEachAfter(cookie, [&list](const Name& name) {
      list.emplace_back(name.text());
      return true;
    });
    return list;
  }

  Inode inode_;
  NameMemory memory_;
  Directory directory_;
};

TEST_F(DirectoryTest, NamesAreFoundByTheirText) {
  for (int i = 0; i < 1000; ++i) {
    const std::string text = absl::StrCat("name", i);
    EXPECT_EQ(directory_.Find(text), nullptr);
    const Name* name = Add(text);
    EXPECT_EQ(name->text(), text);
    EXPECT_EQ(directory_.Find(text), name);
    EXPECT_EQ(directory_.size(), static_cast<size_t>(i + 1));
  }
  for (int i = 0; i < 1000; ++i) {
    EXPECT_NE(directory_.Find(absl::StrCat("name", i)), nullptr);
  }
}

TEST_F(DirectoryTest, NamesOfAnyLengthLieSideBySide) {
  for (size_t size = 1; size <= 255; ++size) Add(std::string(size, 'x'));
  for (size_t size = 1; size <= 255; ++size) {
    EXPECT_EQ(directory_.Find(std::string(size, 'x'))->text().size(), size);
  }
}

TEST_F(DirectoryTest, OrderIsThatInWhichNamesCame) {
  for (const char* text : {"c", "a", "b"}) Add(text);
  EXPECT_THAT(ListAfter(0), ElementsAre("c", "a", "b"));
  EXPECT_THAT(ListAfter(directory_.Find("c")->cookie), ElementsAre("a", "b"));
  EXPECT_THAT(ListAfter(directory_.Find("b")->cookie), IsEmpty());
  EXPECT_GT(directory_.Find("c")->cookie, 2u);
  Remove("c");
  Add("c");
  EXPECT_THAT(ListAfter(0), ElementsAre("a", "b", "c"));
}

TEST_F(DirectoryTest, CookiesStaySearchableWhenTheirNamesAreGone) {
  std::vector<uint64_t> cookies;
  for (int i = 0; i < 100; ++i) {
    cookies.push_back(uint64_t{Add(absl::StrCat("name", i))->cookie});
  }
  for (int i = 0; i < 100; ++i) {
    if (i % 10 != 0) Remove(absl::StrCat("name", i));
    for (int from = 0; from < 100; from += 7) {
      std::vector<std::string> left;
      for (int j = from + 1; j < 100; ++j) {
        if (j > i || j % 10 == 0) left.push_back(absl::StrCat("name", j));
      }
      ASSERT_EQ(ListAfter(cookies[from]), left);
    }
  }
}

// Each change of a listing between two of its steps, against a model.
TEST_F(DirectoryTest, ListingSeesWhatStaysExactlyOnce) {
  std::mt19937 random(7);
  std::map<uint64_t, std::string> model;
  int made = 0;
  const auto add = [&] {
    const std::string text = absl::StrCat("name", made++);
    model.emplace(uint64_t{Add(text)->cookie}, text);
  };
  const auto remove_any = [&] {
    if (model.empty()) return;
    auto it = model.lower_bound(random() % (made + 3));
    if (it == model.end()) it = model.begin();
    Remove(it->second);
    model.erase(it);
  };
  for (int round = 0; round < 48; ++round) {
    // Some directories grow or keep their size while they are listed, and some
    // shrink.
    const int added = round % 3;
    while (model.size() < size_t{1} << round % 12) add();
    uint64_t cookie = 0;
    for (int step = 0; step < 3000; ++step) {
      for (int i = 0; i < added; ++i) add();
      for (int i = 0; i < 2 - added / 2; ++i) remove_any();
      const Name* next = nullptr;
      directory_.ForEachAfter(cookie, [&next](const Name& name) {
        next = &name;
        return false;
      });
      const auto expected = model.upper_bound(cookie);
      ASSERT_EQ(next == nullptr, expected == model.end());
      if (next == nullptr) break;
      ASSERT_EQ(next->text(), expected->second);
      cookie = next->cookie;
    }
    ASSERT_EQ(directory_.size(), model.size());
    for (const auto& [at, text] : model) {
      ASSERT_EQ(directory_.Find(text)->cookie, at);
    }
  }
}

TEST_F(DirectoryTest, OneNameThatComesAndGoesTakesNoSpace) {
  for (int i = 0; i < 20; ++i) Add(absl::StrCat("name", i));
  uint64_t last = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const Name* name = Add("guest");
    ASSERT_GT(name->cookie, last);
    last = name->cookie;
    Remove("guest");
  }
  EXPECT_EQ(directory_.size(), 20u);
  EXPECT_EQ(ListAfter(0).size(), 20u);
}

// Would take hours if each listing passed all names that are gone.
TEST_F(DirectoryTest, FirstNameIsAtHandHoweverManyAreGone) {
  constexpr int kCount = 200'000;
  for (int i = 0; i < kCount; ++i) Add(absl::StrCat("name", i));
  for (int i = 0; i < kCount; ++i) {
    std::string first;
    directory_.ForEachAfter(0, [&first](const Name& name) {
      first = std::string(name.text());
      return false;
    });
    ASSERT_EQ(first, absl::StrCat("name", i));
    Remove(first);
  }
  EXPECT_TRUE(directory_.empty());
}

TEST_F(DirectoryTest, NameThatIsPutWhereAnotherWasHasItsPlace) {
  for (const int count : {1, 2, 8, 9, 100, 1000}) {
    std::vector<std::string> expected;
    for (int i = 0; i < count; ++i) {
      expected.push_back(absl::StrCat("name", i));
      Add(expected.back());
    }
    for (int i = 0; i < count; ++i) {
      const uint64_t cookie = directory_.Find(expected[i])->cookie;
      Remove(expected[i]);
      if (i % 3 != 0) expected[i] += "-new";
      Name* name = memory_.New(&inode_, &inode_, expected[i]);
      directory_.InsertAt(cookie, name);
      ASSERT_EQ(name->cookie, cookie);
      ASSERT_EQ(directory_.Find(expected[i]), name);
    }
    ASSERT_EQ(ListAfter(0), expected);
    for (const std::string& text : expected) {
      ASSERT_NE(directory_.Find(text), nullptr);
      Remove(text);
    }
    ASSERT_TRUE(directory_.empty());
  }
}

// Also if the hole that the name left has been removed.
TEST_F(DirectoryTest, PlacesStayUntilSomethingElseIsThere) {
  const unsigned seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  std::mt19937 random(seed);
  std::map<uint64_t, std::string> model;
  int made = 0;
  std::vector<uint64_t> free;
  for (int step = 0; step < 8'000; ++step) {
    const bool grows = step / 1000 % 2 == 0;
    if (random() % 8 < (grows ? 3u : 1u) || model.empty()) {
      const std::string text = absl::StrCat("name", made++);
      model.emplace(uint64_t{Add(text)->cookie}, text);
    } else if (random() % 2 == 0 && !free.empty()) {
      const size_t i = random() % free.size();
      const std::string text = absl::StrCat("name", made++);
      directory_.InsertAt(free[i], memory_.New(&inode_, &inode_, text));
      ASSERT_TRUE(model.emplace(free[i], text).second);
      ASSERT_EQ(directory_.Find(text)->cookie, free[i]);
      free.erase(free.begin() + static_cast<ptrdiff_t>(i));
    } else {
      auto it = model.lower_bound(random() % (made + 3));
      if (it == model.end()) it = model.begin();
      free.push_back(it->first);
      Remove(it->second);
      model.erase(it);
    }
    ASSERT_EQ(directory_.size(), model.size());
    ASSERT_EQ(directory_.end(), model.empty() ? 3 : model.rbegin()->first + 1);
    if (step % 500 != 0) continue;
    std::vector<std::string> expected;
    for (const auto& [cookie, text] : model) {
      ASSERT_EQ(directory_.Find(text)->cookie, cookie);
      expected.push_back(text);
    }
    ASSERT_EQ(ListAfter(0), expected);
  }
}

TEST_F(DirectoryTest, ReplacingOneNameOverAndOverChangesNoPlace) {
  for (int i = 0; i < 20; ++i) Add(absl::StrCat("name", i));
  const uint64_t end = directory_.end();
  for (int i = 0; i < 300'000; ++i) {
    const uint64_t cookie = directory_.Find("name7")->cookie;
    Add("temporary");
    Remove("temporary");
    Remove("name7");
    directory_.InsertAt(cookie, memory_.New(&inode_, &inode_, "name7"));
    ASSERT_EQ(directory_.end(), end);
  }
  EXPECT_EQ(directory_.Find("name7")->cookie,
            directory_.Find("name6")->cookie + 1);
}

TEST(Directory, CookiesThatAreUsedUpAreGivenOutAnewInTheSameOrder) {
  NameMemory memory;
  Inode inode;
  Directory directory(Directory::kCookieLimit - 50);
  std::vector<std::string> expected;
  for (int i = 0; i < 100; ++i) {
    expected.push_back(absl::StrCat("name", i));
    directory.Insert(memory.New(&inode, &inode, expected.back()));
    ASSERT_LT(directory.Find(expected.back())->cookie, Directory::kCookieLimit);
  }
  std::vector<std::string> list;
  uint64_t last = 0;
  directory.ForEachAfter(0, [&](const Name& name) {
    list.emplace_back(name.text());
    EXPECT_GT(name.cookie, last);
    last = name.cookie;
    return true;
  });
  EXPECT_EQ(list, expected);
  EXPECT_EQ(last, 102u);
  // A cookie from before that is not taken for a place.
  directory.InsertAt(Directory::kCookieLimit - 20,
                     memory.New(&inode, &inode, "late"));
  EXPECT_EQ(directory.Find("late")->cookie, 103u);
  directory.InsertAt(5, memory.New(&inode, &inode, "later"));
  EXPECT_EQ(directory.Find("later")->cookie, 104u);
}

TEST(NameLinks, FirstStaysFirstAndTheOthersCanGoInAnyOrder) {
  NameMemory memory;
  Inode inode;
  constexpr int kCount = kMaxLinks;
  std::vector<Name*> names;
  for (int i = 0; i < kCount; ++i) {
    names.push_back(memory.New(&inode, &inode, absl::StrCat("name", i)));
    names.back()->LinkTo(&inode.names);
    ASSERT_EQ(inode.names, names.front());
  }
  int count = 0;
  for (Name* n = inode.names; n != nullptr; n = n->next_link()) ++count;
  EXPECT_EQ(count, kCount);
  // From the end of the list, where a linear search would take longest.
  for (int i = 1; i < kCount; ++i) {
    names[i]->UnlinkFrom(&inode.names);
    NameMemory::Delete(names[i]);
    ASSERT_EQ(inode.names, names.front());
  }
  EXPECT_EQ(names.front()->links, nullptr);
  names.front()->UnlinkFrom(&inode.names);
  EXPECT_EQ(inode.names, nullptr);
  NameMemory::Delete(names.front());
}

TEST(NameLinks, NextOneBecomesFirst) {
  NameMemory memory;
  Inode inode;
  Name* names[3];
  for (Name*& name : names) {
    name = memory.New(&inode, &inode, "x");
    name->LinkTo(&inode.names);
  }
  names[0]->UnlinkFrom(&inode.names);
  EXPECT_EQ(inode.names, names[2]);
  EXPECT_EQ(names[2]->next_link(), names[1]);
  EXPECT_EQ(names[1]->next_link(), nullptr);
  names[2]->UnlinkFrom(&inode.names);
  EXPECT_EQ(inode.names, names[1]);
  for (Name* name : names) NameMemory::Delete(name);
}

}  // namespace
}  // namespace varve::fs
