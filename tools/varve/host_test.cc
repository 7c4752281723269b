#include "tools/varve/host.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "gtest/gtest.h"

namespace varve::tools {
namespace {

class HostTest : public ::testing::Test {
 protected:
  HostTest() {
    std::string name = absl::StrCat(::testing::TempDir(), "/hostXXXXXX");
    folder_ = *RealPath(mkdtemp(name.data()));
  }

  std::string Path(absl::string_view name) const {
    return JoinPath(folder_, name);
  }
  void Make(absl::string_view name, absl::string_view content) const {
    auto file = OpenForWriting(Path(name));
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE(WriteAll(file->get(), content, name).ok());
    ASSERT_TRUE(CloseWritten(*std::move(file), name).ok());
  }

  std::string folder_;
};

TEST(PathTest, SplitsOffTheLastPart) {
  struct Case {
    const char* path;
    const char* directory;
    const char* last;
  };
  constexpr Case kCases[] = {
      {"/a/b/c", "/a/b", "c"}, {"/a/b//c///", "/a/b", "c"},
      {"c", ".", "c"},         {"c/", ".", "c"},
      {"/c", "/", "c"},        {"a/c", "a", "c"},
  };
  for (const Case& c : kCases) {
    EXPECT_EQ(DirectoryOf(c.path), c.directory) << c.path;
    EXPECT_EQ(LastPartOf(c.path), c.last) << c.path;
  }
}

TEST(PathTest, JoinsWithOneSlash) {
  EXPECT_EQ(JoinPath("/a", "b"), "/a/b");
  EXPECT_EQ(JoinPath("/a/", "b"), "/a/b");
  EXPECT_EQ(JoinPath("/", "b"), "/b");
  EXPECT_EQ(JoinPath("", "b"), "b");
}

TEST(PrintableTest, ShowsWhatATerminalWouldObey) {
  EXPECT_EQ(Printable("plain \xd0\xba"), "plain \xd0\xba");
  EXPECT_EQ(Printable("a\nb"), "a\\nb");
  EXPECT_EQ(Printable("\x1b[2J\x7f"), "\\x1b[2J\\x7f");
}

TEST_F(HostTest, ReadsWhatWasWritten) {
  const std::string content(200'000, 'x');
  Make("file", content);
  EXPECT_EQ(*ReadHostFile(Path("file")), content);
  // Opening for writing empties.
  Make("file", "short");
  EXPECT_EQ(*ReadHostFile(Path("file")), "short");
}

TEST_F(HostTest, ErrorsNameThePathAndKeepTheNumber) {
  const absl::Status status = ReadHostFile(Path("absent")).status();
  EXPECT_EQ(SystemErrorNumber(status), ENOENT);
  EXPECT_TRUE(absl::StrContains(status.message(), Path("absent"))) << status;
  EXPECT_EQ(SystemErrorNumber(OpenForWriting(folder_).status()), EISDIR);
}

TEST_F(HostTest, RealPathFollowsLinks) {
  ASSERT_EQ(mkdir(Path("real").c_str(), 0700), 0);
  ASSERT_EQ(symlink("real", Path("link").c_str()), 0);
  EXPECT_EQ(*RealPath(Path("link/../link/.")), Path("real"));
  EXPECT_EQ(*RealPathOfLast(Path("link")), Path("real"));
}

TEST_F(HostTest, TheLastPartNeedNotExist) {
  ASSERT_EQ(mkdir(Path("real").c_str(), 0700), 0);
  ASSERT_EQ(symlink("real", Path("link").c_str()), 0);
  EXPECT_FALSE(RealPath(Path("link/new")).ok());
  EXPECT_EQ(*RealPathOfLast(Path("link/new")), Path("real/new"));
  EXPECT_EQ(*RealPathOfLast(Path("link/new//")), Path("real/new"));
  EXPECT_EQ(SystemErrorNumber(RealPathOfLast(Path("no/new")).status()), ENOENT);
}

TEST_F(HostTest, ALinkToNothingIsNoPath) {
  ASSERT_EQ(symlink("absent", Path("link").c_str()), 0);
  ASSERT_EQ(symlink("circle", Path("circle").c_str()), 0);
  EXPECT_EQ(SystemErrorNumber(RealPathOfLast(Path("link")).status()), ENOENT);
  EXPECT_EQ(SystemErrorNumber(RealPathOfLast(Path("circle")).status()), ELOOP);
}

TEST_F(HostTest, WhatIsWrittenIsClosedOnce) {
  absl::StatusOr<Descriptor> file = OpenForWriting(Path("file"));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(WriteAll(file->get(), "text", "file").ok());
  EXPECT_TRUE(CloseWritten(*std::move(file), "file").ok());
  EXPECT_EQ(*ReadHostFile(Path("file")), "text");
  EXPECT_EQ(SystemErrorNumber(CloseWritten(Descriptor(), "file")), EBADF);
}

}  // namespace
}  // namespace varve::tools
