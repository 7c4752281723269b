#include "tools/varve/log.h"

#include <atomic>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace varve::tools {
namespace {

// For the sanitizer of threads; without it, that nothing crashes.
TEST(LogTest, ThreadsMayLogWhileItGoesElsewhere) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&stop] {
      while (!stop.load()) LogInfo("a line");
    });
  }
  for (int i = 0; i < 50; ++i) LogToStandardError();
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace varve::tools
