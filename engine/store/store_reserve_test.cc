// A full disk: what frees space can be appended, all else fails before it has
// written anything.

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/io/fault_file.h"
#include "engine/io/file.h"
#include "engine/io/reserve.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

constexpr size_t kChunk = 64 << 10;

class StoreReserveTest : public StoreFixture {
 protected:
  void SetUp() override {
    const auto file =
        RealFileSystem()->Open(Path("probe"), OpenMode::kCreate, 0600);
    ASSERT_THAT(file, IsOk());
    const absl::Status status = (*file)->Preallocate(0, 1);
    if (absl::IsUnimplemented(status)) GTEST_SKIP() << status;
    ASSERT_THAT(status, IsOk());
  }

  // From now on the host has no more blocks than it has given already.
  void FillDisk(int number = ENOSPC) {
    file_system_.Inject(
        {.ops = kOpPreallocate, .times = 1 << 20, .error_number = number});
  }
  void FillStore() {
    const std::string chunk = Pattern(1, kChunk);
    for (int i = 0; i < 1000; ++i) {
      if (!store_->Write(absl::StrCat("filler", i), Bytes(chunk)).ok()) return;
    }
    FAIL() << "the disk is not full";
  }
  std::string State() const {
    return absl::StrCat(store_->tail(), " ", store_->size(), " ") + File();
  }

  // Bytes of blocks that the host keeps for the file, its own and others.
  uint64_t Allocated() const {
    return RealFileSystem()->Info(Path())->allocated;
  }
  // Of them, those behind its end, but for parts of blocks and for what the
  // host needs itself.
  bool HasReserve() const {
    return Allocated() + (16 << 10) >= store_->tail() + Reserve::kSize;
  }
};

