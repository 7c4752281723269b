#include "engine/recovery/scan.h"

#include <cstring>
#include <string>
#include <vector>

#include "engine/base/endian.h"
#include "engine/base/test_util.h"

namespace varve {
namespace {

// What the functions are to answer, said the slow way.
size_t SlowFindWord(const std::string& data, size_t count, uint64_t needle) {
  for (size_t i = 0; i < count; ++i) {
    if (LoadLittle64(Bytes(data).data() + i) == needle) return i;
  }
  return count;
}

ptrdiff_t SlowFindLastCandidate(const std::string& data, size_t count,
                                uint64_t limit) {
  const std::string zeros(20, '\0');
  for (auto i = static_cast<ptrdiff_t>(count) - 1; i >= 0; --i) {
    if (LoadLittle64(Bytes(data).data() + i + 8) < limit &&
        data.compare(static_cast<size_t>(i), 20, zeros) != 0) {
      return i;
    }
  }
  return -1;
}

std::string WithWord(std::string data, size_t at, uint64_t word) {
  std::memcpy(data.data() + at, &word, sizeof(word));
  return data;
}

TEST(ScanTest, FindsTheWordAtEveryPosition) {
  for (const uint64_t needle :
       {uint64_t{0}, uint64_t{1}, uint64_t{0x12345678}, uint64_t{7} << 32,
        uint64_t{0x123456789abcdef0}}) {
    for (size_t count = 0; count < 100; ++count) {
      const std::string noise(count + 7, 'x');
      EXPECT_EQ(FindWord(Bytes(noise).data(), count, needle), count);
      for (size_t at = 0; at < count; ++at) {
        const std::string data = WithWord(noise, at, needle);
        ASSERT_EQ(FindWord(Bytes(data).data(), count, needle),
                  SlowFindWord(data, count, needle))
            << needle << " " << count << " " << at;
      }
    }
  }
}

TEST(ScanTest, FindsTheLastCandidateAtEveryPosition) {
  for (const uint64_t limit :
       {uint64_t{1}, uint64_t{200}, uint64_t{1} << 20, uint64_t{1} << 31,
        (uint64_t{1} << 40) + 1, uint64_t{1} << 57}) {
    for (const uint64_t word : {uint64_t{0}, limit - 1, limit}) {
      for (size_t count = 0; count < 70; ++count) {
        const std::string noise(count + 19, '\xff');
        EXPECT_EQ(FindLastCandidate(Bytes(noise).data(), count, limit), -1);
        for (size_t at = 0; at < count; ++at) {
          const std::string data = WithWord(noise, at + 8, word);
          ASSERT_EQ(FindLastCandidate(Bytes(data).data(), count, limit),
                    SlowFindLastCandidate(data, count, limit))
              << limit << " " << word << " " << count << " " << at;
        }
      }
    }
  }
}

TEST(ScanTest, ZerosAreNeverMetadata) {
  for (size_t begin = 0; begin < 80; begin += 3) {
    for (size_t length = 0; begin + length < 119; length += 5) {
      std::string data(119, 'x');
      std::memset(data.data() + begin, 0, length);
      size_t count = 100;
      // All candidates, as the scan of recovery asks for them.
      while (true) {
        const ptrdiff_t found =
            FindLastCandidate(Bytes(data).data(), count, 1000);
        ASSERT_EQ(found, SlowFindLastCandidate(data, count, 1000))
            << begin << " " << length << " " << count;
        if (found < 0) break;
        count = static_cast<size_t>(found);
      }
    }
  }
}

}  // namespace
}  // namespace varve
