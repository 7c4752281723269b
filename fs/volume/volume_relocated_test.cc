// Another program of the entry format compacts a store, or changes it
// otherwise.

#include <fcntl.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/zeros.h"
#include "fs/volume/original_test_util.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Le;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

constexpr uint64_t kLarge = 200'000;
constexpr Caller kCaller{.uid = 1000, .gid = 1000};

class VolumeRelocatedTest : public VolumeTest {
 protected:
  // These need the store to be closed.
  void WriteOnly(absl::string_view key, absl::string_view text) {
    WithForeignStore([&](Store& store) {
      ASSERT_THAT(store.Write(key, Bytes(text)), IsOk());
    });
  }
  void CompactAsOriginal() { RewriteAsOriginal(path()); }

  std::vector<uint64_t> UnnamedHashes() {
    std::vector<uint64_t> hashes;
    for (const EntryLocation& entry : Unnamed()) {
      hashes.push_back(entry.key_hash);
    }
    return hashes;
  }
};

TEST_F(VolumeRelocatedTest, AWriteAndThenACompactionIsNewContent) {
  ASSERT_THAT(Write("f", "ours"), IsOk());
  ASSERT_THAT(Write("g", "ours"), IsOk());
  Close();
  CompactAsOriginal();
  WriteOnly("f", "theirs, and longer");
  CompactAsOriginal();
  Open();
  EXPECT_EQ(*Read("f"), "theirs, and longer");
  EXPECT_EQ(*Read("g"), "ours");
  EXPECT_THAT(UnnamedHashes(), IsEmpty());
}

// The smallest case: where the entry of one file was, a new value of the other
// begins.
TEST_F(VolumeRelocatedTest, ANewValueWhereAnotherFileLayIsNewContent) {
  for (size_t size = 1; size < 200; size += 33) {
    SCOPED_TRACE(size);
    TestVolume v;
    {
      auto store = Store::Open(v.path(), {.mode = OpenMode::kCreate});
      ASSERT_THAT((*store)->Write("k", Bytes("old text of k")), IsOk());
      ASSERT_THAT((*store)->Write("j", Bytes(std::string(size, 'j'))), IsOk());
    }
    v.Open();
    ASSERT_THAT(v.volume().Adopt({"k"}, kCaller), ElementsAre(IsOk()));
    v.Close();
    v.WithForeignStore([](Store& store) {
      ASSERT_THAT(store.Write("k", Bytes("new text of k")), IsOk());
    });
    RewriteAsOriginal(v.path());
    v.Open();
    EXPECT_EQ(*v.Read("k"), "new text of k");
  }
}

TEST_F(VolumeRelocatedTest, ADeletionAfterACompactionRemovesTheFile) {
  ASSERT_THAT(Write("f", "ours"), IsOk());
  ASSERT_THAT(Write("g", "stays"), IsOk());
  ASSERT_THAT(Write("h", "linked"), IsOk());
  ASSERT_THAT(Link("h", "i"), IsOk());
  Close();
  CompactAsOriginal();
  WithForeignStore([](Store& store) {
    ASSERT_THAT(store.Delete("f"), IsOk());
    ASSERT_THAT(store.Delete("h"), IsOk());
  });
  Open();
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(List(""), UnorderedElementsAre("g", "i"));
    EXPECT_EQ(*Read("g"), "stays");
    EXPECT_EQ(*Read("i"), "linked");
    Crash();
  }
}

// A tombstone of ours is not a deletion, even while the store counts as
// relocated.
TEST_F(VolumeRelocatedTest, RenamedThereAndBackAfterACompaction) {
  ASSERT_THAT(Write("f", Pattern(1, kLarge)), IsOk());
  Close();
  CompactAsOriginal();
  // No checkpoint ends it.
  options().create = false;
  Open();
  ASSERT_THAT(Rename("f", "g"), IsOk());
  ASSERT_THAT(Rename("g", "f"), IsOk());
  Reopen();
  EXPECT_TRUE(*Read("f") == Pattern(1, kLarge));
}

