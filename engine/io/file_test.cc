#include "engine/io/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/test_util.h"
#include "engine/io/fault_file.h"
#include "engine/io/io_util.h"

namespace varve {
namespace {

using testing::HasSubstr;

class FileTest : public testing::Test {
 protected:
  std::string Path(absl::string_view name = "file") const {
    return directory_.File(name);
  }
  absl::StatusOr<std::unique_ptr<File>> TryOpen(const std::string& path,
                                                OpenMode mode,
                                                uint32_t permissions = 0600) {
    return RealFileSystem()->Open(path, mode, permissions);
  }
  std::unique_ptr<File> Open(OpenMode mode, uint32_t permissions = 0600) {
    auto file = TryOpen(Path(), mode, permissions);
    EXPECT_THAT(file, IsOk());
    return *std::move(file);
  }
  uint32_t ModeOf(const std::string& path) {
    const auto info = RealFileSystem()->Info(path);
    EXPECT_THAT(info, IsOk());
    return info->mode & 07777;
  }

  const TemporaryDirectory directory_;
};

TEST_F(FileTest, ReadsAndWritesAtOffsets) {
  const auto file = Open(OpenMode::kCreateNew);
  ASSERT_THAT(WriteFully(*file, 5, Bytes("world")), IsOk());
  ASSERT_THAT(WriteFully(*file, 0, Bytes("hello")), IsOk());
  EXPECT_EQ(ReadWholeFile(Path()), "helloworld");
  std::vector<std::byte> out(4);
  EXPECT_EQ(*file->ReadAt(3, absl::MakeSpan(out)), 4);
  EXPECT_EQ(absl::MakeConstSpan(out), Bytes("lowo"));
  EXPECT_EQ(*ReadFully(*file, 8, absl::MakeSpan(out)), 2);
  EXPECT_THAT(ReadExactly(*file, 8, absl::MakeSpan(out)),
              HasCode(absl::StatusCode::kOutOfRange));
  ASSERT_THAT(file->Truncate(3), IsOk());
  EXPECT_EQ(ReadWholeFile(Path()), "hel");
  EXPECT_THAT(file->Sync(), IsOk());
  EXPECT_THAT(RealFileSystem()->SyncDirectoryOf(Path()), IsOk());
}

TEST_F(FileTest, InfoTellsWhatTheFileIs) {
  const auto file = Open(OpenMode::kCreateNew, 0640);
  ASSERT_THAT(WriteFully(*file, 0, Bytes("12345")), IsOk());
  const auto info = file->Info();
  ASSERT_THAT(info, IsOk());
  struct stat expected;
  ASSERT_EQ(stat(Path().c_str(), &expected), 0);
  EXPECT_EQ(info->device, expected.st_dev);
  EXPECT_EQ(info->inode, expected.st_ino);
  EXPECT_EQ(info->size, 5);
  EXPECT_EQ(info->mode, S_IFREG | 0640);
  EXPECT_EQ(info->owner, getuid());
  EXPECT_EQ(RealFileSystem()->Info(Path())->inode, info->inode);
}

TEST_F(FileTest, CreatedFilesGetThePermissionsWhateverTheUmask) {
  const mode_t umask_before = umask(0277);
  Open(OpenMode::kCreateNew, 0666);
  EXPECT_EQ(umask(umask_before), 0277);
  EXPECT_EQ(ModeOf(Path()), 0666);
  // An existing one keeps its own.
  Open(OpenMode::kCreate, 0600);
  EXPECT_EQ(ModeOf(Path()), 0666);
}

TEST_F(FileTest, OpenModes) {
  EXPECT_THAT(TryOpen(Path(), OpenMode::kRead),
              HasCode(absl::StatusCode::kNotFound));
  EXPECT_THAT(TryOpen(Path(), OpenMode::kReadWrite), HasErrorNumber(ENOENT));
  EXPECT_THAT(TryOpen(Path(), OpenMode::kCreate), IsOk());
  EXPECT_THAT(TryOpen(Path(), OpenMode::kCreateNew),
              HasCode(absl::StatusCode::kAlreadyExists));
  EXPECT_THAT(TryOpen(Path("none/file"), OpenMode::kCreate),
              HasErrorNumber(ENOENT));
  const auto file = Open(OpenMode::kRead);
  EXPECT_THAT(file->WriteAt(0, {}), HasErrorNumber(EBADF));
}

TEST_F(FileTest, RefusesWhatIsNoRegularFile) {
  ASSERT_EQ(mkfifo(Path("fifo").c_str(), 0600), 0);
  for (const OpenMode mode :
       {OpenMode::kRead, OpenMode::kReadWrite, OpenMode::kCreate}) {
    const auto directory = TryOpen(directory_.path(), mode);
    EXPECT_THAT(directory, HasCode(absl::StatusCode::kInvalidArgument));
    EXPECT_THAT(directory, HasErrorNumber(EISDIR));
    for (const std::string& path : {Path("fifo"), std::string("/dev/null")}) {
      const auto other = TryOpen(path, mode);
      EXPECT_THAT(other, HasCode(absl::StatusCode::kInvalidArgument));
      EXPECT_THAT(other, HasErrorNumber(EINVAL));
      EXPECT_THAT(std::string(other.status().message()), HasSubstr(path));
    }
  }
}

TEST_F(FileTest, DescriptorsAreNotInherited) {
  const auto file = Open(OpenMode::kCreateNew);
  int inherited = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    if (std::filesystem::read_symlink(entry, error) != Path()) continue;
    const int fd = std::stoi(entry.path().filename());
    inherited += (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0;
  }
  EXPECT_EQ(inherited, 0);
}

TEST_F(FileTest, MappingReachesBeyondTheEndAndGrowsWithTheFile) {
  const auto file = Open(OpenMode::kCreateNew);
  const auto mapping = file->Map(1 << 28);
  ASSERT_THAT(mapping, IsOk());
  EXPECT_EQ((*mapping)->length(), 1 << 28);
  const std::string content = Pattern(1, 100000);
  ASSERT_THAT(WriteFully(*file, 0, Bytes(content)), IsOk());
  EXPECT_TRUE(absl::MakeConstSpan((*mapping)->data(), content.size()) ==
              Bytes(content));
}

// Nobody has asked for the pages of a hole yet, so the host does not have them.
TEST_F(FileTest, MappingTellsWhatTheHostHasInMemory) {
  const auto file = Open(OpenMode::kCreateNew);
  constexpr uint64_t kHole = 8 << 20;
  const std::string content = Pattern(1, 100000);
  ASSERT_THAT(WriteFully(*file, 0, Bytes(content)), IsOk());
  ASSERT_THAT(file->Truncate(kHole), IsOk());
  ASSERT_THAT(WriteFully(*file, kHole, Bytes(content)), IsOk());
  const uint64_t end = kHole + content.size();
  const auto mapping = file->Map(1 << 28);
  ASSERT_THAT(mapping, IsOk());
  const auto has = [&](uint64_t offset, uint64_t length) {
    return (*mapping)->MapIfInMemory(offset, length);
  };
  EXPECT_TRUE(has(0, content.size()));
  EXPECT_TRUE(has(99, 1));
  EXPECT_TRUE(has(kHole + 1, content.size() - 1));
  EXPECT_FALSE(has(0, kHole / 2));
  EXPECT_FALSE(has(kHole - 1, 2));
  // Asking has not read it.
  EXPECT_FALSE(has(kHole / 2, 1));
  EXPECT_FALSE(has(end - 1, 8192));
  EXPECT_FALSE(has(0, 0));
  EXPECT_FALSE(has((*mapping)->length() - 1, 2));
  EXPECT_FALSE(has(UINT64_MAX, 1));
  ASSERT_THAT(file->Truncate(0), IsOk());
  EXPECT_FALSE(has(0, 1));
}

TEST_F(FileTest, HolesGiveSpaceBack) {
  const auto file = Open(OpenMode::kCreateNew);
  ASSERT_THAT(WriteFully(*file, 0, Bytes(Pattern(1, 1 << 20))), IsOk());
  ASSERT_THAT(file->Sync(), IsOk());
  const uint64_t before = file->Info()->allocated;
  const absl::Status status = file->PunchHole(0, 1 << 19);
  if (absl::IsUnimplemented(status)) GTEST_SKIP() << status;
  ASSERT_THAT(status, IsOk());
  EXPECT_LT(file->Info()->allocated, before);
  EXPECT_EQ(file->Info()->size, 1 << 20);
}

TEST_F(FileTest, BytesCanBeWrittenOutEarly) {
  const auto file = Open(OpenMode::kCreateNew);
  ASSERT_THAT(WriteFully(*file, 0, Bytes(Pattern(1, 1 << 20))), IsOk());
  const absl::Status status = file->BeginWriteOut(0, 1 << 20);
  if (absl::IsUnimplemented(status)) GTEST_SKIP() << status;
  EXPECT_THAT(status, IsOk());
  EXPECT_THAT(file->BeginWriteOut(uint64_t{1} << 63, 1),
              HasErrorNumber(EINVAL));
}

TEST_F(FileTest, BlocksCanBeHadBehindTheEndAndGivenBack) {
  const auto file = Open(OpenMode::kCreateNew);
  const std::string content = Pattern(1, 5000);
  ASSERT_THAT(WriteFully(*file, 0, Bytes(content)), IsOk());
  const absl::Status status = file->Preallocate(5000, 1 << 20);
  if (absl::IsUnimplemented(status)) GTEST_SKIP() << status;
  ASSERT_THAT(status, IsOk());
  EXPECT_GE(file->Info()->allocated, 1 << 20);
  EXPECT_EQ(ReadWholeFile(Path()), content);
  ASSERT_THAT(file->Truncate(5000), IsOk());
  EXPECT_LT(file->Info()->allocated, 64 << 10);
  EXPECT_EQ(ReadWholeFile(Path()), content);
}

TEST_F(FileTest, LockExcludesOtherOpenFilesOfTheSameProcess) {
  auto first = Open(OpenMode::kCreateNew);
  const auto second = Open(OpenMode::kReadWrite);
  ASSERT_THAT(first->LockExclusive(absl::ZeroDuration()), IsOk());
  EXPECT_THAT(first->LockExclusive(absl::ZeroDuration()), IsOk());
  const absl::Status refused = second->LockExclusive(absl::ZeroDuration());
  EXPECT_THAT(refused, HasCode(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(refused, HasErrorNumber(EWOULDBLOCK));
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr(absl::StrCat("pid ", getpid())));
  first.reset();
  EXPECT_THAT(second->LockExclusive(absl::ZeroDuration()), IsOk());
}

TEST_F(FileTest, LockHolderInAnotherProcessIsNamed) {
  const auto file = Open(OpenMode::kCreateNew);
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto held = RealFileSystem()->Open(Path(), OpenMode::kReadWrite, 0);
    const bool ok =
        held.ok() && (*held)->LockExclusive(absl::ZeroDuration()).ok();
    if (write(ready[1], ok ? "y" : "n", 1) != 1) _exit(1);
    while (true) pause();
  }
  char answer = 0;
  ASSERT_EQ(read(ready[0], &answer, 1), 1);
  EXPECT_EQ(answer, 'y');
  const absl::Status refused = file->LockExclusive(absl::ZeroDuration());
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr(absl::StrCat("pid ", child)));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  // The death of the holder gives the lock up.
  EXPECT_THAT(file->LockExclusive(absl::ZeroDuration()), IsOk());
  close(ready[0]);
  close(ready[1]);
}

TEST_F(FileTest, ReadersAndWhoKeepsThemOutSeeEachOther) {
  const auto writer = Open(OpenMode::kCreateNew);
  ASSERT_THAT(writer->LockExclusive(absl::ZeroDuration()), IsOk());
  auto reader = Open(OpenMode::kRead);
  auto other = Open(OpenMode::kRead);
  // The writer's lock is no matter of readers.
  ASSERT_THAT(reader->LockForReading(), IsOk());
  ASSERT_THAT(other->LockForReading(), IsOk());
  EXPECT_FALSE(*writer->TryLockOutReaders());
  reader.reset();
  EXPECT_FALSE(*writer->TryLockOutReaders());
  other.reset();
  EXPECT_TRUE(*writer->TryLockOutReaders());
  writer->LetReadersIn();
  reader = Open(OpenMode::kRead);
  EXPECT_THAT(reader->LockForReading(), IsOk());
}

TEST_F(FileTest, RenameAndRemove) {
  Open(OpenMode::kCreateNew);
  ASSERT_THAT(RealFileSystem()->Rename(Path(), Path("b")), IsOk());
  EXPECT_EQ(directory_.Listing(), "b ");
  ASSERT_THAT(RealFileSystem()->Remove(Path("b")), IsOk());
  EXPECT_THAT(RealFileSystem()->Remove(Path("b")), HasErrorNumber(ENOENT));
  EXPECT_THAT(RealFileSystem()->Rename(Path("b"), Path("c")),
              HasErrorNumber(ENOENT));
  EXPECT_THAT(RealFileSystem()->Info(Path("b")), HasErrorNumber(ENOENT));
}

// io_util's loops, under every kind of disturbance.
TEST_F(FileTest, LoopsGoOnAfterShortCountsAndInterruptions) {
  FaultFileSystem file_system;
  auto file = file_system.Open(Path(), OpenMode::kCreateNew, 0600);
  ASSERT_THAT(file, IsOk());
  const std::string text = Pattern(1, 5000);
  std::vector<struct iovec> pieces;
  for (size_t i = 0; i < text.size(); ++i) {
    if (i % 7 == 0) pieces.push_back(PieceOf({}));
    pieces.push_back(PieceOf(Bytes(text).subspan(i, 1)));
  }
  file_system.Inject({.ops = kOpWrite, .times = 100, .partial_bytes = 3});
  ASSERT_THAT(WriteFully(**file, 10, absl::MakeSpan(pieces)), IsOk());
  EXPECT_EQ(file_system.hits(), 100);
  std::vector<std::byte> out(text.size());
  file_system.Inject({.ops = kOpRead, .times = 3, .error_number = EINTR});
  ASSERT_THAT(ReadExactly(**file, 10, absl::MakeSpan(out)), IsOk());
  EXPECT_TRUE(absl::MakeConstSpan(out) == Bytes(text));
  file_system.Inject({.ops = kOpRead, .times = 50, .partial_bytes = 1});
  ASSERT_THAT(ReadExactly(**file, 10, absl::MakeSpan(out)), IsOk());
  file_system.Inject({.ops = kOpWrite, .times = 3, .error_number = EINTR});
  EXPECT_THAT(WriteFully(**file, 0, Bytes("x")), IsOk());
  file_system.Inject({.ops = kOpWrite, .error_number = ENOSPC});
  EXPECT_THAT(WriteFully(**file, 0, Bytes("x")), HasErrorNumber(ENOSPC));
}

TEST_F(FileTest, UpToIovMaxPiecesTakeOneCall) {
  FaultFileSystem file_system;
  auto file = file_system.Open(Path(), OpenMode::kCreateNew, 0600);
  ASSERT_THAT(file, IsOk());
  std::vector<struct iovec> pieces(1024, PieceOf(Bytes("ab")));
  ASSERT_THAT(WriteFully(**file, 0, absl::MakeSpan(pieces)), IsOk());
  EXPECT_EQ(file_system.Count(kOpWrite), 1);
  pieces.assign(1025, PieceOf(Bytes("ab")));
  ASSERT_THAT(WriteFully(**file, 0, absl::MakeSpan(pieces)), IsOk());
  EXPECT_EQ(file_system.Count(kOpWrite), 3);
  EXPECT_EQ(ReadWholeFile(Path()).size(), 2050);
}

}  // namespace
}  // namespace varve
