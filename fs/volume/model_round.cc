// The operations of a round on names and attributes, and the comparison.

#include "fs/volume/model_round.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"
#include "fs/tree/tree_checker.h"

namespace varve::fs {
namespace {

constexpr int kOperationsPerRound = 400;
// Whether all former entries of a file are hidden when it gets new content, in
// every layout (see volume_rename_test).
constexpr bool kOldContentIsHidden = false;

}  // namespace

ModelRound::ModelRound(uint64_t seed) : random_(seed), crashes_(seed % 3 != 0) {
  static constexpr uint64_t kBudgets[] = {1000, 64 << 10, 1 << 20, 64 << 20};
  store_.options().dirty_budget = kBudgets[Below(4)];
  // In half of the rounds, every checkpoint writes an image of the index.
  if (seed % 2 == 0) store_.options().min_entries_for_image = 1;
  store_.Open();
}

std::string ModelRound::Show(const std::string& path) {
  return absl::Utf8SafeCEscape(
      absl::StrReplaceAll(path, {{std::string(255, 'n'), "n*255"},
                                 {CollidingName('A'), "COLLIDING-A"},
                                 {CollidingName('B'), "COLLIDING-B"}}));
}

void ModelRound::Run() {
  for (step_ = 0; step_ < kOperationsPerRound; ++step_) {
    DoOne();
    for (const std::string& path : model_.Paths()) paths_.insert(path);
    if (testing::Test::HasFailure()) break;
  }
  if (!testing::Test::HasFailure()) DoReopen();
  if (testing::Test::HasFailure()) {
    for (const std::string& line : log_) std::cerr << line << "\n";
  }
}

std::string ModelRound::RandomName() {
  // As keys in the root, the first two have the same hash.
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

std::string ModelRound::ExistingPath() {
  const std::vector<std::string> paths = model_.Paths();
  return paths.empty() ? "" : paths[Below(paths.size())];
}

std::string ModelRound::ExistingFile() {
  std::vector<std::string> paths;
  model_.ForEach([&](const std::string& path, const ModelNodePtr& node) {
    if (node->is_regular()) paths.push_back(path);
  });
  return paths.empty() ? "" : paths[Below(paths.size())];
}

std::string ModelRound::NewPath() {
  std::string parent = OneIn(2) ? "" : ExistingPath();
  // Mostly into directories, and not too deep.
  for (int tries = 0; tries < 3; ++tries) {
    const ModelNodePtr node = model_.Find(parent);
    if (node->is_directory() && parent.size() < 2000) break;
    parent = OneIn(2) ? "" : ExistingPath();
  }
  return parent.empty() ? RandomName() : parent + "/" + RandomName();
}

void ModelRound::DoOne() {
  static constexpr Operation kOperations[] = {
      {8, &ModelRound::DoCreate},       {4, &ModelRound::DoMakeDir},
      {2, &ModelRound::DoSymlink},      {8, &ModelRound::DoOpen},
      {7, &ModelRound::DoClose},        {20, &ModelRound::DoWriteHandle},
      {8, &ModelRound::DoWritePath},    {6, &ModelRound::DoOverwrite},
      {4, &ModelRound::DoTruncatePath}, {5, &ModelRound::DoTruncateHandle},
      {6, &ModelRound::DoFallocate},    {6, &ModelRound::DoCopyRange},
      {6, &ModelRound::DoFlush},        {10, &ModelRound::DoRename},
      {4, &ModelRound::DoLink},         {6, &ModelRound::DoUnlink},
      {2, &ModelRound::DoRemoveDir},    {5, &ModelRound::DoSetAttributes},
      {3, &ModelRound::DoSetXattr},     {1, &ModelRound::DoRemoveXattr},
      {8, &ModelRound::DoReadHandle},   {6, &ModelRound::DoReadPath},
      {4, &ModelRound::DoSeek},         {3, &ModelRound::DoReopen},
      {3, &ModelRound::DoCrash},        {2, &ModelRound::DoCompact},
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

void ModelRound::FinishCreate(const std::string& path) {
  model_.Find(path)->ino = store_.Ino(path);
}

void ModelRound::DoMakeDir() {
  const std::string path = NewPath();
  Note("mkdir ", Show(path));
  const absl::Status status = store_.MakeDir(path);
  Expect(status, model_.Make(path, S_IFDIR | 0755, ""));
  if (status.ok()) FinishCreate(path);
}

void ModelRound::DoSymlink() {
  const std::string path = NewPath();
  const std::string target(1 + Below(500), 't');
  Note("symlink ", Show(path));
  const absl::Status status = store_.Symlink(path, target);
  Expect(status, model_.Make(path, S_IFLNK | 0777, target));
  if (status.ok()) FinishCreate(path);
}

void ModelRound::DoRename() {
  const std::string from = AnyPath();
  const std::string to = OneIn(2) ? ExistingPath() : NewPath();
  if (from.empty() || to.empty()) return;
  static constexpr uint32_t kFlags[] = {
      0, 0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
  const uint32_t flags = kFlags[Below(6)];
  Note("rename ", Show(from), " to ", Show(to), " flags ", flags);
  Expect(store_.Rename(from, to, flags), model_.Rename(from, to, flags));
}

void ModelRound::DoLink() {
  const std::string from = ExistingPath();
  const std::string to = NewPath();
  if (from.empty()) return;
  Note("link ", Show(from), " to ", Show(to));
  Expect(store_.Link(from, to), model_.Link(from, to));
}

void ModelRound::DoUnlink() {
  const std::string path = AnyPath();
  if (path.empty()) return;
  Note("unlink ", Show(path));
  Expect(store_.Unlink(path), model_.Unlink(path));
}

void ModelRound::DoRemoveDir() {
  const std::string path = AnyPath();
  if (path.empty()) return;
  Note("rmdir ", Show(path));
  Expect(store_.RemoveDir(path), model_.RemoveDirectory(path));
}

void ModelRound::DoSetAttributes() {
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

void ModelRound::DoSetXattr() {
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

void ModelRound::DoRemoveXattr() {
  const std::string path = ExistingPath();
  ModelNode& node = *model_.Find(path);
  const std::string name = absl::StrCat("user.", Below(4));
  Note("removexattr ", Show(path), " ", name);
  Expect(store_.volume().RemoveXattr(node.ino, name),
         node.xattrs.erase(name) == 1 ? 0 : ENODATA);
}

void ModelRound::DoReopen() {
  Note("reopen, with ", open_.size(), " open");
  for (OpenFile& file : open_) store_.Abandon(std::move(file.handle));
  open_.clear();
  store_.Reopen();
  if (!store_.is_open()) return;
  model_.ForEach([](const std::string&, const ModelNodePtr& node) {
    // A file that was only emptied keeps its committed content.
    if (node->content.empty()) node->content = node->committed;
    Commit(*node);
  });
  CompareAll(/*after_crash=*/false);
}

void ModelRound::DoCompact() {
  const bool punch = OneIn(3);
  Note(punch ? "punch" : "compact", ", with ", open_.size(), " open");
  Expect(store_.volume().compactions().Start({.punch = punch, .forget = true}),
         0);
  Expect(store_.volume().compactions().WaitForEnd(), 0);
}

void ModelRound::DoCrash() {
  if (!crashes_) return;
  Note("crash, with ", open_.size(), " open");
  for (OpenFile& file : open_) store_.Abandon(std::move(file.handle));
  open_.clear();
  store_.Crash();
  if (store_.is_open()) CompareAll(/*after_crash=*/true);
}

void ModelRound::CompareXattrs(const std::string& path, const ModelNode& node) {
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

void ModelRound::CompareNode(const std::string& path, ModelNode& node,
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

void ModelRound::CompareAll(bool after_crash) {
  CompareNode("", *model_.root(), after_crash);
  uint64_t bytes = 0;
  uint64_t target_bytes = 0;  // of symbolic links
  std::set<uint64_t> inodes = {kRootIno};
  model_.ForEach([&](const std::string& path, const ModelNodePtr& node) {
    if (testing::Test::HasFailure()) return;
    CompareNode(path, *node, after_crash);
    const bool first = inodes.insert(node->ino).second;
    if (first && node->is_regular()) bytes += node->content.size();
    if (first && !node->is_regular()) target_bytes += node->content.size();
  });
  if (testing::Test::HasFailure()) return;
  const auto space = store_.volume().GetSpace();
  ASSERT_THAT(space, IsOk());
  // Holes do not count.
  EXPECT_LE(space->live_bytes, bytes + target_bytes);
  EXPECT_EQ(space->inodes, inodes.size());
  const TreeTotals totals = store_.volume().totals();
  EXPECT_EQ(totals.content_bytes, bytes);
  EXPECT_EQ(totals.data_bytes, space->live_bytes);
  store_.volume().WithTree([&](const TreeReader& tree) {
    EXPECT_THAT(CheckTree(tree, totals), testing::IsEmpty());
  });
  // Unless a crash has left some behind, every entry is a file's or is hidden.
  if (kOldContentIsHidden && !crashes_) ExpectNothingUnnamed();
}

void ModelRound::ExpectNothingUnnamed() {
  const auto unnamed = store_.volume().Unnamed();
  ASSERT_THAT(unnamed, IsOk());
  for (const EntryLocation& entry : *unnamed) {
    std::string key = absl::StrCat("a key with hash ", entry.key_hash);
    for (const std::string& path : paths_) {
      if (HashKey(path) == entry.key_hash) key = Show(path);
    }
    ADD_FAILURE() << "left behind: " << entry.payload_size << " bytes of "
                  << key;
  }
}

}  // namespace varve::fs
