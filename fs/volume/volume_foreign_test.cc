// Another program of the entry format changes the store between mounts.

#include <errno.h>
#include <fcntl.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::ElementsAre;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Optional;

constexpr uint64_t kLarge = 200'000;
constexpr Caller kCaller{.uid = 1000, .gid = 1000};

class VolumeForeignTest : public VolumeTest {
 protected:
  // Writes at the entry level, after a proper close.
  void WriteForeign(absl::string_view key, absl::string_view text) {
    Close();
    WithForeignStore([&](Store& store) {
      ASSERT_THAT(store.Write(key, Bytes(text)), IsOk());
    });
    Open();
  }
  void DeleteForeign(absl::string_view key) {
    Close();
    WithForeignStore(
        [&](Store& store) { ASSERT_THAT(store.Delete(key), IsOk()); });
    Open();
  }
  void CompactForeign() {
    Close();
    WithForeignStore(
        [](Store& store) { ASSERT_THAT(store.Compact(), IsOk()); });
    Open();
  }
  std::vector<uint64_t> UnnamedHashes() {
    std::vector<uint64_t> hashes;
    for (const EntryLocation& entry : Unnamed()) {
      hashes.push_back(entry.key_hash);
    }
    return hashes;
  }
};

TEST_F(VolumeForeignTest, WriteToAKnownPathIsNewContent) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/f", "ours"), IsOk());
  ASSERT_THAT(volume().SetXattr(Ino("d/f"), "user.a", "kept", 0), IsOk());
  const uint64_t ino = Ino("d/f");
  WriteForeign("d/f", "theirs, longer");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(*Read("d/f"), "theirs, longer");
    EXPECT_EQ(Ino("d/f"), ino);
    EXPECT_EQ(*volume().GetXattr(ino, "user.a"), "kept");
    EXPECT_THAT(UnnamedHashes(), IsEmpty());
    i == 0 ? Crash() : Reopen();
  }
  ASSERT_THAT(Unlink("d/f"), IsOk());
  EXPECT_EQ(ReadRaw("d/f"), std::nullopt);
}

TEST_F(VolumeForeignTest, WriteToAPatchedOrEmptyFileIsNewContentToo) {
  ASSERT_THAT(Write("patched", Pattern(1, kLarge)), IsOk());
  ASSERT_THAT(Append("patched", "more"), IsOk());
  ASSERT_THAT(Write("empty", ""), IsOk());
  WriteForeign("patched", "theirs");
  WriteForeign("empty", "theirs too");
  EXPECT_EQ(*Read("patched"), "theirs");
  EXPECT_EQ(*Read("empty"), "theirs too");
  Reopen();
  EXPECT_EQ(*Read("patched"), "theirs");
  EXPECT_EQ(*Read("empty"), "theirs too");
}

TEST_F(VolumeForeignTest, OnlyTheNewestWriteCounts) {
  ASSERT_THAT(Write("f", "ours"), IsOk());
  ASSERT_THAT(Write("g", "ours"), IsOk());
  Close();
  WithForeignStore([](Store& store) {
    ASSERT_THAT(store.Write("f", Bytes("one")), IsOk());
    ASSERT_THAT(store.Delete("f"), IsOk());
    ASSERT_THAT(store.Write("f", Bytes("three")), IsOk());
    ASSERT_THAT(store.Write("g", Bytes("one")), IsOk());
    ASSERT_THAT(store.Delete("g"), IsOk());
  });
  Open();
  EXPECT_EQ(*Read("f"), "three");
  EXPECT_THAT(Read("g"), HasErrno(ENOENT));
}

TEST_F(VolumeForeignTest, DeletedKeyRemovesTheFile) {
  ASSERT_THAT(Write("f", "ours"), IsOk());
  ASSERT_THAT(Write("g", "stays"), IsOk());
  DeleteForeign("f");
  EXPECT_THAT(List(""), ElementsAre("g"));
  Crash();
  EXPECT_THAT(List(""), ElementsAre("g"));
}

