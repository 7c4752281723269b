#include "fs/log/segment_parity.h"

#include <algorithm>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "engine/base/test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

std::string RandomBytes(size_t size) {
  std::mt19937 random(static_cast<uint32_t>(size));
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

std::string WholeOf(const std::string& nodes) {
  const SegmentParity parity = ParityOf(nodes);
  EXPECT_EQ(parity.before.size(), BytesBeforeNodes(nodes.size()));
  EXPECT_EQ(parity.behind.size(), BytesBehindNodes(nodes.size()));
  return parity.before + nodes + parity.behind;
}

constexpr size_t kSizes[] = {1,     100,        4095,       4096,         4097,
                             20000, 100 * 4096, 1000 * 999, kMaxNodesSize};

TEST(SegmentParity, SoundNodesComeBackAsTheyAre) {
  for (const size_t size : kSizes) {
    const std::string nodes = RandomBytes(size);
    const auto recovered = RecoverNodes(WholeOf(nodes), size);
    ASSERT_THAT(recovered, IsOk()) << size;
    EXPECT_TRUE(*recovered == nodes) << size;
  }
}

// Pages of the file may begin anywhere in a block.
TEST(SegmentParity, AnyPageCanBeLost) {
  for (const size_t size : kSizes) {
    const std::string nodes = RandomBytes(size);
    const std::string whole = WholeOf(nodes);
    const size_t step = std::max<size_t>(whole.size() / 150, 64) | 1;
    for (size_t at = 0; at < whole.size() + 4096; at += step) {
      std::string damaged = whole;
      const size_t begin = at < 4096 ? 0 : at - 4096;
      std::fill(
          damaged.begin() + static_cast<ptrdiff_t>(begin),
          damaged.begin() + static_cast<ptrdiff_t>(std::min(at, whole.size())),
          '\0');
      const auto recovered = RecoverNodes(damaged, size);
      ASSERT_THAT(recovered, IsOk()) << size << " at " << at;
      ASSERT_TRUE(*recovered == nodes) << size << " at " << at;
    }
  }
}

TEST(SegmentParity, MoreThanThatIsAnError) {
  const std::string nodes = RandomBytes(100'000);
  std::string damaged = WholeOf(nodes);
  for (const size_t block : {3, 9, 20}) {
    damaged[BytesBeforeNodes(nodes.size()) + block * kParityBlock] ^= 1;
  }
  EXPECT_THAT(RecoverNodes(damaged, nodes.size()),
              HasCode(absl::StatusCode::kDataLoss));
  damaged = WholeOf(nodes);
  damaged.front() ^= 1;
  damaged.back() ^= 1;
  EXPECT_THAT(RecoverNodes(damaged, nodes.size()),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(RecoverNodes(damaged, nodes.size() + 1),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(RecoverNodes("", 0), HasCode(absl::StatusCode::kDataLoss));
  EXPECT_THAT(RecoverNodes(damaged, ~size_t{0}),
              HasCode(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace varve::fs
