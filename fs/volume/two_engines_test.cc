// Varve and the original program take turns on one store, and each compacts it
// from time to time. A model says what must be there.

#include <fcntl.h>
#include <stdlib.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "fs/volume/original_test_util.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

// The rounds in CI; VARVE_TWO_ENGINES_ROUNDS asks for more.
constexpr int kRounds = 25;
constexpr int kFiles = 12;

int Rounds() {
  int rounds = kRounds;
  if (const char* text = getenv("VARVE_TWO_ENGINES_ROUNDS")) {
    EXPECT_TRUE(absl::SimpleAtoi(text, &rounds));
  }
  return rounds;
}

// What a file must be. Two names of one file share this.
struct Model {
  std::map<std::string, std::string> files;
  std::map<std::string, std::string>
      unnamed;  // values of keys that are not files
};

class TwoEnginesTest : public testing::TestWithParam<int> {
 protected:
  TwoEnginesTest() : random_(static_cast<unsigned>(GetParam())) {}

  size_t Below(size_t n) { return random_() % n; }
  std::string AnyPath() {
    const size_t i = Below(kFiles);
    return i % 3 == 0 ? absl::StrCat("d/f", i) : absl::StrCat("f", i);
  }
  // A value that was never used before.
  std::string Text() {
    static constexpr size_t kSizes[] = {1,   5,    44,     64,
                                        500, 4096, 20'000, 300'000};
    const size_t size = kSizes[Below(std::size(kSizes))];
    std::string text = Pattern(random_(), size);
    if (Below(8) == 0) text.assign(size, '\0');
    const std::string number = absl::StrCat(++texts_, ".");
    if (text[0] != '\0') text.replace(0, std::min(size, number.size()), number);
    return text;
  }

