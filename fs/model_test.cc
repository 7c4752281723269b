// Random operations on a volume and on a model of it, compared after every
// reopen and crash.
//
// VARVE_SEED makes the first round use that seed, which reproduces a failure;
// VARVE_MODEL_SECONDS says how long to go on with further rounds.

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "fs/model_tree.h"
#include "fs/volume_test_util.h"

namespace varve::fs {
namespace {

constexpr int kOperationsPerRound = 400;
constexpr size_t kMaxHandles = 6;
constexpr uint64_t kMaxModelFile = 12 << 20;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = getenv(name);
  uint64_t value = otherwise;
  if (text != nullptr) {
    EXPECT_TRUE(absl::SimpleAtoi(text, &value)) << name;
  }
  return value;
}

class Round {
 public:
  explicit Round(uint64_t seed) : random_(seed) {
    static constexpr uint64_t kBudgets[] = {1000, 64 << 10, 1 << 20, 64 << 20};
    store_.options().dirty_budget = kBudgets[Below(4)];
    store_.Open();
  }

  void Run() {
    for (step_ = 0; step_ < kOperationsPerRound; ++step_) {
      DoOne();
      if (testing::Test::HasFailure()) break;
    }
    if (!testing::Test::HasFailure()) DoReopen();
    if (testing::Test::HasFailure()) {
      for (const std::string& line : log_) std::cerr << line << "\n";
    }
  }

 private:
  struct OpenFile {
    TestVolume::HandlePtr handle;
    ModelNodePtr node;
  };
  struct Operation {
    int weight;
    void (Round::*run)();
  };

  // --- Chance ---