TEST_F(VolumeForeignTest, DeletedKeyRemovesOneNameOfAFile) {
  ASSERT_THAT(Write("f", "ours"), IsOk());
  ASSERT_THAT(Link("f", "g"), IsOk());
  DeleteForeign("f");
  EXPECT_THAT(List(""), ElementsAre("g"));
  EXPECT_EQ(*Read("g"), "ours");
  EXPECT_EQ(GetStat("g")->nlink, 1u);
}

TEST_F(VolumeForeignTest, ReadOnlyVolumeSeesTheNewContentToo) {
  ASSERT_THAT(Write("f", "ours"), IsOk());
  ASSERT_THAT(Write("g", "ours"), IsOk());
  options().read_only = true;
  options().create = false;
  Close();
  WithForeignStore([](Store& store) {
    ASSERT_THAT(store.Write("f", Bytes("theirs")), IsOk());
    ASSERT_THAT(store.Delete("g"), IsOk());
  });
  const std::string bytes = ReadWholeFile(path());
  Open();
  EXPECT_EQ(*Read("f"), "theirs");
  EXPECT_THAT(List(""), ElementsAre("f"));
  Close();
  EXPECT_TRUE(ReadWholeFile(path()) == bytes);
}

TEST_F(VolumeForeignTest, UnknownKeyIsUnnamed) {
  ASSERT_THAT(Write("f", "ours"), IsOk());
  WriteForeign("x/y/z", "theirs");
  EXPECT_THAT(UnnamedHashes(), ElementsAre(HashKey("x/y/z")));
  const uint64_t hash = HashKey("x/y/z");
  EXPECT_EQ(volume().ReadUnnamed(hash, 0, 100)->ToString(), "theirs");
  EXPECT_EQ(volume().ReadUnnamed(hash, 2, 3)->ToString(), "eir");
  EXPECT_EQ(volume().ReadUnnamed(hash, 6, 3)->size(), 0u);
  EXPECT_EQ(volume().ReadUnnamed(hash, ~uint64_t{0}, ~uint64_t{0})->size(), 0u);
  EXPECT_THAT(volume().ReadUnnamed(1, 0, 1), HasErrno(ENOENT));
  // It stays so, even after a crash and with later commits.
  ASSERT_THAT(Write("g", "ours"), IsOk());
  Crash();
  EXPECT_THAT(UnnamedHashes(), ElementsAre(hash));
  Reopen();
  EXPECT_THAT(UnnamedHashes(), ElementsAre(hash));
}

TEST_F(VolumeForeignTest, AdoptedKeysBecomeFiles) {
  ASSERT_THAT(MakeDir("x"), IsOk());
  ASSERT_THAT(Write("taken", "ours"), IsOk());
  Close();
  WithForeignStore([](Store& store) {
    for (const char* key :
         {"x/y/z", "x/y/w", "top", "taken/below", "a//b", "../up", "slash/"}) {
      ASSERT_THAT(store.Write(key, Bytes(absl::StrCat("of ", key))), IsOk());
    }
  });
  Open();
  const std::vector<std::string> keys = {"x/y/z",  "x/y/w", "top",
                                         "none",   "a//b",  "../up",
                                         "slash/", "top",   "taken/below"};
  std::vector<absl::StatusCode> codes;
  for (const absl::Status& status : volume().Adopt(keys, kCaller)) {
    codes.push_back(status.code());
  }
  using absl::StatusCode;
  EXPECT_THAT(
      codes,
      ElementsAre(StatusCode::kOk, StatusCode::kOk, StatusCode::kOk,
                  StatusCode::kNotFound, StatusCode::kInvalidArgument,
                  StatusCode::kInvalidArgument, StatusCode::kInvalidArgument,
                  StatusCode::kNotFound, StatusCode::kAlreadyExists));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(*Read("x/y/z"), "of x/y/z");
    EXPECT_EQ(*Read("x/y/w"), "of x/y/w");
    EXPECT_EQ(*Read("top"), "of top");
    EXPECT_EQ(GetStat("top")->attributes.uid, 1000u);
    EXPECT_EQ(Unnamed().size(), 4u);
    i == 0 ? Crash() : Reopen();
  }
}

