// When the syncer calls which function. The tests wait for its calls, never for
// a time.

#include "fs/volume/syncer.h"

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using ::testing::ElementsAre;

class SyncerTest : public testing::Test {
 protected:
  void Make(absl::Duration interval) {
    syncer_ = std::make_unique<Syncer>(
        interval, Syncer::Work{.begin = [this] { Note("begin"); },
                               .sync = [this] { Note("sync"); },
                               .make_room =
                                   [this] {
                                     Note("make_room");
                                     absl::MutexLock lock(&mu_);
                                     if (responses_.empty()) {
                                       return PressureResponse{};
                                     }
                                     const PressureResponse next =
                                         responses_.front();
                                     responses_.erase(responses_.begin());
                                     return next;
                                   },
                               .look = [this] { Note("look"); }});
  }
  void Start(absl::Duration interval) {
    Make(interval);
    ASSERT_THAT(syncer_->Start(), IsOk());
  }
  // Waits until this many calls have been made.
  void WaitForCalls(size_t count) {
    absl::MutexLock lock(&mu_);
    const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return calls_.size() >= count;
    };
    ASSERT_TRUE(
        mu_.AwaitWithTimeout(absl::Condition(&enough), absl::Minutes(1)));
  }
  std::vector<std::string> Calls() {
    absl::MutexLock lock(&mu_);
    return calls_;
  }
  void AnswerWith(std::vector<PressureResponse> response) {
    absl::MutexLock lock(&mu_);
    responses_ = std::move(response);
  }

  std::unique_ptr<Syncer> syncer_;

 private:
  void Note(const char* call) {
    absl::MutexLock lock(&mu_);
    calls_.emplace_back(call);
  }

  absl::Mutex mu_;
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mu_);
  std::vector<PressureResponse> responses_ ABSL_GUARDED_BY(mu_);
};

TEST_F(SyncerTest, SyncsAtEveryInterval) {
  Start(absl::Milliseconds(1));
  WaitForCalls(5);
  syncer_->Stop();
  const std::vector<std::string> calls = Calls();
  EXPECT_THAT(std::vector<std::string>(calls.begin(), calls.begin() + 5),
              ElementsAre("begin", "sync", "look", "sync", "look"));
}

TEST_F(SyncerTest, StopsWhileItWaits) {
  Start(absl::InfiniteDuration());
  WaitForCalls(1);
  syncer_->Stop();
  syncer_->Stop();
  EXPECT_THAT(Calls(), ElementsAre("begin"));
}

TEST_F(SyncerTest, MuchGrowthIsLookedAtAtOnce) {
  Start(absl::InfiniteDuration());
  WaitForCalls(1);
  syncer_->NoteLength(1000);  // as it was at the beginning
  syncer_->NoteLength(1000 + Syncer::kMuchGrowth - 1);
  syncer_->NoteLength(1000 + Syncer::kMuchGrowth);
  WaitForCalls(2);
  syncer_->Stop();
  EXPECT_THAT(Calls(), ElementsAre("begin", "look"));
}

TEST_F(SyncerTest, SpacePressureIsRelievedAtOnce) {
  Start(absl::InfiniteDuration());
  WaitForCalls(1);
  syncer_->NoteSpacePressure();
  WaitForCalls(3);
  syncer_->Stop();
  EXPECT_THAT(Calls(), ElementsAre("begin", "make_room", "look"));
}

TEST_F(SyncerTest, SpacePressureBeforeTheStartIsKept) {
  Make(absl::InfiniteDuration());
  syncer_->NoteSpacePressure();
  ASSERT_THAT(syncer_->Start(), IsOk());
  WaitForCalls(3);
  syncer_->Stop();
  EXPECT_THAT(Calls(), ElementsAre("begin", "make_room", "look"));
}

TEST_F(SyncerTest, SpacePressureIsRelievedAgainAfterThePause) {
  AnswerWith({{.pause = absl::Milliseconds(1), .again = true}, {}});
  Start(absl::InfiniteDuration());
  WaitForCalls(1);
  syncer_->NoteSpacePressure();
  WaitForCalls(5);
  syncer_->Stop();
  EXPECT_THAT(Calls(),
              ElementsAre("begin", "make_room", "look", "make_room", "look"));
}

TEST_F(SyncerTest, SpacePressureWaitsForTheEndOfThePause) {
  AnswerWith({{.pause = absl::Hours(1), .again = false}});
  Start(absl::InfiniteDuration());
  WaitForCalls(1);
  syncer_->NoteSpacePressure();
  WaitForCalls(3);
  syncer_->NoteSpacePressure();
  WaitForCalls(4);
  syncer_->Stop();
  EXPECT_THAT(Calls(), ElementsAre("begin", "make_room", "look", "look"));
}

}  // namespace
}  // namespace varve::fs