  uint64_t Below(uint64_t limit) { return random_() % limit; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  std::string RandomName();
  std::string ExistingPath();  // "" (the root) if there is nothing
  std::string ExistingFile();  // "" if there is none
  std::string NewPath();       // in something that exists; may exist itself
  std::string AnyPath() { return OneIn(4) ? NewPath() : ExistingPath(); }
  uint64_t RandomSize();
  std::string RandomBytes();
  OpenFile* RandomHandle();

  // --- Operations ---

  void DoOne();
  void DoCreate();
  void DoMakeDir();
  void DoSymlink();
  void DoOpen();
  void DoClose();
  void DoWriteHandle();
  void DoWritePath();
  void DoOverwrite();
  void DoTruncatePath();
  void DoTruncateHandle();
  void DoFallocate();
  void DoCopyRange();
  void DoFlush();
  void DoRename();
  void DoLink();
  void DoUnlink();
  void DoRemoveDir();
  void DoSetAttributes();
  void DoSetXattr();
  void DoRemoveXattr();
  void DoReadHandle();
  void DoReadPath();
  void DoSeek();
  void DoReopen();
  void DoCrash();

  // --- Comparison ---

  // A path as it can be printed.
  static std::string Show(const std::string& path) {
    return absl::Utf8SafeCEscape(
        absl::StrReplaceAll(path, {{std::string(255, 'n'), "n*255"},
                                   {CollidingName('A'), "COLLIDING-A"},
                                   {CollidingName('B'), "COLLIDING-B"}}));
  }
  template <typename... Parts>
  void Note(const Parts&... parts) {
    log_.push_back(absl::StrCat(step_, ": ", parts...));
    if (log_.size() > 60) log_.erase(log_.begin());
    if (getenv("VARVE_MODEL_LOG") != nullptr) std::cerr << log_.back() << "\n";
  }
  void Expect(const absl::Status& status, int number) {
    EXPECT_EQ(ErrnoOf(status), number) << log_.back() << ": " << status;
  }
  void ExpectContent(const std::string& actual, const std::string& expected,
                     const std::string& what);
  // What a commit of the file does to the model.
  static void Commit(ModelNode& node) { node.committed = node.content; }
  void FinishCreate(const std::string& path);
  void CompareAll(bool after_crash);
  void CompareNode(const std::string& path, ModelNode& node, bool after_crash);
  void CompareXattrs(const std::string& path, const ModelNode& node);

  std::mt19937_64 random_;
  TestVolume store_;
  ModelTree model_;
  std::vector<OpenFile> open_;
  std::vector<std::string> log_;
  int step_ = 0;
};

std::string Round::RandomName() {
  // The first two have one hash in the root.
  static const std::string kNames[] = {
      "\xb8\xfe\x6c\x39\x23\xa4\x4b\xbe"
      "AAAAAAAA0123456789abcdef",
      "\xb8\xfe\x6c\x39\x23\xa4\x4b\xbe"
      "BBBBBBBB0123456789abcdef",
      "a",
      "b",
      "c",
      "d",
      "e",
      std::string(255, 'n'),
      "new\nline",
      " "};
  return kNames[Below(10)];
}

std::string Round::ExistingPath() {
  const std::vector<std::string> paths = model_.Paths();
  return paths.empty() ? "" : paths[Below(paths.size())];
}

std::string Round::ExistingFile() {
  std::vector<std::string> paths;
  model_.ForEach([&](const std::string& path, const ModelNodePtr& node) {
    if (node->is_regular()) paths.push_back(path);
  });
  return paths.empty() ? "" : paths[Below(paths.size())];
}

std::string Round::NewPath() {
  std::string parent = OneIn(2) ? "" : ExistingPath();
  // Mostly into directories, and not too deep.
  for (int tries = 0; tries < 3; ++tries) {
    const ModelNodePtr node = model_.Find(parent);
    if (node->is_directory() && parent.size() < 2000) break;
    parent = OneIn(2) ? "" : ExistingPath();
  }
  return parent.empty() ? RandomName() : parent + "/" + RandomName();
}

uint64_t Round::RandomSize() {
  switch (Below(20)) {
    case 0:
      return Below(400'000);
    case 1:
      return OneIn(10) ? Below(6 << 20) : Below(100);
    case 2:
    case 3:
    case 4:
      return Below(20'000);
    case 5:
      return 4096 * Below(4) + Below(3) - (OneIn(2) ? 0 : 1) + 1;
    case 6:
      return 1;
    default:
      return Below(300);
  }
}

std::string Round::RandomBytes() {
  const uint64_t size = RandomSize();
  if (OneIn(6)) return std::string(size, '\0');
  return Pattern(random_(), size);
}

Round::OpenFile* Round::RandomHandle() {
  return open_.empty() ? nullptr : &open_[Below(open_.size())];
}

void Round::DoOne() {
  static constexpr Operation kOperations[] = {
      {8, &Round::DoCreate},       {4, &Round::DoMakeDir},
      {2, &Round::DoSymlink},      {8, &Round::DoOpen},
      {7, &Round::DoClose},        {20, &Round::DoWriteHandle},
      {8, &Round::DoWritePath},    {6, &Round::DoOverwrite},
      {4, &Round::DoTruncatePath}, {5, &Round::DoTruncateHandle},
      {6, &Round::DoFallocate},    {6, &Round::DoCopyRange},
      {6, &Round::DoFlush},        {10, &Round::DoRename},
      {4, &Round::DoLink},         {6, &Round::DoUnlink},
      {2, &Round::DoRemoveDir},    {5, &Round::DoSetAttributes},
      {3, &Round::DoSetXattr},     {1, &Round::DoRemoveXattr},
      {8, &Round::DoReadHandle},   {6, &Round::DoReadPath},
      {4, &Round::DoSeek},         {3, &Round::DoReopen},
      {3, &Round::DoCrash},
  };
  static const int kTotal = [] {
    int total = 0;
    for (const Operation& operation : kOperations) total += operation.weight;
    return total;
  }();
  int pick = static_cast<int>(Below(kTotal));
  for (const Operation& operation : kOperations) {
    pick -= operation.weight;
    if (pick < 0) return (this->*operation.run)();
  }
}

void Round::FinishCreate(const std::string& path) {
  model_.Find(path)->ino = store_.Ino(path);
}

void Round::DoCreate() {
  const std::string path = NewPath();
  Note("create ", Show(path));
  auto handle = store_.CreateFile(path, O_RDWR);
  Expect(handle.status(), model_.Make(path, S_IFREG | 0644, ""));
  if (!handle.ok()) return;
  FinishCreate(path);
  if (open_.size() < kMaxHandles && OneIn(2)) {
    open_.push_back({*std::move(handle), model_.Find(path)});
  } else {
    Expect(store_.CloseFile(*std::move(handle)), 0);
  }
}

void Round::DoMakeDir() {
  const std::string path = NewPath();
  Note("mkdir ", Show(path));
  const absl::Status status = store_.MakeDir(path);
  Expect(status, model_.Make(path, S_IFDIR | 0755, ""));
  if (status.ok()) FinishCreate(path);
}

void Round::DoSymlink() {
  const std::string path = NewPath();
  const std::string target(1 + Below(500), 't');
  Note("symlink ", Show(path));
  const absl::Status status = store_.Symlink(path, target);
  Expect(status, model_.Make(path, S_IFLNK | 0777, target));
  if (status.ok()) FinishCreate(path);
}

void Round::DoOpen() {
  const std::string path = ExistingFile();
  if (path.empty() || open_.size() >= kMaxHandles) return;
  const bool truncate = OneIn(3);
  Note(truncate ? "open and empty " : "open ", Show(path));
  auto handle = store_.OpenFile(path, truncate ? O_RDWR | O_TRUNC : O_RDWR);
  Expect(handle.status(), 0);
  if (!handle.ok()) return;
  open_.push_back({*std::move(handle), model_.Find(path)});
  if (truncate) ModelTree::Resize(*open_.back().node, 0);
}

void Round::DoClose() {
  if (open_.empty()) return;
  const size_t index = Below(open_.size());
  OpenFile file = std::move(open_[index]);
  open_.erase(open_.begin() + static_cast<ptrdiff_t>(index));
  Note("close inode ", file.node->ino);
  Expect(store_.CloseFile(std::move(file.handle)), 0);
  Commit(*file.node);
}

void Round::DoWriteHandle() {
  OpenFile* file = RandomHandle();
  if (file == nullptr) return;
  const uint64_t size = file->node->content.size();
  uint64_t offset = OneIn(2) ? size : Below(size + 1);
  if (OneIn(10)) offset = size + Below(10'000);
  const std::string bytes = RandomBytes();
  if (offset + bytes.size() > kMaxModelFile) return;
  Note("write inode ", file->node->ino, " at ", offset, " ", bytes.size());
  Expect(store_.volume().Write(*file->handle, offset, bytes), 0);
  ModelTree::Write(*file->node, offset, bytes);
}

void Round::DoWritePath() {
  const std::string path = ExistingFile();
  if (path.empty()) return;
  ModelNode& node = *model_.Find(path);
  const uint64_t offset =
      OneIn(2) ? node.content.size() : Below(node.content.size() + 1);
  const std::string bytes = RandomBytes();
  if (offset + bytes.size() > kMaxModelFile) return;
  Note("write and close ", Show(path), " at ", offset, " ", bytes.size());
  Expect(store_.WriteAt(path, offset, bytes), 0);
  ModelTree::Write(node, offset, bytes);
  Commit(node);
}

void Round::DoOverwrite() {
  const std::string path = ExistingFile();
  if (path.empty()) return;
  const std::string bytes = RandomBytes();
  Note("overwrite ", Show(path), " by ", bytes.size());
  Expect(store_.Write(path, bytes, 1 + Below(200'000)), 0);
  ModelNode& node = *model_.Find(path);
  ModelTree::Resize(node, 0);
  ModelTree::Write(node, 0, bytes);
  Commit(node);
}

void Round::DoTruncatePath() {
  const std::string path = ExistingPath();
  if (path.empty()) return;
  ModelNode& node = *model_.Find(path);
  const uint64_t size =
      OneIn(3) ? RandomSize() : Below(node.content.size() + 1);
  Note("truncate ", Show(path), " to ", size);
  const absl::Status status = store_.Truncate(path, size);
  Expect(status, node.is_regular() ? 0 : node.is_directory() ? EISDIR : EINVAL);
  if (!status.ok()) return;
  ModelTree::Resize(node, size);
  Commit(node);
}

void Round::DoTruncateHandle() {
  OpenFile* file = RandomHandle();
  if (file == nullptr) return;
  const uint64_t size =
      OneIn(3) ? RandomSize() : Below(file->node->content.size() + 1);
  Note("ftruncate inode ", file->node->ino, " to ", size);
  const auto stat = store_.volume().SetAttributes(
      file->node->ino, {.size = size}, file->handle.get());
  Expect(stat.status(), 0);
  ModelTree::Resize(*file->node, size);
  if (stat.ok()) {
    EXPECT_EQ(stat->attributes.size, size);
  }
}

void Round::DoFallocate() {
  OpenFile* file = RandomHandle();
  if (file == nullptr) return;
  static constexpr int kModes[] = {
      0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
      FALLOC_FL_ZERO_RANGE, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
  const int mode = kModes[Below(5)];
  ModelNode& node = *file->node;
  const uint64_t offset = Below(node.content.size() + 100);
  const uint64_t length = 1 + RandomSize();
  if (offset + length > kMaxModelFile) return;
  Note("fallocate inode ", node.ino, " mode ", mode, " at ", offset, " ",
       length);
  Expect(store_.volume().Fallocate(*file->handle, mode, offset, length), 0);
  if ((mode & ~FALLOC_FL_KEEP_SIZE) != 0) {
    ModelTree::Zero(node, offset, length);
  }
  if ((mode & FALLOC_FL_KEEP_SIZE) == 0 &&
      offset + length > node.content.size()) {
    ModelTree::Resize(node, offset + length);
  }
  node.mtime.reset();
}

void Round::DoCopyRange() {
  OpenFile* from = RandomHandle();
  OpenFile* to = RandomHandle();
  if (from == nullptr) return;
  ModelNode& source = *from->node;
  const uint64_t from_offset = OneIn(3) ? 0 : Below(source.content.size() + 10);
  const uint64_t length = OneIn(3) ? kMaxModelFile : RandomSize();
  uint64_t to_offset = OneIn(3) ? 0 : Below(to->node->content.size() + 10);
  const std::string bytes = from_offset < source.content.size()
                                ? source.content.substr(from_offset, length)
                                : "";
  if (to_offset + bytes.size() > kMaxModelFile) return;
  Note("copy inode ", source.ino, " at ", from_offset, " to inode ",
       to->node->ino, " at ", to_offset, " ", length);
  const auto copied = store_.volume().CopyRange(*from->handle, from_offset,
                                                *to->handle, to_offset, length);
  Expect(copied.status(), 0);
  if (!copied.ok()) return;
  // A short count is allowed where there is something to copy.
  EXPECT_LE(*copied, bytes.size());
  EXPECT_EQ(*copied == 0, bytes.empty());
  Commit(source);
  ModelTree::Write(*to->node, to_offset, bytes.substr(0, *copied));
}

void Round::DoFlush() {
  OpenFile* file = RandomHandle();
  if (file == nullptr) return;
  const bool sync = OneIn(2);
  Note(sync ? "fsync inode " : "flush inode ", file->node->ino);
  if (sync) {
    Expect(store_.volume().Fsync(*file->handle), 0);
  } else {
    Expect(store_.volume().Flush(*file->handle), 0);
  }
  // A flush leaves a file that was only emptied for the last close.
  if (sync || !file->node->content.empty()) Commit(*file->node);
}

void Round::DoRename() {
  const std::string from = AnyPath();
  const std::string to = OneIn(2) ? ExistingPath() : NewPath();
  if (from.empty() || to.empty()) return;
  static constexpr uint32_t kFlags[] = {
      0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
  const uint32_t flags = kFlags[Below(6)];
  Note("rename ", Show(from), " to ", Show(to), " flags ", flags);
  Expect(store_.Rename(from, to, flags), model_.Rename(from, to, flags));
}

void Round::DoLink() {
  const std::string from = ExistingPath();
  const std::string to = NewPath();
  if (from.empty()) return;
  Note("link ", Show(from), " to ", Show(to));
  Expect(store_.Link(from, to), model_.Link(from, to));
}

void Round::DoUnlink() {
  const std::string path = AnyPath();
  if (path.empty()) return;
  Note("unlink ", Show(path));
  Expect(store_.Unlink(path), model_.Unlink(path));
}

void Round::DoRemoveDir() {
  const std::string path = AnyPath();
  if (path.empty()) return;
  Note("rmdir ", Show(path));
  Expect(store_.RemoveDir(path), model_.RemoveDirectory(path));
}

void Round::DoSetAttributes() {
  const std::string path = ExistingPath();
  ModelNode& node = *model_.Find(path);
  AttributeRequest request;
  if (OneIn(2)) request.mode = static_cast<uint32_t>(Below(01000));
  if (OneIn(3)) request.uid = static_cast<uint32_t>(random_());
  if (OneIn(3)) request.gid = static_cast<uint32_t>(random_());
  if (OneIn(3)) {
    request.atime = Timestamp::FromPacked(Below(uint64_t{1} << 63));
  }
  if (OneIn(3)) {
    request.mtime = Timestamp::FromPacked(Below(uint64_t{1} << 63));
  }
  Note("setattr ", Show(path), request.mtime.has_value() ? " with mtime" : "");
  Expect(store_.volume().SetAttributes(node.ino, request, nullptr).status(), 0);
  if (request.mode) node.mode = (node.mode & S_IFMT) | *request.mode;
  node.uid = request.uid.value_or(node.uid);
  node.gid = request.gid.value_or(node.gid);
  if (request.atime) node.atime = request.atime;
  if (request.mtime) node.mtime = request.mtime;
}

void Round::DoSetXattr() {
  const std::string path = ExistingPath();
  ModelNode& node = *model_.Find(path);
  const std::string name = absl::StrCat("user.", Below(4));
  const std::string value = Pattern(random_(), OneIn(20) ? 60'000 : Below(40));
  const int flags = OneIn(4) ? XATTR_CREATE : OneIn(4) ? XATTR_REPLACE : 0;
  Note("setxattr ", Show(path), " ", name, " flags ", flags);
  const bool exists = node.xattrs.contains(name);
  const int expected = exists && flags == XATTR_CREATE     ? EEXIST
                       : !exists && flags == XATTR_REPLACE ? ENODATA
                                                           : 0;
  Expect(store_.volume().SetXattr(node.ino, name, value, flags), expected);
  if (expected == 0) node.xattrs[name] = value;
}

void Round::DoRemoveXattr() {
  const std::string path = ExistingPath();
  ModelNode& node = *model_.Find(path);
  const std::string name = absl::StrCat("user.", Below(4));
  Note("removexattr ", Show(path), " ", name);
  Expect(store_.volume().RemoveXattr(node.ino, name),
         node.xattrs.erase(name) == 1 ? 0 : ENODATA);
}

void Round::ExpectContent(const std::string& actual,
                          const std::string& expected,
                          const std::string& what) {
  if (actual == expected) return;
  const auto differ = std::mismatch(
      actual.begin(),
      actual.begin() +
          static_cast<ptrdiff_t>(std::min(actual.size(), expected.size())),
      expected.begin());
  ADD_FAILURE() << what << ": has " << actual.size() << " bytes, expected "
                << expected.size() << "; differs at "
                << differ.first - actual.begin();
}

void Round::DoReadHandle() {
  OpenFile* file = RandomHandle();
  if (file == nullptr) return;
  const std::string& content = file->node->content;
  Note("read inode ", file->node->ino);
  if (OneIn(2)) {
    return ExpectContent(store_.ReadHandle(*file->handle), content,
                         log_.back());
  }
  const uint64_t offset = Below(content.size() + 10);
  const uint64_t size = RandomSize();
  const auto reply = store_.volume().Read(*file->handle, offset, size);
  Expect(reply.status(), 0);
  if (!reply.ok()) return;
  ExpectContent(reply->ToString(),
                offset < content.size() ? content.substr(offset, size) : "",
                log_.back());
}

void Round::DoReadPath() {
  const std::string path = ExistingFile();
  if (path.empty()) return;
  Note("open, read, close ", Show(path));
  const auto text = store_.Read(path);
  Expect(text.status(), 0);
  ModelNode& node = *model_.Find(path);
  if (text.ok()) ExpectContent(*text, node.content, log_.back());
  // A close, whoever's, may commit what is dirty.
}

void Round::DoSeek() {
  OpenFile* file = RandomHandle();
  if (file == nullptr) return;
  const std::string& content = file->node->content;
  Note("seek inode ", file->node->ino);
  Volume& volume = store_.volume();
  uint64_t at = 0;
  while (at < content.size()) {
    const auto hole = volume.Seek(*file->handle, at, SEEK_HOLE);
    ASSERT_THAT(hole, IsOk());
    ASSERT_LE(at, *hole);
    ASSERT_LE(*hole, content.size());
    const auto data = volume.Seek(*file->handle, *hole, SEEK_DATA);
    ASSERT_TRUE(data.ok() || ErrnoOf(data.status()) == ENXIO);
    const uint64_t end = data.ok() ? *data : content.size();
    ASSERT_LE(*hole, end);
    EXPECT_EQ(content.substr(*hole, end - *hole).find_first_not_of('\0'),
              std::string::npos)
        << "bytes in a hole at " << *hole;
    if (*hole == content.size()) break;
    ASSERT_LT(*hole, end);
    at = end;
  }
  EXPECT_THAT(volume.Seek(*file->handle, content.size(), SEEK_DATA),
              HasErrno(ENXIO));
}

void Round::DoReopen() {
  Note("reopen, with ", open_.size(), " open");
  for (OpenFile& file : open_) store_.Abandon(std::move(file.handle));
  open_.clear();
  store_.Reopen();
  if (!store_.is_open()) return;
  model_.ForEach(
      [](const std::string&, const ModelNodePtr& node) { Commit(*node); });
  CompareAll(/*after_crash=*/false);
}

void Round::DoCrash() {
  Note("crash, with ", open_.size(), " open");
  for (OpenFile& file : open_) store_.Abandon(std::move(file.handle));
  open_.clear();
  store_.Crash();
  if (store_.is_open()) CompareAll(/*after_crash=*/true);
}

void Round::CompareXattrs(const std::string& path, const ModelNode& node) {
  Volume& volume = store_.volume();
  std::string names;
  for (const auto& [name, value] : node.xattrs) {
    names += name + '\0';
    const auto found = volume.GetXattr(node.ino, name);
    EXPECT_TRUE(found.ok() && *found == value) << Show(path) << " " << name;
  }
  const auto list = volume.ListXattrs(node.ino);
  EXPECT_TRUE(list.ok() && *list == names) << Show(path);
}

void Round::CompareNode(const std::string& path, ModelNode& node,
                        bool after_crash) {
  const auto stat = store_.GetStat(path);
  ASSERT_THAT(stat, IsOk()) << Show(path);
  const Attributes& a = stat->attributes;
  EXPECT_EQ(stat->ino, node.ino) << Show(path);
  EXPECT_EQ(a.mode, node.mode) << Show(path);
  EXPECT_EQ(a.uid, node.uid) << Show(path);
  EXPECT_EQ(a.gid, node.gid) << Show(path);
  EXPECT_TRUE(a.atime == node.atime.value_or(a.atime)) << Show(path);
  EXPECT_TRUE(a.mtime == node.mtime.value_or(a.mtime)) << Show(path);
  CompareXattrs(path, node);
  if (node.is_directory()) {
    std::vector<std::string> expected;
    uint32_t links = 2;
    for (const auto& [name, child] : node.names) {
      expected.push_back(name);
      if (child->is_directory()) ++links;
    }
    EXPECT_THAT(store_.List(path), testing::UnorderedElementsAreArray(expected))
        << Show(path);
    EXPECT_EQ(stat->nlink, links) << Show(path);
    return;
  }
  EXPECT_EQ(stat->nlink, node.links) << Show(path);
  if (node.is_symlink()) {
    const auto target = store_.volume().ReadSymlink(node.ino);
    EXPECT_TRUE(target.ok() && *target == node.content) << Show(path);
    return;
  }
  const auto text = store_.Read(path);
  ASSERT_THAT(text, IsOk()) << Show(path);
  EXPECT_EQ(a.size, text->size()) << Show(path);
  if (after_crash && *text == node.committed) node.content = *text;
  ExpectContent(*text, node.content, path);
  Commit(node);
}

void Round::CompareAll(bool after_crash) {
  CompareNode("", *model_.root(), after_crash);
  uint64_t bytes = 0;
  std::set<uint64_t> inodes = {kRootIno};
  model_.ForEach([&](const std::string& path, const ModelNodePtr& node) {
    if (testing::Test::HasFailure()) return;
    CompareNode(path, *node, after_crash);
    const bool first = inodes.insert(node->ino).second;
    if (first && node->is_regular()) bytes += node->content.size();
  });
  if (testing::Test::HasFailure()) return;
  const auto space = store_.volume().GetSpace();
  ASSERT_THAT(space, IsOk());
  EXPECT_EQ(space->live_bytes, bytes);
  EXPECT_EQ(space->inodes, inodes.size());
  store_.volume().WithTree([](const Tree& tree) {
    EXPECT_THAT(tree.CheckConsistency(), testing::IsEmpty());
  });
}

TEST(ModelTest, AVolumeDoesWhatItsModelDoes) {
  uint64_t seed = FromEnvironment("VARVE_SEED", std::random_device()());
  const auto seconds =
      std::chrono::seconds(FromEnvironment("VARVE_MODEL_SECONDS", 10));
  const auto end = std::chrono::steady_clock::now() + seconds;
  int rounds = 0;
  do {
    Round(seed).Run();
    ++rounds;
    if (HasFailure()) {
      std::cerr << "VARVE_SEED=" << seed << " reproduces this\n";
      return;
    }
    ++seed;
  } while (std::chrono::steady_clock::now() < end);
  std::cout << rounds << " rounds, up to VARVE_SEED=" << seed - 1 << "\n";
}

}  // namespace
}  // namespace varve::fs
