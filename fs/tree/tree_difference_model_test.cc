// Changes trees at random, and checks that the difference of two moments makes
// all paths of the newer one out of those of the older, and says no more than
// that needs.

#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/test_util.h"
#include "fs/tree/moment_test_util.h"
#include "fs/tree/random_user_test_util.h"
#include "fs/tree/tree_difference.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using Kind = PathDifference::Kind;

struct Line {
  explicit Line(const PathDifference& found)
      : kind(found.kind),
        path(found.path),
        old_path(found.old_path),
        before(found.before.has_value() ? found.before->ino : 0),
        after(found.after.has_value() ? found.after->ino : 0),
        content(found.content),
        attributes(found.attributes),
        xattrs(found.xattrs),
        replaced(found.replaced),
        new_bytes(found.new_bytes) {}

  bool any() const { return content || attributes || xattrs; }
  std::string Describe() const {
    return absl::StrCat(std::string(1, static_cast<char>(kind)), " ", old_path,
                        " -> ", path, content ? " content" : "",
                        attributes ? " attributes" : "",
                        xattrs ? " xattrs" : "", replaced ? " replaced" : "");
  }

  Kind kind;
  std::string path, old_path;
  uint64_t before, after;  // inodes
  bool content, attributes, xattrs, replaced;
  uint64_t new_bytes;
};

std::vector<Line> Diff(const Moment& before, const Moment& after,
                       NodeSharing sharing) {
  std::vector<Line> lines;
  EXPECT_THAT(
      DiffPaths(before.tree(), after.tree(), {.sharing = sharing},
                [&lines](const PathDifference& found) -> absl::StatusOr<bool> {
                  lines.emplace_back(found);
                  return true;
                }),
      IsOk());
  return lines;
}

// Makes the newer paths out of the older ones, by the rules in the header.
class Replay {
 public:
  Replay(const Paths& before, const Paths& after, std::vector<Line> lines)
      : before_(before), after_(after), lines_(std::move(lines)) {}

  void Check() {
    CheckOrder();
    for (const Line& line : lines_) {
      SCOPED_TRACE(line.Describe());
      if (line.kind == Kind::kAdded) {
        EXPECT_EQ(line.old_path, "");
        EXPECT_TRUE(made_.emplace(line.path, after_.at(line.path)).second);
        EXPECT_EQ(line.after, after_.at(line.path).ino);
        came_.insert(line.after);
      } else {
        EXPECT_TRUE(by_old_path_.emplace(line.old_path, &line).second);
        EXPECT_EQ(line.before, before_.at(line.old_path).ino);
      }
    }
    // Directories come before what lies in them.
    for (const auto& [path, state] : before_) {
      SCOPED_TRACE(path);
      Move(path, state);
    }
    ASSERT_EQ(made_.size(), after_.size());
    for (const auto& [path, state] : after_) {
      SCOPED_TRACE(path);
      ASSERT_TRUE(made_.contains(path));
      EXPECT_TRUE(made_.at(path).LooksLike(state));
    }
    CheckNewBytes();
  }

 private:
  void CheckOrder() {
    for (size_t i = 1; i < lines_.size(); ++i) {
      const auto last = NamesIn(lines_[i - 1].path);
      const auto next = NamesIn(lines_[i].path);
      EXPECT_TRUE(last < next ||
                  (last == next && lines_[i - 1].kind == Kind::kRemoved &&
                   lines_[i].kind != Kind::kRemoved))
          << lines_[i - 1].Describe() << ", " << lines_[i].Describe();
    }
  }

  // Where a path goes with its directory.
  std::optional<std::string> WithDirectory(const std::string& path) const {
    if (path.empty()) return path;
    const std::optional<std::string>& directory = moved_to_.at(ParentOf(path));
    if (!directory.has_value()) return std::nullopt;
    return Join(*directory, NameOf(path));
  }

