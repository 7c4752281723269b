// Failing I/O: a failed append changes nothing, and after a failed sync there
// are no more writes.

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

class StoreFaultTest : public StoreFixture {
 protected:
  // Everything that can be seen of the store, inside and on disk.
  std::string State() const {
    std::string state = absl::StrCat(store_->tail(), " ", store_->size(), "\n");
    store_->ForEach([&](const EntryView& entry) {
      absl::StrAppend(&state, entry.key_hash(), ":", entry.payload_text(),
                      "\n");
      return true;
    });
    return state + File();
  }

  // Makes each call that `append` needs fail in turn, after different numbers
  // of bytes, until a run sees no fault.
  void ExpectUnchangedByFailures(const std::function<absl::Status()>& append) {
    const std::string before = State();
    for (int nth = 1;; ++nth) {
      for (const size_t partial : {0, 1, 30, 70, 200}) {
        SCOPED_TRACE(absl::StrCat("call ", nth, " after ", partial, " bytes"));
        // Looking at the file and at its disk is a precaution, which an append
        // can do without.
        file_system_.Inject(
            {.ops = kAllOps & ~(kOpTruncate | kOpInfo | kOpSpace),
             .nth = nth,
             .error_number = ENOSPC,
             .partial_bytes = partial});
        const absl::Status status = append();
        const bool was_hit = file_system_.hits() > 0;
        file_system_.Heal();
        if (!was_hit) {
          EXPECT_THAT(status, IsOk());
          EXPECT_GT(nth, 1);
          return;
        }
        EXPECT_THAT(status, HasErrorNumber(ENOSPC));
        ASSERT_EQ(State(), before);
      }
    }
  }
};

TEST_F(StoreFaultTest, FailedAppendsChangeNothing) {
  for (int i = 0; i < 5; ++i) Write(absl::StrCat(i), Pattern(i, 100));
  const auto other = OpenOther("other");
  ASSERT_THAT(other->Write("from", Bytes("other")), IsOk());
  const std::string large = Pattern(9, 300);
  ExpectUnchangedByFailures(
      [&] { return store_->Write("1", Bytes(large)).status(); });
  ExpectUnchangedByFailures([&] {
    return store_->WriteBatch({{"2", Bytes(large)}, {"new", Bytes("x")}});
  });
  ExpectUnchangedByFailures([&] {
    return store_->DeleteBatch({"2", "3"}).status();
  });
  ExpectUnchangedByFailures([&] { return store_->Rename("4", "5"); });
  ExpectUnchangedByFailures([&] { return other->Copy("from", *store_); });
  Open();
  EXPECT_EQ(store_->size(), 5);
}

TEST_F(StoreFaultTest, FailedBatchOfManyWritesChangesNothing) {
  Write("a", "x");
  const std::string before = State();
  std::vector<std::string> payloads;
  // Too large to be copied together, so that there are many pieces.
  for (int i = 0; i < 4000; ++i) payloads.push_back(Pattern(i, 1100));
  std::vector<BatchItem> items;
  for (const std::string& payload : payloads) {
    items.push_back({payload, Bytes(payload)});
  }
  for (int nth = 1;; ++nth) {
    file_system_.Inject({.ops = kOpWrite, .nth = nth, .error_number = EIO});
    const absl::Status status = store_->WriteBatch(items);
    if (file_system_.hits() == 0) {
      EXPECT_GT(nth, 5);
      EXPECT_THAT(status, IsOk());
      break;
    }
    EXPECT_THAT(status, HasErrorNumber(EIO));
    ASSERT_EQ(State(), before);
  }
  EXPECT_EQ(store_->size(), 4001);
}

TEST_F(StoreFaultTest, ShortAndInterruptedWritesAreNoFailure) {
  file_system_.Inject({.ops = kOpWrite, .times = 1000, .partial_bytes = 7});
  const std::string payload = Pattern(1, 500);
  Write("a", payload);
  EXPECT_GT(file_system_.hits(), 50);
  file_system_.Inject(
      {.ops = kOpWrite, .times = 5, .error_number = EINTR, .partial_bytes = 0});
  Write("b", payload);
  EXPECT_EQ(file_system_.hits(), 5);
  Open();
  EXPECT_EQ(Read("a"), payload);
  EXPECT_EQ(Read("b"), payload);
}

