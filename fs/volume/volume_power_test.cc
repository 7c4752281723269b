// Power cuts: synced operations are there, and each later operation has
// happened whole or not at all, with all those before it.
//
// VARVE_SEED is the seed of the first round, to reproduce a failure.
// VARVE_TEST_ROUNDS is the number of rounds.

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <iostream>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

constexpr size_t kSector = 512;

class PowerCut {
 public:
  explicit PowerCut(uint64_t seed) : random_(seed) {
    volume_.files().StartRecording();
    volume_.Open();
    NoteState();
    synced_ = {0};
    // A compaction somewhere among the steps, in every other history.
    const int compaction = static_cast<int>(random_() % 120);
    for (int i = 0; i < 60; ++i) {
      if (i == compaction) Compact();
      Step();
      NoteState();
    }
    events_ = volume_.files().events();
  }

  // Cuts the power after a random event, and checks what is left.
  void CutAndCheck() {
    const size_t cut = states_[0].events +
                       random_() % (events_.size() - states_[0].events + 1);
    TestVolume after;
    WriteFilesAt(cut, after.path());
    SCOPED_TRACE(absl::StrCat("cut after event ", cut));
    ASSERT_THAT(after.TryOpen(), IsOk());
    const std::string dump = after.Dump();
    // The newest state that had to survive.
    size_t least = 0;
    for (const size_t state : synced_) {
      if (states_[state].events <= cut) least = state;
    }
    size_t found = least;
    while (found < states_.size() && states_[found].dump != dump) ++found;
    ASSERT_LT(found, states_.size())
        << "state " << least << " was synced; now there is\n"
        << dump;
    // And the store can be used.
    ASSERT_THAT(after.MakeDir("after the power cut"), IsOk());
    after.Reopen();
    EXPECT_NE(after.Ino("after the power cut"), 0u);
  }

 private:
  struct State {
    size_t events;
    std::string dump;
  };

  void NoteState() {
    states_.push_back({volume_.files().events().size(), volume_.Dump()});
  }

  std::string Name() { return absl::StrCat("f", random_() % 5); }

  // Each step appends one commit at most.
  void Step() {
    TestVolume& v = volume_;
    const std::string name = Name();
    const size_t size = random_() % 4 == 0 ? random_() % 70'000 : 200;
    switch (random_() % 10) {
      case 0:
      case 1:
        if (v.Ino(name) == 0) {
          auto handle = v.CreateFile(name, O_RDWR);
          if (handle.ok()) v.CloseFile(*std::move(handle)).IgnoreError();
          break;
        }
        [[fallthrough]];
      case 2:
      case 3:
        if (v.Ino(name) != 0) {
          v.Write(name, Pattern(random_(), size)).IgnoreError();
        }
        break;
      case 4:
        v.WriteAt(name, random_() % 3000, Pattern(random_(), 100))
            .IgnoreError();
        break;
      case 5:
        v.Rename(name, Name()).IgnoreError();
        break;
      case 6:
        v.Unlink(name).IgnoreError();
        break;
      case 7:
        v.Link(name, Name()).IgnoreError();
        break;
      case 8:
        v.volume()
            .SetXattr(kRootIno, "user.a", std::string(random_() % 3000, 'x'), 0)
            .IgnoreError();
        break;
      case 9:
        EXPECT_THAT(v.volume().SyncAll(), IsOk());
        // Everything appended before the sync is durable after it.
        synced_.push_back(states_.size());
        break;
    }
  }

  void Compact() {
    const bool punch = random_() % 3 == 0;
    ASSERT_THAT(
        volume_.volume().compactions().Start({.punch = punch, .forget = true}),
        IsOk());
    const absl::Status status = volume_.volume().compactions().WaitForEnd();
    // Some hosts cannot punch holes.
    ASSERT_TRUE(status.ok() || ErrnoOf(status) == EOPNOTSUPP) << status;
    // A copy has synced everything that was there before.
    if (!punch) synced_.push_back(states_.size());
    NoteState();
  }

  // The files that may have the store's name if the power fails after `cut`
  // events: two, if one was renamed over the other and the directory was not
  // synced since.
  void WriteFilesAt(size_t cut, const std::string& path) {
    const std::string replacement = volume_.path() + ".compact";
    bool made = false;
    bool renamed = false;
    bool certain = true;
    for (size_t i = 0; i < cut; ++i) {
      const FileEvent& event = events_[i];
      made = made || event.path == replacement;
      if (event.op == kOpRename) renamed = true, certain = false;
      if (event.op == kOpSyncDirectory) certain = true;
    }
    if (!certain && random_() % 2 == 0) renamed = false;
    WriteWholeFile(path, ImageAt(cut, renamed ? replacement : volume_.path()));
    if (made && !renamed) {
      WriteWholeFile(path + ".compact", ImageAt(cut, replacement));
    }
  }

  // A file after the power cut: each write that no sync covers is there, or
  // not, or in part.
  std::string ImageAt(size_t cut, const std::string& path) {
    size_t safe = 0;
    for (size_t i = 0; i < cut; ++i) {
      if (events_[i].op == kOpSync && events_[i].path == path) safe = i;
    }
    std::string image;
    for (size_t i = 0; i < cut; ++i) {
      const FileEvent& event = events_[i];
      if (event.path != path) continue;
      if (event.op == kOpTruncate) image.resize(event.length);
      if (event.op == kOpPunchHole && random_() % 2 == 0) {
        image.replace(event.offset, event.length, event.length, '\0');
      }
      if (event.op != kOpWrite) continue;
      std::string bytes = event.bytes;
      const bool lost = i > safe && random_() % 4 == 0;
      if (lost && random_() % 2 == 0) continue;
      if (image.size() < event.offset + bytes.size()) {
        image.resize(event.offset + bytes.size());
      }
      if (lost) LoseSectors(event.offset, image, bytes);
      image.replace(event.offset, bytes.size(), bytes);
    }
    return image;
  }

  // Some sectors of a write keep what was there before.
  void LoseSectors(uint64_t offset, const std::string& image,
                   std::string& bytes) {
    for (size_t at = 0; at < bytes.size();) {
      const size_t end =
          std::min(bytes.size(), at + kSector - (offset + at) % kSector);
      if (random_() % 2 == 0) {
        bytes.replace(at, end - at, image, offset + at, end - at);
      }
      at = end;
    }
  }

  std::mt19937_64 random_;
  TestVolume volume_;
  std::vector<State> states_;
  std::vector<size_t> synced_;  // states that were made durable
  std::vector<FileEvent> events_;
};

TEST(VolumePowerTest, SyncedOperationsStayAndLaterOnesAreWhole) {
  uint64_t seed = std::random_device()();
  if (const char* text = getenv("VARVE_SEED")) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &seed));
  }
  int rounds = 8;
  if (const char* text = getenv("VARVE_TEST_ROUNDS")) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &rounds));
  }
  for (int round = 0; round < rounds; ++round, ++seed) {
    SCOPED_TRACE(absl::StrCat("VARVE_SEED=", seed));
    PowerCut power(seed);
    for (int i = 0; i < 40; ++i) {
      power.CutAndCheck();
      if (testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace varve::fs
