#include "tools/varve/progress.h"

#include <poll.h>
#include <pty.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::tools {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr uint64_t kMiB = uint64_t{1} << 20;

TEST(HumanBytesTest, UnitsFit) {
  EXPECT_EQ(HumanBytes(0), "0 bytes");
  EXPECT_EQ(HumanBytes(1023), "1023 bytes");
  EXPECT_EQ(HumanBytes(1024), "1.0 KiB");
  EXPECT_EQ(HumanBytes(kMiB - 1), "1.0 MiB");
  EXPECT_EQ(HumanBytes(3 * kMiB / 2), "1.5 MiB");
  EXPECT_EQ(HumanBytes(~uint64_t{0}), "16.0 EiB");
}

TEST(HumanTimeTest, HoursAreLeftOutUntilThereAreSome) {
  EXPECT_EQ(HumanTime(0), "0:00");
  EXPECT_EQ(HumanTime(20'500), "0:21");
  EXPECT_EQ(HumanTime(3'723'000), "1:02:03");
}

TEST(ProgressTextTest, OnlyWhatIsKnownIsSaid) {
  EXPECT_EQ(ProgressText("opening a", {.elapsed_ms = 4000}), "opening a: 0:04");
  EXPECT_EQ(ProgressText("removing", {.files = 1, .elapsed_ms = 1000}),
            "removing: 1 file, 0:01");
  EXPECT_EQ(ProgressText("copying", {.files = 120, .bytes = 3 * kMiB / 2}),
            "copying: 120 files, 1.5 MiB, 0:00");
}

TEST(ProgressTextTest, AllIsNotDoneBeforeTheEnd) {
  EXPECT_EQ(ProgressText(
                "checking a",
                {.bytes = kMiB, .total_bytes = 2 * kMiB, .elapsed_ms = 2000}),
            "checking a: 1.0 MiB of 2.0 MiB (50%), 0:02");
  EXPECT_EQ(ProgressText("checking a", {.bytes = 3 * kMiB,
                                        .total_bytes = 2 * kMiB,
                                        .elapsed_ms = 2000}),
            "checking a: 3.0 MiB of 2.0 MiB (99%), 0:02");
}

// Standard error is a terminal as long as this lives.
class Terminal {
 public:
  Terminal() : saved_(dup(STDERR_FILENO)) {
    int user = -1;
    EXPECT_EQ(openpty(&controller_, &user, nullptr, nullptr, nullptr), 0);
    dup2(user, STDERR_FILENO);
    close(user);
  }
  ~Terminal() {
    Restore();
    close(controller_);
  }

  // What was written to it, which then is one no more.
  std::string Read() {
    Restore();
    std::string text;
    char buffer[4096];
    ssize_t count;
    while ((count = read(controller_, buffer, sizeof(buffer))) > 0) {
      text.append(buffer, static_cast<size_t>(count));
    }
    return text;
  }
  void WaitUntilShown() const {
    struct pollfd shown = {.fd = controller_, .events = POLLIN, .revents = 0};
    EXPECT_EQ(poll(&shown, 1, 60'000), 1);
  }

 private:
  void Restore() {
    if (saved_ < 0) return;
    dup2(saved_, STDERR_FILENO);
    close(saved_);
    saved_ = -1;
  }

  int saved_;
  int controller_ = -1;
};

TEST(ProgressTest, ThreadsCountAndOneShowsIt) {
  Terminal terminal;
  {
    Progress progress("counting");
    progress.SetTotalBytes(1);
    std::atomic<bool> ended{false};
    std::thread worker([&] {
      while (!ended.load()) {
        progress.AddFile();
        progress.AddBytes(1);
        progress.ShowInstead([](size_t) { return std::string("instead"); });
      }
    });
    terminal.WaitUntilShown();
    progress.Clear();
    ended.store(true);
    worker.join();
  }
  const std::string text = terminal.Read();
  EXPECT_THAT(text, StartsWith("\rinstead\x1b[K"));
  EXPECT_THAT(text, EndsWith("\r\x1b[K"));
}

TEST(ProgressTest, TheNewestIsShownAlone) {
  Terminal terminal;
  {
    const Progress outer("outer");
    const Progress inner("inner");
    terminal.WaitUntilShown();
  }
  const std::string text = terminal.Read();
  EXPECT_THAT(text, StartsWith("\rinner: 0:01"));
  EXPECT_THAT(text, Not(HasSubstr("outer")));
}

TEST(ProgressTest, WhatDoesNotFitIsLeftOut) {
  Terminal terminal;
  {
    const Progress progress(std::string(300, 'x'));
    terminal.WaitUntilShown();
  }
  EXPECT_THAT(terminal.Read(),
              StartsWith("\r" + std::string(79, 'x') + "\x1b[K"));
}

}  // namespace
}  // namespace varve::tools