TEST_F(StoreFaultTest, FailedStreamWriteLeavesTheStreamAsLongAsBefore) {
  Write("a", "x");
  auto stream = store_->BeginStream([] { return uint64_t{7}; });
  for (const size_t partial : {0, 3, 64}) {
    const uint64_t size = stream->unsealed_size();
    const std::string before = File();
    file_system_.Inject(
        {.ops = kOpWrite, .error_number = ENOSPC, .partial_bytes = partial});
    EXPECT_THAT(stream->Write(Bytes(Pattern(1, 100))), HasErrorNumber(ENOSPC));
    EXPECT_EQ(stream->unsealed_size(), size);
    EXPECT_EQ(File(), before);
    ASSERT_THAT(stream->Write(Bytes("again")), IsOk());
  }
  // Neither does a failed append that would have sealed it.
  file_system_.Inject(
      {.ops = kOpWrite, .error_number = ENOSPC, .partial_bytes = 10});
  EXPECT_THAT(store_->Write("b", Bytes("y")), HasErrorNumber(ENOSPC));
  EXPECT_EQ(stream->unsealed_size(), 15);
  EXPECT_TRUE(stream->sealed().empty());
  Write("b", "y");
  EXPECT_EQ(ReadHashed(7), "againagainagain");
}

TEST_F(StoreFaultTest, FailedWriteStreamLeavesNothing) {
  Write("a", "x");
  const std::string before = State();
  const std::string text = Pattern(1, 600 << 10);
  for (int nth = 1; nth <= 4; ++nth) {
    std::istringstream source(text);
    file_system_.Inject({.ops = kOpWrite,
                         .nth = nth,
                         .error_number = ENOSPC,
                         .partial_bytes = 10});
    EXPECT_THAT(store_->WriteStream("a", source), HasErrorNumber(ENOSPC));
    EXPECT_EQ(State(), before);
  }
}

TEST_F(StoreFaultTest, WhatCouldNotBeCutBackIsCutBeforeTheNextAppend) {
  Write("a", "x");
  const std::string before = File();
  file_system_.Inject({.ops = kOpWrite | kOpTruncate,
                       .times = 2,
                       .error_number = EIO,
                       .partial_bytes = 300});
  EXPECT_THAT(store_->WriteBatch({{"b", Bytes(Pattern(1, 100))},
                                  {"c", Bytes(Pattern(2, 100))}}),
              HasErrorNumber(EIO));
  EXPECT_GT(File().size(), before.size());
  EXPECT_EQ(store_->tail(), before.size());
  // If it still fails, so does the next append.
  file_system_.Inject({.ops = kOpTruncate, .error_number = EIO});
  EXPECT_THAT(store_->Write("d", Bytes("z")), HasErrorNumber(EIO));
  EXPECT_FALSE(store_->Exists("d"));
  // "d" is as long as "b" was: had the old bytes stayed, "c" would follow it.
  Write("d", Pattern(3, 100));
  EXPECT_EQ(File().size(), store_->tail());
  Open();
  EXPECT_EQ(store_->size(), 2);
  EXPECT_EQ(store_->recovery().torn_bytes, 0);
}

TEST_F(StoreFaultTest, ClosingCutsBackWhatIsLeft) {
  Write("a", "x");
  const std::string before = File();
  file_system_.Inject({.ops = kOpWrite | kOpTruncate,
                       .times = 2,
                       .error_number = EIO,
                       .partial_bytes = 80});
  EXPECT_THAT(store_->Write("b", Bytes(Pattern(1, 100))), HasErrorNumber(EIO));
  store_.reset();
  EXPECT_EQ(File(), before);
}

// --- Sync
// ----------------------------------------------------------------------

TEST_F(StoreFaultTest, SyncMakesTheTailDurable) {
  EXPECT_EQ(store_->durable_tail(), 0);
  Write("a", "x");
  EXPECT_EQ(store_->durable_tail(), 0);
  EXPECT_EQ(*store_->Sync(), store_->tail());
  EXPECT_EQ(store_->durable_tail(), store_->tail());
  const int syncs = file_system_.Count(kOpSync);
  EXPECT_THAT(store_->Sync(), IsOk());  // nothing to do
  EXPECT_EQ(file_system_.Count(kOpSync), syncs);
  // The name of a new file needs its directory synced, once.
  EXPECT_EQ(file_system_.Count(kOpSyncDirectory), 1);
  Write("b", "y");
  EXPECT_THAT(store_->Sync(), IsOk());
  EXPECT_EQ(file_system_.Count(kOpSyncDirectory), 1);
}

