// Starting and ending of compactions. fs/volume/volume_compaction_test.cc tests
// what they do to a tree.

#include "fs/compaction/compaction_runner.h"

#include <errno.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/base/test_util.h"
#include "fs/base/error.h"
#include "fs/log/core_test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using ::testing::IsEmpty;

class CompactionRunnerTest : public testing::Test {
 protected:
  // Makes a store with a root directory and some dead bytes.
  void Open(const AutoCompaction& options = {}) {
    MakeCore(path_, core_);
    unnamed_.SetLimit(core_.store->tail());
    MakeRunner(options);
  }
  void MakeRunner(const AutoCompaction& options) {
    runner_ = std::make_unique<CompactionRunner>(
        CompactionRunner::Context{.core = core_,
                                  .open_files = open_files_,
                                  .reader = reader_,
                                  .unnamed = unnamed_,
                                  .copy_gate = copy_gate_,
                                  .answers = answers_,
                                  .incidents = incidents_,
                                  .file_system = RealFileSystem(),
                                  .now = &Timestamp::Now},
        options);
  }

  const TemporaryDirectory directory_;
  const std::string path_ = directory_.File("store");
  std::vector<absl::Status> reports_;
  const Incidents incidents_{
      [this](const absl::Status& status) { reports_.push_back(status); }};
  Core core_;
  OpenFiles open_files_;
  ContentReader reader_{core_};
  UnnamedEntries unnamed_{core_};
  CopyGate copy_gate_;
  ReadSections answers_;
  std::unique_ptr<CompactionRunner> runner_;
};

TEST_F(CompactionRunnerTest, OneAfterTheOther) {
  Open();
  EXPECT_EQ(runner_->progress().phase, CompactionPhase::kNone);
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(runner_->Start({.forget = true}), IsOk());
    ASSERT_THAT(runner_->WaitForEnd(), IsOk());
    EXPECT_EQ(runner_->progress().phase, CompactionPhase::kEnded);
  }
  EXPECT_THAT(reports_, IsEmpty());
}

TEST_F(CompactionRunnerTest, AReadOnlyStoreIsLeftAlone) {
  Open();
  core_.store.reset();
  auto store = Store::Open(path_, {.mode = OpenMode::kRead});
  ASSERT_THAT(store, IsOk());
  core_.store = *std::move(store);
  EXPECT_EQ(ErrnoOf(runner_->Start({.forget = true})), EROFS);
  EXPECT_EQ(runner_->MakeRoom().pause, absl::ZeroDuration());
  runner_->StartIfDue();
  EXPECT_EQ(runner_->progress().phase, CompactionPhase::kNone);
}

// A compaction that copies waits for a long copy of a file, so it does not end
// before it is cancelled.
TEST_F(CompactionRunnerTest, StoppingCancelsAndWaits) {
  Open();
  const CopyGate::Copy copy(copy_gate_);
  ASSERT_THAT(runner_->Start({.forget = true}), IsOk());
  // Does not start another one.
  ASSERT_THAT(runner_->Start({.punch = true, .forget = true}), IsOk());
  EXPECT_FALSE(runner_->progress().punch);
  runner_->Stop();
  EXPECT_FALSE(runner_->progress().running());
  EXPECT_TRUE(absl::IsCancelled(runner_->WaitForEnd()));
  EXPECT_THAT(reports_, IsEmpty());
}

TEST_F(CompactionRunnerTest, ACopyGivesWayOnAFullDisk) {
  Open();
  const CopyGate::Copy copy(copy_gate_);
  ASSERT_THAT(runner_->Start({.forget = true}), IsOk());
  const PressureResponse response = runner_->MakeRoom();
  EXPECT_TRUE(response.again);
  EXPECT_GT(response.pause, absl::ZeroDuration());
  EXPECT_EQ(ErrnoOf(runner_->WaitForEnd()), ENOSPC);
}

TEST_F(CompactionRunnerTest, AFullDiskIsPunchedOnceUnlessMoreDies) {
  Open();
  EXPECT_FALSE(runner_->MakeRoom().again);
  const absl::Status first = runner_->WaitForEnd();
  if (ErrnoOf(first) == EOPNOTSUPP) GTEST_SKIP() << "no holes on this host";
  ASSERT_THAT(first, IsOk());
  EXPECT_TRUE(runner_->progress().punch);
  runner_->Cancel();  // without effect: none runs
  // A copy in between shows whether it is punched again.
  ASSERT_THAT(runner_->Start({.forget = true}), IsOk());
  ASSERT_THAT(runner_->WaitForEnd(), IsOk());
  EXPECT_FALSE(runner_->MakeRoom().again);
  EXPECT_FALSE(runner_->progress().punch);
}

TEST_F(CompactionRunnerTest, NothingIsStartedByItselfIfToldSo) {
  Open({.mode = AutoCompaction::Mode::kNever});
  const PressureResponse response = runner_->MakeRoom();
  EXPECT_FALSE(response.again);
  runner_->StartIfDue();
  EXPECT_EQ(runner_->progress().phase, CompactionPhase::kNone);
}

TEST_F(CompactionRunnerTest, ASmallStoreIsNotCompactedByItself) {
  Open();
  runner_->StartIfDue();
  runner_->AddWritingTime(1'000'000);
  runner_->PunchBeforeClosing();
  EXPECT_EQ(runner_->progress().phase, CompactionPhase::kNone);
}

}  // namespace
}  // namespace varve::fs
