// What is appended is written out early, beside those who append, and what goes
// wrong with that is told by the next sync.

#include <cerrno>
#include <string>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "engine/store/store_test_fixture.h"
#include "engine/store/write_out.h"

namespace varve {
namespace {

constexpr uint64_t kStep = WriteOut::kStep;

class StoreWriteOutTest : public StoreFixture {
 protected:
  StoreWriteOutTest() { file_system_.StartRecording(); }
  // Its thread may be using the fields of a test's subclass.
  ~StoreWriteOutTest() override { store_.reset(); }

  void WriteSteps(int count) {
    for (int i = 0; i < count; ++i) Write("large", step_);
  }

  // Where the last step that the host was told of ends, and their number.
  uint64_t Begun() const {
    const std::vector<FileEvent> events = WriteOuts();
    return events.empty() ? 0 : events.back().offset + events.back().length;
  }
  std::vector<FileEvent> WriteOuts() const {
    std::vector<FileEvent> result;
    for (const FileEvent& event : file_system_.events()) {
      if (event.op == kOpWriteOut) result.push_back(event);
    }
    return result;
  }

  // Waits until only what is left to the next sync has not been begun.
  void WaitUntilBegun() {
    while (store_->tail() - Begun() > kStep + (kStep >> 4)) {
      std::this_thread::yield();
    }
  }
  // Has write-outs fail, and appends until one has.
  void FailOnce(int error_number) {
    absl::Notification failed;
    file_system_.Inject({.ops = kOpWriteOut,
                         .error_number = error_number,
                         .before = [&] { failed.Notify(); }});
    WriteSteps(2);
    failed.WaitForNotification();
  }

  const std::string step_ = Pattern(1, kStep);
};

TEST_F(StoreWriteOutTest, MuchIsWrittenOutEarlyInSteps) {
  WriteSteps(5);
  WaitUntilBegun();
  uint64_t end = 0;
  for (const FileEvent& event : WriteOuts()) {
    EXPECT_EQ(event.path, Path());
    EXPECT_EQ(event.offset, end);
    EXPECT_LE(event.length, kStep);
    end += event.length;
  }
  EXPECT_LE(end, store_->tail());
  EXPECT_THAT(store_->Sync(), IsOk());
}

TEST_F(StoreWriteOutTest, StreamsAreWrittenOutBeforeTheyEnd) {
  const auto stream = store_->BeginStream([] { return uint64_t{7}; });
  for (int i = 0; i < 3; ++i) {
    ASSERT_THAT(stream->Write(Bytes(step_)), IsOk());
  }
  while (Begun() < 2 * kStep) std::this_thread::yield();
}

TEST_F(StoreWriteOutTest, LittleIsLeftToTheSync) {
  Write("a", Pattern(2, kStep / 2));
  EXPECT_THAT(store_->Sync(), IsOk());
  store_.reset();  // and with it a thread that there should not be
  EXPECT_EQ(file_system_.Count(kOpWriteOut), 0);
}

TEST_F(StoreWriteOutTest, WhatWasSyncedIsNotWrittenOutAgain) {
  absl::Notification syncing;
  absl::Notification go_on;
  file_system_.Inject({.ops = kOpSync, .before = [&] {
                         syncing.Notify();
                         go_on.WaitForNotification();
                       }});
  Write("a", "x");
  std::thread sync([&] { EXPECT_THAT(store_->Sync(), IsOk()); });
  syncing.WaitForNotification();
  // Whoever syncs goes first: what is begun now would be added to his work.
  WriteSteps(3);
  EXPECT_EQ(file_system_.Count(kOpWriteOut), 0);
  go_on.Notify();
  sync.join();
  WaitUntilBegun();
  EXPECT_THAT(store_->Sync(), IsOk());
  const uint64_t durable = store_->durable_tail();
  const size_t before = WriteOuts().size();
  WriteSteps(2);
  WaitUntilBegun();
  ASSERT_GT(WriteOuts().size(), before);
  EXPECT_GE(WriteOuts()[before].offset + kStep, durable);
}

TEST_F(StoreWriteOutTest, AFailureIsThatOfTheNextSync) {
  FailOnce(EIO);
  const int syncs = file_system_.Count(kOpSync);
  // The next call to the kernel would succeed, as would the one after that.
  EXPECT_THAT(store_->Sync(), HasErrorNumber(EIO));
  EXPECT_THAT(store_->Sync(), HasErrorNumber(EIO));
  EXPECT_EQ(file_system_.Count(kOpSync), syncs);
  EXPECT_TRUE(store_->read_only());
  EXPECT_EQ(store_->durable_tail(), 0);
  EXPECT_THAT(store_->Write("b", Bytes("y")), HasErrorNumber(EROFS));
}

TEST_F(StoreWriteOutTest, ASyncWaitsToSeeWhetherAStepFails) {
  absl::Notification begun;
  absl::Notification go_on;
  file_system_.Inject(
      {.ops = kOpWriteOut, .error_number = ENOSPC, .before = [&] {
         begun.Notify();
         go_on.WaitForNotification();
       }});
  WriteSteps(2);
  begun.WaitForNotification();
  // It could take the bytes for written while they are about to be lost.
  std::thread sync([&] {
    EXPECT_THAT(store_->Sync(), HasErrorNumber(ENOSPC));
    EXPECT_EQ(store_->durable_tail(), 0);
  });
  go_on.Notify();
  sync.join();
}

TEST_F(StoreWriteOutTest, HostsThatCannotAreNotAskedAgain) {
  FailOnce(EOPNOTSUPP);
  EXPECT_THAT(store_->Sync(), IsOk());
  WriteSteps(4);
  EXPECT_THAT(store_->Sync(), IsOk());
  store_.reset();
  EXPECT_EQ(file_system_.Count(kOpWriteOut), 1);
}

TEST_F(StoreWriteOutTest, WhatIsCutOffIsWrittenOutAnewWhenItIsThereAgain) {
  {
    const auto stream = store_->BeginStream([] { return uint64_t{7}; });
    for (int i = 0; i < 4; ++i) {
      ASSERT_THAT(stream->Write(Bytes(step_)), IsOk());
    }
    while (Begun() < 3 * kStep) std::this_thread::yield();
  }
  EXPECT_EQ(store_->tail(), 0);
  const size_t before = WriteOuts().size();
  WriteSteps(2);
  while (WriteOuts().size() == before) std::this_thread::yield();
  EXPECT_EQ(WriteOuts()[before].offset, 0);
}

TEST_F(StoreWriteOutTest, ACompactedStoreIsWrittenOutToo) {
  Write("small", "x");
  WriteSteps(4);
  WaitUntilBegun();
  ASSERT_THAT(store_->Delete("large"), IsOk());
  ASSERT_THAT(store_->Compact(), IsOk());
  ASSERT_LT(store_->tail(), kStep);
  const size_t before = WriteOuts().size();
  WriteSteps(2);
  while (WriteOuts().size() == before) std::this_thread::yield();
  EXPECT_LE(WriteOuts()[before].offset, kStep);
  EXPECT_THAT(store_->Sync(), IsOk());
}

}  // namespace
}  // namespace varve