TEST_F(VolumeForeignTest, AdoptedAsANameOfOnesChoice) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/taken", "ours"), IsOk());
  WriteForeign("whatever", "theirs");
  const uint64_t hash = HashKey("whatever");
  const uint64_t d = Ino("d");
  EXPECT_THAT(volume().AdoptAs(hash, d, "taken", kCaller), HasErrno(EEXIST));
  EXPECT_THAT(volume().AdoptAs(hash + 1, d, "new", kCaller), HasErrno(ENOENT));
  EXPECT_THAT(volume().AdoptAs(hash, 999, "new", kCaller), HasErrno(ENOENT));
  ASSERT_THAT(volume().AdoptAs(hash, d, "new", kCaller), IsOk());
  EXPECT_THAT(UnnamedHashes(), IsEmpty());
  Crash();
  EXPECT_EQ(*Read("d/new"), "theirs");
  ASSERT_THAT(Unlink("d/new"), IsOk());
  EXPECT_EQ(ReadRaw("whatever"), std::nullopt);
  Reopen();
  EXPECT_THAT(UnnamedHashes(), IsEmpty());
}

TEST_F(VolumeForeignTest, WriteAfterACrashNeverOverrides) {
  ASSERT_THAT(Write("f", "ours"), IsOk());
  ASSERT_THAT(Write("g", "ours"), IsOk());
  const std::string crashed = ReadWholeFile(path());
  TestVolume other;
  WriteWholeFile(other.path(), crashed);
  other.WithForeignStore([](Store& store) {
    ASSERT_THAT(store.Write("f", Bytes("theirs")), IsOk());
    ASSERT_THAT(store.Delete("g"), IsOk());
  });
  other.Open();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(*other.Read("f"), "ours");
    EXPECT_EQ(*other.Read("g"), "ours");
    // Nothing is lost either.
    const auto unnamed = other.Unnamed();
    ASSERT_EQ(unnamed.size(), 1u);
    EXPECT_EQ(unnamed[0].key_hash, HashKey("f"));
    i == 0 ? other.Crash() : other.Reopen();
  }
}

TEST_F(VolumeForeignTest, StoreWithoutATreeGetsOneAndShowsItsEntries) {
  TestVolume other;
  {
    auto store = Store::Open(other.path(), {.mode = OpenMode::kCreate});
    ASSERT_THAT((*store)->Write("docs/a", Bytes("text of a")), IsOk());
    ASSERT_THAT((*store)->Write("docs/b", Bytes("text of b")), IsOk());
  }
  other.Open();
  EXPECT_EQ(other.Unnamed().size(), 2u);
  EXPECT_THAT(other.volume().Adopt({"docs/a", "docs/b"}, kCaller),
              ElementsAre(IsOk(), IsOk()));
  other.Reopen();
  EXPECT_EQ(*other.Read("docs/a"), "text of a");
  EXPECT_THAT(other.ReadRaw("docs/b"), Optional(Eq("text of b")));
  EXPECT_EQ(other.Unnamed().size(), 0u);
}

TEST_F(VolumeForeignTest, CompactedStoreHasEverythingThatIsLive) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("dead", Pattern(0, kLarge)), IsOk());
  for (int i = 0; i < 10; ++i) {
    ASSERT_THAT(Write(absl::StrCat("d/f", i), Pattern(i, i * 1000)), IsOk());
  }
  ASSERT_THAT(Write("big", Pattern(1, 6 << 20)), IsOk());
  ASSERT_THAT(WriteAt("big", 77, "small patch"), IsOk());
  ASSERT_THAT(WriteAt("big", 99'999, Pattern(2, 10'000)), IsOk());
  ASSERT_THAT(Write("nul", std::string(1, '\0')), IsOk());
  ASSERT_THAT(Symlink("s", "target"), IsOk());
  ASSERT_THAT(Link("d/f3", "link"), IsOk());
  ASSERT_THAT(Rename("d/f4", "moved"), IsOk());
  ASSERT_THAT(Write("d/f5", "overwritten"), IsOk());
  ASSERT_THAT(Unlink("dead"), IsOk());
  const std::string before = Dump();
  const uint64_t size = FileSize();
  CompactForeign();
  EXPECT_LT(FileSize(), size);
  EXPECT_EQ(Dump(), before);
  EXPECT_THAT(volume().notes(), ElementsAre(HasSubstr("compacted")));
  EXPECT_THAT(UnnamedHashes(), IsEmpty());
  // And it can be worked with.
  ASSERT_THAT(Append("big", "more"), IsOk());
  ASSERT_THAT(Write("new", "file"), IsOk());
  const std::string changed = Dump();
  Crash();
  EXPECT_EQ(Dump(), changed);
  Reopen();
  EXPECT_EQ(Dump(), changed);
  CompactForeign();
  EXPECT_EQ(Dump(), changed);
  Reopen();
  EXPECT_THAT(volume().notes(), IsEmpty());
  EXPECT_EQ(Dump(), changed);
}

