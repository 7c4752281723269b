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

#include <algorithm>
#include <cctype>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using Fault = FaultFileSystem::Fault;

constexpr FileOp kKinds[] = {
    kOpOpen,  kOpPathInfo,   kOpRename,     kOpRemove,   kOpSyncDirectory,
    kOpRead,  kOpWrite,      kOpSync,       kOpTruncate, kOpPunchHole,
    kOpInfo,  kOpSetOwner,   kOpMap,        kOpLock,     kOpXattr,
    kOpSpace, kOpReaderLock, kOpPreallocate};

// The dump without times, because a repeated call is later.
std::string WithoutTimes(const std::string& dump) {
  const std::string words = absl::StrReplaceAll(dump, {{"\n", " \n "}});
  std::vector<absl::string_view> kept;
  for (const absl::string_view word : absl::StrSplit(words, ' ')) {
    const bool is_time = word.size() > 10 && word[word.size() - 10] == '.' &&
                         isdigit(word[0]) != 0;
    if (!is_time) kept.push_back(word);
  }
  return absl::StrJoin(kept, " ");
}

// What the store would show after a crash now. The open volume is left alone.
std::string DumpAfterCrash(TestVolume& v) {
  TestVolume other;
  CopyFile(v.path(), other.path());
  other.Open();
  if (!other.is_open()) return "";
  std::string dump = other.Dump();
  EXPECT_TRUE(other.volume().Close().ok());
  return dump;
}

// Runs the script, with a fault in each of its calls.
class Script {
 public:
  // What is visible after a call, without times.
  struct Expected {
    std::string call;
    std::string live;   // in the volume
    std::string crash;  // in the next volume, after a crash now
  };
  // How many I/O calls of each kind any single call of the script makes.
  using Counts = std::map<FileOp, int>;

  // Runs the script without a fault, to learn what is expected.
  Script() { Run(); }
  Script(const Script& reference, Fault fault)
      : fault_(std::move(fault)), reference_(&reference) {
    Run();
    EXPECT_EQ(made_, reference.expected_.size());
  }

  const Counts& counts() const { return counts_; }
  int failed() const { return failed_; }  // calls that did
  const std::set<std::string>& passed() const { return passed_; }

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

