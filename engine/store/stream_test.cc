// Batches and streams.

#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

using testing::ElementsAre;

constexpr uint64_t kFallback = 1000;

class BatchTest : public StoreFixture {};

TEST_F(BatchTest, TakesAnyMixInOneAppend) {
  Write("old", "x");
  const uint64_t begin = store_->tail();
  const int writes = file_system_.Count(kOpWrite);
  {
    Batch batch = store_->BeginBatch();
    EXPECT_EQ(batch.begin(), begin);
    const EntryLocation a =
        batch.Add(HashKey("a"), {Bytes("one"), {}, Bytes("two")});
    EXPECT_EQ(a.payload_offset, Align64(begin));
    EXPECT_EQ(a.payload_size, 6);
    EXPECT_EQ(a.prev_tail, begin);
    const EntryLocation gone = batch.AddTombstone(HashKey("old"));
    EXPECT_EQ(gone.prev_tail, a.end());
    EXPECT_TRUE(gone.is_tombstone);
    const EntryLocation b = batch.Add(HashKey("b"), Bytes("three"));
    EXPECT_EQ(b.prev_tail, gone.end());
    // Not before it is committed.
    EXPECT_EQ(Read("a"), "(NOT_FOUND)");
    EXPECT_EQ(Read("old"), "x");
    EXPECT_THAT(batch.Commit(), IsOk());
    EXPECT_EQ(store_->tail(), b.end());
    EXPECT_THAT(store_->Verify(a), IsOk());
    EXPECT_THAT(store_->Verify(gone), IsOk());
    EXPECT_THAT(store_->Verify(b), IsOk());
  }
  EXPECT_EQ(file_system_.Count(kOpWrite), writes + 1);
  Open();
  EXPECT_EQ(Read("a"), "onetwo");
  EXPECT_EQ(Read("b"), "three");
  EXPECT_EQ(Read("old"), "(NOT_FOUND)");
}

TEST_F(BatchTest, WithoutCommitNothingHappens) {
  Write("a", "x");
  const std::string before = File();
  {
    Batch batch = store_->BeginBatch();
    batch.Add(HashKey("b"), Bytes("y"));
    const Batch moved = std::move(batch);
  }
  EXPECT_EQ(File(), before);
  EXPECT_EQ(Read("b"), "(NOT_FOUND)");
  Write("c", "z");  // the lock was given up
}