  bool MovesByCopy(const std::string& path) {
    const std::string& text = model_.files[path];
    return text.empty() || (text.size() <= 60'000 && v_.ReadRaw(path) == text);
  }
  void AdoptOne();
  void UseVarve();
  void UseOriginal();
  void Expect();

  std::mt19937 random_;
  int texts_ = 0;
  TestVolume v_;
  Model model_;
};

void TwoEnginesTest::AdoptOne() {
  if (model_.unnamed.empty()) return;
  const std::string key = model_.unnamed.begin()->first;
  ASSERT_THAT(v_.volume().Adopt({key}, {}), testing::ElementsAre(IsOk()));
  model_.files[key] = model_.unnamed[key];
  model_.unnamed.erase(key);
}

void TwoEnginesTest::UseVarve() {
  for (size_t i = 1 + Below(6); i > 0; --i) {
    const std::string path = AnyPath();
    const bool exists = model_.files.contains(path);
    switch (Below(7)) {
      case 0:
      case 1: {
        if (!exists && model_.unnamed.contains(path)) break;
        const std::string text = Text();
        ASSERT_THAT(v_.Write(path, text), IsOk());
        model_.files[path] = text;
        break;
      }
      case 2:
        if (!exists) break;
        ASSERT_THAT(v_.Unlink(path), IsOk());
        model_.files.erase(path);
        break;
      case 3: {
        if (!exists) break;
        std::string& text = model_.files[path];
        const size_t at = Below(text.size() + 1);
        const std::string patch = Pattern(random_(), 1 + Below(3000));
        ASSERT_THAT(v_.WriteAt(path, at, patch), IsOk());
        if (text.size() < at + patch.size()) text.resize(at + patch.size());
        text.replace(at, patch.size(), patch);
        break;
      }
      case 4: {
        if (!exists) break;
        const size_t size = Below(3) == 0 ? 0 : Below(5000);
        ASSERT_THAT(v_.Truncate(path, size), IsOk());
        model_.files[path].resize(size);
        break;
      }
      case 5: {
        const std::string to = AnyPath();
        // A file that was renamed without being copied would not survive the
        // original's compaction.
        if (!exists || to == path || model_.unnamed.contains(to) ||
            !MovesByCopy(path)) {
          break;
        }
        ASSERT_THAT(v_.Rename(path, to), IsOk());
        model_.files[to] = model_.files[path];
        model_.files.erase(path);
        break;
      }
      default:
        AdoptOne();
    }
  }
  if (Below(4) == 0) {
    ASSERT_THAT(v_.volume().compactions().Start({.forget = true}), IsOk());
    ASSERT_THAT(v_.volume().compactions().WaitForEnd(), IsOk());
  }
}

void TwoEnginesTest::UseOriginal() {
  std::set<std::string> touched;
  std::set<std::string> deleted;
  const bool compacts_at_end = Below(3) == 0;
  if (Below(3) == 0) RewriteAsOriginal(v_.path());
  v_.WithForeignStore([&](Store& store) {
    for (size_t i = Below(5); i > 0; --i) {
      const std::string path = AnyPath();
      // If its key were written again, it would be the same file with new
      // content.
      if (deleted.contains(path)) continue;
      // A value that the file had before may be taken for an old version, so
      // use a new one. (The original does not take values of zeros.)
      const std::string text = absl::StrCat("value ", ++texts_, Text());
      // Use only keys that it has not touched since the last mount: two changes
      // of one key could not be told apart.
      if (Below(4) > 0 || touched.contains(path)) {
        // It must not replace and then delete a file that lies in pieces or
        // under another key, because that could not be noticed (docs/format.md,
        // "Relocated stores").
        if (model_.files.contains(path) && !model_.files[path].empty() &&
            !store.Exists(path)) {
          continue;
        }
        ASSERT_THAT(store.Write(path, AsBytes(text)), IsOk());
        touched.insert(path);
        (model_.files.contains(path) ? model_.files : model_.unnamed)[path] =
            text;
      } else if (model_.unnamed.contains(path)) {
        ASSERT_THAT(store.Delete(path), IsOk());
        model_.unnamed.erase(path);
      } else if (const auto entry = store.Read(path);
                 entry.ok() && model_.files.contains(path) &&
                 entry->payload_text() == model_.files[path] &&
                 !compacts_at_end) {
        // After a compaction, a deletion could not be told from a loss.
        ASSERT_THAT(store.Delete(path), IsOk());
        model_.files.erase(path);
        deleted.insert(path);
      }
    }
  });
  if (compacts_at_end) RewriteAsOriginal(v_.path());
}

void TwoEnginesTest::Expect() {
  for (const auto& [path, text] : model_.files) {
    const auto found = v_.Read(path);
    ASSERT_THAT(found, IsOk()) << path;
    ASSERT_TRUE(*found == text)
        << path << " has " << found->size() << " bytes and not " << text.size();
  }
  EXPECT_EQ(v_.volume().totals().names, model_.files.size() + 1);  // and d
  std::set<uint64_t> unnamed;
  for (const EntryLocation& entry : v_.Unnamed()) {
    unnamed.insert(entry.key_hash);
  }
  for (const auto& [key, text] : model_.unnamed) {
    EXPECT_TRUE(unnamed.contains(HashKey(key))) << key;
    EXPECT_EQ(v_.ReadRaw(key), text);
  }
}

TEST_P(TwoEnginesTest, TakeTurns) {
  v_.Open();
  ASSERT_THAT(v_.MakeDir("d"), IsOk());
  for (int round = 0; round < Rounds(); ++round) {
    SCOPED_TRACE(round);
    ASSERT_NO_FATAL_FAILURE(UseVarve());
    ASSERT_NO_FATAL_FAILURE(Expect());
    v_.Close();
    ASSERT_NO_FATAL_FAILURE(UseOriginal());
    v_.Open();
    ASSERT_NO_FATAL_FAILURE(Expect());
    if (Below(3) == 0) v_.Reopen();
    ASSERT_NO_FATAL_FAILURE(Expect());
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, TwoEnginesTest, testing::Values(1, 2, 3));

}  // namespace
}  // namespace varve::fs
