#include "tools/bench/tree_past.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tools/bench/tree_figures.h"
#include "tools/bench/tree_files.h"

namespace varve::bench {
namespace {

using nlohmann::json;

std::string NameOfSnapshot(uint64_t number) {
  return absl::StrCat("snapshot ", number);
}

// Lists the directory and all below it, and returns how many entries there are.
// `list` calls its argument with the inode and the mode of each.
template <typename List>
uint64_t CountEntries(const List& list) {
  uint64_t entries = 0;
  std::vector<uint64_t> directories = {fs::kRootIno};
  while (!directories.empty()) {
    const uint64_t ino = directories.back();
    directories.pop_back();
    list(ino, [&](const fs::Stat& stat) {
      ++entries;
      if (S_ISDIR(stat.attributes.mode)) directories.push_back(stat.ino);
    });
  }
  return entries;
}

uint64_t CountPresent(fs::Volume& volume) {
  return CountEntries([&](uint64_t ino, const auto& add) {
    Must(volume.ReadDirectory(ino, fs::Volume::kBehindDots, /*reference=*/false,
                              [&](const fs::Volume::Entry& entry) {
                                add(entry.stat);
                                return true;
                              }));
  });
}

uint64_t CountPast(fs::PastFiles& files, uint64_t moment) {
  return CountEntries([&](uint64_t ino, const auto& add) {
    Must(files.ReadDirectory(
        moment, ino, fs::Volume::kBehindDots,
        [&](absl::string_view, const fs::Stat& stat, uint64_t) {
          add(stat);
          return true;
        }));
  });
}

double MedianOf(std::vector<double> values) {
  if (values.empty()) FailTree("nothing was measured");
  const auto middle =
      values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

}  // namespace

json MakeSnapshots(const Arguments& arguments) {
  TreeFiles files(arguments.store, Options(fs::VolumeOptions().sync_interval));
  fs::Volume& volume = files.volume();
  const auto count = static_cast<uint64_t>(arguments.rounds);
  Dice dice(arguments.files);
  std::vector<double> seconds;
  MemoryPeak peak;
  const uint64_t before = volume.store().file_size();
  for (uint64_t i = 0; i < count; ++i) {
    for (uint64_t change = 0; change < arguments.changes; ++change) {
      ChangeAtRandom(files, dice);
    }
    seconds.push_back(SecondsOf(
        [&] { Must(volume.history().CreateSnapshot(NameOfSnapshot(i))); }));
  }
  const uint64_t grown = volume.store().file_size() - before;
  const uint64_t memory = peak.Stop();
  const uint64_t tenth = std::max<uint64_t>(1, count / 10);
  const std::vector<double> first(
      seconds.begin(), seconds.begin() + static_cast<ptrdiff_t>(tenth));
  const std::vector<double> last(seconds.end() - static_cast<ptrdiff_t>(tenth),
                                 seconds.end());
  files.Close();
  return {{"first", MedianOf(first)},
          {"last", MedianOf(last)},
          {"longest", *std::max_element(seconds.begin(), seconds.end())},
          {"grown_each", grown / count},
          {"peak_anonymous", memory}};
}

json LookAtSnapshots(const Arguments& arguments) {
  TreeFiles files(arguments.store, Options(kNever));
  fs::Volume& volume = files.volume();
  const auto count = static_cast<uint64_t>(arguments.rounds);
  std::vector<double> opening;
  std::vector<double> comparing;
  MemoryPeak peak;
  // A prime that does not divide the count: each comes once, and none beside
  // another.
  constexpr uint64_t kStep = 7919;
  uint64_t moment = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const std::string name = NameOfSnapshot(i * kStep % count);
    opening.push_back(SecondsOf([&] {
      moment = Must(volume.past_files().Resolve(name, fs::Timestamp::Now()));
      Must(volume.past_files().GetAttributes(moment, fs::kRootIno));
    }));
  }
  for (uint64_t i = 0; i + 1 < std::min<uint64_t>(count, 100); ++i) {
    uint64_t differences = 0;
    comparing.push_back(SecondsOf([&] {
      Must(volume.history().Diff(
          NameOfSnapshot(i), NameOfSnapshot(i + 1), "",
          [&](const fs::PathDifference&) -> absl::StatusOr<bool> {
            ++differences;
            return true;
          }));
    }));
    if (differences == 0 || differences > arguments.changes) {
      FailTree(absl::StrCat(differences, " differences"));
    }
  }
  const uint64_t memory = peak.Stop();
  uint64_t past = 0;
  uint64_t present = 0;
  CountPast(volume.past_files(), moment);  // to warm up
  const double list_past =
      SecondsOf([&] { past = CountPast(volume.past_files(), moment); });
  CountPresent(volume);
  const double list_present =
      SecondsOf([&] { present = CountPresent(volume); });
  if (past != present) FailTree(absl::StrCat(past, " entries in the past"));
  files.Close();
  return {
      {"opening", MedianOf(opening)},
      {"opening_longest", *std::max_element(opening.begin(), opening.end())},
      {"comparing", MedianOf(comparing)},
      {"list_past", list_past / static_cast<double>(past)},
      {"list_present", list_present / static_cast<double>(present)},
      {"peak_anonymous", memory}};
}

}  // namespace varve::bench
