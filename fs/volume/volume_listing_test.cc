// Listings of directories that change meanwhile, and the order of names.

#include <stdio.h>
#include <sys/stat.h>

#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::ElementsAre;

constexpr Caller kCaller{.uid = 1000, .gid = 1000};

struct Listed {
  std::string name;
  uint64_t cookie;
};

class VolumeListingTest : public VolumeTest {
 protected:
  // The answer to a READDIR request with room for `most` entries.
  std::vector<Listed> ListFrom(absl::string_view path, uint64_t cookie,
                               size_t most) {
    std::vector<Listed> list;
    EXPECT_THAT(volume().ReadDirectory(
                    Ino(path), cookie, /*reference=*/false,
                    [&](const Volume::Entry& entry) {
                      if (list.size() == most) return false;
                      list.push_back({std::string(entry.name), entry.cookie});
                      return true;
                    }),
                IsOk());
    return list;
  }
  void Make(absl::string_view path) {
    const auto slash = path.rfind('/');
    const uint64_t parent = slash == absl::string_view::npos
                                ? kRootIno
                                : Ino(path.substr(0, slash));
    const auto stat = volume().MakeNode(
        parent,
        slash == absl::string_view::npos ? path : path.substr(slash + 1),
        S_IFREG | 0644, 0, kCaller);
    ASSERT_THAT(stat, IsOk()) << path;
    volume().Forget(stat->ino, 1);
  }
  // Lists the root, a few entries at a time, and calls `change` for each name.
  std::vector<std::string> ListWhile(
      size_t most, const std::function<void(const std::string&)>& change) {
    std::vector<std::string> names;
    uint64_t cookie = Volume::kBehindDots;
    while (names.size() < 10'000) {
      const std::vector<Listed> list = ListFrom("", cookie, most);
      if (list.empty()) return names;
      for (const Listed& listed : list) {
        names.push_back(listed.name);
        change(listed.name);
      }
      cookie = list.back().cookie;
    }
    ADD_FAILURE() << "does not end";
    return names;
  }
};

TEST_F(VolumeListingTest, EndsThoughEachNameIsRenamed) {
  std::vector<std::string> expected;
  for (int i = 0; i < 100; ++i) {
    expected.push_back(absl::StrCat("f", i));
    Make(expected.back());
  }
  for (const size_t most : {1, 7, 1000}) {
    EXPECT_EQ(ListWhile(most,
                        [&](const std::string& name) {
                          EXPECT_THAT(Rename(name, "x" + name), IsOk());
                        }),
              expected);
    for (std::string& name : expected) name.insert(0, "x");
    EXPECT_EQ(List(""), expected);
  }
}

TEST_F(VolumeListingTest, EndsThoughEachNameBringsANewOne) {
  for (const char* name : {"a", "b", "c"}) Make(name);
  for (const size_t most : {1, 2, 1000}) {
    const std::vector<std::string> before = List("");
    EXPECT_EQ(ListWhile(most,
                        [&](const std::string& name) {
                          Make(absl::StrCat(name, most));
                        }),
              before);
    EXPECT_EQ(List("").size(), 2 * before.size());
  }
}

TEST_F(VolumeListingTest, NameThatIsReplacedIsListedOnce) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  for (int i = 0; i < 20; ++i) Make(absl::StrCat("f", i));
  const std::vector<std::string> before = List("");
  for (const size_t most : {1, 3}) {
    // Each is replaced before it is listed and behind that, from the directory
    // and from another.
    EXPECT_EQ(ListWhile(most,
                        [&](const std::string&) {
                          for (int i = 0; i < 20; ++i) {
                            const std::string from = i % 2 == 0 ? "d/t" : "t";
                            Make(from);
                            ASSERT_THAT(Rename(from, absl::StrCat("f", i)),
                                        IsOk());
                          }
                        }),
              before);
  }
  EXPECT_EQ(List(""), before);
}

TEST_F(VolumeListingTest, NamesOfARenameKeepTheirPlace) {
  for (const char* name : {"a", "b", "c", "d"}) Make(name);
  ASSERT_THAT(Rename("a", "c", RENAME_EXCHANGE), IsOk());
  EXPECT_THAT(List(""), ElementsAre("a", "b", "c", "d"));
  ASSERT_THAT(Rename("b", "new", RENAME_WHITEOUT), IsOk());
  EXPECT_THAT(List(""), ElementsAre("a", "b", "c", "d", "new"));
  ASSERT_THAT(Rename("d", "a", RENAME_WHITEOUT), IsOk());
  EXPECT_THAT(List(""), ElementsAre("a", "b", "c", "d", "new"));
  ASSERT_THAT(Rename("c", "free", RENAME_NOREPLACE), IsOk());
  EXPECT_THAT(List(""), ElementsAre("a", "b", "free", "d", "new"));
  Crash();
  EXPECT_THAT(List(""), ElementsAre("a", "b", "free", "d", "new"));
}