  void Compactions() {
    // The first compaction finds many dead bytes.
    for (const bool punch : {true, false}) {
      Call(punch ? "compact by punching" : "compact by copying", [=, this] {
        CompactionRunner& runner = v_.volume().compactions();
        const Status status = runner.Start({.punch = punch, .forget = true});
        return status.ok() ? runner.WaitForEnd() : status;
      });
      EXPECT_FALSE(absl::StrContains(v_.directory().Listing(), ".compact"));
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

  // --- What they share ---

  void Put(const std::string& name, const std::string& text) {
    if (v_.Ino(name) == 0) {
      Call("create", [=, this] {
        auto made = v_.CreateFile(name, O_RDWR);
        if (made.ok()) file_ = *std::move(made);
        return made.status();
      });
    } else {
      OpenForWriting(name);
      Call("ftruncate", [this] {
        return v_.volume()
            .SetAttributes(file_->inode->ino, {.size = 0}, file_.get())
            .status();
      });
    }
    if (file_ == nullptr) return;
    Call("write", [&, this] { return v_.volume().Write(*file_, 0, text); });
    CloseFile();
  }

  void Edit(const char* name, const std::string& path,
            const std::function<Status(const Handle&)>& change) {
    OpenForWriting(path);
    Call(name, [&, this] { return change(*file_); });
    CloseFile();
  }

  void OpenForWriting(const std::string& path) {
    auto opened = v_.OpenFile(path, O_RDWR);
    ASSERT_THAT(opened, IsOk());
    file_ = *std::move(opened);
  }

  void CloseFile() {
    if (file_ == nullptr) {  // lost when the volume became read-only
      ++made_;
      return;
    }
    Call("flush", [this] { return v_.volume().Flush(*file_); });
    // Errors were told by Flush().
    if (file_ != nullptr) {
      EXPECT_THAT(v_.volume().Release(std::move(file_)), IsOk());
    }
    file_ = nullptr;
  }

  // Makes a call with the fault in it, and again without the fault if that
  // failed.
  void Call(const std::string& name, const std::function<Status()>& call) {
    SCOPED_TRACE(absl::StrCat("call ", made_, ": ", name));
    Counts before;
    for (const FileOp kind : kKinds) before[kind] = v_.files().Count(kind);
    if (reference_ != nullptr) v_.files().Inject(fault_);
    const Status status = call();
    const bool hit = reference_ != nullptr && v_.files().hits() > 0;
    v_.files().Heal();
    for (const FileOp kind : kKinds) {
      counts_[kind] =
          std::max(counts_[kind], v_.files().Count(kind) - before[kind]);
    }
    if (status.ok()) {
      if (hit) passed_.insert(name);
    } else if (!hit) {
      ADD_FAILURE() << "fails without a fault: " << status;
    } else {
      ++failed_;
      Failed(status, call);
    }
    Note(name);
  }

  // Closing cannot be repeated; the next open finds the tree.
  void Close() {
    if (reference_ != nullptr) v_.files().Inject(fault_);
    const Status status = v_.volume().Close();
    // A checkpoint, the mark, and a sync behind each.
    for (const FileOp kind : {kOpWrite, kOpSync}) {
      counts_[kind] = std::max(counts_[kind], 2);
    }
    if (!status.ok()) {
      EXPECT_GT(v_.files().hits(), 0) << status;
      EXPECT_THAT(status, HasErrno(fault_.error_number)) << "close";
    }
    v_.Close();
    v_.files().Heal();
    if (reference_ != nullptr) {
      EXPECT_EQ(WithoutTimes(DumpAfterCrash(v_)), Before().crash) << "close";
    }
  }

  void Failed(const Status& status, const std::function<Status()>& call) {
    EXPECT_THAT(status, HasErrno(fault_.error_number));
    if (!v_.is_open()) {
      if (!torn_.empty()) {
        EXPECT_TRUE(StoreAndSidecar() == torn_);
      }
    } else if (v_.volume().read_only()) {
      return FailedSync();
    } else {
      EXPECT_EQ(v_.Dump(), before_);
      EXPECT_EQ(WithoutTimes(DumpAfterCrash(v_)), Before().crash);
    }
    EXPECT_THAT(call(), IsOk());
  }

  // The bytes of the store, and behind them those that recovery has cut off.
  std::string StoreAndSidecar() const {
    std::string bytes = ReadWholeFile(v_.path());
    const std::string sidecar = absl::StrCat(v_.path(), ".torn-", bytes.size());
    if (RealFileSystem()->Info(sidecar).ok()) bytes += ReadWholeFile(sidecar);
    return bytes;
  }

  // Operations before a failed sync may have been committed, or not.
  void FailedSync() {
    EXPECT_THAT(v_.volume().failure(), HasErrno(fault_.error_number));
    const std::string dump = v_.Dump();
    EXPECT_THAT(WithoutTimes(dump), testing::AnyOf(Before().live, Next().live));
    EXPECT_THAT(v_.MakeDir("too late"), HasErrno(EROFS));
    EXPECT_THAT(v_.volume().SyncAll(), HasErrno(fault_.error_number));
    EXPECT_EQ(v_.Dump(), dump);
    if (file_ != nullptr) v_.Abandon(std::move(file_));
    v_.Crash();
  }

  const Expected& Before() const { return reference_->expected_[made_ - 1]; }
  const Expected& Next() const { return reference_->expected_[made_]; }

  void Note(const std::string& name) {
    before_ = v_.Dump();
    const std::string live = WithoutTimes(before_);
    if (reference_ == nullptr) {
      expected_.push_back({name, live, WithoutTimes(DumpAfterCrash(v_))});
    } else if (made_ < reference_->expected_.size()) {
      EXPECT_EQ(name, Next().call);
      EXPECT_EQ(live, Next().live);
    }
    ++made_;
  }

  const Fault fault_;
  const Script* const reference_ = nullptr;
  TestVolume v_;
  TestVolume::HandlePtr file_;
  std::string before_;  // the dump, with times
  std::string torn_;    // the bytes of a store that is to be recovered
  size_t made_ = 0;     // calls so far
  int failed_ = 0;
  std::set<std::string> passed_;  // calls that succeeded in spite of the fault
  Counts counts_;
  std::vector<Expected> expected_;
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
  int RunAll(FileOps kinds, Fault fault) {
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