TEST_F(BatchTest, OneInvalidPayloadRefusesAll) {
  Batch batch = store_->BeginBatch();
  batch.Add(HashKey("a"), Bytes("fine"));
  batch.Add(HashKey("b"), Bytes(std::string(1, '\0')));
  EXPECT_THAT(batch.Commit(), HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(File(), "");
  EXPECT_THAT(batch.Commit(), HasCode(absl::StatusCode::kFailedPrecondition));
}

TEST_F(BatchTest, MayBeEmpty) {
  EXPECT_THAT(store_->BeginBatch().Commit(), IsOk());
  EXPECT_EQ(File(), "");
}

class StreamTest : public StoreFixture {
 protected:
  StreamTest() { Begin(); }
  void Begin() {
    stream_ = store_->BeginStream([this] { return kFallback + ++fallbacks_; });
  }
  uint64_t Push(absl::string_view bytes) {
    const auto offset = stream_->Write(Bytes(bytes));
    EXPECT_THAT(offset, IsOk());
    return offset.value_or(0);
  }
  std::string ViewText(uint64_t offset, uint64_t length) {
    const auto view = store_->View(offset, length);
    EXPECT_THAT(view, IsOk());
    return std::string(reinterpret_cast<const char*>(view->bytes.data()),
                       view->bytes.size());
  }
  // Ends the stream as the entry of `key`.
  std::optional<EntryLocation> Finish(absl::string_view key) {
    Batch batch = store_->BeginBatch(stream_.get());
    const auto entry = batch.FinishStream(HashKey(key));
    EXPECT_THAT(batch.Commit(), IsOk());
    return entry;
  }

  uint64_t fallbacks_ = 0;
  std::unique_ptr<Stream> stream_;
};

TEST_F(StreamTest, WithoutBytesLeavesNothing) {
  EXPECT_EQ(stream_->unsealed_size(), 0);
  stream_.reset();
  EXPECT_EQ(File(), "");
  EXPECT_EQ(fallbacks_, 0);
}

TEST_F(StreamTest, BytesCanBeReadAtOnceButAreNoEntryYet) {
  Write("a", "x");
  const uint64_t tail = store_->tail();
  EXPECT_EQ(Push("hello"), Align64(tail));
  EXPECT_EQ(Push("world"), Align64(tail) + 5);
  EXPECT_EQ(store_->tail(), tail);
  EXPECT_EQ(ViewText(Align64(tail), 10), "helloworld");
  EXPECT_EQ(stream_->unsealed_size(), 10);
  EXPECT_EQ(stream_->unsealed_offset(), Align64(tail));
  EXPECT_EQ(store_->size(), 1);
}

TEST_F(StreamTest, ReadersElsewhereSeeOnlyWhatIsCommitted) {
  Write("a", "x");
  for (int i = 0; i < 20; ++i) Push(Pattern(i, 100000));
  const auto reader = Store::Open(Path(), {.mode = OpenMode::kRead});
  ASSERT_THAT(reader, IsOk());
  EXPECT_EQ((*reader)->tail(), store_->tail());
  EXPECT_EQ((*reader)->size(), 1);
  Finish("key");
  EXPECT_EQ(Read("key").size(), 2000000);
}

TEST_F(StreamTest, FinishingAppendsOnlyMetadata) {
  Write("a", "x");
  Push("hello");
  Push("world");
  const uint64_t length = File().size();
  const auto entry = Finish("key");
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(File().size(), length + kMetadataSize);
  EXPECT_EQ(Read("key"), "helloworld");
  EXPECT_THAT(store_->Verify(*entry), IsOk());
  EXPECT_EQ(stream_->unsealed_size(), 0);
  EXPECT_TRUE(stream_->sealed().empty());
  EXPECT_EQ(fallbacks_, 0);
  stream_.reset();
  Open();
  EXPECT_EQ(Read("key"), "helloworld");
  EXPECT_TRUE(store_->Read("key")->HasValidChecksum());
}

TEST_F(StreamTest, GivenUpLeavesNothing) {
  Write("a", "x");
  const std::string before = File();
  Push("hello");
  stream_.reset();
  EXPECT_EQ(File(), before);
  EXPECT_THAT(store_->View(store_->tail(), 1),
              HasCode(absl::StatusCode::kOutOfRange));
  Write("b", "y");
  EXPECT_EQ(Read("b"), "y");
}

TEST_F(StreamTest, IsSealedWhenAnotherAppendNeedsTheTail) {
  const uint64_t first = Push("hello");
  Write("a", "x");
  EXPECT_EQ(fallbacks_, 1);
  EXPECT_EQ(ReadHashed(kFallback + 1), "hello");
  EXPECT_EQ(stream_->unsealed_size(), 0);
  const uint64_t second = Push("world");
  EXPECT_EQ(second, Align64(store_->tail()));
  // Offsets stay good.
  EXPECT_EQ(ViewText(first, 5), "hello");
  ASSERT_THAT(store_->Delete("a"), IsOk());
  EXPECT_EQ(ReadHashed(kFallback + 2), "world");
  const std::vector<EntryLocation> sealed = stream_->sealed();
  ASSERT_EQ(sealed.size(), 2);
  EXPECT_EQ(sealed[0].payload_offset, first);
  EXPECT_EQ(sealed[0].payload_size, 5);
  EXPECT_EQ(sealed[0].key_hash, kFallback + 1);
  EXPECT_EQ(sealed[1].payload_offset, second);
  EXPECT_FALSE(Finish("key").has_value());
  stream_.reset();
  Open();
  EXPECT_EQ(ReadHashed(kFallback + 1), "hello");
  EXPECT_EQ(ReadHashed(kFallback + 2), "world");
}

TEST_F(StreamTest, SealingTakesPartInTheAppendThatNeedsTheTail) {
  Push("hello");
  const int writes = file_system_.Count(kOpWrite);
  Write("a", "x");
  EXPECT_EQ(file_system_.Count(kOpWrite), writes + 1);
}

TEST_F(StreamTest, TwoStreamsTakeTurns) {
  const auto other = store_->BeginStream([] { return uint64_t{7}; });
  Push("one");
  ASSERT_THAT(other->Write(Bytes("two")), IsOk());
  EXPECT_EQ(ReadHashed(kFallback + 1), "one");
  Push("three");
  EXPECT_EQ(ReadHashed(7), "two");
  EXPECT_EQ(other->sealed().size(), 1);
  EXPECT_EQ(stream_->sealed().size(), 1);
  EXPECT_EQ(stream_->unsealed_size(), 5);
}

TEST_F(StreamTest, GoesOnAfterBeingFinished) {
  Push("one");
  Finish("a");
  Push("two");
  Finish("b");
  EXPECT_EQ(Read("a"), "one");
  EXPECT_EQ(Read("b"), "two");
}

TEST_F(StreamTest, BatchThatFinishesBeginsWithTheStreamsEntry) {
  Write("a", "x");
  const uint64_t tail = store_->tail();
  Push("hello");
  Batch batch = store_->BeginBatch(stream_.get());
  EXPECT_EQ(batch.begin(), tail);
  // A batch's owner may look at the stream.
  EXPECT_EQ(stream_->unsealed_size(), 5);
  const auto entry = batch.FinishStream(HashKey("key"));
  ASSERT_TRUE(entry.has_value());
  EXPECT_EQ(entry->prev_tail, tail);
  EXPECT_FALSE(batch.FinishStream(HashKey("key")).has_value());
  const EntryLocation next = batch.Add(HashKey("b"), Bytes("y"));
  EXPECT_EQ(next.prev_tail, entry->end());
  EXPECT_THAT(batch.Commit(), IsOk());
  EXPECT_EQ(Read("key"), "hello");
  EXPECT_EQ(Read("b"), "y");
}

TEST_F(StreamTest, BatchThatIsDroppedLeavesTheStreamAsItWas) {
  Push("hello");
  {
    Batch batch = store_->BeginBatch(stream_.get());
    batch.FinishStream(HashKey("key"));
    batch.Add(HashKey("b"), Bytes("y"));
  }
  EXPECT_EQ(stream_->unsealed_size(), 5);
  {
    Batch batch = store_->BeginBatch();  // would seal it
    batch.Add(HashKey("b"), Bytes("y"));
  }
  EXPECT_EQ(stream_->unsealed_size(), 5);
  EXPECT_TRUE(stream_->sealed().empty());
  Push("world");
  Finish("key");
  EXPECT_EQ(Read("key"), "helloworld");
}

TEST_F(StreamTest, BatchThatCouldFinishButAddsFirstSeals) {
  Push("hello");
  Batch batch = store_->BeginBatch(stream_.get());
  batch.Add(HashKey("b"), Bytes("y"));
  EXPECT_FALSE(batch.FinishStream(HashKey("key")).has_value());
  EXPECT_THAT(batch.Commit(), IsOk());
  EXPECT_EQ(ReadHashed(kFallback + 1), "hello");
  EXPECT_EQ(Read("b"), "y");
}

TEST_F(StreamTest, BatchSealsAnotherStreamThanTheOneItFinishes) {
  const auto other = store_->BeginStream([] { return uint64_t{7}; });
  ASSERT_THAT(other->Write(Bytes("other")), IsOk());
  Batch batch = store_->BeginBatch(stream_.get());
  EXPECT_FALSE(batch.FinishStream(HashKey("key")).has_value());
  const EntryLocation a = batch.Add(HashKey("a"), Bytes("x"));
  EXPECT_EQ(a.prev_tail, batch.begin());
  EXPECT_THAT(batch.Commit(), IsOk());
  EXPECT_EQ(ReadHashed(7), "other");
  EXPECT_EQ(Read("a"), "x");
}

TEST_F(StreamTest, PieceCannotBeginWithASingleNul) {
  const std::string nul(1, '\0');
  EXPECT_THAT(stream_->Write(Bytes(nul)),
              HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(stream_->Write({}), HasCode(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(File(), "");
  Push("x");
  Push(nul);  // as a later byte it is fine
  Write("a", "x");
  EXPECT_THAT(stream_->Write(Bytes(nul)),
              HasCode(absl::StatusCode::kInvalidArgument));
  Push(std::string(2, '\0'));
  Write("b", "x");
  EXPECT_EQ(ReadHashed(kFallback + 1), absl::StrCat("x", nul));
  // Zeros alone are no entry of ours: they have a byte more.
  EXPECT_EQ(ReadHashed(kFallback + 2), std::string("\0\0\1", 3));
}

TEST_F(StreamTest, ManyPiecesKeepOneChecksum) {
  const std::string text = Pattern(1, 300000);
  for (size_t at = 0; at < text.size(); at += 1234) {
    Push(text.substr(at, 1234));
  }
  const auto entry = Finish("key");
  EXPECT_TRUE(Read("key") == text);
  EXPECT_THAT(store_->Verify(*entry), IsOk());
}

TEST_F(StreamTest, CompactionMovesSealedPieces) {
  Write("dead", Pattern(1, 5000));
  Push("hello");
  Write("dead", "x");
  Push("world");
  ASSERT_THAT(store_->Compact(), IsOk());
  const std::vector<EntryLocation> sealed = stream_->sealed();
  ASSERT_EQ(sealed.size(), 2);
  EXPECT_EQ(ViewText(sealed[0].payload_offset, 5), "hello");
  EXPECT_EQ(ViewText(sealed[1].payload_offset, 5), "world");
  EXPECT_THAT(store_->Verify(sealed[0]), IsOk());
  Push("more");
  Finish("key");
  EXPECT_EQ(Read("key"), "more");
}

// --- WriteStream
// ---------------------------------------------------------------

// Yields `text`, and calls `between` before each chunk but the first.
class ChunkSource : public std::stringbuf {
 public:
  ChunkSource(std::vector<std::string> chunks, std::function<void()> between)
      : chunks_(std::move(chunks)), between_(std::move(between)) {}

 protected:
  int_type underflow() override {
    if (next_ == chunks_.size()) return traits_type::eof();
    if (next_ > 0) between_();
    std::string& chunk = chunks_[next_++];
    setg(chunk.data(), chunk.data(), chunk.data() + chunk.size());
    return traits_type::to_int_type(*gptr());
  }
  std::streamsize xsgetn(char* out, std::streamsize count) override {
    std::streamsize done = 0;
    while (done < count && (gptr() < egptr() || underflow() != EOF)) {
      const std::streamsize size =
          std::min<std::streamsize>(count - done, egptr() - gptr());
      std::copy_n(gptr(), size, out + done);
      gbump(static_cast<int>(size));
      done += size;
    }
    return done;
  }

 private:
  std::vector<std::string> chunks_;
  const std::function<void()> between_;
  size_t next_ = 0;
};

class WriteStreamTest : public StoreFixture {};

TEST_F(WriteStreamTest, AppendsAllThatTheSourceYields) {
  for (const size_t size :
       {1, 2, 4096, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 3 << 20}) {
    const std::string text = Pattern(size, size);
    std::istringstream source(text);
    const auto entry = store_->WriteStream(absl::StrCat(size), source);
    ASSERT_THAT(entry, IsOk());
    EXPECT_TRUE(Read(absl::StrCat(size)) == text) << size;
    EXPECT_THAT(store_->Verify(*entry), IsOk());
  }
}

TEST_F(WriteStreamTest, LeavesNothingBehindWhenRefused) {
  Write("a", "x");
  const std::string before = File();
  std::istringstream empty;
  EXPECT_THAT(store_->WriteStream("a", empty),
              HasCode(absl::StatusCode::kInvalidArgument));
  std::istringstream nul(std::string(1, '\0'));
  EXPECT_THAT(store_->WriteStream("a", nul),
              HasCode(absl::StatusCode::kInvalidArgument));
  std::istringstream broken("text");
  broken.setstate(std::ios::badbit);
  EXPECT_THAT(store_->WriteStream("a", broken),
              HasCode(absl::StatusCode::kDataLoss));
  std::istringstream failed("text");
  failed.setstate(std::ios::failbit);
  EXPECT_THAT(store_->WriteStream("a", failed),
              HasCode(absl::StatusCode::kDataLoss));
  EXPECT_EQ(File(), before);
  EXPECT_EQ(Read("a"), "x");
}

TEST_F(WriteStreamTest, EntryIsWholeAlthoughOthersWriteMeanwhile) {
  constexpr size_t kChunk = 256 << 10;
  const std::string nul(1, '\0');
  for (const std::string& last : {std::string("end"), nul, std::string()}) {
    const std::vector<std::string> chunks = {
        Pattern(1, kChunk), Pattern(2, kChunk), Pattern(3, kChunk)};
    std::vector<std::string> parts = chunks;
    if (!last.empty()) parts.push_back(last);
    int calls = 0;
    size_t live = 0;
    ChunkSource buffer(parts, [&] {
      Write(absl::StrCat("other", ++calls), "x");
      // Nothing of the stream is to be seen, not even after a crash here.
      live = store_->size();
      const auto reader = Store::Open(Path(), {.mode = OpenMode::kRead});
      ASSERT_THAT(reader, IsOk());
      EXPECT_EQ((*reader)->size(), live);
    });
    std::istream source(&buffer);
    const auto entry = store_->WriteStream("key", source);
    ASSERT_THAT(entry, IsOk());
    EXPECT_TRUE(Read("key") == chunks[0] + chunks[1] + chunks[2] + last);
    EXPECT_THAT(store_->Verify(*entry), IsOk());
    EXPECT_TRUE(store_->Read("key")->HasValidChecksum());
  }
  EXPECT_EQ(store_->size(), 4);
  Open();
  EXPECT_EQ(store_->size(), 4);
}

TEST_F(WriteStreamTest, EntryIsWholeAlthoughTheStoreIsCompactedMeanwhile) {
  constexpr size_t kChunk = 256 << 10;
  const std::vector<std::string> chunks = {Pattern(1, kChunk),
                                           Pattern(2, kChunk), "end"};
  ChunkSource buffer(chunks, [&] { EXPECT_THAT(store_->Compact(), IsOk()); });
  std::istream source(&buffer);
  ASSERT_THAT(store_->WriteStream("key", source), IsOk());
  EXPECT_TRUE(Read("key") == chunks[0] + chunks[1] + chunks[2]);
  EXPECT_THAT(store_->Verify(store_->Read("key")->location()), IsOk());
}

}  // namespace
}  // namespace varve
