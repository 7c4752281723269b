#include "fs/content/dirty_content.h"

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace varve::fs {
namespace {

using Kind = DirtyContent::Piece::Kind;

Extent SharedExtent(uint64_t file_offset, uint64_t length,
                    uint64_t store_offset) {
  return {.file_offset = file_offset,
          .length = length,
          .store_offset = store_offset,
          .key_hash = 9,
          .entry_offset = 0,
          .entry_size = length};
}

TEST(DirtyContentTest, StartsClean) {
  DirtyContent content;
  content.Reset(100);
  EXPECT_FALSE(content.dirty());
  EXPECT_EQ(content.size(), 100u);
  EXPECT_EQ(content.base_limit(), 100u);
  EXPECT_FALSE(content.CoversWholeFile());
  content.Touch();
  EXPECT_TRUE(content.dirty());
}

TEST(DirtyContentTest, SequentialWritesGatherInOnePiece) {
  DirtyContent content;
  content.Reset(0);
  for (int i = 0; i < 100; ++i) {
    content.Write(i * 100, std::string(100, 'x'));
  }
  EXPECT_EQ(content.pieces().size(), 1u);
  EXPECT_EQ(content.memory_bytes(), 10'000u);
  EXPECT_EQ(content.size(), 10'000u);
  EXPECT_TRUE(content.CoversWholeFile());
}

TEST(DirtyContentTest, OverwritingDoesNotGrow) {
  DirtyContent content;
  content.Reset(0);
  content.Write(0, "0123456789");
  content.Write(3, "abc");
  content.Write(8, "xyz");
  ASSERT_EQ(content.pieces().size(), 1u);
  EXPECT_EQ(content.pieces().begin()->second.bytes, "012abc67xyz");
  EXPECT_EQ(content.memory_bytes(), 11u);
}

TEST(DirtyContentTest, EmptyWriteIsNone) {
  DirtyContent content;
  content.Reset(10);
  content.Write(100, "");
  EXPECT_FALSE(content.dirty());
  EXPECT_EQ(content.size(), 10u);
}

TEST(DirtyContentTest, TruncationHidesWhatWasCommitted) {
  DirtyContent content;
  content.Reset(100);
  content.Truncate(40);
  content.Truncate(80);
  EXPECT_EQ(content.base_limit(), 40u);
  EXPECT_EQ(content.size(), 80u);
  EXPECT_TRUE(content.pieces().empty());
}

TEST(DirtyContentTest, KnowsThatItWasOnlyEmptied) {
  DirtyContent content;
  content.Reset(100);
  EXPECT_FALSE(content.only_emptied());
  content.Truncate(0);
  EXPECT_TRUE(content.only_emptied());
  content.Write(0, "x");
  EXPECT_FALSE(content.only_emptied());
  content.Truncate(0);
  EXPECT_TRUE(content.only_emptied());
  content.Truncate(10);
  EXPECT_FALSE(content.only_emptied());
}

TEST(DirtyContentTest, FileOfHolesIsNotCovered) {
  DirtyContent content;
  content.Reset(0);
  content.Write(0, "ab");
  content.Write(3, "d");
  EXPECT_FALSE(content.CoversWholeFile());
  content.Write(2, "c");
  EXPECT_TRUE(content.CoversWholeFile());
  content.Punch(1, 1);
  EXPECT_FALSE(content.CoversWholeFile());
}

// DirtyContent next to a model that knows each byte of the file.
class ModelledContent {
 public:
  explicit ModelledContent(uint64_t seed) : random_(seed) { Reset(); }

  void Step() {
    const uint64_t offset = random_() % 300;
    const uint64_t length = random_() % 60;
    switch (random_() % 12) {
      case 0:
        content_.Truncate(offset);
        Resize(offset);
        return;
      case 1:
        if (random_() % 10 == 0) Reset();
        return;
      case 2:
        content_.Punch(offset, length);
        return Fill(offset, length, false, [](uint64_t) {
          return Byte{Kind::kHole, 0};
        });
      case 3:
        content_.Share(SharedExtent(offset, length, 10'000 + offset));
        return Fill(offset, length, true, [&](uint64_t i) {
          return Byte{Kind::kShared, 10'000 + offset + i};
        });
      case 4: {
        content_.MarkSpilled(offset, length, 50'000 + length);
        return Fill(offset, length, true, [&](uint64_t i) {
          return Byte{Kind::kSpilled, 50'000 + length + i};
        });
      }
      default:
        Write(random_() % 2 == 0 ? content_.size() % 300 : offset, length);
    }
  }

  void Check() {
    ASSERT_EQ(content_.size(), size_);
    CheckCounts();
    const uint64_t from = random_() % 400;
    const uint64_t to = from + random_() % (401 - from);
    std::vector<Byte> seen(bytes_.size(), Byte{});
    uint64_t end = 0;
    for (const DirtyContent::Slice& slice : content_.Cover(from, to)) {
      ASSERT_GE(slice.offset, std::max(end, from));
      ASSERT_GT(slice.length, 0u);
      end = slice.offset + slice.length;
      ASSERT_LE(end, to);
      for (uint64_t i = 0; i < slice.length; ++i) {
        seen[slice.offset + i] = {slice.kind, ValueOf(slice, i)};
      }
    }
    for (uint64_t i = from; i < to; ++i) {
      ASSERT_TRUE(seen[i] == bytes_[i]) << "byte " << i;
    }
  }

 private:
  // A byte; if `value` is kNothing, no piece covers it.
  struct Byte {
    static constexpr uint64_t kNothing = ~uint64_t{0};
    Kind kind = Kind::kHole;
    uint64_t value = kNothing;
    friend bool operator==(const Byte&, const Byte&) = default;
  };

  static uint64_t ValueOf(const DirtyContent::Slice& slice, uint64_t i) {
    if (slice.kind == Kind::kMemory) {
      EXPECT_EQ(slice.bytes.size(), slice.length);
      return static_cast<uint8_t>(slice.bytes[i]);
    }
    if (slice.kind == Kind::kHole) return 0;
    if (slice.kind == Kind::kShared) {
      EXPECT_EQ(slice.extent.file_offset, slice.offset);
      EXPECT_EQ(slice.extent.length, slice.length);
      EXPECT_EQ(slice.extent.store_offset, slice.store_offset);
    }
    return slice.store_offset + i;
  }

  void Reset() {
    size_ = random_() % 300;
    base_limit_ = size_;
    content_.Reset(size_);
    bytes_.assign(1000, Byte{});
  }
  void Resize(uint64_t size) {
    std::fill(bytes_.begin() + static_cast<ptrdiff_t>(size), bytes_.end(),
              Byte{});
    size_ = size;
    base_limit_ = std::min(base_limit_, size);
  }
  template <typename F>
  void Fill(uint64_t offset, uint64_t length, bool grows, F byte) {
    for (uint64_t i = 0; i < length; ++i) bytes_[offset + i] = byte(i);
    if (grows && length > 0) size_ = std::max(size_, offset + length);
  }
  void Write(uint64_t offset, uint64_t length) {
    std::string text(length, '\0');
    for (char& c : text) c = static_cast<char>(random_());
    content_.Write(offset, text);
    Fill(offset, length, true, [&](uint64_t i) {
      return Byte{Kind::kMemory, static_cast<uint8_t>(text[i])};
    });
  }
  void CheckCounts() {
    uint64_t memory = 0;
    uint64_t data = 0;
    uint64_t end = 0;
    for (const auto& [offset, piece] : content_.pieces()) {
      ASSERT_GE(offset, end);
      ASSERT_GT(piece.length, 0u);
      end = offset + piece.length;
      if (piece.kind == Kind::kMemory) {
        ASSERT_EQ(piece.bytes.size(), piece.length);
        memory += piece.length;
      }
      if (piece.kind != Kind::kHole) data += piece.length;
    }
    ASSERT_EQ(content_.memory_bytes(), memory);
    ASSERT_EQ(content_.piece_bytes(), data);
    ASSERT_EQ(content_.base_limit(), base_limit_);
    const bool covered = std::all_of(
        bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(size_),
        [](const Byte& b) { return b.kind != Kind::kHole; });
    // Pieces beyond the end of the file can only be holes.
    if (end <= size_) {
      ASSERT_EQ(content_.CoversWholeFile(), covered);
    }
  }

  std::mt19937_64 random_;
  DirtyContent content_;
  uint64_t size_ = 0;
  uint64_t base_limit_ = 0;
  std::vector<Byte> bytes_;
};

TEST(DirtyContentTest, DoesWhatAnArrayDoes) {
  const uint64_t first = std::random_device()();
  for (uint64_t seed = first; seed < first + 300; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ModelledContent content(seed);
    for (int i = 0; i < 100; ++i) {
      content.Step();
      content.Check();
      if (testing::Test::HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace varve::fs
