#include "fs/volume/volume_test_util.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "engine/base/status.h"
#include "engine/entry/entry.h"

namespace varve::fs {
namespace {

constexpr Caller kCaller{.uid = 1000, .gid = 1000};

// 2023-11-14, in the packed form.
constexpr uint64_t kClockStart = (uint64_t{1'700'000'000} + (uint64_t{1} << 31))
                                 << 30;
constexpr uint64_t kMicrosecond = 1000;

// The clock counts in microseconds; a packed time has 30 bits of nanoseconds.
Timestamp ClockTime(uint64_t ticks) {
  const uint64_t seconds = ticks / 1'000'000;
  const uint64_t microseconds = ticks % 1'000'000;
  return Timestamp::FromPacked(kClockStart + (seconds << 30) +
                               microseconds * kMicrosecond);
}

std::string DescribeTime(Timestamp time) {
  const struct timespec t = time.ToTimespec();
  return absl::StrFormat("%d.%09d", static_cast<int64_t>(t.tv_sec),
                         static_cast<int64_t>(t.tv_nsec));
}

}  // namespace

std::string CollidingName(char letter) {
  return "\xb8\xfe\x6c\x39\x23\xa4\x4b\xbe" + std::string(8, letter) +
         "0123456789abcdef";
}

TestVolume::TestVolume() : clock_(0), path_(directory_.File("store")) {
  options_.create = true;
  options_.access_times = AccessTimes::kNever;  // except in tests of them
  options_.file_system = &files_;
  options_.now = [this] { return ClockTime(clock_.fetch_add(1)); };
  // Nothing happens in the background.
  options_.sync_interval = absl::Hours(24);
  options_.auto_compaction.mode = AutoCompaction::Mode::kNever;
}

TestVolume::~TestVolume() {
  files_.Heal();
  abandoned_.clear();
  volume_.reset();
}

Timestamp TestVolume::PeekClock() const { return ClockTime(clock_.load()); }

void TestVolume::AdvanceClock(absl::Duration time) {
  clock_.fetch_add(static_cast<uint64_t>(absl::ToInt64Microseconds(time)));
}

absl::Status TestVolume::TryOpen() {
  auto volume = Volume::Open(path_, options_);
  if (!volume.ok()) return volume.status();
  volume_ = *std::move(volume);
  return absl::OkStatus();
}

void TestVolume::Open() { ASSERT_THAT(TryOpen(), IsOk()); }

void TestVolume::Close() {
  ASSERT_NE(volume_, nullptr);
  EXPECT_THAT(volume_->Close(), IsOk());
  abandoned_.clear();
  volume_.reset();
}

void TestVolume::Reopen() {
  Close();
  Open();
}

void TestVolume::Crash() {
  const std::string copy =
      directory_.File(absl::StrCat("store-after-crash-", ++copies_));
  CopyFile(path_, copy);
  files_.Heal();
  abandoned_.clear();
  volume_.reset();
  path_ = copy;
  Open();
}

uint64_t TestVolume::Ino(absl::string_view path) {
  uint64_t ino = 0;
  volume_->WithTree([&](const TreeReader& tree) {
    const auto inode = tree.Resolve(path);
    if (inode.ok() && inode->has_value()) ino = (*inode)->ino;
  });
  return ino;
}

std::pair<uint64_t, std::string> TestVolume::Split(absl::string_view path) {
  const size_t slash = path.rfind('/');
  if (slash == absl::string_view::npos) return {kRootIno, std::string(path)};
  return {Ino(path.substr(0, slash)), std::string(path.substr(slash + 1))};
}

// Tests do not keep kernel references.
absl::Status TestVolume::GiveBack(const absl::StatusOr<Stat>& stat) {
  if (stat.ok()) volume_->Forget(stat->ino, 1);
  return stat.status();
}

absl::StatusOr<Stat> TestVolume::GetStat(absl::string_view path) {
  return volume_->GetAttributes(Ino(path));
}

absl::StatusOr<TestVolume::HandlePtr> TestVolume::OpenFile(
    absl::string_view path, int flags) {
  return volume_->Open(Ino(path), flags);
}

absl::StatusOr<TestVolume::HandlePtr> TestVolume::CreateFile(
    absl::string_view path, int flags) {
  const auto [parent, name] = Split(path);
  auto created = volume_->Create(parent, name, 0644, flags, kCaller);
  if (!created.ok()) return created.status();
  volume_->Forget(created->first.ino, 1);
  return std::move(created->second);
}

absl::Status TestVolume::CloseFile(HandlePtr handle) {
  absl::Status status = volume_->Flush(*handle);
  status.Update(volume_->Release(std::move(handle)));
  return status;
}

absl::Status TestVolume::Write(absl::string_view path, absl::string_view text,
                               size_t chunk) {
  absl::StatusOr<HandlePtr> handle = Ino(path) == 0
                                         ? CreateFile(path, O_WRONLY)
                                         : OpenFile(path, O_WRONLY | O_TRUNC);
  if (!handle.ok()) return handle.status();
  absl::Status status;
  for (size_t at = 0; at < text.size() && status.ok(); at += chunk) {
    status = volume_->Write(**handle, at, text.substr(at, chunk));
  }
  status.Update(CloseFile(*std::move(handle)));
  return status;
}

absl::Status TestVolume::WriteAt(absl::string_view path, uint64_t offset,
                                 absl::string_view text) {
  VARVE_ASSIGN_OR_RETURN(HandlePtr handle, OpenFile(path, O_WRONLY));
  absl::Status status = volume_->Write(*handle, offset, text);
  status.Update(CloseFile(std::move(handle)));
  return status;
}

absl::Status TestVolume::Append(absl::string_view path,
                                absl::string_view text) {
  VARVE_ASSIGN_OR_RETURN(const Stat stat, GetStat(path));
  return WriteAt(path, stat.attributes.size, text);
}

std::string TestVolume::ReadHandle(const Handle& handle) {
  std::string text;
  while (true) {
    const auto reply = volume_->Read(handle, text.size(), 1 << 20);
    EXPECT_THAT(reply, IsOk());
    if (!reply.ok() || reply->size() == 0) return text;
    text += reply->ToString();
  }
}

absl::StatusOr<std::string> TestVolume::Read(absl::string_view path) {
  VARVE_ASSIGN_OR_RETURN(HandlePtr handle, OpenFile(path, O_RDONLY));
  std::string text;
  while (true) {
    const auto reply = volume_->Read(*handle, text.size(), 1 << 20);
    const auto part = reply.ok() ? reply->Copy() : reply.status();
    if (!part.ok() || part->empty()) {
      VARVE_RETURN_IF_ERROR(CloseFile(std::move(handle)));
      if (!part.ok()) return part.status();
      return text;
    }
    text += *part;
  }
}

absl::Status TestVolume::Truncate(absl::string_view path, uint64_t size) {
  return volume_->SetAttributes(Ino(path), {.size = size}, nullptr).status();
}

absl::Status TestVolume::MakeDir(absl::string_view path) {
  const auto [parent, name] = Split(path);
  return GiveBack(volume_->MakeDirectory(parent, name, 0755, kCaller));
}

absl::Status TestVolume::Symlink(absl::string_view path,
                                 absl::string_view target) {
  const auto [parent, name] = Split(path);
  return GiveBack(volume_->MakeSymlink(parent, name, target, kCaller));
}

absl::Status TestVolume::Link(absl::string_view from, absl::string_view to) {
  const auto [parent, name] = Split(to);
  return GiveBack(volume_->Link(Ino(from), parent, name));
}

absl::Status TestVolume::Rename(absl::string_view from, absl::string_view to,
                                uint32_t flags) {
  const auto [parent, name] = Split(from);
  const auto [new_parent, new_name] = Split(to);
  return volume_->Rename(parent, name, new_parent, new_name, flags);
}

absl::Status TestVolume::Unlink(absl::string_view path) {
  const auto [parent, name] = Split(path);
  return volume_->Unlink(parent, name);
}

absl::Status TestVolume::RemoveDir(absl::string_view path) {
  const auto [parent, name] = Split(path);
  return volume_->RemoveDirectory(parent, name);
}

std::vector<std::string> TestVolume::List(absl::string_view path) {
  std::vector<std::string> names;
  EXPECT_THAT(volume_->ReadDirectory(Ino(path), Volume::kBehindDots,
                                     /*reference=*/false,
                                     [&](const Volume::Entry& entry) {
                                       names.emplace_back(entry.name);
                                       return true;
                                     }),
              IsOk());
  return names;
}

bool TestVolume::HasCheckpoint() {
  return volume().store().Exists(
      EntryKey::OfHash(volume().identity().CheckpointKeyHash()));
}

bool TestVolume::AwaitCheckpoint() {
  for (int i = 0; i < 500 && !HasCheckpoint(); ++i) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  return HasCheckpoint();
}

std::optional<std::string> TestVolume::ReadRaw(absl::string_view key) {
  const auto entry = volume_->store().Read(key);
  if (!entry.ok()) {
    EXPECT_THAT(entry, HasCode(absl::StatusCode::kNotFound));
    return std::nullopt;
  }
  return std::string(entry->payload_text());
}

std::vector<EntryLocation> TestVolume::Unnamed() {
  const auto unnamed = volume_->Unnamed();
  EXPECT_THAT(unnamed, IsOk());
  return unnamed.ok() ? *unnamed : std::vector<EntryLocation>();
}

namespace {

// One name of an inode, as Dump() shows it.
struct Line {
  std::string path;
  uint64_t ino;
  bool regular;
  std::string text;
};

// All but the time of access.
std::string DescribeAttributes(const Stat& stat) {
  const Attributes& a = stat.attributes;
  std::string text = absl::StrFormat(
      "ino %d mode %o uid %d gid %d rdev %d size %d nlink %d gen %d", stat.ino,
      a.mode, a.uid, a.gid, a.rdev, a.size, stat.nlink, a.generation);
  for (const Timestamp t : {a.mtime, a.ctime, a.btime}) {
    absl::StrAppend(&text, " ", DescribeTime(t));
  }
  return text;
}

std::string DescribeContent(const absl::StatusOr<std::string>& text) {
  return text.ok() ? absl::StrCat(text->size(), "/", absl::Hex(HashKey(*text)))
                   : text.status().ToString();
}

Line LineOf(const TreeReader& tree, const std::string& path,
            const InodeItem& inode) {
  std::string text = DescribeAttributes({.ino = inode.ino,
                                         .attributes = inode.attributes,
                                         .nlink = inode.nlink()});
  const auto add = [&](absl::string_view name) {
    const auto value = tree.FindXattr(inode.ino, name);
    absl::StrAppend(&text, " ", name, "=", absl::CHexEscape(**value));
    return true;
  };
  EXPECT_THAT(tree.ForEachXattr(inode.ino, add), IsOk());
  return {path, inode.ino, inode.is_regular(), text};
}

std::vector<Line> LinesOf(const TreeReader& tree) {
  std::vector<Line> lines = {LineOf(tree, "", *tree.GetInode(kRootIno))};
  const auto add = [&](const NameItem& name) {
    lines.push_back(
        LineOf(tree, *tree.PathOf(name.place), *tree.GetInode(name.ino)));
    return true;
  };
  const auto add_all = [&](const InodeItem& inode) {
    if (!inode.is_directory()) return true;
    EXPECT_THAT(
        tree.ForEachNameAfter({.directory = inode.ino, .place = 0}, add),
        IsOk());
    return true;
  };
  EXPECT_THAT(tree.ForEachInode(add_all), IsOk());
  return lines;
}

// What Dump() shows of a file of a past moment.
std::string PastLine(PastFiles& files, uint64_t moment, const std::string& path,
                     Stat stat) {
  // What users see of a directory's size is not in the tree.
  if (S_ISDIR(stat.attributes.mode)) stat.attributes.size = 0;
  std::string line =
      absl::StrCat(absl::CHexEscape(path), ": ", DescribeAttributes(stat));
  const auto names = files.ListXattrs(moment, stat.ino, /*trusted=*/true);
  EXPECT_THAT(names, IsOk());
  for (const absl::string_view name :
       absl::StrSplit(*names, '\0', absl::SkipEmpty())) {
    const auto value = files.GetXattr(moment, stat.ino, name);
    absl::StrAppend(&line, " ", name, "=", absl::CHexEscape(*value));
  }
  const Attributes& a = stat.attributes;
  absl::StrAppend(&line, " ", DescribeTime(a.atime));
  if (S_ISREG(a.mode)) {
    const auto reply = files.Read(moment, stat.ino, 0, a.size + 1);
    absl::StrAppend(&line, " content ",
                    DescribeContent(reply.ok() ? absl::StatusOr<std::string>(
                                                     reply->ToString())
                                               : reply.status()));
  } else if (const auto target = files.ReadSymlink(moment, stat.ino);
             target.ok()) {
    absl::StrAppend(&line, " target ", *target);
  }
  return line;
}

}  // namespace

std::string TestVolume::Dump() {
  std::vector<Line> lines;
  volume_->WithTree(
      [&lines](const TreeReader& tree) { lines = LinesOf(tree); });
  std::sort(lines.begin(), lines.end(),
            [](const Line& a, const Line& b) { return a.path < b.path; });
  std::string dump;
  for (const Line& line : lines) {
    absl::StrAppend(
        &dump, absl::CHexEscape(line.path), ": ", line.text, " ",
        DescribeTime(volume_->GetAttributes(line.ino)->attributes.atime));
    if (line.regular) {
      absl::StrAppend(&dump, " content ", DescribeContent(Read(line.path)));
    } else if (const auto target = volume_->ReadSymlink(line.ino);
               target.ok()) {
      absl::StrAppend(&dump, " target ", *target);
    }
    dump += '\n';
  }
  return dump;
}

std::string TestVolume::DumpAt(const std::string& moment) {
  VolumeOptions options = options_;
  options.read_only = true;
  options.create = false;
  options.at = moment;
  auto past = Volume::Open(path_, options);
  if (!past.ok()) return past.status().ToString();
  std::swap(volume_, *past);
  std::string dump = Dump();
  std::swap(volume_, *past);
  EXPECT_EQ(DumpPast(moment), dump);
  return dump;
}

std::string TestVolume::DumpPast(const std::string& moment) {
  PastFiles& files = volume_->past_files();
  const auto number = files.Resolve(moment, options_.now());
  if (!number.ok()) return number.status().ToString();
  std::map<std::string, Stat> found;
  const auto root = files.GetAttributes(*number, kRootIno);
  if (!root.ok()) return root.status().ToString();
  found.emplace("", *root);
  std::vector<std::string> directories = {""};
  while (!directories.empty()) {
    const std::string above = directories.back();
    directories.pop_back();
    const std::string prefix = above.empty() ? "" : above + "/";
    EXPECT_THAT(files.ReadDirectory(
                    *number, found[above].ino, Volume::kBehindDots,
                    [&](absl::string_view name, const Stat& stat, uint64_t) {
                      const std::string path = absl::StrCat(prefix, name);
                      found.emplace(path, stat);
                      if (S_ISDIR(stat.attributes.mode))
                        directories.push_back(path);
                      return true;
                    }),
                IsOk());
  }
  std::string dump;
  for (const auto& [path, stat] : found) {
    absl::StrAppend(&dump, PastLine(files, *number, path, stat), "\n");
  }
  return dump;
}

std::string TestVolume::DumpAll() {
  std::string dump = Dump();
  const auto snapshots = volume_->history().Snapshots();
  EXPECT_THAT(snapshots, IsOk());
  if (!snapshots.ok()) return dump;
  for (const Snapshot& snapshot : *snapshots) {
    absl::StrAppend(&dump, "snapshot ", snapshot.name, "\n",
                    DumpPast(snapshot.name));
  }
  return dump;
}

uint64_t TestVolume::LastCommit() {
  const auto now = volume_->history().FindMoment("now");
  EXPECT_THAT(now, IsOk());
  return now.ok() ? now->sequence : 0;
}

void TestVolume::WithForeignStore(const std::function<void(Store&)>& change) {
  auto store = Store::Open(path_, {});
  ASSERT_THAT(store, IsOk());
  change(**store);
}

uint64_t TestVolume::FileSize() {
  const auto info = RealFileSystem()->Info(path_);
  EXPECT_THAT(info, IsOk());
  return info.ok() ? info->size : 0;
}

}  // namespace varve::fs
