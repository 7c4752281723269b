// Power cuts at every point. A history of random operations is recorded. From
// the record, the test builds states in which a crash may have left the files,
// and opens each. Synced operations must be there. Each later operation must
// have happened whole or not at all, with all those before it. Nothing may be
// damaged, and the bytes that recovery cut off must lie beside the store.
//
// VARVE_SEED is the seed of the first history, to reproduce a failure.
// VARVE_TEST_ROUNDS is the number of histories, of some hundred states each.

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <functional>
#include <iostream>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/entry/entry.h"
#include "fs/tree/tree_checker.h"
#include "fs/volume/crash_disk.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

// --- The history ---

struct State {
  size_t events;  // length of the record when it was reached
  std::string dump;
};

// Random operations on a volume, their record, and the expected states.
class History {
 public:
  explicit History(uint64_t seed) : random_(seed) {
    volume_.options().dirty_budget = 32 << 10;  // so that streams begin early
    volume_.files().StartRecording();
    volume_.Open();
    NoteState();
    NoteSync();
    constexpr int kSteps = 48;
    const int compaction = static_cast<int>(random_() % kSteps);
    for (int i = 0; i < kSteps; ++i) {
      if (i == compaction) Compact();
      if (i == compaction + 9) Reopen();
      Step();
      NoteState();
    }
    DropUnnamed();
    events_ = volume_.files().events();
  }

  const std::vector<FileEvent>& events() const { return events_; }
  const std::string& path() const { return volume_.path(); }

  // The states of which one must be found after `cut` events.
  std::pair<size_t, size_t> Expected(size_t cut) const {
    size_t least = 0;
    for (const auto& [events, state] : synced_) {
      if (events <= cut) least = state;
    }
    size_t most = least;
    while (most + 1 < states_.size() && states_[most].events < cut) ++most;
    return {least, most};
  }
  const State& state(size_t i) const { return states_[i]; }

 private:
  void NoteState() {
    states_.push_back({volume_.files().events().size(), volume_.DumpAll()});
  }
  void NoteSync() {
    synced_.emplace_back(volume_.files().events().size(), states_.size() - 1);
  }

  std::string Name() {
    static const char* const kNames[] = {"a", "b", "c", "d/a", "d/b"};
    return kNames[random_() % 5];
  }
  std::string Text() {
    static constexpr size_t kSizes[] = {40, 400, 5000, 20'000, 70'000};
    return Pattern(random_(), 1 + random_() % kSizes[random_() % 5]);
  }

  // Each appends one commit at most.
  void Step() {
    TestVolume& v = volume_;
    if (random_() % 6 == 0) return StepOfSnapshots();
    const uint64_t kind = random_() % 20;
    const std::string name = Name();
    if (kind < 4) return StepOfUnnamed(kind);
    if (kind < 6 && v.Ino(name) == 0) {
      auto handle = v.CreateFile(name, O_RDWR);
      if (handle.ok()) v.CloseFile(*std::move(handle)).IgnoreError();
      return;
    }
    // Some of these fail, and then change nothing.
    switch (kind) {
      case 4:
      case 5:
      case 6:
        if (v.Ino(name) != 0) v.Write(name, Text()).IgnoreError();
        break;
      case 7:
        v.WriteAt(name, random_() % 3000, Pattern(random_(), 99)).IgnoreError();
        break;
      case 8:
        v.Append(name, Text()).IgnoreError();
        break;
      case 9:
        v.Rename(name, Name()).IgnoreError();
        break;
      case 10:
        v.Rename(name, Name(), RENAME_EXCHANGE).IgnoreError();
        break;
      case 11:
        v.Unlink(name).IgnoreError();
        break;
      case 12:
        v.Link(name, Name()).IgnoreError();
        break;
      case 13:
        v.MakeDir("d").IgnoreError();
        break;
      case 14:
        if (!v.RemoveDir("d").ok()) v.Symlink("link", name).IgnoreError();
        break;
      case 15:
        v.volume()
            .SetXattr(kRootIno, "user.a", Pattern(kind, random_() % 900), 0)
            .IgnoreError();
        break;
      case 16:
        v.Truncate(name, random_() % 9000).IgnoreError();
        break;
      default:
        return StepOfHandle(kind, name);
    }
  }

