// Every I/O call of every operation fails once: the caller gets the errno, tree
// and store are as they were before, and the same call works when it is
// repeated. Interruptions and short counts have no visible effect. After a
// failed sync, only reads work.
//
// A script makes every kind of call. It runs again and again. In each run,
// every call meets the same fault, such as "the third write fails with EIO".

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <functional>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "fs/volume/io_fault_test_util.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

// Runs the script, with a fault in each of its calls.
class Script : public FaultyCalls {
 public:
  // Runs the script without a fault, to learn what is expected.
  Script() { Run(); }
  Script(const Script& reference, Fault fault)
      : FaultyCalls(reference, std::move(fault)) {
    Run();
    ExpectSameCalls();
  }

 private:
  using Status = absl::Status;
  void Run() {
    v_.options().dirty_budget = 256 << 10;
    Call("make", [this] { return v_.TryOpen(); });
    ASSERT_TRUE(v_.is_open());
    before_ = v_.Dump();
    Names();
    Attributes();
    Files();
    Streams();
    Unnamed();
    Syncs();
    Reads();
    History();
    Compactions();
    Reopening();
  }

  // --- The calls ---

  void Names() {
    for (const char* const name : {"d", "empty", "d/inner"}) {
      Call("mkdir", [=, this] { return v_.MakeDir(name); });
    }
    Call("mknod", [this] {
      const auto made =
          v_.volume().MakeNode(kRootIno, "fifo", S_IFIFO | 0600, 0, {});
      if (made.ok()) v_.volume().Forget(made->ino, 1);
      return made.status();
    });
    Call("symlink", [this] { return v_.Symlink("symlink", "target"); });
    for (const char* const name : {"small", "d/f", "other"}) {
      Put(name, absl::StrCat("text of ", name));
    }
    Put("large", Pattern(1, 100'000));
    Call("link", [this] { return v_.Link("small", "d/link"); });
    Call("rename", [this] { return v_.Rename("small", "renamed"); });
    Call("rename large", [this] { return v_.Rename("large", "d/large"); });
    Call("rename over", [this] { return v_.Rename("other", "renamed"); });
    Call("exchange",
         [this] { return v_.Rename("renamed", "d/f", RENAME_EXCHANGE); });
    Call("whiteout",
         [this] { return v_.Rename("d/f", "moved", RENAME_WHITEOUT); });
    Call("rename directory", [this] { return v_.Rename("d", "empty"); });
    Call("unlink", [this] { return v_.Unlink("symlink"); });
    Call("rmdir", [this] { return v_.RemoveDir("empty/inner"); });
  }

  void Attributes() {
    const auto set = [this](const AttributeRequest& request) {
      return v_.volume()
          .SetAttributes(v_.Ino("moved"), request, nullptr)
          .status();
    };
    Call("chmod", [=] { return set({.mode = 0600}); });
    Call("chown", [=] { return set({.uid = 7, .gid = 8}); });
    Call("utimes", [=] { return set({.mtime = Timestamp()}); });
    Call("truncate", [=] { return set({.size = 3}); });
    Call("setxattr", [this] {
      return v_.volume().SetXattr(v_.Ino("empty"), "user.a", "1", 0);
    });
    Call("change xattr", [this] {
      return v_.volume().SetXattr(v_.Ino("empty"), "user.a",
                                  std::string(5000, 'x'), 0);
    });
    Call("removexattr",
         [this] { return v_.volume().RemoveXattr(v_.Ino("empty"), "user.a"); });
  }

  void Files() {
    Put("moved", "overwritten");
    const std::string name = "empty/large";
    Edit("patch", name, [=, this](const Handle& file) {
      return v_.volume().Write(file, 5, "patch");
    });
    Edit("large patch", name, [=, this](const Handle& file) {
      return v_.volume().Write(file, 50'000, Pattern(2, 20'000));
    });
    Edit("append", name, [=, this](const Handle& file) {
      return v_.volume().Write(file, 100'000, Pattern(3, 300));
    });
    Edit("punch", name, [=, this](const Handle& file) {
      return v_.volume().Fallocate(
          file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10'000, 5000);
    });
    Edit("grow", name, [=, this](const Handle& file) {
      return v_.volume().Fallocate(file, 0, 0, 120'000);
    });
    Edit("ftruncate", name, [=, this](const Handle& file) {
      return v_.volume()
          .SetAttributes(file.inode->ino, {.size = 90'000}, &file)
          .status();
    });
    auto source = v_.OpenFile(name, O_RDONLY);
    ASSERT_THAT(source, IsOk());
    Edit("copy_file_range", "moved", [&, this](const Handle& file) {
      return v_.volume().CopyRange(**source, 100, file, 50, 30'000).status();
    });
    EXPECT_THAT(v_.CloseFile(*std::move(source)), IsOk());
  }

  // Files that are larger than the memory budget.
  void Streams() {
    constexpr size_t kChunk = 128 << 10;
    const std::string text = Pattern(4, 6 * kChunk);
    for (const bool given_up : {false, true}) {
      Call("create", [this] {
        auto made = v_.CreateFile("stream", O_RDWR);
        if (made.ok()) file_ = *std::move(made);
        return made.status();
      });
      for (size_t at = 0; at < text.size() && file_ != nullptr; at += kChunk) {
        Call("write", [&, this] {
          return v_.volume().Write(*file_, at, text.substr(at, kChunk));
        });
        // Something else needs the tail.
        if (at == 4 * kChunk) {
          Call("mkdir", [&, this] {
            return v_.MakeDir(given_up ? "beside" : "beside it");
          });
        }
      }
      if (given_up) Call("unlink", [this] { return v_.Unlink("stream"); });
      CloseFile();
      if (!given_up) {
        Call("rename stream", [this] { return v_.Rename("stream", "kept"); });
      }
    }
    Call("unlink large", [this] { return v_.Unlink("kept"); });
  }

  void Unnamed() {
    uint64_t ino = 0;
    Call("O_TMPFILE", [&, this] {
      auto made = v_.volume().CreateUnnamed(kRootIno, 0600, O_RDWR, {});
      if (!made.ok()) return made.status();
      ino = made->first.ino;
      file_ = std::move(made->second);
      return absl::OkStatus();
    });
    Call("write", [this] { return v_.volume().Write(*file_, 0, "unnamed"); });
    Call("linkat", [&, this] {
      const auto linked = v_.volume().Link(ino, kRootIno, "named");
      if (linked.ok()) v_.volume().Forget(ino, 1);
      return linked.status();
    });
    CloseFile();
    v_.volume().Forget(ino, 1);
  }

  void Syncs() {
    OpenForWriting("moved");
    Call("write", [this] { return v_.volume().Write(*file_, 0, "synced"); });
    Call("fsync", [this] { return v_.volume().Fsync(*file_); });
    CloseFile();
    Call("mkdir", [this] { return v_.MakeDir("to be synced"); });
    Call("SyncAll", [this] { return v_.volume().SyncAll(); });
  }

  void Reads() {
    for (const char* const name : {"empty/large", "moved", "named"}) {
      v_.Crash();  // so that nothing has been verified yet
      Call("read", [=, this] { return v_.Read(name).status(); });
    }
    Call("getattr", [this] { return v_.GetStat("moved").status(); });
    Call("statfs", [this] { return v_.volume().GetSpace().status(); });
    Call("statistics", [this] { return v_.volume().GetStatistics().status(); });
  }

  void History() {
    Volume& volume = v_.volume();
    Call("snapshot create",
         [&] { return volume.history().CreateSnapshot("new").status(); });
    Call("snapshot rename",
         [&] { return volume.history().RenameSnapshot("new", "kept"); });
    kept_ = WithoutTimes(v_.DumpPast("kept"));
    for (const bool hold : {true, false}) {
      Call("snapshot hold",
           [&, hold] { return volume.history().HoldSnapshot("kept", hold); });
    }
    Call("policy", [&] {
      return volume.history().SetPolicy(
          *HistoryPolicy::Parse("within=1h hourly=3"));
    });
    Put("moved", "changed after the snapshot");
    Call("automatic snapshot", [&] { return volume.history().ApplyPolicy(); });
    Call("unlink kept", [this] { return v_.Unlink("named"); });
    CheckPast();
    v_.Crash();  // so that nothing has been read yet
    Past();
    CheckPast();
    Call("read deleted", [this] {
      return v_.volume()
          .deleted_files()
          .Lookup(DeletedFiles::kRoot, "large")
          .status();
    });
    Call("purge",
         [this] { return v_.volume().history().Purge("moved").status(); });
    kept_ = WithoutTimes(v_.DumpPast("kept"));
  }

  // Looking at past moments, and restoring.
  void Past() {
    Call("read past", [this]() -> Status {
      PastFiles& files = v_.volume().past_files();
      VARVE_ASSIGN_OR_RETURN(const uint64_t moment,
                             files.Resolve("kept", Timestamp::Now()));
      VARVE_ASSIGN_OR_RETURN(const Stat stat,
                             files.Lookup(moment, kRootIno, "named"));
      return files.Read(moment, stat.ino, 0, 100).status();
    });
    Call("diff", [this] {
      return v_.volume().history().Diff(
          "kept", "now", "",
          [](const PathDifference&) -> absl::StatusOr<bool> { return true; });
    });
    Call("log", [this] {
      return v_.volume().history().ReadLog(
          0, [](const LoggedCommit&) -> absl::StatusOr<bool> { return true; });
    });
    Call("restore", [this] {
      return v_.volume()
          .history()
          .Restore({.at = "kept", .from = "named", .to = "named"})
          .status();
    });
  }

  // Whatever fails, the snapshot shows what it did.
  void CheckPast() {
    const auto found = v_.volume().history().FindSnapshot("kept");
    ASSERT_THAT(found, IsOk());
    // It is not there if syncing it failed.
    if (!found->has_value()) return;
    EXPECT_EQ(WithoutTimes(v_.DumpPast("kept")), kept_);
  }

  void Compactions() {
    // The first compaction finds many dead bytes.
    for (const bool punch : {true, false}) {
      Call(punch ? "compact by punching" : "compact by copying", [=, this] {
        CompactionRunner& runner = v_.volume().compactions();
        const Status status = runner.Start({.punch = punch, .forget = true});
        return status.ok() ? runner.WaitForEnd() : status;
      });
      EXPECT_FALSE(absl::StrContains(v_.directory().Listing(), ".compact"));
      CheckPast();
    }
    Call("mkdir", [this] { return v_.MakeDir("after the compactions"); });
  }

  void Reopening() {
    Close();
    Call("open clean", [this] { return v_.TryOpen(); });
    Call("mkdir", [this] { return v_.MakeDir("after the open"); });
    // As a crash in the middle of a write leaves it.
    torn_ = ReadWholeFile(v_.path()) + Pattern(5, 5000);
    v_.Close();
    WriteWholeFile(v_.path(), torn_);
    Call("open torn", [this] { return v_.TryOpen(); });
    torn_.clear();
    Close();
  }

  std::string kept_;  // what the snapshot shows, without times
};

// If a call of one of these kinds fails, the operation fails. For other kinds,
// the operation may have another way.
constexpr FileOps kAlwaysTold =
    kOpWrite | kOpSync | kOpSyncDirectory | kOpRename | kOpPunchHole | kOpLock;

class VolumeIoFaultTest : public testing::Test {
 protected:
  // Runs the script with `fault` in the first, second, third… call of each of
  // the kinds; with VARVE_TEST_ROUNDS in each, and else, from the tenth on, in
  // every tenth. Returns how many calls of the script failed.
  int RunAll(FileOps kinds, FaultyCalls::Fault fault) {
    static const Script* const reference = new Script;
    const int step = getenv("VARVE_TEST_ROUNDS") == nullptr ? 10 : 1;
    int failed = 0;
    for (const auto& [kind, count] : reference->counts()) {
      if ((kinds & kind) == 0) continue;
      fault.ops = kind;
      for (fault.nth = 1; fault.nth <= count;
           fault.nth += fault.nth < 10 ? 1 : step) {
        SCOPED_TRACE(absl::StrCat("fault in call ", fault.nth, " of kind ",
                                  kind, ", errno ", fault.error_number));
        const Script script(*reference, fault);
        failed += script.failed();
        // On a full disk, a rename does not copy the content.
        const bool must_be_told =
            (kind & kAlwaysTold) != 0 && fault.error_number != ENOSPC &&
            fault.error_number != EINTR && fault.error_number != 0;
        if (must_be_told) {
          EXPECT_THAT(script.passed(), testing::IsEmpty());
        }
        if (HasFailure()) return failed;
      }
    }
    return failed;
  }
};

TEST_F(VolumeIoFaultTest, AnyCallMayFailOnce) {
  EXPECT_GT(RunAll(kAllOps, {.error_number = EIO}), 100);
}

TEST_F(VolumeIoFaultTest, TheDiskMayBeFullAfterAPartOfAWrite) {
  EXPECT_GT(RunAll(kAllOps & ~FileOps{kOpRead},
                   {.error_number = ENOSPC, .partial_bytes = 70}),
            50);
}

TEST_F(VolumeIoFaultTest, AnyKindOfCallMayFailFromSomePointOn) {
  EXPECT_GT(RunAll(kAllOps, {.times = 1 << 20, .error_number = EIO}), 100);
}

TEST_F(VolumeIoFaultTest, InterruptionsAreNoticedByNobody) {
  EXPECT_EQ(RunAll(kOpRead | kOpWrite, {.times = 3, .error_number = EINTR}), 0);
}

TEST_F(VolumeIoFaultTest, ShortCountsAreNoticedByNobody) {
  EXPECT_EQ(RunAll(kOpRead | kOpWrite, {.times = 3, .partial_bytes = 1}), 0);
}

}  // namespace
}  // namespace varve::fs
