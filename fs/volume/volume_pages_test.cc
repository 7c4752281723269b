// A page of a store reads as zeros, as after a failed sector or a write that
// the disk has lost. Whichever page that is, no read gives wrong bytes, only
// files whose own bytes lay there cannot be read, and the store opens.
// IsException() names the exceptions.
//
// VARVE_TEST_ROUNDS=1 tries every page; the default is one in so many.
// VARVE_PAGES_FILES is the number of files in the store.

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/entry/entry.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

constexpr uint64_t kPage = 4096;
constexpr int kSmallestPiece = 30;  // of what is written to a file
constexpr absl::string_view kSuffix = ".txt";

int NumberFrom(const char* variable, int otherwise) {
  const char* const text = getenv(variable);
  int number = otherwise;
  if (text != nullptr && !absl::SimpleAtoi(text, &number)) {
    ADD_FAILURE() << variable << " is no number: " << text;
  }
  return number;
}

std::string NameOf(int i) {
  return absl::StrCat("folder", i % 7, "/file", i, kSuffix);
}

// Usually some hundred bytes, and sometimes several pages.
std::string TextOf(int i, int version) {
  const int size = i % 10 == 0 ? 9000 + 37 * (i % 400) : 50 + 13 * (i % 90);
  return Pattern(1000 * version + i, size);
}

// Does on a small scale what a mount does in some weeks: several sessions, each
// with a checkpoint at its end, and one compaction.
void MakeStore(TestVolume& v, int files) {
  v.Open();
  for (int i = 0; i < 7; ++i) {
    ASSERT_THAT(v.MakeDir(absl::StrCat("folder", i)), IsOk());
  }
  for (int i = 0; i < files; ++i) {
    ASSERT_THAT(v.Write(NameOf(i), TextOf(i, 0)), IsOk());
  }
  v.Reopen();
  for (int i = 0; i < files; i += 3) {
    ASSERT_THAT(v.Write(NameOf(i), TextOf(i, 1)), IsOk());
  }
  for (int i = 0; i < files; i += 11) {
    ASSERT_THAT(v.Unlink(NameOf(i)), IsOk());
  }
  ASSERT_THAT(v.volume().compactions().Start({.forget = true}), IsOk());
  ASSERT_THAT(v.volume().compactions().WaitForEnd(), IsOk());
  for (int i = 1; i < files; i += 13) {
    if (i % 11 == 0) continue;
    ASSERT_THAT(v.Link(NameOf(i), absl::StrCat("link", i)), IsOk());
    ASSERT_THAT(v.volume().SetXattr(v.Ino(NameOf(i)), "user.note",
                                    Pattern(i, 20 * (i % 300)), 0),
                IsOk());
    ASSERT_THAT(v.Symlink(absl::StrCat("symlink", i), NameOf(i)), IsOk());
  }
  v.Reopen();
  for (int i = 2; i < files; i += 5) {
    if (i % 11 == 0) continue;
    ASSERT_THAT(v.WriteAt(NameOf(i), i % 40, Pattern(i, kSmallestPiece)),
                IsOk());
    ASSERT_THAT(v.Append(NameOf(i), Pattern(i, 40)), IsOk());
  }
  v.Reopen();
  for (int i = 3; i < files; i += 7) {
    if (i % 11 == 0) continue;
    ASSERT_THAT(v.Rename(NameOf(i), absl::StrCat("renamed", i)), IsOk());
    ASSERT_THAT(v.Write(absl::StrCat("new", i), TextOf(i, 2)), IsOk());
  }
  v.Close();
}

// All that users see of one name.
struct Seen {
  std::string attributes;  // and extended attributes
  // Of a file; of a symlink, where it leads.
  absl::StatusOr<std::string> content = std::string();
  std::set<uint64_t> places;  // of some of its bytes, as offsets in the store
  std::set<uint64_t> pages;   // of the entries that its bytes lie in
};
using SeenTree = std::map<std::string, Seen>;

