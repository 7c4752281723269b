// What a store takes on the disk in unusual circumstances, and what is done
// about it: what is counted as live, and what compactions keep.

#include <errno.h>
#include <fcntl.h>

#include <atomic>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "fs/commit.h"
#include "fs/loader.h"
#include "fs/volume_test_util.h"

namespace varve::fs {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class VolumeSpaceTest : public VolumeTest {
 protected:
  uint64_t Allocated() { return volume().store().Info()->allocated; }
  absl::Status Compact(CompactionOptions options = {}) {
    VARVE_RETURN_IF_ERROR(volume().StartCompaction(options));
    return volume().WaitForCompaction();
  }

  // As if so many data ids had been drawn; the volume is closed.
  void DrawDataIds(uint64_t next_data_id) {
    Core core;
    OpenOptions options;
    auto store = Store::Open(path(), options);
    ASSERT_THAT(store, IsOk());
    core.store = *std::move(store);
    const auto identity = FindIdentityEntry(*core.store);
    ASSERT_THAT(identity, IsOk());
    core.identity = *Identity::Decode(identity->payload_text());
    ASSERT_THAT(LoadTree(core), IsOk());
    core.next_data_id.store(next_data_id);
    absl::MutexLock lock(&core.commit_mu);
    Commit commit(core, PeekClock());
    commit.set_flags(CommitHeader::kClean);
    ASSERT_THAT(commit.Finish(), IsOk());
  }
};

TEST_F(VolumeSpaceTest, UnnamedEntriesAreKeptHoweverManyIdsWereDrawn) {
  ASSERT_THAT(Write("f", Pattern(1, 1'000'000)), IsOk());
  Close();
  WithForeignStore([](Store& store) {
    ASSERT_THAT(store.Write("foreign", Bytes(Pattern(2, 50'000))), IsOk());
  });
  Open();
  Close();
  DrawDataIds(uint64_t{1} << 60);
  Open();
  // Data entries of ours, dead and not.
  for (int i = 0; i < 4; ++i) {
    ASSERT_THAT(WriteAt("f", 10'000, Pattern(i, 100'000)), IsOk());
  }
  const std::string before = Dump();
  const uint64_t allocated = Allocated();
  for (const bool punch : {true, false}) {
    ASSERT_THAT(Compact({.punch = punch}), IsOk());
    EXPECT_LT(Allocated(), allocated - 200'000);
    EXPECT_EQ(Dump(), before);
    Reopen();
  }
  ASSERT_EQ(volume().Unnamed().size(), 1u);
  EXPECT_TRUE(volume().ReadUnnamed(HashKey("foreign"), 0, 50'000)->ToString() ==
              Pattern(2, 50'000));
}

}  // namespace
}  // namespace varve::fs
