// Opens a store from a stranger, walks through its tree and reads everything in
// it, without and with writing.
//
// The first byte of an input says what the others are: the bytes of a store,
// the same with corrected checksums, or the script of a store (fuzz_store.h).
// Whatever the store is, there must be no crash, no hang, no use of memory
// beyond what the store accounts for, and no read of more than a file has. A
// store that could be written to must open again with the same tree.

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engine/base/fuzz_test_util.h"
#include "engine/base/status.h"
#include "engine/entry/entry.h"
#include "fs/volume/fuzz_store.h"
#include "fs/volume/volume.h"

namespace varve::fs {
namespace {

constexpr size_t kMaxInput = 1 << 16;
// The most memory of the whole process, sanitizers included. It is far more
// than stores of this size need, but little enough to notice use that does not
// depend on the size.
constexpr long kMaxMemory = 1536 << 10;  // KiB

constexpr uint64_t kChunk = 4096;
constexpr char kNewName[] = "written by the fuzzer";
constexpr Caller kCaller{.uid = 1000, .gid = 1000};

void Check(bool condition, const std::string& what) {
  if (condition) return;
  std::fprintf(stderr, "volume_fuzz: %s\n", what.c_str());
  std::abort();
}

// Errors that a valid request may get: damage, or a limit.
void CheckError(const absl::Status& status, const char* what) {
  Check(!absl::IsInternal(status) && !absl::IsUnknown(status),
        absl::StrCat(what, ": ", status.ToString()));
}

void CheckOk(const absl::Status& status, const char* what) {
  Check(status.ok(), absl::StrCat(what, ": ", status.ToString()));
}

absl::StatusOr<std::unique_ptr<Volume>> OpenVolume(const std::string& path,
                                                   bool read_only) {
  VolumeOptions options;
  options.read_only = read_only;
  options.access_times = AccessTimes::kNever;
  options.sync_interval = absl::Hours(24);
  options.auto_compaction.mode = AutoCompaction::Mode::kNever;
  options.now = [] { return Timestamp(); };
  return Volume::Open(path, std::move(options));
}

// --- What is in a volume -----------------------------------------------------

// Reads everything, and returns it as text.
class Walk {
 public:
  explicit Walk(Volume& volume) : volume_(volume) {}

  std::string Run() {
    CheckOk(volume_.GetAttributes(kRootIno).status(), "the root");
    std::vector<uint64_t> directories = {kRootIno};
    while (!directories.empty()) {
      const uint64_t ino = directories.back();
      directories.pop_back();
      LookAtXattrs(ino);
      for (const auto& [name, stat] : List(ino)) {
        LookAt(ino, name, stat);
        if (S_ISDIR(stat.attributes.mode)) directories.push_back(stat.ino);
      }
    }
    volume_.GetStatistics().IgnoreError();
    CheckOk(volume_.GetSpace().status(), "space");
    LookAtUnnamed();
    return std::move(text_);
  }

