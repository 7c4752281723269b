#include "engine/io/bus_guard.h"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/test_util.h"
#include "engine/io/file.h"

namespace varve {
namespace {

class BusGuardTest : public testing::Test {
 protected:
  void SetUp() override { InstallBusGuard(); }

  // Maps a new file of so many pages.
  void MakeFile(size_t pages) {
    content_ = Pattern(1, pages * page_);
    WriteWholeFile(path_, content_);
    auto file = RealFileSystem()->Open(path_, OpenMode::kRead, 0);
    ASSERT_THAT(file, IsOk());
    auto mapping = (*file)->Map(content_.size());
    ASSERT_THAT(mapping, IsOk());
    mapping_ = *std::move(mapping);
  }
  void Truncate(size_t pages) {
    ASSERT_EQ(truncate(path_.c_str(), static_cast<off_t>(pages * page_)), 0);
  }
  absl::Span<const std::byte> PagesAt(size_t first, size_t count = 1) const {
    return {mapping_->data() + first * page_, count * page_};
  }
  bool IsZero(size_t page) const {
    const auto bytes = PagesAt(page);
    return std::all_of(bytes.begin(), bytes.end(),
                       [](std::byte byte) { return byte == std::byte{0}; });
  }
  bool IsAsWritten(size_t page) const {
    const auto bytes = PagesAt(page);
    return std::equal(bytes.begin(), bytes.end(),
                      Bytes(content_).subspan(page * page_).begin());
  }

  const size_t page_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const TemporaryDirectory directory_;
  const std::string path_ = directory_.File("mapped");
  std::string content_;
  std::unique_ptr<const Mapping> mapping_;
};

TEST_F(BusGuardTest, PagesBehindTheEndOfATruncatedFileReadAsZerosAndAreLost) {
  MakeFile(4);
  EXPECT_TRUE(IsAsWritten(3));
  EXPECT_FALSE(HasLostBytes(PagesAt(0, 4)));
  Truncate(2);
  EXPECT_TRUE(IsZero(3));
  EXPECT_TRUE(HasLostBytes(PagesAt(3)));
  EXPECT_TRUE(HasLostBytes(PagesAt(0, 4)));
  EXPECT_TRUE(HasLostBytes({mapping_->data() + 3 * page_ - 1, 2}));
  EXPECT_FALSE(HasLostBytes(PagesAt(0, 3)));
  EXPECT_TRUE(IsAsWritten(0));
  EXPECT_TRUE(IsAsWritten(1));
}

TEST_F(BusGuardTest, BytesOutsideOfMappingsAreNeverLost) {
  MakeFile(2);
  Truncate(0);
  EXPECT_TRUE(IsZero(0));
  const std::string text = "text";
  EXPECT_FALSE(HasLostBytes(Bytes(text)));
  EXPECT_FALSE(HasLostBytes({}));
}

TEST_F(BusGuardTest, LongRunsOfLostPagesLeaveTheRestAlone) {
  MakeFile(1000);
  Truncate(1);
  for (size_t page = 1; page < 500; ++page) ASSERT_TRUE(IsZero(page));
  for (size_t page = 999; page >= 500; --page) ASSERT_TRUE(IsZero(page));
  EXPECT_TRUE(HasLostBytes(PagesAt(999)));
  EXPECT_FALSE(HasLostBytes(PagesAt(0)));
  EXPECT_TRUE(IsAsWritten(0));
}

TEST_F(BusGuardTest, TooManyRunsOfLostPagesMakeAllOfTheMappingLost) {
  MakeFile(1000);
  EXPECT_TRUE(IsAsWritten(0));
  Truncate(1);
  for (size_t page = 1; page < 1000; page += 2) ASSERT_TRUE(IsZero(page));
  EXPECT_TRUE(HasLostBytes(PagesAt(0)));
}

TEST_F(BusGuardTest, AnotherMappingOfTheFileIsNotLost) {
  MakeFile(2);
  Truncate(0);
  EXPECT_TRUE(IsZero(1));
  // Perhaps where the old one was.
  mapping_.reset();
  MakeFile(2);
  EXPECT_TRUE(IsAsWritten(1));
  EXPECT_FALSE(HasLostBytes(PagesAt(0, 2)));
}

TEST_F(BusGuardTest, ThreadsMayComeUponTheSamePages) {
  MakeFile(256);
  Truncate(16);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this] {
      for (size_t page = 0; page < 256; ++page) {
        const bool is_zero = IsZero(page);
        EXPECT_EQ(is_zero, page >= 16);
        EXPECT_EQ(HasLostBytes(PagesAt(page)), page >= 16);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(BusGuardTest, ErrorsInOtherMemoryEndTheProcess) {
  MakeFile(1);
  Truncate(0);
  const auto touch = [&] {
    auto file = RealFileSystem()->Open(path_, OpenMode::kRead, 0);
    std::unique_ptr<const Mapping> mapping = *(*file)->Map(page_);
    // A second mapping of the same pages, which the guard knows nothing of.
    void* const copy = mremap(const_cast<std::byte*>(mapping->data()), 0, page_,
                              MREMAP_MAYMOVE);
    if (copy == MAP_FAILED) _exit(1);
    _exit(static_cast<volatile char*>(copy)[0]);
  };
  // The sanitizers report the signal, and exit.
  EXPECT_EXIT(
      touch(), [](int status) { return status != 0; }, "");
}

TEST_F(BusGuardTest, SignalsThatWereSentEndTheProcess) {
  EXPECT_EXIT(
      {
        raise(SIGBUS);
        _exit(0);
      },
      [](int status) { return status != 0; }, "");
}

}  // namespace
}  // namespace varve
