#include <errno.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/io/file.h"
#include "fs/monitor/measured_files.h"
#include "fs/monitor/metrics_text.h"
#include "fs/monitor/monitor_socket.h"
#include "fs/monitor/request_meter.h"
#include "fs/monitor/tracer.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using std::chrono::microseconds;
using std::chrono::nanoseconds;

LatencyCounts Once(nanoseconds duration) {
  LatencyHistogram histogram;
  histogram.Add(duration);
  LatencyCounts counts;
  histogram.AddTo(counts);
  return counts;
}

TEST(LatencyHistogramTest, ABucketHoldsWhatTookUpToItsBound) {
  EXPECT_EQ(Once(nanoseconds(0)).counts[0], 1u);
  EXPECT_EQ(Once(nanoseconds(1000)).counts[0], 1u);
  EXPECT_EQ(Once(nanoseconds(1001)).counts[1], 1u);
  EXPECT_EQ(Once(nanoseconds(2000)).counts[1], 1u);
  EXPECT_EQ(Once(nanoseconds(2001)).counts[2], 1u);
  EXPECT_EQ(Once(nanoseconds(4000)).counts[2], 1u);
  EXPECT_EQ(Once(microseconds(1 << 24)).counts[24], 1u);
  EXPECT_EQ(Once(std::chrono::hours(9)).counts[kLatencyBuckets - 1], 1u);
  EXPECT_EQ(Once(nanoseconds(-5)).counts[0], 1u);
  EXPECT_EQ(Once(nanoseconds(2001)).nanoseconds, 2001u);
}

TEST(RequestMeterTest, ThreadsLoseNothing) {
  constexpr int kThreads = 20;
  constexpr int kRounds = 1000;
  RequestMeter meter;
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&meter] {
      for (int round = 0; round < kRounds; ++round) {
        meter.Begin();
        meter.End({.opcode = 15,
                   .error = EIO,
                   .bytes_read = 3,
                   .bytes_written = 2,
                   .duration = microseconds(1)});
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  meter.Begin();
  const auto counts = meter.Read();
  constexpr uint64_t kAll = uint64_t{kThreads} * kRounds;
  EXPECT_EQ(counts->latencies[15].total(), kAll);
  EXPECT_EQ(counts->latencies[15].nanoseconds, 1000 * kAll);
  EXPECT_EQ(counts->errors[EIO], kAll);
  EXPECT_EQ(counts->bytes_read, 3 * kAll);
  EXPECT_EQ(counts->bytes_written, 2 * kAll);
  EXPECT_EQ(counts->in_progress, 1u);
}

TEST(RequestMeterTest, NumbersBeyondTheTablesAreCountedToo) {
  RequestMeter meter;
  meter.End({.opcode = 4096, .error = 5000});
  const auto counts = meter.Read();
  EXPECT_EQ(counts->latencies[0].total(), 1u);
  EXPECT_EQ(counts->errors[RequestMeter::kErrors - 1], 1u);
}

TEST(MetricsTextTest, AHistogramAddsUp) {
  LatencyHistogram histogram;
  histogram.Add(nanoseconds(500));
  histogram.Add(nanoseconds(1500));
  histogram.Add(std::chrono::hours(1));
  LatencyCounts counts;
  histogram.AddTo(counts);
  MetricsText text;
  text.Metric("x_seconds", "histogram", "how long");
  text.Histogram(Label("op", "a\"b\\c\nd"), counts);
  const std::string label = R"(op="a\"b\\c\nd")";
  for (const std::string& line :
       {std::string("# TYPE x_seconds histogram\n"),
        absl::StrCat("x_seconds_bucket{", label, ",le=\"1e-06\"} 1\n"),
        absl::StrCat("x_seconds_bucket{", label, ",le=\"2e-06\"} 2\n"),
        absl::StrCat("x_seconds_bucket{", label, ",le=\"16.777216\"} 2\n"),
        absl::StrCat("x_seconds_bucket{", label, ",le=\"+Inf\"} 3\n"),
        absl::StrCat("x_seconds_sum{", label, "} 3600.000002\n"),
        absl::StrCat("x_seconds_count{", label, "} 3\n")}) {
    EXPECT_TRUE(absl::StrContains(text.text(), line)) << line << text.text();
  }
}

