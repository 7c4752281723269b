#include "tools/bench/tree_beside.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "engine/entry/entry.h"
#include "tools/bench/tree_figures.h"
#include "tools/bench/tree_files.h"

namespace varve::bench {
namespace {

using nlohmann::json;

// So that checkpoints follow each other quickly; the default is 5 s.
constexpr absl::Duration kShortInterval = absl::Milliseconds(200);
// Of which the figures are taken, behind a first one.
constexpr int kCheckpoints = 3;
constexpr uint64_t kLooksAtCheckpoint = 256;  // operations in between
constexpr double kLongestWait = 600;          // for checkpoints, in seconds

// One after the other: finds, reads and changes files, each measured.
void UseAFile(TreeFiles& files, Dice& dice, Waits& waits) {
  const uint64_t number = dice.Next();
  const std::string name = TreeFiles::NameOf(number);
  uint64_t folder = 0;
  waits.Measure([&] { folder = files.DirectoryOf(number); });
  waits.Measure(
      [&] { files.ExpectContent(folder, name, TreeFiles::ContentOf(number)); });
  waits.Measure([&] { files.ChangeMode(folder, name, dice.Next() & 0777); });
}

// Bytes of records from one offset to another, by kind.
json CountRecords(fs::Volume& volume, uint64_t begin, uint64_t end) {
  uint64_t commits = 0;
  uint64_t nodes = 0;
  uint64_t images = 0;
  const uint64_t image_key = volume.identity().IndexImageKeyHash();
  Must(volume.store().ForEachInChain([&](const EntryView& entry) {
    if (entry.location().end() <= begin) return false;
    if (entry.location().end() > end) return true;
    if (const auto header = volume.identity().AsCommit(entry)) {
      (header->is_commit() ? commits : nodes) += entry.size_on_disk();
    } else if (entry.key_hash() == image_key) {
      images += entry.size_on_disk();
    }
    return true;
  }));
  return {{"log_bytes", commits},
          {"checkpoint_bytes", nodes},
          {"index_image_bytes", images}};
}

// Work of the daemon's own in a thread beside a client.
template <typename Work>
json BesideWork(const Arguments& arguments, TreeFiles& files,
                const Work& work) {
  Dice dice(arguments.files);
  MemoryPeak peak;
  Waits waits;
  std::atomic<bool> ended{false};
  std::thread thread([&] {
    work();
    ended.store(true);
  });
  do {
    UseAFile(files, dice, waits);
  } while (!ended.load());
  thread.join();
  json figures = waits.Summary();
  figures["peak_anonymous"] = peak.Stop();
  return figures;
}

}  // namespace

json BesideCheckpoints(const Arguments& arguments) {
  TreeFiles files(arguments.store, Options(kShortInterval));
  Dice dice(arguments.files);
  const EntryKey key =
      EntryKey::OfHash(files.volume().identity().CheckpointKeyHash());
  const auto newest = [&] { return files.volume().store().Find(key); };
  auto last = newest();
  uint64_t begin = 0;
  int seen = 0;
  MemoryPeak peak;
  Waits waits;
  const auto start = std::chrono::steady_clock::now();
  while (seen <= kCheckpoints) {
    for (uint64_t i = 0; i < kLooksAtCheckpoint; ++i) {
      UseAFile(files, dice, waits);
    }
    const auto now = newest();
    if (now != last) {
      last = now;
      if (seen++ == 0) begin = *now;
    }
    if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
            .count() > kLongestWait) {
      FailTree("waited in vain for checkpoints");
    }
  }
  json figures = waits.Summary();
  figures.update(CountRecords(files.volume(), begin + kMetadataSize,
                              *last + kMetadataSize));
  figures["checkpoints"] = kCheckpoints;
  files.Close();
  figures["peak_anonymous"] = peak.Stop();
  return figures;
}

json BesideACompaction(const Arguments& arguments) {
  TreeFiles files(arguments.store, Options(kNever));
  Dice dice(arguments.files);
  fs::CompactionRunner& compactions = files.volume().compactions();
  MemoryPeak peak;
  Waits waits;
  Must(compactions.Start({}));
  do {
    UseAFile(files, dice, waits);
  } while (compactions.progress().running());
  Must(compactions.WaitForEnd());
  json figures = waits.Summary();
  figures["seconds"] = absl::ToDoubleSeconds(compactions.progress().elapsed);
  figures["told_longest"] =
      absl::ToDoubleSeconds(compactions.progress().longest_stall);
  files.Close();
  figures["peak_anonymous"] = peak.Stop();
  return figures;
}

json BesideCounting(const Arguments& arguments) {
  TreeFiles files(arguments.store, Options(kNever));
  double seconds = 0;
  json figures = BesideWork(arguments, files, [&] {
    seconds = SecondsOf([&] {
      for (int i = 0; i < arguments.rounds; ++i) {
        Must(files.volume().GetStatistics());
      }
    });
  });
  figures["seconds"] = seconds / arguments.rounds;
  files.Close();
  return figures;
}

json BesidePunching(const Arguments& arguments) {
  constexpr uint64_t kFiles = 1000;
  const std::string content(64 << 10, 'x');
  TreeFiles files(arguments.store, Options(kNever));
  fs::CompactionRunner& compactions = files.volume().compactions();
  double seconds = 0;
  double told_longest = 0;
  uint64_t reclaimed = 0;
  json all;
  for (int round = 0; round < arguments.rounds; ++round) {
    const uint64_t folder = files.MakeDirectory(fs::kRootIno, "dead");
    for (uint64_t i = 0; i < kFiles; ++i) {
      files.Create(folder, TreeFiles::NameOf(i), content);
    }
    for (uint64_t i = 0; i < kFiles; ++i) {
      files.Remove(folder, TreeFiles::NameOf(i));
    }
    Must(files.volume().RemoveDirectory(fs::kRootIno, "dead"));
    Must(files.volume().SyncAll());
    json figures = BesideWork(arguments, files, [&] {
      Must(compactions.Start({.punch = true}));
      Must(compactions.WaitForEnd());
    });
    const fs::CompactionProgress progress = compactions.progress();
    seconds += absl::ToDoubleSeconds(progress.elapsed) / arguments.rounds;
    told_longest =
        std::max(told_longest, absl::ToDoubleSeconds(progress.longest_stall));
    reclaimed += progress.bytes_reclaimed;
    if (round == 0 || figures["longest"] > all["longest"]) {
      all.swap(figures);
    }
  }
  if (reclaimed == 0) FailTree("nothing was punched");
  all["seconds"] = seconds;
  all["told_longest"] = told_longest;
  files.Close();
  return all;
}

}  // namespace varve::bench