  void StepOfSnapshots() {
    Volume& v = volume_.volume();
    const std::string name = absl::StrCat("s", random_() % 3);
    const uint64_t kind = random_() % 5;
    if (kind == 0) v.history().DeleteSnapshot(name).IgnoreError();
    if (kind == 1)
      v.history().Restore({.at = name, .delete_others = true}).IgnoreError();
    if (kind == 2) v.history().Purge(Name()).IgnoreError();
    if (kind > 2) v.history().CreateSnapshot(name).IgnoreError();
  }

  void StepOfHandle(uint64_t kind, const std::string& name) {
    auto file = volume_.OpenFile(name, O_RDWR);
    auto source = volume_.OpenFile(Name(), O_RDONLY);
    if (file.ok() && kind == 17) {
      EXPECT_THAT(volume_.volume().Fallocate(
                      **file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      random_() % 2000, 1000),
                  IsOk());
    }
    if (file.ok() && source.ok() && kind == 18) {
      EXPECT_THAT(volume_.volume().CopyRange(**source, random_() % 100, **file,
                                             random_() % 5000, 4000),
                  IsOk());
    }
    if (source.ok()) {
      EXPECT_THAT(volume_.CloseFile(*std::move(source)), IsOk());
    }
    if (file.ok()) {
      EXPECT_THAT(volume_.CloseFile(*std::move(file)), IsOk());
    }
    if (kind != 19) return;
    EXPECT_THAT(volume_.volume().SyncAll(), IsOk());
    NoteState();
    NoteSync();
  }