TEST_F(VolumeForeignTest, CompactedAfterACrash) {
  ASSERT_THAT(Write("dead", Pattern(0, kLarge)), IsOk());
  ASSERT_THAT(Write("f", "text"), IsOk());
  ASSERT_THAT(Unlink("dead"), IsOk());
  const std::string before = Dump();
  TestVolume other;
  WriteWholeFile(other.path(), ReadWholeFile(path()));
  other.WithForeignStore(
      [](Store& store) { ASSERT_THAT(store.Compact(), IsOk()); });
  other.Open();
  EXPECT_EQ(other.Dump(), before);
}

TEST_F(VolumeForeignTest, AStoreThatIsTheFirstValueIsNotTakenForTheTree) {
  ASSERT_THAT(Write("inner", "text"), IsOk());
  const std::string inner_uuid = volume().identity().UuidText();
  Close();
  const std::string inner = ReadWholeFile(path());
  WriteWholeFile(path(), "");
  WithForeignStore([&](Store& store) {
    ASSERT_THAT(store.Write("backup", Bytes(inner)), IsOk());
    ASSERT_THAT(store.Write("other", Bytes("text")), IsOk());
  });
  Open();
  EXPECT_NE(volume().identity().UuidText(), inner_uuid);
  EXPECT_EQ(UnnamedHashes().size(), 2u);
  ASSERT_THAT(Write("new", "new text"), IsOk());
  const std::string uuid = volume().identity().UuidText();
  for (int i = 0; i < 2; ++i) {
    i == 0 ? Crash() : Reopen();
    EXPECT_EQ(volume().identity().UuidText(), uuid);
    EXPECT_EQ(*Read("new"), "new text");
    EXPECT_THAT(Read("inner"), HasErrno(ENOENT));
  }
  DeleteForeign("backup");
  CompactForeign();
  EXPECT_EQ(volume().identity().UuidText(), uuid);
  EXPECT_EQ(*Read("new"), "new text");
}

// Reading bytes that another program's compaction dropped is an error, and
// never gives the bytes of another file.
TEST_F(VolumeForeignTest, DroppedBytesAreAnError) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/f", Pattern(1, kLarge)), IsOk());
  ASSERT_THAT(Rename("d", "e"), IsOk());
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/f", Pattern(2, kLarge)), IsOk());
  const std::string a = CollidingName('A');
  const std::string b = CollidingName('B');
  ASSERT_THAT(Write(a, "text of a"), IsOk());
  ASSERT_THAT(Write(b, "text of b"), IsOk());
  ASSERT_THAT(Write("large", Pattern(3, kLarge)), IsOk());
  ASSERT_THAT(Rename("large", "renamed"), IsOk());
  CompactForeign();
  EXPECT_TRUE(*Read("d/f") == Pattern(2, kLarge));
  EXPECT_EQ(*Read(b), "text of b");
  for (const std::string& lost : {std::string("e/f"), a}) {
    EXPECT_THAT(Read(lost), HasErrno(EIO));
    EXPECT_THAT(Read(lost), HasCode(absl::StatusCode::kDataLoss));
  }
  const auto renamed = Read("renamed");
  EXPECT_TRUE(renamed.ok() ? *renamed == Pattern(3, kLarge)
                           : ErrnoOf(renamed.status()) == EIO);
  // A lost file can be removed or rewritten.
  ASSERT_THAT(Write("e/f", "new"), IsOk());
  ASSERT_THAT(Unlink(a), IsOk());
  Reopen();
  EXPECT_EQ(*Read("e/f"), "new");
  EXPECT_EQ(*Read(b), "text of b");
}

}  // namespace
}  // namespace varve::fs
