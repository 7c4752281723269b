// Bit rot: whichever single bit of a store flips, no read gives wrong bytes,
// only the file with the bit cannot be read, and the damage is reported.
//
// VARVE_TEST_ROUNDS=1 tries every bit; the default is a sample.

#include <fcntl.h>
#include <stdlib.h>

#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

// A store with each kind of content and record, closed properly.
void MakeStore(TestVolume& v) {
  v.Open();
  ASSERT_THAT(v.MakeDir("d"), IsOk());
  ASSERT_THAT(v.Write("d/small", "the text of small"), IsOk());
  ASSERT_THAT(v.Write("d/gone", "soon"), IsOk());
  ASSERT_THAT(v.Write("plain", Pattern(1, 700)), IsOk());
  ASSERT_THAT(v.Write("patched", Pattern(2, 900)), IsOk());
  v.Reopen();  // the rest follows a checkpoint
  ASSERT_THAT(v.WriteAt("patched", 400, "PATCH"), IsOk());
  ASSERT_THAT(v.Symlink("s", "plain"), IsOk());
  ASSERT_THAT(v.volume().SetXattr(v.Ino("d"), "user.a", "1", 0), IsOk());
  ASSERT_THAT(v.Unlink("d/gone"), IsOk());
  ASSERT_THAT(v.Rename("plain", "d/plain"), IsOk());
  ASSERT_THAT(v.Write("d/nul", std::string(1, '\0')), IsOk());
  v.Close();
}

// The content that must be there, by path.
using Contents = std::map<std::string, std::string>;

Contents AllContents(TestVolume& v) {
  Contents contents;
  for (const char* path : {"d/small", "d/plain", "patched", "d/nul"}) {
    contents[path] = *v.Read(path);
  }
  return contents;
}

class VolumeRotTest : public testing::Test {
 protected:
  void SetUp() override {
    TestVolume v;
    MakeStore(v);
    bytes_ = ReadWholeFile(v.path());
    v.Open();
    contents_ = AllContents(v);
    names_ = {v.List(""), v.List("d")};
    v.Close();
  }

  // Opens the store with `bit` flipped, as a mount would.
  void Try(uint64_t bit) {
    SCOPED_TRACE(absl::StrCat("bit ", bit % 8, " at offset ", bit / 8));
    std::string damaged = bytes_;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    WriteWholeFile(volume_.path(), damaged);
    volume_.options().read_damaged = true;
    ASSERT_THAT(volume_.TryOpen(), IsOk());
    EXPECT_EQ(volume_.List(""), names_[0]);
    EXPECT_EQ(volume_.List("d"), names_[1]);
    int unreadable = 0;
    for (const auto& [path, content] : contents_) {
      const auto read = volume_.Read(path);
      if (read.ok()) {
        ASSERT_EQ(*read, content) << path;
      } else {
        ASSERT_THAT(read, HasErrno(EIO)) << path;
        ++unreadable;
      }
    }
    EXPECT_LE(unreadable, 1);
    if (volume_.volume().read_only()) {
      ++mended_;
      EXPECT_FALSE(volume_.volume().failure().ok());
      EXPECT_FALSE(volume_.volume().notes().empty());
      EXPECT_EQ(ReadWholeFile(volume_.path()), damaged);
    }
    unreadable_ += unreadable;
    volume_.Close();
  }

  TestVolume volume_;
  std::string bytes_;
  Contents contents_;
  std::vector<std::vector<std::string>> names_;
  int mended_ = 0;
  int unreadable_ = 0;
};

TEST_F(VolumeRotTest, NoFlippedBitGivesWrongBytesOrTakesOtherFilesAlong) {
  uint64_t step = 23;
  if (const char* text = getenv("VARVE_TEST_ROUNDS")) {
    ASSERT_TRUE(absl::SimpleAtoi(text, &step));
  }
  for (uint64_t bit = std::random_device()() % step; bit < bytes_.size() * 8;
       bit += step) {
    Try(bit);
    if (HasFailure()) return;
  }
  // Both cases must occur, or this would test nothing.
  EXPECT_GT(mended_, 0);
  EXPECT_GT(unreadable_, 0);
}

}  // namespace
}  // namespace varve::fs