TEST_F(VolumeListingTest, NameThatIsMadeAnewIsListedOnceOrTheNextTime) {
  for (int i = 0; i < 10; ++i) Make(absl::StrCat("f", i));
  const std::vector<std::string> before = List("");
  EXPECT_EQ(ListWhile(1,
                      [&](const std::string& name) {
                        ASSERT_THAT(Unlink(name), IsOk());
                        Make(name);
                      }),
            before);
  EXPECT_EQ(List(""), before);
}

TEST_F(VolumeListingTest, GoesOnBehindANameThatIsGone) {
  for (int i = 0; i < 50; ++i) Make(absl::StrCat("f", i));
  const std::vector<Listed> all = ListFrom("", Volume::kBehindDots, 1000);
  for (int i = 0; i < 50; ++i) {
    if (i % 10 == 9) continue;
    ASSERT_THAT(Unlink(absl::StrCat("f", i)), IsOk());
  }
  for (int i = 0; i < 50; ++i) {
    std::vector<std::string> names;
    for (const Listed& left : ListFrom("", all[i].cookie, 1000)) {
      names.push_back(left.name);
    }
    std::vector<std::string> expected;
    for (int j = i + 1; j < 50; ++j) {
      if (j % 10 == 9) expected.push_back(absl::StrCat("f", j));
    }
    EXPECT_EQ(names, expected) << i;
  }
}

TEST_F(VolumeListingTest, SecondNamesKeepTheirPlaceInACheckpoint) {
  for (const char* name : {"d", "e", "e/f"}) ASSERT_THAT(MakeDir(name), IsOk());
  for (const char* name : {"d/a", "d/b", "d/c", "e/a", "e/f/a"}) Make(name);
  // The order in which directories are met is no help with all of these.
  ASSERT_THAT(Link("e/f/a", "d/x"), IsOk());
  ASSERT_THAT(Link("e/f/a", "e/x"), IsOk());
  ASSERT_THAT(Link("d/b", "e/y"), IsOk());
  ASSERT_THAT(Link("d/b", "d/y"), IsOk());
  Make("e/z");
  Make("d/z");
  ASSERT_THAT(Link("e/z", "d/zz"), IsOk());
  ASSERT_THAT(Rename("d/b", "d/q"), IsOk());  // another name is the first now
  ASSERT_THAT(Unlink("d/a"), IsOk());
  ASSERT_THAT(Rename("d/y", "d/first"), IsOk());
  Make("d/last");
  const auto paths = [&] {
    std::map<uint64_t, std::string> first;
    volume().WithTree([&](const TreeReader& tree) {
      EXPECT_THAT(tree.ForEachInode([&](const InodeItem& inode) {
        first[inode.ino] = *tree.PathOf(inode);
        return true;
      }),
                  IsOk());
    });
    return first;
  };
  const auto d = List("d");
  const auto e = List("e");
  const auto dump = Dump();
  const auto first = paths();
  EXPECT_THAT(d, ElementsAre("q", "c", "x", "first", "z", "zz", "last"));
  Crash();  // read back from commits
  EXPECT_EQ(List("d"), d);
  EXPECT_EQ(List("e"), e);
  EXPECT_EQ(paths(), first);
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(volume().compactions().Start({.forget = true}), IsOk());
    ASSERT_THAT(volume().compactions().WaitForEnd(), IsOk());
    EXPECT_EQ(List("d"), d);
    Reopen();  // from a checkpoint
    EXPECT_TRUE(HasCheckpoint());
    EXPECT_EQ(List("d"), d);
    EXPECT_EQ(List("e"), e);
    EXPECT_EQ(paths(), first);
    EXPECT_EQ(Dump(), dump);
  }
}

// ---- Random changes with listings under way ---------------------------------

// A name in a directory. One that is there when a listing begins, and stays, is
// listed once, under whatever text it has then.
using Token = std::shared_ptr<const int>;
using Names = std::map<std::string, Token>;

struct Listing {
  uint64_t cookie = Volume::kBehindDots;
  std::set<Token> at_start;
  std::set<Token> seen;
};

class ListingModelTest : public VolumeListingTest {
 protected:
  static constexpr int kNames = 60;

  uint32_t Below(uint32_t limit) { return random_() % limit; }
  std::string RandomName() { return absl::StrCat("n", Below(kNames)); }
  static std::string Path(int directory, const std::string& name) {
    return absl::StrCat("d", directory, "/", name);
  }
  static Token NewToken() { return std::make_shared<const int>(0); }