TEST(MeasuredFilesTest, AppendsAndSyncsAreCountedFailedOnesToo) {
  const std::string path =
      absl::StrCat(testing::TempDir(), "/measured.", getpid());
  FileMeter meter;
  MeasuredFiles files(*RealFileSystem(), meter);
  char bytes[] = "content";
  const struct iovec piece = {bytes, 7};
  {
    auto file = files.Open(path, OpenMode::kCreateNew, 0600);
    ASSERT_TRUE(file.ok()) << file.status();
    EXPECT_EQ(*(*file)->WriteAt(0, {&piece, 1}), 7u);
    EXPECT_TRUE((*file)->Sync().ok());
  }
  auto file = files.Open(path, OpenMode::kRead, 0);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_FALSE((*file)->WriteAt(0, {&piece, 1}).ok());
  EXPECT_TRUE(files.Remove(path).ok());
  LatencyCounts appends;
  meter.appends.AddTo(appends);
  LatencyCounts syncs;
  meter.syncs.AddTo(syncs);
  EXPECT_EQ(appends.total(), 2u);
  EXPECT_EQ(syncs.total(), 1u);
  EXPECT_EQ(meter.bytes_appended.load(), 7u);
  EXPECT_EQ(meter.failed_appends.load(), 1u);
  EXPECT_EQ(meter.failed_syncs.load(), 0u);
}

TracedRequest Sample(const std::string& operation) {
  return {.pid = 7,
          .operation = operation,
          .path = "/p",
          .duration = microseconds(5)};
}

TEST(TracerTest, IsOnWhileSomebodyReads) {
  Tracer tracer;
  EXPECT_FALSE(tracer.on());
  {
    const Tracer::Reader reader(tracer, {});
    EXPECT_TRUE(tracer.on());
  }
  EXPECT_FALSE(tracer.on());
}

TEST(TracerTest, AReaderGetsWhatItAskedFor) {
  Tracer tracer;
  Tracer::Reader all(tracer, {});
  Tracer::Reader reads(tracer, {.operations = {"read", "open"}});
  Tracer::Reader others(tracer, {.pid = 8});
  Tracer::Reader slow(tracer, {.at_least = microseconds(6)});
  for (const char* name : {"lookup", "read", "open"}) {
    tracer.Record(Sample(name));
  }
  EXPECT_EQ(all.Take().requests.size(), 3u);
  EXPECT_EQ(reads.Take().requests.size(), 2u);
  EXPECT_EQ(others.Take().requests.size(), 0u);
  EXPECT_EQ(slow.Take().requests.size(), 0u);
  EXPECT_EQ(all.Take().requests.size(), 0u);
}

TEST(TracerTest, WhatAFullReaderMissesIsCounted) {
  Tracer tracer;
  Tracer::Reader reader(tracer, {});
  for (int i = 0; i < 10000; ++i) tracer.Record(Sample("read"));
  const Tracer::Reader::Taken taken = reader.Take();
  EXPECT_EQ(taken.requests.size(), 8192u);
  EXPECT_EQ(taken.lost, 10000u - 8192u);
  EXPECT_EQ(reader.Take().lost, 0u);
}

TEST(TracerTest, JsonIsUtf8WhateverNamesAre) {
  TracedRequest request = Sample("rename");
  request.path = "/a\"b\\c\nd\xff\xc3\xa4\xed\xa0\x80";
  request.target = "/t";
  request.error = ENOENT;
  EXPECT_EQ(ToJson(request),
            "{\"time\": \"1970-01-01T00:00:00.000000Z\", \"pid\": 7, "
            "\"command\": \"\", \"op\": \"rename\", \"path\": "
            "\"/a\\\"b\\\\c\\u000ad\xef\xbf\xbd\xc3\xa4\xef\xbf\xbd\xef\xbf\xbd"
            "\xef\xbf\xbd\", \"target\": \"/t\", \"result\": \"ENOENT\", "
            "\"bytes\": 0, \"seconds\": 0.000005000}\n");
}