std::string DescribeInode(Volume& volume, const Stat& stat) {
  const Attributes& a = stat.attributes;
  std::string text = absl::StrCat(
      stat.ino, " ", a.mode, " ", a.uid, " ", a.gid, " ", a.size, " ",
      a.generation, " ", stat.nlink, " ", a.atime.packed(), " ",
      a.mtime.packed(), " ", a.ctime.packed(), " ", a.btime.packed());
  const auto names = volume.ListXattrs(stat.ino);
  EXPECT_THAT(names, IsOk());
  if (names.ok() && !names->empty()) {
    const auto value = volume.GetXattr(stat.ino, "user.note");
    EXPECT_THAT(value, IsOk());
    absl::StrAppend(&text, *names, value.value_or(""));
  }
  return text;
}

absl::StatusOr<std::string> ReadBytes(Volume& volume, const Handle& handle,
                                      uint64_t size) {
  VARVE_ASSIGN_OR_RETURN(const ReadReply reply, volume.Read(handle, 0, size));
  return reply.Copy();
}

void Look(Volume& volume, const Stat& stat, bool find_places, Seen& seen) {
  seen.attributes = DescribeInode(volume, stat);
  if (S_ISLNK(stat.attributes.mode)) {
    seen.content = volume.ReadSymlink(stat.ino);
  }
  if (!S_ISREG(stat.attributes.mode)) return;
  auto handle = volume.Open(stat.ino, O_RDONLY);
  ASSERT_THAT(handle, IsOk());
  const uint64_t size = stat.attributes.size;
  seen.content = ReadBytes(volume, **handle, size + 1);
  // No piece of what was written is smaller than a step.
  for (uint64_t at = 0; find_places && at < size; at += kSmallestPiece / 2) {
    const auto reply = volume.Read(**handle, at, 1);
    ASSERT_THAT(reply, IsOk());
    ASSERT_GT(reply->store_end(), 0);
    seen.places.insert(reply->store_end() - 1);
  }
  ASSERT_THAT(volume.Release(*std::move(handle)), IsOk());
}

void Walk(Volume& volume, uint64_t ino, const std::string& prefix,
          bool find_places, SeenTree& found) {
  std::vector<std::pair<std::string, Stat>> entries;
  EXPECT_THAT(volume.ReadDirectory(ino, Volume::kBehindDots,
                                   /*reference=*/false,
                                   [&](const Volume::Entry& entry) {
                                     entries.emplace_back(entry.name,
                                                          entry.stat);
                                     return true;
                                   }),
              IsOk());
  for (const auto& [name, stat] : entries) {
    const std::string path = prefix + name;
    Look(volume, stat, find_places, found[path]);
    if (S_ISDIR(stat.attributes.mode)) {
      Walk(volume, stat.ino, path + "/", find_places, found);
    }
  }
}