TEST_F(VolumeRelocatedTest, AValueOfAnEmptyFileIsContentAfterACompaction) {
  ASSERT_THAT(Write("f", ""), IsOk());
  Close();
  WriteOnly("f", "theirs");
  CompactAsOriginal();
  Open();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(*Read("f"), "theirs");
    EXPECT_THAT(UnnamedHashes(), IsEmpty());
    Reopen();
  }
}

// Old content of a file does not come back.
TEST_F(VolumeRelocatedTest, AnOldVersionOfAnEmptyFileIsNotItsContent) {
  ASSERT_THAT(Write("f", Pattern(1, 10'000)), IsOk());
  ASSERT_THAT(WriteAt("f", 0, "patched"), IsOk());
  ASSERT_THAT(Truncate("f", 0), IsOk());
  EXPECT_EQ(ReadRaw("f"), std::nullopt);
  // Patches cover all of it, so no extent names the old entry any more.
  ASSERT_THAT(Write("g", Pattern(2, 10'000)), IsOk());
  auto handle = OpenFile("g", O_WRONLY);
  for (const uint64_t at : {0, 5'000}) {
    ASSERT_THAT(volume().Write(**handle, at, Pattern(3, 5'000)), IsOk());
    ASSERT_THAT(volume().Fsync(**handle), IsOk());
  }
  ASSERT_THAT(
      volume().SetAttributes(Ino("g"), {.size = 0}, handle->get()).status(),
      IsOk());
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  Close();
  CompactAsOriginal();
  Open();
  EXPECT_EQ(*Read("f"), "");
  EXPECT_EQ(*Read("g"), "");
}

TEST_F(VolumeRelocatedTest, AWriteToAPatchedFileAndACompaction) {
  ASSERT_THAT(Write("f", Pattern(1, kLarge)), IsOk());
  ASSERT_THAT(WriteAt("f", 7, "patched"), IsOk());
  Close();
  WriteOnly("f", "theirs");
  CompactAsOriginal();
  Open();
  EXPECT_EQ(*Read("f"), "theirs");
}

// The entry of an extent is found even if its key was written since.
TEST_F(VolumeRelocatedTest, SupersededAfterACompactionIsStillThere) {
  ASSERT_THAT(MakeDir("d"), IsOk());
  ASSERT_THAT(Write("d/f", Pattern(1, kLarge)), IsOk());
  ASSERT_THAT(Rename("d", "e"), IsOk());
  Close();
  CompactAsOriginal();
  WriteOnly("d/f", "another one");
  Open();
  EXPECT_TRUE(*Read("e/f") == Pattern(1, kLarge));
  EXPECT_THAT(UnnamedHashes(), ElementsAre(HashKey("d/f")));
}

// --- Names ---

TEST_F(VolumeRelocatedTest, AWriteUnderAnyNameOfAFileIsItsContent) {
  ASSERT_THAT(Write("f", "ours"), IsOk());
  ASSERT_THAT(Link("f", "g"), IsOk());
  Close();
  WriteOnly("g", "theirs");
  Open();
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(*Read("f"), "theirs");
    EXPECT_EQ(*Read("g"), "theirs");
    EXPECT_THAT(UnnamedHashes(), IsEmpty());
    // The other key does not show the old content.
    EXPECT_EQ(ReadRaw("f"), std::nullopt);
    i == 0 ? Crash() : Reopen();
  }
  Close();
  WithForeignStore([](Store& store) {
    ASSERT_THAT(store.Write("g", Bytes("one")), IsOk());
    ASSERT_THAT(store.Write("f", Bytes("two")), IsOk());
  });
  CompactAsOriginal();
  Open();
  EXPECT_EQ(Read("f")->size(), 3u);
  EXPECT_EQ(*Read("f"), *Read("g"));
  Close();
  WithForeignStore([](Store& store) {
    ASSERT_THAT(store.Delete("g"), IsOk());
    ASSERT_THAT(store.Delete("f"), IsOk());
  });
  Open();
  EXPECT_THAT(List("").size(), Le(1u));
}

// --- What the original takes for an error ---

TEST_F(VolumeRelocatedTest, NoEntryOfOursIsAllZeros) {
  const auto zeros = [](size_t size) { return std::string(size, '\0'); };
  std::map<std::string, size_t> files = {{"one", 1},         {"two", 2},
                                         {"small", 4096},    {"page", 5000},
                                         {"large", 300'000}, {"huge", 9 << 20}};
  for (const auto& [name, size] : files) {
    ASSERT_THAT(Write(name, zeros(size)), IsOk());
  }
  // In pieces, copied to one at the last close.
  ASSERT_THAT(Write("patched", "not zeros"), IsOk());
  ASSERT_THAT(WriteAt("patched", 0, zeros(9)), IsOk());
  files["patched"] = 9;
  // A stream that is sealed between zeros.
  auto handle = CreateFile("sealed", O_WRONLY);
  for (int i = 0; i < 12; ++i) {
    ASSERT_THAT(volume().Write(**handle, i << 20, zeros(1 << 20)), IsOk());
    ASSERT_THAT(Write("between", absl::StrCat(i)), IsOk());
  }
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
  files["sealed"] = 12 << 20;
  ASSERT_THAT(Rename("two", "second"), IsOk());
  files["second"] = 2;
  files.erase("two");
  const auto expect = [&] {
    for (const auto& [name, size] : files) {
      SCOPED_TRACE(name);
      const auto text = Read(name);
      ASSERT_THAT(text, IsOk());
      EXPECT_TRUE(*text == zeros(size));
    }
    uint64_t of_zeros = 0;
    ASSERT_THAT(volume().store().ForEachInChain([&](const EntryView& entry) {
      of_zeros += !entry.is_tombstone() && IsAllZeros(entry.payload());
      return true;
    }),
                IsOk());
    EXPECT_EQ(of_zeros, 0u);
  };
  expect();
  ASSERT_THAT(volume().compactions().Start({.forget = true}), IsOk());
  ASSERT_THAT(volume().compactions().WaitForEnd(), IsOk());
  expect();
  Close();
  CompactAsOriginal();  // fails the test where the original would fail
  Open();
  expect();
}

// --- Many ---

TEST_F(VolumeRelocatedTest, ManyAreAdoptedByFewRecords) {
  constexpr int kKeys = 2500;
  std::vector<std::string> keys;
  Close();
  WithForeignStore([&](Store& store) {
    for (int i = 0; i < kKeys; ++i) {
      keys.push_back(absl::StrCat("d", i % 7, "/e", i % 3, "/", i));
      ASSERT_THAT(store.Write(keys.back(), Bytes(keys.back())), IsOk());
    }
    ASSERT_THAT(store.Write("d1/e1", Bytes("in the way")), IsOk());
    ASSERT_THAT(store.Write("d0/e0/0/below", Bytes("a file")), IsOk());
  });
  Open();
  keys.push_back("d1/e1");
  keys.push_back("d0/e0/0/below");
  keys.push_back(keys.front());
  const uint64_t before = volume().store().tail();
  const auto commits = [&] { return volume().GetStatistics()->commits; };
  const uint64_t first = commits();
  const std::vector<absl::Status> results = volume().Adopt(keys, kCaller);
  ASSERT_EQ(results.size(), keys.size());
  for (int i = 0; i < kKeys; ++i) ASSERT_THAT(results[i], IsOk());
  for (size_t i = kKeys; i < keys.size(); ++i) {
    EXPECT_THAT(results[i], Not(IsOk())) << keys[i];
  }
  EXPECT_LE(commits() - first, 4u);  // one says that it is in use
  EXPECT_LT(volume().store().tail() - before, kKeys * 120u);
  Crash();
  for (int i = 0; i < kKeys; ++i) ASSERT_EQ(*Read(keys[i]), keys[i]);
}

}  // namespace
}  // namespace varve::fs
