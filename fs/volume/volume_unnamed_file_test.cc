// Files that are made without a name (O_TMPFILE).

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <string>
#include <utility>

#include "fs/volume/volume_test_util.h"

namespace varve::fs {
namespace {

constexpr Caller kSomebody{.uid = 5, .gid = 6, .umask = 022};

class UnnamedFileTest : public VolumeTest {
 protected:
  void SetUp() override {
    Open();
    ASSERT_THAT(MakeDir("d"), IsOk());
  }
  HandlePtr Make(int flags = O_RDWR) {
    auto made = volume().CreateUnnamed(Ino("d"), 0666, flags, kSomebody);
    EXPECT_THAT(made, IsOk());
    EXPECT_EQ(made->first.nlink, 0u);
    EXPECT_EQ(made->first.attributes.mode, S_IFREG | 0644u);
    EXPECT_EQ(made->first.attributes.uid, 5u);
    return std::move(made->second);
  }
  // Removes the reference that the kernel would hold.
  void Forget(uint64_t ino) { volume().Forget(ino, 1); }
  absl::Status Name(uint64_t ino, absl::string_view name) {
    const auto stat = volume().Link(ino, Ino("d"), name);
    if (stat.ok()) Forget(ino);
    return stat.status();
  }
  void WriteTo(const Handle& handle, uint64_t offset, absl::string_view text) {
    ASSERT_THAT(volume().Write(handle, offset, text), IsOk());
  }
};

TEST_F(UnnamedFileTest, IsSeenByNobodyAndGoneWithItsLastClose) {
  const uint64_t size = FileSize();
  HandlePtr handle = Make();
  const uint64_t ino = handle->inode->ino;
  WriteTo(*handle, 0, "text");
  EXPECT_EQ(ReadHandle(*handle), "text");
  EXPECT_EQ(List("d").size(), 0u);
  EXPECT_EQ(FileSize(), size);
  ASSERT_THAT(CloseFile(std::move(handle)), IsOk());
  EXPECT_THAT(volume().GetAttributes(ino), IsOk());
  Forget(ino);
  EXPECT_THAT(volume().GetAttributes(ino), HasErrno(ENOENT));
}

TEST_F(UnnamedFileTest, LinkGivesItANameWithAllThatItHas) {
  HandlePtr handle = Make();
  const uint64_t ino = handle->inode->ino;
  WriteTo(*handle, 0, "some text");
  ASSERT_THAT(volume().SetXattr(ino, "user.a", "value", 0), IsOk());
  ASSERT_THAT(volume().SetAttributes(ino, {.mode = 0600}, nullptr), IsOk());
  ASSERT_THAT(Name(ino, "f"), IsOk());
  EXPECT_EQ(Ino("d/f"), ino);
  EXPECT_EQ(GetStat("d/f")->nlink, 1u);
  EXPECT_EQ(ReadRaw("d/f"), "some text");
  // From now on it is like any other file.
  WriteTo(*handle, 9, ", and more");
  EXPECT_EQ(ReadHandle(*handle), "some text, and more");
  ASSERT_THAT(Link("d/f", "g"), IsOk());
  ASSERT_THAT(CloseFile(std::move(handle)), IsOk());
  Forget(ino);
  Crash();
  EXPECT_EQ(*Read("g"), "some text, and more");
  EXPECT_EQ(*volume().GetXattr(ino, "user.a"), "value");
  EXPECT_EQ(GetStat("g")->attributes.mode, S_IFREG | 0600u);
  EXPECT_EQ(GetStat("g")->nlink, 2u);
}

TEST_F(UnnamedFileTest, ACrashAfterLinkKeepsAllThatWasWrittenBefore) {
  for (const size_t size : {0u, 1u, 100u, 70'000u, 6u << 20}) {
    HandlePtr handle = Make();
    const uint64_t ino = handle->inode->ino;
    const std::string text(size, 'x');
    for (size_t at = 0; at < size; at += 128 << 10) {
      WriteTo(*handle, at, absl::string_view(text).substr(at, 128 << 10));
    }
    ASSERT_THAT(Name(ino, "f"), IsOk());
    Abandon(std::move(handle));
    Crash();
    EXPECT_TRUE(*Read("d/f") == text) << size;
    ASSERT_THAT(Unlink("d/f"), IsOk());
  }
}

TEST_F(UnnamedFileTest, WithOExclItNeverGetsAName) {
  HandlePtr handle = Make(O_RDWR | O_EXCL);
  EXPECT_THAT(Name(handle->inode->ino, "f"), HasErrno(ENOENT));
  const uint64_t ino = handle->inode->ino;
  ASSERT_THAT(CloseFile(std::move(handle)), IsOk());
  Forget(ino);
}

TEST_F(UnnamedFileTest, AFileThatLostItsNameGetsNone) {
  ASSERT_THAT(Write("g", "text"), IsOk());
  auto handle = OpenFile("g", O_RDWR);
  const uint64_t ino = Ino("g");
  ASSERT_THAT(Unlink("g"), IsOk());
  EXPECT_THAT(Name(ino, "f"), HasErrno(ENOENT));
  ASSERT_THAT(CloseFile(*std::move(handle)), IsOk());
}

TEST_F(UnnamedFileTest, ANameThatIsTakenIsRefusedAndNothingIsLost) {
  ASSERT_THAT(Write("d/f", "old"), IsOk());
  HandlePtr handle = Make();
  const uint64_t ino = handle->inode->ino;
  WriteTo(*handle, 0, "new");
  EXPECT_THAT(Name(ino, "f"), HasErrno(EEXIST));
  EXPECT_EQ(*Read("d/f"), "old");
  EXPECT_EQ(ReadHandle(*handle), "new");
  EXPECT_THAT(Name(ino, "g"), IsOk());
  EXPECT_EQ(*Read("d/g"), "new");
  ASSERT_THAT(CloseFile(std::move(handle)), IsOk());
  Forget(ino);
}

TEST_F(UnnamedFileTest, IsMadeInDirectoriesThatExist) {
  EXPECT_THAT(volume().CreateUnnamed(999, 0600, O_RDWR, kSomebody),
              HasErrno(ENOENT));
  ASSERT_THAT(Write("g", "text"), IsOk());
  EXPECT_THAT(volume().CreateUnnamed(Ino("g"), 0600, O_RDWR, kSomebody),
              HasErrno(ENOTDIR));
}

}  // namespace
}  // namespace varve::fs