// The parameter is the number of entries after which an image of the index is
// written.
class VolumePagesTest : public testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override {
    TestVolume v;
    v.options().min_entries_for_image = GetParam();
    MakeStore(v, NumberFrom("VARVE_PAGES_FILES", 300));
    bytes_ = ReadWholeFile(v.path());
    v.options().read_only = true;
    v.Open();
    Walk(v.volume(), kRootIno, "", /*find_places=*/true, tree_);
    FindPages(v.volume());
    if (GetParam() < tree_.size()) {
      EXPECT_TRUE(v.volume().store().Exists(
          EntryKey::OfHash(v.volume().identity().IndexImageKeyHash())));
    }
    v.Close();
  }

  // An entry's checksum is over all of it: whatever page of it is damaged, what
  // lies in it cannot be read.
  void FindPages(Volume& volume) {
    std::multimap<uint64_t, Seen*> places;
    std::map<std::string, Seen*> symlinks;  // by target
    for (auto& [path, seen] : tree_) {
      if (seen.places.empty()) symlinks[*seen.content] = &seen;
      for (const uint64_t place : seen.places) places.emplace(place, &seen);
    }
    ASSERT_THAT(volume.store().ForEachInChain([&](const EntryView& entry) {
      const EntryLocation& at = entry.location();
      const auto end = places.lower_bound(at.metadata_offset());
      for (auto it = places.lower_bound(at.payload_offset); it != end; ++it) {
        AddPages(at, it->second->pages);
      }
      const auto header = volume.identity().AsCommit(entry);
      if (!header.has_value() || header->is_checkpoint()) return true;
      AddPages(at, header->is_segment() ? segments_ : commits_);
      // Targets of symlinks lie in the commit that made them.
      const absl::string_view text = entry.payload_text();
      const size_t begin = text.find("folder");
      const size_t size = text.find(kSuffix, begin) + kSuffix.size() - begin;
      const auto it =
          begin == text.npos
              ? symlinks.end()
              : symlinks.find(std::string(text.substr(begin, size)));
      if (it != symlinks.end()) AddPages(at, it->second->pages);
      return true;
    }),
                IsOk());
    ASSERT_FALSE(segments_.empty());
    ASSERT_FALSE(commits_.empty());
  }

  static void AddPages(const EntryLocation& entry, std::set<uint64_t>& pages) {
    for (uint64_t page = entry.payload_offset / kPage;
         page <= (entry.end() - 1) / kPage; ++page) {
      pages.insert(page);
    }
  }

  // Opens the store with a page of zeros.
  void Try(uint64_t page) {
    SCOPED_TRACE(absl::StrCat("page ", page));
    const uint64_t begin = page * kPage;
    std::string damaged = bytes_;
    std::fill_n(damaged.begin() + begin,
                std::min<uint64_t>(kPage, damaged.size() - begin), '\0');
    TestVolume v;
    WriteWholeFile(v.path(), damaged);
    v.options().read_damaged = true;
    v.options().min_entries_for_image = GetParam();
    const absl::Status status = v.TryOpen();
    ASSERT_THAT(status, IsOk());
    CompareWith(v.volume(), page);
    if (!v.volume().read_only()) {
      // After a writer has recovered from the damage, the store is sound.
      ASSERT_THAT(v.MakeDir("new"), IsOk());
      ASSERT_THAT(v.RemoveDir("new"), IsOk());
      v.Reopen();
      CompareWith(v.volume(), page);
      ++written_;
    }
    v.Close();
  }

  void CompareWith(Volume& volume, uint64_t page) {
    SeenTree found;
    Walk(volume, kRootIno, "", /*find_places=*/false, found);
    Compare(page, found);
  }

  void Compare(uint64_t page, const SeenTree& found) {
    EXPECT_EQ(found.size(), tree_.size());
    for (const auto& [path, seen] : tree_) {
      SCOPED_TRACE(path);
      const auto it = found.find(path);
      if (it == found.end()) {
        ADD_FAILURE() << "is gone";
        continue;
      }
      EXPECT_EQ(it->second.attributes, seen.attributes);
      const auto& content = it->second.content;
      if (content.ok()) {
        EXPECT_TRUE(*content == *seen.content) << "wrong bytes";
        continue;
      }
      EXPECT_THAT(content, HasErrno(EIO));
      ++unreadable_;
      EXPECT_TRUE(seen.pages.count(page) > 0) << content.status();
    }
  }

  std::string bytes_;
  SeenTree tree_;  // of the sound store
  // Pages that hold some of a segment, or of a commit.
  std::set<uint64_t> segments_;
  std::set<uint64_t> commits_;
  int unreadable_ = 0;
  int written_ = 0;  // stores that were opened for writing
};

INSTANTIATE_TEST_SUITE_P(Images, VolumePagesTest,
                         testing::Values(kMinEntriesForImage, 64));

TEST_P(VolumePagesTest, ZeroedPageCostsTheFilesInIt) {
  const int step = NumberFrom("VARVE_TEST_ROUNDS", 8);
  for (uint64_t page = std::random_device()() % step;
       page * kPage < bytes_.size(); page += step) {
    Try(page);
    if (HasFailure()) return;
  }
  // All cases must occur, or this would test nothing.
  EXPECT_GT(unreadable_, 0);
  EXPECT_GT(written_, 0);
}

TEST_P(VolumePagesTest, ZeroedPageBesideASegmentCostsTheFilesInIt) {
  for (const uint64_t page : segments_) {
    if (commits_.count(page) > 0) Try(page);
  }
  Try(0);
}

}  // namespace
}  // namespace varve::fs