  void ChangeOne() {
    const int from = static_cast<int>(Below(2));
    const int to = Below(3) == 0 ? 1 - from : from;
    const std::string name = RandomName();
    const std::string other = RandomName();
    Names& source = model_[from];
    Names& target = model_[to];
    const bool exists = source.contains(name);
    switch (Below(8)) {
      case 0:
      case 1:
        if (exists) return;
        Make(Path(from, name));
        source[name] = NewToken();
        return;
      case 2:
        if (!exists) return;
        ASSERT_THAT(Unlink(Path(from, name)), IsOk());
        source.erase(name);
        return;
      case 3:
        if (!exists || target.contains(other)) return;
        ASSERT_THAT(Link(Path(from, name), Path(to, other)), IsOk());
        target[other] = NewToken();
        return;
      default:
        if (!exists || (from == to && name == other)) return;
        RenameOne(Path(from, name), Path(to, other), source, name, target,
                  other);
    }
  }

  void RenameOne(const std::string& from, const std::string& to, Names& source,
                 const std::string& name, Names& target,
                 const std::string& other) {
    const bool replaces = target.contains(other);
    const uint32_t flags = Below(4) == 0               ? RENAME_WHITEOUT
                           : replaces && Below(3) == 0 ? RENAME_EXCHANGE
                                                       : 0;
    // If both are names of one file, nothing happens.
    if (Ino(from) == Ino(to)) return;
    ASSERT_THAT(Rename(from, to, flags), IsOk());
    if (flags == RENAME_EXCHANGE) return;
    const Token token = source[name];
    if (flags != RENAME_WHITEOUT) source.erase(name);
    if (replaces) return;
    const bool moves = &source == &target && flags != RENAME_WHITEOUT;
    target[other] = moves ? token : NewToken();
  }

  // Takes a few steps of a listing; false if that was its end.
  bool Step(int directory, Listing& listing) {
    const Names& model = model_[directory];
    if (listing.cookie == Volume::kBehindDots) {
      for (const auto& [name, token] : model) listing.at_start.insert(token);
    }
    const auto list =
        ListFrom(absl::StrCat("d", directory), listing.cookie, 1 + Below(5));
    for (const Listed& listed : list) {
      const auto it = model.find(listed.name);
      EXPECT_NE(it, model.end()) << listed.name << " is not there";
      if (it == model.end()) return false;
      EXPECT_TRUE(listing.at_start.contains(it->second))
          << listed.name << " came later";
      EXPECT_TRUE(listing.seen.insert(it->second).second)
          << listed.name << " is listed again";
      listing.cookie = listed.cookie;
    }
    if (!list.empty()) return true;
    for (const auto& [name, token] : model) {
      EXPECT_EQ(listing.at_start.contains(token), listing.seen.contains(token))
          << name << " was missed";
    }
    return false;
  }

  void StepAny(int directory) {
    auto& all = listings_[directory];
    if (all.size() < 4) all.emplace_back();
    const size_t i = Below(all.size());
    const bool has_begun = all[i].cookie != Volume::kBehindDots;
    if (has_begun && Below(10) == 0) {  // telldir, and seekdir later
      all.push_back(Listing(all[i]));
      return;
    }
    if (!Step(directory, all[i])) {
      all.erase(all.begin() + static_cast<ptrdiff_t>(i));
    }
  }

  // The order survives reopening, from commits and from a checkpoint.
  void StartAnew() {
    const auto one = List("d0");
    const auto two = List("d1");
    switch (Below(3)) {
      case 0:
        ASSERT_THAT(volume().compactions().Start({.forget = true}), IsOk());
        ASSERT_THAT(volume().compactions().WaitForEnd(), IsOk());
        break;
      case 1:
        Crash();
        for (auto& all : listings_) all.clear();
        break;
      default:
        Reopen();
        for (auto& all : listings_) all.clear();
    }
    EXPECT_EQ(List("d0"), one);
    EXPECT_EQ(List("d1"), two);
  }

  std::mt19937_64 random_;
  Names model_[2];
  std::vector<Listing> listings_[2];
};

TEST_F(ListingModelTest, EachPlaceThatStaysIsListedOnce) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  random_.seed(seed);
  ASSERT_THAT(MakeDir("d0"), IsOk());
  ASSERT_THAT(MakeDir("d1"), IsOk());
  for (int step = 0; step < 20'000 && !HasFailure(); ++step) {
    ChangeOne();
    if (Below(3) == 0) StepAny(static_cast<int>(Below(2)));
    if (Below(1000) == 0) StartAnew();
  }
}

}  // namespace
}  // namespace varve::fs