TEST_F(StoreReserveTest, BlocksAreKeptBehindTheEndUntilTheStoreIsClosed) {
  const std::string payload = Pattern(1, 100'000);
  Write("a", payload);
  EXPECT_TRUE(HasReserve());
  EXPECT_EQ(File().size(), store_->tail());
  // They do not count.
  EXPECT_LT(store_->Info()->allocated, 200'000);
  EXPECT_EQ(store_->Info()->size, store_->tail());
  const uint64_t size = store_->tail();
  store_.reset();
  EXPECT_LT(Allocated(), 200'000);
  EXPECT_EQ(File().size(), size);
  Open(OpenMode::kRead);
  EXPECT_LT(Allocated(), 200'000);
  EXPECT_EQ(Read("a"), payload);
}

TEST_F(StoreReserveTest, OnlyWhatFreesSpaceMayUseIt) {
  for (const int number : {ENOSPC, EDQUOT}) {
    SCOPED_TRACE(number);
    for (int i = 0; i < 1000; ++i) Write(absl::StrCat("small", i), "x");
    FillDisk(number);
    FillStore();
    const std::string before = State();
    const int writes = file_system_.Count(kOpWrite);
    const std::string chunk = Pattern(2, kChunk);
    EXPECT_THAT(store_->Write("a", Bytes(chunk)), HasErrorNumber(number));
    EXPECT_THAT(store_->WriteBatch({{"a", Bytes(chunk)}, {"b", Bytes(chunk)}}),
                HasErrorNumber(number));
    EXPECT_THAT(store_->Rename("filler0", "a"), HasErrorNumber(number));
    auto stream = store_->BeginStream([] { return uint64_t{7}; });
    EXPECT_THAT(stream->Write(Bytes(chunk)), HasErrorNumber(number));
    EXPECT_EQ(file_system_.Count(kOpWrite), writes);
    EXPECT_TRUE(State() == before);
    for (int i = 0; i < 1000; ++i) {
      ASSERT_THAT(store_->Delete(absl::StrCat("small", i)), IsOk()) << i;
    }
    EXPECT_FALSE(store_->Exists("small7"));
    file_system_.Heal();
    Write("a", "x");
    EXPECT_TRUE(HasReserve());
  }
}

TEST_F(StoreReserveTest, EndsAtItsSize) {
  FillDisk();
  FillStore();
  const std::string chunk = Pattern(2, 100'000);
  const uint64_t begin = store_->tail();
  std::string before;
  absl::Status status;
  for (int i = 0; status.ok() && i < 1000; ++i) {
    before = State();
    Batch batch = store_->BeginBatch();
    batch.UseReserve();
    batch.Add(static_cast<uint64_t>(i), Bytes(chunk));
    status = batch.Commit();
  }
  EXPECT_THAT(status, HasErrorNumber(ENOSPC));
  EXPECT_TRUE(State() == before);
  EXPECT_GE(store_->tail() - begin, Reserve::kSize - 100'200);
  EXPECT_LE(store_->tail() - begin, Reserve::kSize + kChunk + 4096);
}

TEST_F(StoreReserveTest, StreamsLeaveItAlone) {
  Write("a", "x");
  FillDisk();
  auto stream = store_->BeginStream([] { return uint64_t{7}; });
  const std::string chunk = Pattern(2, kChunk);
  uint64_t size = 0;
  absl::Status status;
  while (size < 100 * kChunk) {
    status = stream->Write(Bytes(chunk)).status();
    if (!status.ok()) break;
    size += kChunk;
  }
  EXPECT_THAT(status, HasErrorNumber(ENOSPC));
  EXPECT_EQ(stream->unsealed_size(), size);
  ASSERT_GT(size, 0);
  // This seals it.
  EXPECT_THAT(store_->Delete("a"), IsOk());
  EXPECT_EQ(ReadHashed(7).size(), size);
}

TEST_F(StoreReserveTest, RoomIsGotInSteps) {
  const int before = file_system_.Count(kOpPreallocate);
  const std::string chunk = Pattern(1, 4096);
  for (int i = 0; i < 4096; ++i) Write(absl::StrCat(i), chunk);
  EXPECT_LE(file_system_.Count(kOpPreallocate) - before, 40);
  EXPECT_LE(Allocated(),
            store_->tail() + Reserve::kSize + Reserve::kMostAhead + (64 << 10));
}

TEST_F(StoreReserveTest, WhatAFailureHasTakenAwayIsMadeAnew) {
  Write("a", "x");
  file_system_.Inject(
      {.ops = kOpWrite, .error_number = EIO, .partial_bytes = 10});
  EXPECT_THAT(store_->Write("b", Bytes("y")), HasErrorNumber(EIO));
  EXPECT_TRUE(HasReserve());
  {
    auto stream = store_->BeginStream([] { return uint64_t{7}; });
    ASSERT_THAT(stream->Write(Bytes("given up")), IsOk());
  }
  EXPECT_TRUE(HasReserve());
  file_system_.Inject({.ops = kOpWrite | kOpTruncate,
                       .times = 2,
                       .error_number = EIO,
                       .partial_bytes = 10});
  EXPECT_THAT(store_->Write("b", Bytes("y")), HasErrorNumber(EIO));
  Write("b", "y");
  EXPECT_TRUE(HasReserve());
}

TEST_F(StoreReserveTest, AStoreThatTurnsReadOnlyNeedsNone) {
  Write("a", "x");
  file_system_.Inject({.ops = kOpSync, .error_number = EIO});
  EXPECT_THAT(store_->Sync(), HasErrorNumber(EIO));
  EXPECT_FALSE(HasReserve());
  EXPECT_EQ(Read("a"), "x");
}

TEST_F(StoreReserveTest, CompactedStoresHaveOne) {
  Write("a", Pattern(1, 100'000));
  Write("a", "x");
  ASSERT_THAT(store_->Compact(), IsOk());
  EXPECT_TRUE(HasReserve());
  EXPECT_LT(store_->Info()->allocated, 32 << 10);

  auto replacement = store_->MakeReplacement();
  ASSERT_THAT(replacement, IsOk());
  ASSERT_THAT((*replacement)->Write("a", Bytes("y")), IsOk());
  ASSERT_THAT((*replacement)->Sync(), IsOk());
  ASSERT_THAT(store_->ReplaceBy(*std::move(replacement)), IsOk());
  EXPECT_TRUE(HasReserve());
  EXPECT_LT(store_->Info()->allocated, 32 << 10);
  FillDisk();
  FillStore();
  EXPECT_THAT(store_->Delete("a"), IsOk());
  const std::string bytes = File();
  store_.reset();
  EXPECT_TRUE(File() == bytes);
  EXPECT_LT(Allocated(), bytes.size() + (64 << 10));
}

TEST_F(StoreReserveTest, WhatACrashHasLeftIsGivenBack) {
  Write("a", "x");
  store_.reset();
  {
    const auto file =
        RealFileSystem()->Open(Path(), OpenMode::kReadWrite, 0600);
    ASSERT_THAT(file, IsOk());
    ASSERT_THAT((*file)->Preallocate(0, 20 << 20), IsOk());
  }
  EXPECT_GE(Allocated(), 20 << 20);
  Open();
  EXPECT_LT(Allocated(), 10 << 20);
  EXPECT_LT(store_->Info()->allocated, 64 << 10);
  EXPECT_EQ(Read("a"), "x");
}

TEST_F(StoreReserveTest, AFileThatSomebodyHasChangedIsLeftAsItIs) {
  Write("a", Pattern(1, 10'000));
  {
    const auto file =
        RealFileSystem()->Open(Path(), OpenMode::kReadWrite, 0600);
    ASSERT_THAT(file, IsOk());
    ASSERT_THAT((*file)->Truncate(5000), IsOk());
  }
  store_.reset();
  EXPECT_EQ(File().size(), 5000);
}

TEST_F(StoreReserveTest, HostsThatCannotPreallocateAreAskedOnce) {
  store_.reset();
  FillDisk(EOPNOTSUPP);
  Open();
  const int before = file_system_.Count(kOpPreallocate);
  EXPECT_EQ(file_system_.hits(), 1);
  for (int i = 0; i < 10; ++i) Write(absl::StrCat(i), Pattern(i, 1 << 20));
  EXPECT_THAT(store_->Delete("1"), IsOk());
  EXPECT_EQ(file_system_.Count(kOpPreallocate), before);
}

TEST_F(StoreReserveTest, OtherFailuresAreNoObstacle) {
  for (const int number : {EIO, EFBIG, EINTR, EPERM}) {
    store_.reset();
    FillDisk(number);
    Open();
    Write("a", Pattern(number, 3 << 20));
    EXPECT_GT(file_system_.hits(), 1);
    file_system_.Heal();
    Write("a", Pattern(number, 3 << 20));
    EXPECT_TRUE(HasReserve());
  }
}

TEST_F(StoreReserveTest, AStoreOnAFullDiskCanBeOpened) {
  Write("a", "x");
  store_.reset();
  FillDisk();
  Open();
  EXPECT_EQ(Read("a"), "x");
  EXPECT_THAT(store_->Write("b", Bytes("y")), HasErrorNumber(ENOSPC));
  file_system_.Heal();
  Write("b", "y");
  EXPECT_TRUE(HasReserve());
}

TEST_F(StoreReserveTest, PunchingCompletesIt) {
  Write("a", Pattern(1, 100'000));
  Write("a", "x");
  FillDisk();
  FillStore();
  Batch batch = store_->BeginBatch();
  batch.UseReserve();
  const std::string chunk = Pattern(2, 500'000);
  batch.Add(7, Bytes(chunk));
  ASSERT_THAT(batch.Commit(), IsOk());
  EXPECT_FALSE(HasReserve());
  file_system_.Heal();
  const absl::Status status = store_->Punch(4096, 4096);
  if (absl::IsUnimplemented(status)) GTEST_SKIP() << status;
  ASSERT_THAT(status, IsOk());
  EXPECT_TRUE(HasReserve());
}

TEST_F(StoreReserveTest, SpacePressureIsTold) {
  store_.reset();
  int told = 0;
  auto store = Store::Open(Path(), {.mode = OpenMode::kCreate,
                                    .file_system = &file_system_,
                                    .on_space_pressure = [&told] { ++told; }});
  ASSERT_THAT(store, IsOk());
  store_ = *std::move(store);
  Write("a", "x");
  EXPECT_EQ(told, 0);
  FillDisk();
  FillStore();
  EXPECT_EQ(told, 1);
  EXPECT_THAT(store_->Delete("a"), IsOk());
  EXPECT_EQ(told, 2);
  file_system_.Heal();
  Write("a", Pattern(1, 10 * kChunk));
  EXPECT_EQ(told, 2);
  file_system_.Inject({.ops = kOpWrite, .error_number = EDQUOT});
  EXPECT_THAT(store_->Write("a", Bytes("y")), HasErrorNumber(EDQUOT));
  EXPECT_EQ(told, 3);
}

// Files may not grow beyond a limit while one lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(uint64_t size) {
    handler_ = signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {.rlim_cur = size, .rlim_max = before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_ = {};
  void (*handler_)(int) = nullptr;
};

TEST_F(StoreReserveTest, AFileAsLargeAsItMayBeIsAnError) {
  Write("a", "x");
  store_.reset();
  const FileSizeLimit limit(500'000);
  Open();
  absl::Status status;
  std::string before;
  for (int i = 0; i < 100; ++i) {
    before = State();
    status = store_->Write(absl::StrCat(i), Bytes(Pattern(i, kChunk))).status();
    if (!status.ok()) break;
  }
  EXPECT_THAT(status, HasErrorNumber(EFBIG));
  EXPECT_TRUE(State() == before);
  EXPECT_GT(store_->tail(), 500'000 - kChunk - 200);
  Write("b", "small");
  EXPECT_THAT(store_->Delete("a"), IsOk());
  EXPECT_THAT(store_->Sync(), IsOk());
  Open();
  EXPECT_EQ(Read("b"), "small");
}

}  // namespace
}  // namespace varve