class MonitorSocketTest : public testing::Test {
 protected:
  static std::string Metrics() { return "varve_up 1\n"; }

  // The whole answer of the server.
  std::string Get(const std::string& request) {
    const Descriptor fd(socket(AF_UNIX, SOCK_STREAM, 0));
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    if (connect(fd.get(), reinterpret_cast<struct sockaddr*>(&address),
                sizeof(address)) != 0) {
      return "cannot connect";
    }
    send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL);
    std::string answer;
    char buffer[4096];
    for (ssize_t got; (got = recv(fd.get(), buffer, sizeof(buffer), 0)) > 0;) {
      answer.append(buffer, static_cast<size_t>(got));
    }
    return answer;
  }

  const std::string path_ = absl::StrCat("/tmp/varve-monitor-test.", getpid());
  Tracer tracer_;
};

TEST_F(MonitorSocketTest, MetricsAreServedByHttp) {
  auto server = MonitorSocket::Listen(path_, &Metrics, tracer_);
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string answer = Get("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.0 200 OK\r\n")) << answer;
  EXPECT_TRUE(absl::EndsWith(answer, "\r\n\r\nvarve_up 1\n")) << answer;
}

TEST_F(MonitorSocketTest, WhatIsNotKnownIsRefused) {
  auto server = MonitorSocket::Listen(path_, &Metrics, tracer_);
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_TRUE(absl::StrContains(Get("GET / HTTP/1.0\r\n\r\n"), " 404 "));
  EXPECT_TRUE(
      absl::StrContains(Get("POST /metrics HTTP/1.0\r\n\r\n"), " 400 "));
  EXPECT_TRUE(absl::StrContains(Get(std::string(5000, 'x')), " 400 "));
  EXPECT_TRUE(
      absl::StrContains(Get("GET /trace?who=me HTTP/1.0\r\n\r\n"), " 400 "));
}

TEST_F(MonitorSocketTest, ALeftoverIsReplacedAndALivingOneIsNot) {
  auto first = MonitorSocket::Listen(path_, &Metrics, tracer_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(MonitorSocket::Listen(path_, &Metrics, tracer_).status().code(),
            absl::StatusCode::kAlreadyExists);
  first->reset();
  EXPECT_NE(access(path_.c_str(), F_OK), 0);
  {
    const Descriptor dead(socket(AF_UNIX, SOCK_STREAM, 0));
    struct sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(bind(dead.get(), reinterpret_cast<struct sockaddr*>(&address),
                   sizeof(address)),
              0);
  }
  EXPECT_TRUE(MonitorSocket::Listen(path_, &Metrics, tracer_).ok());
}

TEST_F(MonitorSocketTest, ATraceEndsWithTheServer) {
  auto server = MonitorSocket::Listen(path_, &Metrics, tracer_);
  ASSERT_TRUE(server.ok()) << server.status();
  std::string answer;
  std::thread client(
      [&] { answer = Get("GET /trace?op=read HTTP/1.0\r\n\r\n"); });
  // Nothing signals that the other thread has come so far.
  while (!tracer_.on()) std::this_thread::yield();
  tracer_.Record(Sample("lookup"));
  tracer_.Record(Sample("read"));
  server->reset();
  client.join();
  EXPECT_TRUE(absl::StrContains(answer, "\"op\": \"read\"")) << answer;
  EXPECT_FALSE(absl::StrContains(answer, "lookup")) << answer;
  EXPECT_FALSE(tracer_.on());
}

}  // namespace
}  // namespace varve::fs
