#include "fs/format/change_pipe.h"

#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/test_util.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

constexpr int kMany = 60'000;  // several times what the pipe holds

class ChangePipeTest : public testing::TestWithParam<size_t> {
 protected:
  ChangePipeTest() : writer_(CommitHeader()) {}

  void Add(int count) {
    for (int i = 0; i < count; ++i) {
      const std::string name = absl::StrCat("name", added_);
      writer_.Add(PutName{.parent = 1, .ino = ++added_, .name = name});
    }
  }

  // Opened by a thread of its own, or by the caller, as the parameter says.
  ChangePipe Open() {
    auto reader = CommitReader::Open(writer_.payload(), 64, 1, 2);
    EXPECT_THAT(reader, IsOk());
    return ChangePipe(*std::move(reader), GetParam());
  }

  void Expect(ChangePipe& pipe, uint64_t from, uint64_t to) {
    for (uint64_t ino = from; ino <= to; ++ino) {
      const absl::StatusOr<Change*> next = pipe.Next();
      ASSERT_THAT(next, IsOk());
      ASSERT_NE(*next, nullptr) << ino;
      const auto& put = std::get<PutName>(**next);
      ASSERT_EQ(put.ino, ino);
      ASSERT_EQ(put.name, absl::StrCat("name", ino - 1));
    }
  }

  CommitWriter writer_;
  uint64_t added_ = 0;
};

TEST_P(ChangePipeTest, GivesAllInOrderAndThenNothing) {
  for (const int count : {0, 1, 255, 1, kMany}) {
    Add(count);
    ChangePipe pipe = Open();
    Expect(pipe, 1, added_);
    for (int i = 0; i < 2; ++i) {
      const absl::StatusOr<Change*> end = pipe.Next();
      ASSERT_THAT(end, IsOk());
      EXPECT_EQ(*end, nullptr);
    }
  }
}

TEST_P(ChangePipeTest, DamageIsToldInItsPlace) {
  Add(kMany);
  writer_.AddDigest();
  std::string payload = writer_.payload();
  payload.back() ^= 1;
  auto reader = CommitReader::Open(payload, 64, 1, 2);
  ASSERT_THAT(reader, IsOk());
  ChangePipe pipe(*std::move(reader), GetParam());
  Expect(pipe, 1, kMany);
  EXPECT_THAT(pipe.Next(), HasCode(absl::StatusCode::kDataLoss));
}

TEST_P(ChangePipeTest, GoesOnBehindAnUnknownKind) {
  Add(3000);
  std::string payload = writer_.payload();
  // Three of them, two in a row.
  const std::string unknown("\xc8\x01x", 3);
  const std::string before = "name999";
  payload.insert(payload.find(before) + before.size(), unknown + unknown);
  payload += unknown;
  auto reader = CommitReader::Open(payload, 64, 1, 2);
  ASSERT_THAT(reader, IsOk());
  ChangePipe pipe(*std::move(reader), GetParam());
  Expect(pipe, 1, 1000);
  EXPECT_THAT(pipe.Next(), HasCode(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(pipe.Next(), HasCode(absl::StatusCode::kUnimplemented));
  Expect(pipe, 1001, 3000);
  EXPECT_THAT(pipe.Next(), HasCode(absl::StatusCode::kUnimplemented));
  const absl::StatusOr<Change*> end = pipe.Next();
  ASSERT_THAT(end, IsOk());
  EXPECT_EQ(*end, nullptr);
}

TEST_P(ChangePipeTest, CanBeLeftAtAnyPoint) {
  Add(kMany);
  for (const int taken : {0, 1, 256, 3000}) {
    ChangePipe pipe = Open();
    Expect(pipe, 1, taken);
  }
}

std::string NameOf(const testing::TestParamInfo<size_t>& tested) {
  return tested.param == 0 ? "OfItsOwn" : "OfTheCaller";
}

INSTANTIATE_TEST_SUITE_P(Threads, ChangePipeTest, testing::Values(0, SIZE_MAX),
                         NameOf);

}  // namespace
}  // namespace varve::fs