  // A file without a name: written through a stream while other operations need
  // the tail, then given a name or dropped.
  void StepOfUnnamed(uint64_t kind) {
    Volume& v = volume_.volume();
    if (unnamed_ == nullptr) {
      auto made = v.CreateUnnamed(kRootIno, 0600, O_RDWR, {});
      ASSERT_THAT(made, IsOk());
      unnamed_ = std::move(made->second);
      references_ = 1;
    }
    if (kind == 0) return DropUnnamed();
    if (kind == 1) {
      const std::string name = absl::StrCat("named", random_() % 3);
      if (v.Link(unnamed_->inode->ino, kRootIno, name).ok()) ++references_;
      return DropUnnamed();
    }
    EXPECT_THAT(v.Write(*unnamed_, unnamed_size_, Pattern(random_(), 40'000)),
                IsOk());
    unnamed_size_ += 40'000;
  }

  void DropUnnamed() {
    if (unnamed_ == nullptr) return;
    const uint64_t ino = unnamed_->inode->ino;
    EXPECT_THAT(volume_.CloseFile(std::move(unnamed_)), IsOk());
    volume_.volume().Forget(ino, references_);
    unnamed_ = nullptr;
    unnamed_size_ = 0;
  }

  void Compact() {
    const bool punch = random_() % 2 == 0;
    ASSERT_THAT(
        volume_.volume().compactions().Start({.punch = punch, .forget = true}),
        IsOk());
    const absl::Status status = volume_.volume().compactions().WaitForEnd();
    // Some hosts cannot punch holes.
    ASSERT_TRUE(status.ok() || (punch && ErrnoOf(status) == EOPNOTSUPP))
        << status;
    NoteState();
    // A copy has synced everything.
    if (!punch) NoteSync();
  }

  void Reopen() {
    DropUnnamed();
    NoteState();
    volume_.Reopen();
    NoteState();
    NoteSync();
  }

  Random random_;
  TestVolume volume_;
  TestVolume::HandlePtr unnamed_;
  uint64_t unnamed_size_ = 0;
  uint64_t references_ = 0;
  std::vector<State> states_;
  // States, and the number of events after which they were reported as durable.
  std::vector<std::pair<size_t, size_t>> synced_;
  std::vector<FileEvent> events_;
};

// --- Looking at what is left ---

// What is wrong with an opened tree; "" if nothing is.
std::string Check(TestVolume& v) {
  std::string problem;
  const Store& store = v.volume().store();
  const absl::Status chain =
      store.ForEachInChain([](const EntryView&) { return true; });
  if (!chain.ok()) problem = chain.ToString();
  store.ForEach([&](const EntryView& entry) {
    const absl::Status status = store.Verify(entry.location());
    if (!status.ok()) absl::StrAppend(&problem, "\n", status.ToString());
    return true;
  });
  std::vector<uint64_t> inodes;
  const TreeTotals totals = v.volume().totals();
  v.volume().WithTree([&](const TreeReader& tree) {
    for (const std::string& message : CheckTree(tree, totals)) {
      absl::StrAppend(&problem, "\n", message);
    }
    const absl::Status read = tree.ForEachInode([&](const InodeItem& inode) {
      if (inode.is_regular()) inodes.push_back(inode.ino);
      return true;
    });
    if (!read.ok()) absl::StrAppend(&problem, "\n", read.ToString());
  });
  for (const uint64_t ino : inodes) {
    const absl::Status status = v.volume().reader().VerifyAll(ino);
    if (!status.ok()) absl::StrAppend(&problem, "\n", status.ToString());
  }
  return problem;
}

// Whether all bytes of `found` are in the store or in its sidecar.
std::string CheckNothingIsGone(TestVolume& v, const std::string& found) {
  const RecoveryReport report = v.volume().store().recovery();
  const std::string store = ReadWholeFile(v.path());
  if (store.compare(0, report.tail, found, 0, report.tail) != 0) {
    return "bytes in front of the tail have changed";
  }
  if (report.tail == found.size()) return "";
  if (ReadWholeFile(report.sidecar) != found.substr(report.tail)) {
    return "the sidecar is not what was cut off";
  }
  return "";
}

class CrashStates {
 public:
  CrashStates(const History& history, uint64_t seed)
      : history_(history), random_(seed) {}

  // Checks states after each event, among them `choices` random ones. Returns
  // what is wrong with the first bad state; "" if all are good.
  std::string Run(bool syncs_work, int choices) {
    Disk disk(syncs_work);
    size_t cut = 0;
    for (const FileEvent& event : history_.events()) {
      disk.Apply(event);
      ++cut;
      std::vector<Disk::Files> states = {disk.Everything(),
                                         disk.NothingUnsynced()};
      for (int i = 0; i < choices; ++i)
        states.push_back(disk.Something(random_));
      for (const Disk::Files& files : states) {
        if (!seen_.insert({cut, HashOf(files)}).second) continue;
        const std::string problem = Examine(files, cut);
        if (!problem.empty()) {
          return absl::StrCat("cut after event ", cut, ": ", problem);
        }
      }
    }
    return "";
  }

  size_t count() const { return seen_.size(); }

 private:
  static uint64_t HashOf(const Disk::Files& files) {
    std::string all;
    for (const auto& [path, bytes] : files) {
      absl::StrAppend(&all, path, " ", HashKey(bytes), " ");
    }
    return HashKey(all);
  }

  std::string Examine(const Disk::Files& files, size_t cut) {
    TestVolume after;
    after.files().SkipSyncs();
    for (const auto& [path, bytes] : files) {
      WriteWholeFile(after.path() + path.substr(history_.path().size()), bytes);
    }
    const auto found = files.find(history_.path());
    const bool is_made = cut >= history_.state(0).events;
    // Before the first open returns, there may be no store yet.
    after.options().create = !is_made;
    const absl::Status status = after.TryOpen();
    if (!is_made) {
      if (status.ok()) return Check(after);
      const bool untouched =
          found != files.end() && ReadWholeFile(after.path()) == found->second;
      return absl::IsDataLoss(status) && untouched ? "" : status.ToString();
    }
    if (!status.ok()) return status.ToString();
    std::string problem = CheckNothingIsGone(after, found->second);
    if (problem.empty()) problem = CheckState(after.DumpAll(), cut);
    if (problem.empty()) problem = Check(after);
    if (problem.empty() && random_() % 8 == 0) problem = CheckUse(after);
    return problem;
  }

  std::string CheckState(const std::string& dump, size_t cut) const {
    const auto [least, most] = history_.Expected(cut);
    for (size_t i = least; i <= most; ++i) {
      if (history_.state(i).dump == dump) return "";
    }
    return absl::StrCat("state ", least, " was synced, up to ", most,
                        " were begun; now there is\n", dump, "and there was\n",
                        history_.state(least).dump);
  }

  // Uses the store, and opens it again.
  static std::string CheckUse(TestVolume& after) {
    const absl::Status made = after.MakeDir("after the power cut");
    if (!made.ok()) return made.ToString();
    const std::string dump = after.DumpAll();
    after.Reopen();
    return after.DumpAll() == dump ? "" : "the next open finds another tree";
  }

  const History& history_;
  Random random_;
  std::set<std::pair<size_t, uint64_t>> seen_;
};

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const text = getenv(name);
  if (text != nullptr) {
    EXPECT_TRUE(absl::SimpleAtoi(text, &otherwise)) << name;
  }
  return otherwise;
}

TEST(VolumeCrashStatesTest, EachStateHasWhatWasSyncedAndNothingByHalves) {
  uint64_t seed = FromEnvironment("VARVE_SEED", std::random_device()());
  const uint64_t rounds = FromEnvironment("VARVE_TEST_ROUNDS", 6);
  size_t count = 0;
  for (uint64_t round = 0; round < rounds; ++round, ++seed) {
    const History history(seed);
    CrashStates states(history, seed);
    const std::string problem = states.Run(/*syncs_work=*/true, 24);
    count += states.count();
    if (round % 100 == 99) std::cout << count << " states" << std::endl;
    ASSERT_EQ(problem, "") << "VARVE_SEED=" << seed << " reproduces this";
    ASSERT_FALSE(HasFailure()) << "VARVE_SEED=" << seed << " reproduces this";
  }
  std::cout << count << " states, up to VARVE_SEED=" << seed - 1 << "\n";
}

// The test would notice if syncs did nothing.
TEST(VolumeCrashStatesTest, SyncsWithoutEffectAreCaught) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    const History history(seed);
    CrashStates states(history, seed);
    EXPECT_THAT(states.Run(/*syncs_work=*/false, 8),
                testing::HasSubstr("cut after event"))
        << seed;
  }
}