 private:
  std::vector<std::pair<std::string, Stat>> List(uint64_t ino) {
    std::vector<std::pair<std::string, Stat>> entries;
    CheckOk(volume_.ReadDirectory(ino, Volume::kBehindDots, /*reference=*/false,
                                  [&](const Volume::Entry& entry) {
                                    entries.emplace_back(entry.name,
                                                         entry.stat);
                                    return true;
                                  }),
            "a directory");
    // A checkpoint may change their order.
    std::sort(entries.begin(), entries.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    return entries;
  }

  void LookAt(uint64_t parent, const std::string& name, const Stat& stat) {
    const Attributes& a = stat.attributes;
    Check(IsValidName(name), "a name is none");
    absl::StrAppend(&text_, parent, "/", name, " ", stat.ino, " ", a.mode, " ",
                    a.uid, " ", a.gid, " ", a.rdev, " ", a.size, " ",
                    a.generation, " ", stat.nlink, " ", a.mtime.packed(), " ",
                    a.ctime.packed(), " ", a.btime.packed());
    const auto found = volume_.Lookup(parent, name);
    CheckOk(found.status(), "a name that was listed");
    Check(found->ino == stat.ino, "a name leads to two inodes");
    volume_.Forget(stat.ino, 1);
    LookAtXattrs(stat.ino);
    const auto target = volume_.ReadSymlink(stat.ino);
    if (target.ok()) {
      Check(target->size() <= a.size, "a target is longer than it is");
      absl::StrAppend(&text_, " -> ", HashKey(*target));
    }
    if (S_ISREG(a.mode)) LookAtFile(stat);
    text_ += '\n';
  }

  void LookAtXattrs(uint64_t ino) {
    const auto list = volume_.ListXattrs(ino);
    if (!list.ok()) return;
    for (size_t at = 0; at < list->size();) {
      const std::string name = list->c_str() + at;
      at += name.size() + 1;
      const auto value = volume_.GetXattr(ino, name);
      Check(!value.ok() || value->size() <= kMaxXattrValueSize,
            "an attribute is too large");
      absl::StrAppend(&text_, " ", name, "=", value.ok() ? HashKey(*value) : 0);
    }
  }

  void LookAtFile(const Stat& stat) {
    volume_.reader().VerifyAll(stat.ino).IgnoreError();
    auto handle = volume_.Open(stat.ino, O_RDONLY);
    CheckOk(handle.status(), "opening a file");
    const uint64_t size = stat.attributes.size;
    ReadAt(**handle, 0, size);
    ReadAt(**handle, size / 2, size);
    ReadAt(**handle, size - std::min(size, kChunk / 2), size);
    uint64_t at = 0;
    for (int i = 0; i < 4; ++i) {
      const auto data = volume_.Seek(**handle, at, SEEK_DATA);
      if (!data.ok()) break;
      Check(*data >= at && *data < size, "data lies outside of the file");
      ReadAt(**handle, *data, size);
      const auto hole = volume_.Seek(**handle, *data, SEEK_HOLE);
      Check(hole.ok() && *hole > *data && *hole <= size, "data never ends");
      at = *hole;
    }
    CheckOk(volume_.Flush(**handle), "closing a file that was read");
    CheckOk(volume_.Release(*std::move(handle)), "closing a file");
  }

  void ReadAt(const Handle& handle, uint64_t offset, uint64_t size) {
    const auto reply = volume_.Read(handle, offset, kChunk);
    if (!reply.ok()) {
      CheckError(reply.status(), "reading");
      text_ += " error";
      return;
    }
    const uint64_t expected =
        offset < size ? std::min(kChunk, size - offset) : 0;
    const std::string bytes = reply->ToString();
    Check(bytes.size() == expected && reply->size() == expected,
          "a read gives too much or too little");
    absl::StrAppend(&text_, " ", HashKey(bytes));
  }

  void LookAtUnnamed() {
    const auto unnamed = volume_.Unnamed();
    if (!unnamed.ok()) return;
    for (const EntryLocation& entry : *unnamed) {
      const auto reply = volume_.ReadUnnamed(entry.key_hash, 0, kChunk);
      if (!reply.ok()) continue;
      const std::string bytes = reply->ToString();
      Check(bytes.size() <= kChunk, "an unnamed entry gives too much");
    }
  }

  Volume& volume_;
  std::string text_;
};

// --- What is done to it ------------------------------------------------------

void CloseVolume(std::unique_ptr<Volume> volume) {
  CheckOk(volume->Close(), "closing");
}

// Changes every file a little. A change that fails must leave everything as it
// was.
void ChangeFiles(Volume& volume) {
  std::vector<uint64_t> files;
  volume.WithTree([&files](const TreeReader& tree) {
    const absl::Status read = tree.ForEachInode([&](const InodeItem& inode) {
      if (inode.is_regular()) files.push_back(inode.ino);
      return files.size() < 8;
    });
    CheckError(read, "walking over the tree");
  });
  for (const uint64_t ino : files) {
    auto handle = volume.Open(ino, O_RDWR);
    if (!handle.ok()) continue;
    CheckError(volume.Write(**handle, 1, "changed"), "changing a file");
    CheckError(volume.Flush(**handle), "closing a changed file");
    volume.Release(*std::move(handle)).IgnoreError();
    CheckError(volume.SetAttributes(ino, {.size = 3}, nullptr).status(),
               "cutting a file");
  }
}

void WriteFile(Volume& volume, absl::string_view text) {
  auto created = volume.Create(kRootIno, kNewName, 0644, O_WRONLY, kCaller);
  // A store may claim that numbers for inodes and commits are used up.
  CheckError(created.status(), "making a file");
  if (!created.ok()) return;
  volume.Forget(created->first.ino, 1);
  const Handle& handle = *created->second;
  CheckError(volume.Write(handle, 0, text), "writing");
  CheckError(volume.Fsync(handle), "syncing");
  CheckError(volume.Release(std::move(created->second)), "closing a file");
}

void CheckWritten(Volume& volume, absl::string_view text) {
  const auto stat = volume.Lookup(kRootIno, kNewName);
  if (!stat.ok()) return;
  auto handle = volume.Open(stat->ino, O_RDONLY);
  CheckOk(handle.status(), "opening what was written");
  const auto reply = volume.Read(**handle, 0, kChunk);
  CheckOk(reply.status(), "reading what was written");
  Check(reply->ToString() == text, "what was written is not there");
  CheckOk(volume.Release(*std::move(handle)), "closing what was written");
  volume.Forget(stat->ino, 1);
}

void CompactVolume(Volume& volume) {
  volume.compactions().Start({.forget = true}).IgnoreError();
  CheckError(volume.compactions().WaitForEnd(), "compacting");
}

// All of this with writing.
void WriteTo(const std::string& path, bool compact) {
  auto volume = OpenVolume(path, /*read_only=*/false);
  if (!volume.ok()) return CheckError(volume.status(), "opening");
  const std::string text = "what was written is read again";
  Walk(**volume).Run();
  const bool is_free = !(*volume)->Lookup(kRootIno, kNewName).ok();
  ChangeFiles(**volume);
  if (is_free) WriteFile(**volume, text);
  if (compact) CompactVolume(**volume);
  const std::string before = Walk(**volume).Run();
  CloseVolume(*std::move(volume));

  volume = OpenVolume(path, /*read_only=*/false);
  CheckOk(volume.status(), "opening what was closed");
  const std::string after = Walk(**volume).Run();
  Check(before == after, absl::StrCat("the tree is another one\n", before,
                                      "-- after --\n", after));
  if (is_free) CheckWritten(**volume, text);
  CloseVolume(*std::move(volume));
}

void CheckMemory() {
  struct rusage usage = {};
  Check(getrusage(RUSAGE_SELF, &usage) == 0, "no usage");
  Check(usage.ru_maxrss < kMaxMemory, "a small store takes much memory");
}

void RunInput(absl::string_view input) {
  if (input.empty() || input.size() > kMaxInput) return;
  const auto how = static_cast<uint8_t>(input[0]);
  std::string store(input.substr(1));
  if (how % 4 >= 2) store = MakeFuzzStore(input.substr(1));
  if (how % 4 == 1) FixChecksums(store);

  static const FuzzDirectory directory;
  const std::string path = directory.MakeStore(store);
  auto volume = OpenVolume(path, /*read_only=*/true);
  if (volume.ok()) {
    Walk(**volume).Run();
    CloseVolume(*std::move(volume));
  } else {
    CheckError(volume.status(), "opening for reading");
  }
  WriteTo(path, /*compact=*/(how & 4) != 0);
  CheckMemory();
}

}  // namespace
}  // namespace varve::fs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  varve::fs::RunInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
