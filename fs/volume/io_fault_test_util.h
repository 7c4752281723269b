// FaultyCalls: makes calls of a volume, each with the same fault in its I/O,
// and checks what a failure leaves. For tests. Not thread-safe.

#ifndef VARVE_FS_VOLUME_IO_FAULT_TEST_UTIL_H_
#define VARVE_FS_VOLUME_IO_FAULT_TEST_UTIL_H_

#include <errno.h>
#include <fcntl.h>

#include <algorithm>
#include <cctype>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {

inline constexpr FileOp kKinds[] = {
    kOpOpen,  kOpPathInfo,   kOpRename,     kOpRemove,   kOpSyncDirectory,
    kOpRead,  kOpWrite,      kOpSync,       kOpTruncate, kOpPunchHole,
    kOpInfo,  kOpSetOwner,   kOpMap,        kOpLock,     kOpXattr,
    kOpSpace, kOpReaderLock, kOpPreallocate};

// The dump without times, because a repeated call is later.
inline std::string WithoutTimes(const std::string& dump) {
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
inline std::string DumpAfterCrash(TestVolume& v) {
  TestVolume other;
  CopyFile(v.path(), other.path());
  other.Open();
  if (!other.is_open()) return "";
  std::string dump = other.Dump();
  EXPECT_TRUE(other.volume().Close().ok());
  return dump;
}

class FaultyCalls {
 public:
  using Fault = FaultFileSystem::Fault;
  // What is visible after a call, without times.
  struct Expected {
    std::string call;
    std::string live;   // in the volume
    std::string crash;  // in the next volume, after a crash now
  };
  // How many I/O calls of each kind any single call of the script makes.
  using Counts = std::map<FileOp, int>;

  const Counts& counts() const { return counts_; }
  int failed() const { return failed_; }  // calls that did
  const std::set<std::string>& passed() const { return passed_; }

 protected:
  using Status = absl::Status;

  // Without a fault, to learn what is expected.
  FaultyCalls() = default;
  // With this fault in each call.
  FaultyCalls(const FaultyCalls& reference, Fault fault)
      : fault_(std::move(fault)), reference_(&reference) {}

  // For the end.
  void ExpectSameCalls() const {
    EXPECT_EQ(made_, reference_->expected_.size());
  }

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

  TestVolume v_;
  TestVolume::HandlePtr file_;
  std::string before_;  // the dump, with times
  std::string torn_;    // the bytes of a store that is to be recovered

 private:
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

  const Fault fault_ = {};
  const FaultyCalls* const reference_ = nullptr;
  size_t made_ = 0;  // calls so far
  int failed_ = 0;
  std::set<std::string> passed_;  // calls that succeeded in spite of the fault
  Counts counts_;
  std::vector<Expected> expected_;
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_IO_FAULT_TEST_UTIL_H_