// No commit before the first append after a clean close marks the store as in
// use. Still, what a crash leaves of it must not be taken for another program's
// work.
TEST(VolumeCrashStatesTest, CutInsideTheFirstAppendAfterACleanCloseIsNoChange) {
  TestVolume v;
  v.Open();
  ASSERT_THAT(v.Write("small", "text"), IsOk());
  ASSERT_THAT(v.Write("large", Pattern(1, 100'000)), IsOk());
  const auto rename = [&](const char* name) { return v.Rename(name, "new"); };
  const auto write = [&](const char* name) { return v.Write(name, "other"); };
  const auto unlink = [&](const char* name) { return v.Unlink(name); };
  for (const std::function<absl::Status(const char*)>& change :
       {std::function<absl::Status(const char*)>(rename), {write}, {unlink}}) {
    for (const char* const name : {"small", "large"}) {
      v.Reopen();
      v.Close();
      const std::string closed = ReadWholeFile(v.path());
      v.Open();
      const std::string before = v.Dump();
      ASSERT_THAT(change(name), IsOk());
      const std::string changed = ReadWholeFile(v.path());
      const std::string after = v.Dump();
      std::vector<uint64_t> ends;
      ASSERT_THAT(
          v.volume().store().ForEachInChain([&](const EntryView& entry) {
            ends.push_back(entry.location().end());
            return ends.back() > closed.size();
          }),
          IsOk());
      for (const uint64_t size : ends) {
        TestVolume cut;
        WriteWholeFile(cut.path(), changed.substr(0, size));
        cut.options().read_only = true;
        cut.options().create = false;
        cut.Open();
        ASSERT_EQ(cut.Dump(), size == changed.size() ? after : before)
            << name << " cut " << changed.size() - size << " bytes short";
      }
      v.Close();
      WriteWholeFile(v.path(), closed);
      v.Open();
    }
  }
}

// Damage is told from a torn end by what is known to be synced. If that is
// unknown, nothing may be cut off.
TEST(VolumeCrashStatesTest, DamagedStoreIsNotCutWhereACallFailsOnce) {
  TestVolume v;
  v.Open();
  for (const char* const name : {"a", "b", "c", "d", "e"}) {
    ASSERT_THAT(v.MakeDir(name), IsOk());
    ASSERT_THAT(v.volume().SyncAll(), IsOk());
  }
  std::string bytes = ReadWholeFile(v.path());
  const Identity& identity = v.volume().identity();
  const auto commit =
      v.volume().store().Read(EntryKey::OfHash(identity.CommitKeyHash(3)));
  ASSERT_THAT(commit, IsOk());
  bytes[commit->location().metadata_offset() + 8] ^= 1;  // its prev_tail
  for (FileOps kind = 1; kind < kAllOps; kind <<= 1) {
    for (int nth = 1; nth <= 20; ++nth) {
      TestVolume damaged;
      WriteWholeFile(damaged.path(), bytes);
      damaged.files().Inject({.ops = kind, .nth = nth, .error_number = EIO});
      const absl::Status status = damaged.TryOpen();
      const bool hit = damaged.files().hits() > 0;
      damaged.files().Heal();
      ASSERT_TRUE(absl::StartsWith(ReadWholeFile(damaged.path()), bytes))
          << "call " << nth << " of kind " << kind << ": " << status;
      if (!hit) break;
    }
  }
}

}  // namespace
}  // namespace varve::fs