TEST_F(StoreFaultTest, AfterAFailedSyncThereAreOnlyReads) {
  Write("a", "x");
  file_system_.Inject({.ops = kOpSync, .error_number = EIO});
  EXPECT_THAT(store_->Sync(), HasErrorNumber(EIO));
  // The next call to the kernel would succeed.
  EXPECT_THAT(store_->Sync(), HasErrorNumber(EIO));
  EXPECT_EQ(store_->durable_tail(), 0);
  EXPECT_TRUE(store_->read_only());
  const std::string before = State();
  EXPECT_THAT(store_->Write("b", Bytes("y")), HasErrorNumber(EROFS));
  EXPECT_THAT(store_->Delete("a"), HasErrorNumber(EROFS));
  EXPECT_THAT(store_->Compact(), HasErrorNumber(EROFS));
  EXPECT_EQ(State(), before);
  EXPECT_EQ(Read("a"), "x");
}

TEST_F(StoreFaultTest, FailedSyncOfTheDirectoryCountsToo) {
  Write("a", "x");
  file_system_.Inject({.ops = kOpSyncDirectory, .error_number = EIO});
  EXPECT_THAT(store_->Sync(), HasErrorNumber(EIO));
  EXPECT_TRUE(store_->read_only());
}

TEST_F(StoreFaultTest, ConcurrentSyncsShareOneCall) {
  Write("a", "x");
  absl::Notification begun;
  absl::Notification go_on;
  // Holds the first sync up while the others arrive.
  file_system_.Inject({.ops = kOpSync, .times = 1, .before = [&] {
                         begun.Notify();
                         go_on.WaitForNotification();
                       }});
  std::vector<std::thread> threads;
  threads.emplace_back([&] { EXPECT_THAT(store_->Sync(), IsOk()); });
  begun.WaitForNotification();
  const uint64_t first_tail = store_->tail();
  Write("b", "y");
  constexpr int kOthers = 8;
  absl::BlockingCounter started(kOthers);
  for (int i = 0; i < kOthers; ++i) {
    threads.emplace_back([&] {
      started.DecrementCount();
      const auto durable = store_->Sync();
      EXPECT_THAT(durable, IsOk());
      EXPECT_GT(*durable, first_tail);
    });
  }
  started.Wait();
  go_on.Notify();
  for (std::thread& thread : threads) thread.join();
  // One for "a", and one for all who wanted "b".
  EXPECT_EQ(file_system_.Count(kOpSync), 2);
  EXPECT_EQ(store_->durable_tail(), store_->tail());
}

// Whether the thread waits for something.
bool IsAsleep(pid_t thread) {
  const std::string stat =
      ReadWholeFile(absl::StrCat("/proc/self/task/", thread, "/stat"));
  return stat[stat.rfind(')') + 2] == 'S';
}

TEST_F(StoreFaultTest, WhoeverIsDurableDoesNotWaitForTheNextSync) {
  constexpr int kThreads = 8;
  for (int round = 0; round < 20 && !HasFailure(); ++round) {
    Write("a", "x");
    int syncs = 0;
    std::thread::id second;  // who does the second one
    absl::Notification begun;
    absl::Notification go_on;
    absl::BlockingCounter others_left(kThreads - 1);
    absl::Notification all_left;
    file_system_.Inject(
        {.ops = kOpSync, .times = 3, .before = [&] {
           ++syncs;
           if (syncs == 1) {
             begun.Notify();
             go_on.WaitForNotification();
           } else if (syncs == 2) {
             second = std::this_thread::get_id();
           } else {
             EXPECT_TRUE(
                 all_left.WaitForNotificationWithTimeout(absl::Seconds(20)));
           }
         }});
    std::thread first([&] { EXPECT_THAT(store_->Sync(), IsOk()); });
    begun.WaitForNotification();
    Write("b", "y");
    std::vector<std::atomic<pid_t>> ids(kThreads);
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        ids[i] = gettid();
        EXPECT_THAT(store_->Sync(), IsOk());
        if (second != std::this_thread::get_id()) {
          others_left.DecrementCount();
          return;
        }
        // Those who were served with it must not wait for this one.
        Write("c", "z");
        EXPECT_THAT(store_->Sync(), IsOk());
      });
    }
    // They know what they want to be durable, and wait for the first sync.
    for (const std::atomic<pid_t>& id : ids) {
      while (id == 0 || !IsAsleep(id)) std::this_thread::yield();
    }
    go_on.Notify();
    others_left.Wait();
    all_left.Notify();
    for (std::thread& thread : threads) thread.join();
    first.join();
    EXPECT_EQ(syncs, 3);
  }
}

TEST_F(StoreFaultTest, SyncWithNothingNewCallsNothing) {
  Write("a", "x");
  ASSERT_THAT(store_->Sync(), IsOk());
  const int calls = file_system_.Count(kAllOps);
  EXPECT_THAT(store_->Sync(), IsOk());
  EXPECT_EQ(file_system_.Count(kAllOps), calls);
}

}  // namespace
}  // namespace varve
