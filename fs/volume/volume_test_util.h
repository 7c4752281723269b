// TestVolume: a volume in a temporary directory, with verbs that take paths, so
// that tests are easy to read: Write, Read, Rename, Reopen, Crash.

#ifndef VARVE_FS_VOLUME_VOLUME_TEST_UTIL_H_
#define VARVE_FS_VOLUME_VOLUME_TEST_UTIL_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/test_util.h"
#include "engine/io/fault_file.h"
#include "engine/store/store.h"
#include "fs/base/error.h"
#include "fs/volume/volume.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {

// Matches a failure that the caller of a system call gets as this errno.
MATCHER_P(HasErrno, number, "") {
  *result_listener << StatusOf(arg).ToString();
  return ErrnoOf(StatusOf(arg)) == number;
}

// A name for each letter. As keys in the root, all of them have the same hash.
std::string CollidingName(char letter);

class TestVolume {
 public:
  using HandlePtr = std::unique_ptr<Handle>;

  TestVolume();
  ~TestVolume();

  // --- The volume itself ---

  // Opens the store, or makes it if there is none. A failure fails the test.
  void Open();
  absl::Status TryOpen();
  // Closes properly; a failure fails the test.
  void Close();
  void Reopen();
  // As kill -9: goes on with the store as it is now, and without anything in
  // memory. Open handles must have been passed to Abandon() or released.
  void Crash();
  // Keeps a handle until its volume is gone.
  void Abandon(HandlePtr handle) { abandoned_.push_back(std::move(handle)); }

  Volume& volume() { return *volume_; }
  bool is_open() const { return volume_ != nullptr; }
  FaultFileSystem& files() { return files_; }
  VolumeOptions& options() { return options_; }  // for the next Open()
  const std::string& path() const { return path_; }
  const TemporaryDirectory& directory() const { return directory_; }
  // What the volume's clock will show next. It advances by one microsecond each
  // time the volume reads it.
  Timestamp PeekClock() const;

  // --- Verbs, by path; "" is the root ---

  // The inode at the path; 0 if there is none.
  uint64_t Ino(absl::string_view path);
  absl::StatusOr<Stat> GetStat(absl::string_view path);
  // Creates or empties the file, writes, and closes it.
  absl::Status Write(absl::string_view path, absl::string_view text,
                     size_t chunk = 128 << 10);
  // Opens the file, writes at the offset, and closes it.
  absl::Status WriteAt(absl::string_view path, uint64_t offset,
                       absl::string_view text);
  absl::Status Append(absl::string_view path, absl::string_view text);
  absl::StatusOr<std::string> Read(absl::string_view path);
  absl::Status Truncate(absl::string_view path, uint64_t size);
  absl::Status MakeDir(absl::string_view path);
  absl::Status Symlink(absl::string_view path, absl::string_view target);
  absl::Status Link(absl::string_view from, absl::string_view to);
  absl::Status Rename(absl::string_view from, absl::string_view to,
                      uint32_t flags = 0);
  absl::Status Unlink(absl::string_view path);
  absl::Status RemoveDir(absl::string_view path);
  absl::StatusOr<HandlePtr> OpenFile(absl::string_view path, int flags);
  absl::StatusOr<HandlePtr> CreateFile(absl::string_view path, int flags);
  // Flush and Release, as close(2) does.
  absl::Status CloseFile(HandlePtr handle);
  std::string ReadHandle(const Handle& handle);
  // The names in a directory, in the order of a listing, without "." and "..".
  std::vector<std::string> List(absl::string_view path);

  // --- The store below ---

  bool HasCheckpoint();
  // Waits until the volume has written a checkpoint by itself; false if none
  // comes.
  bool AwaitCheckpoint();
  // The newest entry of the key; nothing if there is none.
  std::optional<std::string> ReadRaw(absl::string_view key);
  // The result of Volume::Unnamed(), which must not fail.
  std::vector<EntryLocation> Unnamed();
  // Everything that users see of the tree, with a line for each name: path,
  // inode, attributes, extended attributes, content.
  std::string Dump();
  // The same of a past moment, in a volume of its own; the error if it cannot
  // be opened.
  std::string DumpAt(const std::string& moment);
  // The same by way of PastFiles of the open volume, which DumpAt() compares
  // with what it finds.
  std::string DumpPast(const std::string& moment);
  // Dump(), and DumpPast() of each snapshot.
  std::string DumpAll();
  // The number of the newest commit.
  uint64_t LastCommit();
  void AdvanceClock(absl::Duration time);
  // Opens the store as another program would, between two mounts.
  void WithForeignStore(const std::function<void(Store&)>& change);
  uint64_t FileSize();

 private:
  // Parent inode and last name of a path.
  std::pair<uint64_t, std::string> Split(absl::string_view path);
  absl::Status GiveBack(const absl::StatusOr<Stat>& stat);

  TemporaryDirectory directory_;
  FaultFileSystem files_;
  std::atomic<uint64_t> clock_;
  VolumeOptions options_;
  std::string path_;
  int copies_ = 0;
  std::vector<HandlePtr> abandoned_;
  std::unique_ptr<Volume> volume_;
};

// An open, empty volume for each test.
class VolumeTest : public testing::Test, public TestVolume {
 protected:
  void SetUp() override { Open(); }
};

}  // namespace varve::fs

#endif  // VARVE_FS_VOLUME_VOLUME_TEST_UTIL_H_
