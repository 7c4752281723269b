#include "tools/varve/heartbeat.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tools/varve/service_manager.h"
#include "tools/varve/unix_address.h"

namespace varve::tools {
namespace {

class HeartbeatTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string name = absl::StrCat("@varve-heartbeat-test.", getpid());
    const auto address = ParseUnixAddress(name);
    ASSERT_EQ(bind(receiver_.get(), address->get(), address->size), 0);
    setenv("NOTIFY_SOCKET", name.c_str(), 1);
    manager_ = ServiceManager::FromEnvironment();
    ASSERT_TRUE(manager_.listens());
    EXPECT_EQ(getenv("NOTIFY_SOCKET"), nullptr);
  }

  // What comes within that time; empty if nothing does.
  std::string Told(absl::Duration patience) {
    struct pollfd event = {receiver_.get(), POLLIN, 0};
    const auto ms = static_cast<int>(absl::ToInt64Milliseconds(patience));
    if (poll(&event, 1, ms) <= 0) return "";
    char buffer[4096];
    const ssize_t size = recv(receiver_.get(), buffer, sizeof(buffer), 0);
    return size > 0 ? std::string(buffer, static_cast<size_t>(size)) : "";
  }

  const Descriptor receiver_{socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  ServiceManager manager_;
};

TEST_F(HeartbeatTest, MoreTimeIsAskedForWhileThereIsWorkDone) {
  const Heartbeat heartbeat(manager_, "/s", absl::Milliseconds(200));
  EXPECT_EQ(Told(absl::Seconds(60)), "STATUS=Opening /s");
  std::string told;
  // What an opening does: it computes.
  while (told.empty()) told = Told(absl::ZeroDuration());
  EXPECT_TRUE(absl::StartsWith(told, "EXTEND_TIMEOUT_USEC=60000000\n")) << told;
}

TEST_F(HeartbeatTest, NoTimeIsAskedForWhileNothingMoves) {
  const Heartbeat heartbeat(manager_, "/s", absl::Milliseconds(20));
  EXPECT_EQ(Told(absl::Seconds(60)), "STATUS=Opening /s");
  EXPECT_EQ(Told(absl::Milliseconds(500)), "");
}

TEST_F(HeartbeatTest, StoppingIsTold) {
  Heartbeat heartbeat(manager_, "/s");
  EXPECT_EQ(Told(absl::Seconds(60)), "STATUS=Opening /s");
  heartbeat.Stopping();
  EXPECT_EQ(Told(absl::Seconds(60)), "STOPPING=1");
  EXPECT_EQ(Told(absl::Seconds(60)), "STATUS=Closing /s");
}

TEST(ServiceManagerTest, WithoutAManagerNothingIsSaid) {
  const ServiceManager nobody;
  EXPECT_FALSE(nobody.listens());
  EXPECT_EQ(nobody.watchdog(), absl::InfiniteDuration());
  nobody.Tell("READY=1");
  Heartbeat heartbeat(nobody, "/s");
  heartbeat.Stopping();
}

}  // namespace
}  // namespace varve::tools