  void Move(const std::string& path, State state) {
    const std::optional<std::string> with_directory = WithDirectory(path);
    const auto found = by_old_path_.find(path);
    if (found == by_old_path_.end()) {
      moved_to_[path] = with_directory;
      ASSERT_TRUE(with_directory.has_value());
      EXPECT_TRUE(made_.emplace(*with_directory, std::move(state)).second);
      return;
    }
    const Line& line = *found->second;
    SCOPED_TRACE(line.Describe());
    if (line.kind == Kind::kRemoved) {
      moved_to_[path] = std::nullopt;
      // It would have been renamed if its inode had got another name.
      EXPECT_FALSE(came_.contains(line.before));
      return;
    }
    moved_to_[path] = line.path;
    // The line is needed.
    if (line.kind == Kind::kRenamed) {
      EXPECT_NE(with_directory, line.path);
    } else if (!line.any()) {
      EXPECT_TRUE(line.replaced);
      EXPECT_NE(with_directory, line.path);
    } else if (!line.replaced) {
      EXPECT_EQ(with_directory, line.path);
    }
    EXPECT_EQ(line.replaced, line.before != line.after);
    const State& newer = after_.at(line.path);
    EXPECT_EQ(line.after, newer.ino);
    EXPECT_EQ(line.content, state.blocks != newer.blocks);
    EXPECT_EQ(line.attributes, state.attributes != newer.attributes);
    EXPECT_EQ(line.xattrs, state.xattrs != newer.xattrs);
    EXPECT_TRUE(made_.emplace(line.path, newer).second);
  }

  static const State* FindInode(const Paths& paths, uint64_t ino) {
    for (const auto& [path, state] : paths) {
      if (state.ino == ino) return &state;
    }
    return nullptr;
  }

  void CheckNewBytes() {
    std::map<uint64_t, int> names;
    for (const auto& [path, state] : after_) ++names[state.ino];
    std::set<uint64_t> counted;
    for (const Line& line : lines_) {
      SCOPED_TRACE(line.Describe());
      if (line.kind == Kind::kRemoved) {
        EXPECT_EQ(line.new_bytes, 0);
        continue;
      }
      const std::vector<std::string>& blocks = after_.at(line.path).blocks;
      const State* const older = line.replaced ? &before_.at(line.old_path)
                                               : FindInode(before_, line.after);
      uint64_t expected = 0;
      for (size_t i = 0; i < blocks.size(); ++i) {
        const bool is_same = older != nullptr && i < older->blocks.size() &&
                             older->blocks[i] == blocks[i];
        if (!blocks[i].empty() && !is_same) expected += kBlock;
      }
      if (expected > 0 && names[line.after] > 1 &&
          !counted.insert(line.after).second) {
        expected = 0;
      }
      EXPECT_EQ(line.new_bytes, expected);
    }
  }

  const Paths& before_;
  const Paths& after_;
  const std::vector<Line> lines_;
  std::map<std::string, const Line*> by_old_path_;
  std::set<uint64_t> came_;  // inodes of added paths
  std::map<std::string, std::optional<std::string>> moved_to_;
  Paths made_;
};

void RunRound(uint64_t seed) {
  std::mt19937_64 random(seed);
  ChangingTree tree;
  RandomUser user(seed, &tree);
  std::vector<std::unique_ptr<Moment>> moments;
  moments.push_back(tree.Now());
  for (int step = 0; step < 40 && !testing::Test::HasFailure(); ++step) {
    SCOPED_TRACE(absl::StrCat("step ", step));
    for (uint64_t acts = random() % 20; acts > 0; --acts) user.Act();
    if (random() % 3 == 0) tree.Checkpoint();
    moments.push_back(tree.Now());
    const Moment& older = *moments[random() % moments.size()];
    const Moment& newer = *moments.back();
    const Paths before = AllPaths(older.tree());
    const Paths after = AllPaths(newer.tree());
    Replay(before, after, Diff(older, newer, NodeSharing::kOneStore)).Check();
    Replay(before, after, Diff(older, newer, NodeSharing::kNone)).Check();
    Replay(after, before, Diff(newer, older, NodeSharing::kOneStore)).Check();
  }
}

TEST(TreeDifferenceModelTest, MakesTheNewerPathsOfTheOlder) {
  uint64_t rounds = 20;
  if (const char* text = getenv("VARVE_TEST_ROUNDS")) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &rounds));
  }
  uint64_t first = 1;
  if (const char* text = getenv("VARVE_TEST_SEED")) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &first));
    rounds = 1;
  }
  for (uint64_t seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RunRound(seed);
    if (testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace varve::fs
