// A model with history: random operations, with everything that reclaims space
// in between, and past moments compared with what the model remembers.
// VARVE_HISTORY_STEPS and VARVE_TEST_SEED make it longer, and another one.

#include <cstdlib>
#include <map>
#include <random>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

// Random operations; after each, its moment is remembered. Whatever reclaims
// space in between, all moments show what they did, or are not kept.
class HistoryModel : public VolumeTest {
 protected:
  void SetUp() override {
    VolumeTest::SetUp();
    uint64_t seed = 1;
    const char* const given = std::getenv("VARVE_TEST_SEED");
    if (given != nullptr && !absl::SimpleAtoi(given, &seed)) seed = 1;
    random_.seed(seed);
  }

  absl::Status Compact(CompactionOptions options) {
    VARVE_RETURN_IF_ERROR(volume().compactions().Start(options));
    return volume().compactions().WaitForEnd();
  }
  uint64_t Below(uint64_t limit) { return random_() % limit; }
  std::string AnyName() {
    const std::string name = absl::StrCat("n", Below(6));
    return Below(3) == 0 ? "d/" + name : name;
  }

  void ChangeTree() {
    const std::string name = AnyName();
    const std::string other = AnyName();
    // Those that fail change nothing.
    switch (Below(10)) {
      case 0:
      case 1:
      case 2:
        return Write(name, Pattern(random_(), Below(3) == 0 ? 300'000 : 900))
            .IgnoreError();
      case 3:
        return WriteAt(name, Below(2000), Pattern(random_(), 700))
            .IgnoreError();
      case 4:
        return Rename(name, other).IgnoreError();
      case 5:
        return Unlink(name).IgnoreError();
      case 6:
        return Link(name, other).IgnoreError();
      case 7:
        return Truncate(name, Below(1000)).IgnoreError();
      case 8:
        if (Ino(name) == 0) return;
        return volume()
            .SetXattr(Ino(name), "user.x", absl::StrCat(random_()), 0)
            .IgnoreError();
      default:
        return Symlink(name, other).IgnoreError();
    }
  }

  void ChangeHistory() {
    const std::string name = absl::StrCat("s", Below(8));
    switch (Below(4)) {
      case 0:
      case 1:
        if (volume().history().CreateSnapshot(name).ok())
          snapshots_[name] = LastCommit();
        return;
      case 2:
        if (volume().history().DeleteSnapshot(name).ok())
          snapshots_.erase(name);
        return;
      default: {
        if (remembered_.empty()) return;
        auto it = remembered_.begin();
        std::advance(it, Below(remembered_.size()));
        const auto made = volume().history().CreateSnapshot(
            name, absl::StrCat("seq:", it->first));
        if (made.ok()) snapshots_[name] = it->first;
      }
    }
  }

  void Step() {
    AdvanceClock(absl::Seconds(static_cast<int64_t>(Below(100))));
    switch (Below(16)) {
      case 0:
        ChangeHistory();
        break;
      case 1:
        Reopen();
        break;
      case 2:
        Crash();
        break;
      case 3:
        ASSERT_THAT(Compact({.punch = Below(2) == 0, .forget = Below(2) == 0}),
                    IsOk());
        break;
      case 4:
        AdvanceClock(absl::Minutes(20));
        ASSERT_THAT(volume().history().ApplyPolicy(), IsOk());
        break;
      default:
        ChangeTree();
    }
    remembered_[LastCommit()] = Dump();
  }

  void CheckMoment(uint64_t sequence) {
    const std::string dump = DumpAt(absl::StrCat("seq:", sequence));
    if (absl::StartsWith(dump, "NOT_FOUND")) {
      for (const auto& [name, kept] : snapshots_) {
        EXPECT_NE(kept, sequence) << name << " was not kept";
      }
      return;
    }
    EXPECT_EQ(dump, remembered_[sequence]) << "moment " << sequence;
    ++checked_;
  }

  std::mt19937_64 random_;
  std::map<uint64_t, std::string> remembered_;
  std::map<std::string, uint64_t> snapshots_;
  int checked_ = 0;
};

TEST_F(HistoryModel, MomentsStayWhatTheyWere) {
  ASSERT_THAT(volume().history().SetPolicy(
                  *HistoryPolicy::Parse("within=10m! hourly=3")),
              IsOk());
  ASSERT_THAT(MakeDir("d"), IsOk());
  int steps = 300;
  const char* const given = std::getenv("VARVE_HISTORY_STEPS");
  if (given != nullptr) {
    ASSERT_TRUE(absl::SimpleAtoi(given, &steps));
  }
  for (int i = 0; i < steps && !HasFailure(); ++i) {
    SCOPED_TRACE(absl::StrCat("step ", i));
    Step();
    auto it = remembered_.begin();
    std::advance(it, Below(remembered_.size()));
    CheckMoment(it->first);
    if (snapshots_.empty()) continue;
    auto snapshot = snapshots_.begin();
    std::advance(snapshot, Below(snapshots_.size()));
    EXPECT_EQ(DumpAt(snapshot->first), remembered_[snapshot->second])
        << snapshot->first;
  }
  for (const auto& [sequence, dump] : remembered_) CheckMoment(sequence);
  EXPECT_GT(checked_, steps / 8);
}

}  // namespace
}  // namespace varve::fs
