#include "engine/index/index_image.h"

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/endian.h"
#include "engine/index/index.h"
#include "engine/store/store_test_fixture.h"

namespace varve {
namespace {

constexpr uint64_t kKey = 0x1234567890abcdef;

// --- The index with an image below it ----------------------------------------

// Bytes in memory, as a file would be mapped.
class Memory final : public Mapping {
 public:
  explicit Memory(const std::string& bytes)
      : Mapping(reinterpret_cast<const std::byte*>(bytes.data()),
                bytes.size()) {}
};

class BaseTest : public testing::Test {
 protected:
  // An image of entries of 64 bytes each, one for each of the keys.
  std::unique_ptr<const IndexImage> ImageOf(std::vector<uint64_t> keys) {
    std::sort(keys.begin(), keys.end());
    bytes_.clear();
    uint64_t tail = 0;
    std::vector<IndexedKey> image;
    for (const uint64_t key : keys) {
      bytes_.resize(Align64(tail) + 1, '\0');
      bytes_.back() = 'x';
      image.push_back({key, bytes_.size()});
      offsets_[key] = bytes_.size();
      AddMetadata(key, tail, 1);  // all zeros are no metadata
      tail = bytes_.size();
    }
    std::string payload =
        IndexImage::Header(Memory(bytes_), tail, image.size());
    payload.append(reinterpret_cast<const char*>(image.data()),
                   image.size() * sizeof(IndexedKey));
    bytes_.resize(Align64(tail), '\0');
    location_ = {.key_hash = kKey,
                 .payload_offset = bytes_.size(),
                 .payload_size = payload.size(),
                 .prev_tail = tail,
                 .crc32 = Crc32(0, Bytes(payload))};
    bytes_ += payload;
    AddMetadata(kKey, tail, location_.crc32);
    return Load();
  }
  std::unique_ptr<const IndexImage> Load() const {
    return IndexImage::Load(std::make_shared<Memory>(bytes_), location_);
  }
  // As whoever wants to be believed would write the checksum.
  void CorrectChecksum() {
    location_.crc32 =
        Crc32(0, Bytes(absl::string_view(bytes_).substr(
                     location_.payload_offset, location_.payload_size)));
  }
  void AddMetadata(uint64_t key_hash, uint64_t prev_tail, uint32_t crc32) {
    std::byte metadata[kMetadataSize];
    EncodeMetadata({key_hash, prev_tail, crc32}, metadata);
    bytes_.append(reinterpret_cast<const char*>(metadata), kMetadataSize);
  }

  std::string bytes_;
  EntryLocation location_;  // of the image
  std::unordered_map<uint64_t, uint64_t> offsets_;
};

TEST_F(BaseTest, FindsEveryKeyHoweverTheyAreSpread) {
  std::mt19937_64 random(1);
  const std::function<uint64_t(uint64_t)> spreads[] = {
      [&](uint64_t) { return random(); },
      [](uint64_t i) { return i; },
      [](uint64_t i) { return UINT64_MAX - i; },
      [](uint64_t i) { return uint64_t{1} << (i % 64); },
      [](uint64_t i) { return i < 999 ? i : UINT64_MAX - i; },
      [](uint64_t i) { return i * i * i * i * i; }};
  for (const auto& spread : spreads) {
    for (const size_t count : {0, 1, 2, 9, 1000}) {
      std::vector<uint64_t> keys;
      for (size_t i = 0; i < count; ++i) keys.push_back(spread(i));
      std::sort(keys.begin(), keys.end());
      keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
      const auto image = ImageOf(keys);
      ASSERT_NE(image, nullptr);
      EXPECT_EQ(image->size(), keys.size());
      for (const uint64_t key : keys) {
        image->Prefetch(key);
        EXPECT_EQ(image->Find(key), offsets_[key]);
        for (const uint64_t other : {key - 1, key + 1, ~key}) {
          EXPECT_EQ(image->Find(other).has_value(),
                    std::binary_search(keys.begin(), keys.end(), other));
        }
      }
    }
  }
}

// So large that two threads share the work, and where they meet.
TEST_F(BaseTest, EveryKeyOfALargeImageIsChecked) {
  constexpr size_t kMany = 70'001;
  constexpr size_t kSize = sizeof(IndexedKey);
  std::vector<uint64_t> keys(kMany);
  for (size_t i = 0; i < kMany; ++i) keys[i] = 1 + i * 1000;
  const auto image = ImageOf(keys);
  ASSERT_NE(image, nullptr);
  EXPECT_EQ(image->Find(keys.back()), offsets_[keys.back()]);
  const std::string sound = bytes_;
  const uint64_t begin = location_.payload_offset + IndexImage::kHeaderSize;
  for (const size_t at : {size_t{0}, kMany / 4, kMany / 2 - 1, kMany / 2,
                          kMany / 2 + 1, kMany - 2}) {
    char* const key = bytes_.data() + begin + at * kSize;
    key[1] = static_cast<char>(key[1] ^ 1);  // still in order, and in bounds
    EXPECT_EQ(Load(), nullptr) << at;
    bytes_ = sound;
    std::swap_ranges(bytes_.begin() + begin + at * kSize,
                     bytes_.begin() + begin + (at + 1) * kSize,
                     bytes_.begin() + begin + (at + 1) * kSize);
    CorrectChecksum();
    EXPECT_EQ(Load(), nullptr) << at;
    bytes_ = sound;
    CorrectChecksum();
  }
  EXPECT_NE(Load(), nullptr);
}

using Model = std::unordered_map<uint64_t, uint64_t>;

void ExpectHolds(const Index& index, Model model) {
  for (const auto& [present, offset] : model) {
    ASSERT_EQ(index.Find(present), offset);
  }
  std::vector<uint64_t> offsets = index.Offsets();
  ASSERT_EQ(offsets.size(), model.size());
  std::vector<uint64_t> expected;
  for (const auto& [present, offset] : model) expected.push_back(offset);
  std::sort(offsets.begin(), offsets.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(offsets, expected);
  const std::vector<IndexedKey> sorted = index.SortedKeys();
  ASSERT_EQ(sorted.size(), model.size());
  for (size_t i = 0; i < sorted.size(); ++i) {
    EXPECT_EQ(model[sorted[i].key_hash], sorted[i].metadata_offset);
    if (i > 0) {
      EXPECT_LT(sorted[i - 1].key_hash, sorted[i].key_hash);
    }
  }
}

TEST_F(BaseTest, IndexIsAsIfItHeldWhatTheImageHolds) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 30; ++round) {
    const uint64_t space = 1 + random() % 3000;
    // Few keys, far apart: most operations meet one that is there.
    const auto key = [&] { return (random() % space) * 0x9e3779b97f4a7c15; };
    std::vector<uint64_t> keys;
    for (uint64_t i = 0; i < space / 2; ++i) keys.push_back(key());
    std::sort(keys.begin(), keys.end());
    keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
    offsets_.clear();
    auto image = ImageOf(keys);
    ASSERT_NE(image, nullptr);
    Model model = offsets_;
    Index index;
    // What lies above the image is filled in before it is known.
    for (int i = 0; i < 100; ++i) {
      ASSERT_THAT(index.Reserve(1), IsOk());
      const uint64_t changed = key();
      if (index.Find(changed).has_value()) continue;
      const bool deleted = i % 3 == 0;
      index.SetIfUnknown(changed, deleted ? Index::kDeleted : 1 << 30);
      if (index.Find(changed).has_value()) {
        model[changed] = 1 << 30;
      } else {
        model.erase(changed);
      }
    }
    index.SetBase(std::move(image));
    index.ForgetDeleted();
    constexpr uint64_t kAbove = uint64_t{2} << 30;
    for (uint64_t i = 0; i < 10000; ++i) {
      ASSERT_EQ(index.size(), model.size());
      const uint64_t changed = key();
      ASSERT_EQ(index.Find(changed).has_value(), model.contains(changed));
      ASSERT_THAT(index.Reserve(1), IsOk());
      if (i % 2 == 0) {
        ASSERT_EQ(index.Erase(changed), model.erase(changed) == 1);
      } else {
        index.Set(changed, kAbove + i);
        model[changed] = kAbove + i;
      }
    }
    ExpectHolds(index, model);
    EXPECT_LE(index.memory(), std::max<uint64_t>(4096, space * 80));
    index.Clear();
    EXPECT_EQ(index.size(), 0);
    EXPECT_EQ(index.Find(keys[0]), std::nullopt);
  }
}

// --- Stores ------------------------------------------------------------------

class IndexImageTest : public StoreFixture {
 protected:
  void OpenWithImage(OpenMode mode = OpenMode::kReadWrite,
                     DurableTail durable_tail = {}) {
    store_.reset();
    auto store = Store::Open(Path(), {.mode = mode,
                                      .file_system = &file_system_,
                                      .durable_tail = std::move(durable_tail),
                                      .index_image_key = kKey});
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }
  bool HasBase() const { return store_->index_image_in_use().has_value(); }
  void Fill(int from, int to) {
    for (int i = from; i < to; ++i) {
      Write(absl::StrCat(i), Pattern(i, 1 + i % 97));
      if (i % 10 == 5) {
        ASSERT_THAT(store_->Delete(absl::StrCat(i)), IsOk());
      }
    }
  }
  // What can be seen of the store through its interface.
  std::map<std::string, std::string> Seen() const {
    std::map<std::string, std::string> seen;
    for (int i = 0; i < 400; ++i) {
      const std::string key = absl::StrCat(i);
      if (store_->Exists(key)) seen[key] = Read(key);
    }
    seen["size"] = absl::StrCat(store_->size());
    seen["live"] = absl::StrCat(Live().size());
    return seen;
  }
  void ExpectSameWithout() {
    const auto with = Seen();
    store_.reset();
    Open();
    EXPECT_EQ(with, Seen());
  }
  // With one byte of the file changed.
  void Flip(uint64_t offset) {
    store_.reset();
    std::string bytes = File();
    bytes[offset] = static_cast<char>(bytes[offset] ^ 1);
    WriteWholeFile(Path(), bytes);
  }
  EntryLocation WriteImage() {
    EXPECT_THAT(store_->WriteIndexImage(kKey), IsOk());
    return store_->ReadLastEntry()->location();
  }
};

TEST_F(IndexImageTest, OpeningWithAnImageGivesTheSameStore) {
  Fill(0, 200);
  WriteImage();
  EXPECT_EQ(store_->entries_since_image(), 0);
  Fill(200, 230);
  ASSERT_THAT(store_->Delete("3"), IsOk());
  OpenWithImage();
  EXPECT_TRUE(HasBase());
  EXPECT_EQ(store_->entries_since_image(), 30 + 3 + 1 + 1);
  EXPECT_FALSE(store_->Exists("3"));
  ASSERT_THAT(store_->Delete("4"), IsOk());
  EXPECT_FALSE(store_->Exists("4"));
  Write("7", "new");
  Write("3", "back");
  ExpectSameWithout();
  OpenWithImage(OpenMode::kRead);
  EXPECT_TRUE(HasBase());
  EXPECT_EQ(Read("3"), "back");
  EXPECT_EQ(Read("4"), "(NOT_FOUND)");
  EXPECT_EQ(Read("7"), "new");
}

TEST_F(IndexImageTest, RandomChangesAndReopeningsGiveTheSameStore) {
  std::mt19937_64 random(3);
  for (int step = 0; step < 1500; ++step) {
    const std::string key = absl::StrCat(random() % 400);
    if (random() % 3 == 0) {
      ASSERT_THAT(store_->Delete(key), IsOk());
    } else {
      Write(key, Pattern(step, 1 + step % 97));
    }
    if (random() % 50 == 0) WriteImage();
    if (random() % 50 == 0) OpenWithImage();
    if (random() % 300 == 0) {
      const auto before = Seen();
      ASSERT_THAT(store_->Compact(), IsOk());
      auto after = Seen();
      after["size"] = before.at("size");  // images are not copied
      after["live"] = before.at("live");
      EXPECT_EQ(after, before);
    }
    if (step % 100 == 99) ExpectSameWithout();
  }
}

TEST_F(IndexImageTest, EmptyStoreHasAnImage) {
  WriteImage();
  OpenWithImage();
  EXPECT_TRUE(HasBase());
  EXPECT_EQ(store_->size(), 1);
  Write("a", "b");
  ExpectSameWithout();
}

TEST_F(IndexImageTest, StreamIsSealedAndInTheImage) {
  auto stream = store_->BeginStream([] { return uint64_t{77}; });
  ASSERT_THAT(stream->Write(Bytes("piece")), IsOk());
  WriteImage();
  EXPECT_EQ(stream->sealed().size(), 1);
  stream.reset();
  OpenWithImage();
  EXPECT_TRUE(HasBase());
  EXPECT_EQ(ReadHashed(77), "piece");
}

TEST_F(IndexImageTest, ImageOfAnotherKeyIsAValueAsAnyOther) {
  Fill(0, 50);
  ASSERT_THAT(store_->WriteIndexImage(kKey + 1), IsOk());
  OpenWithImage();
  EXPECT_FALSE(HasBase());
  ExpectSameWithout();
}

TEST_F(IndexImageTest, ImageThatWasMovedIsNotBelieved) {
  Fill(0, 50);
  const EntryLocation image = WriteImage();
  const std::string payload = ReadHashed(kKey);
  Write("more", "text");
  ASSERT_THAT(store_->Write(EntryKey::OfHash(kKey), Bytes(payload)), IsOk());
  OpenWithImage();
  // The one before it is.
  ASSERT_TRUE(HasBase());
  EXPECT_EQ(store_->index_image_in_use()->payload_offset, image.payload_offset);
  ExpectSameWithout();
}

TEST_F(IndexImageTest, ImageIsNotBelievedWhereTheEntryBeforeItIsAnother) {
  Fill(0, 50);
  const EntryLocation image = WriteImage();
  Write("more", "text");
  Flip(image.prev_tail - 4);  // its checksum
  OpenWithImage();
  EXPECT_FALSE(HasBase());
}

TEST_F(IndexImageTest, DamagedImageIsPassedOver) {
  Fill(0, 50);
  const EntryLocation image = WriteImage();
  Write("more", "text");
  const std::string sound = File();
  for (uint64_t at = image.payload_offset; at < image.metadata_offset();
       at += 7) {
    Flip(at);
    OpenWithImage();
    EXPECT_FALSE(HasBase());
    ExpectSameWithout();
    store_.reset();
    WriteWholeFile(Path(), sound);
  }
}

// Whoever knows the key may write anything, with the right checksum.
TEST_F(IndexImageTest, HostileImagesGiveErrorsAtWorst) {
  Fill(0, 50);
  const EntryLocation image = WriteImage();
  store_.reset();
  const std::string sound = File();
  std::mt19937_64 random(5);
  for (int round = 0; round < 500; ++round) {
    std::string bytes = sound.substr(0, image.metadata_offset());
    const size_t words = (bytes.size() - image.payload_offset) / 8;
    for (int i = 0; i < 3; ++i) {
      auto* const word = reinterpret_cast<std::byte*>(bytes.data()) +
                         image.payload_offset +
                         8 * (random() % 3 == 0 ? random() % words
                                                : 8 + random() % (words - 8));
      const uint64_t values[] = {0,
                                 1,
                                 21,
                                 image.prev_tail - 20,
                                 image.prev_tail,
                                 UINT64_MAX,
                                 random(),
                                 LoadLittle64(word) + 1};
      StoreLittle64(values[random() % 8], word);
    }
    if (round % 10 == 0) bytes.resize(bytes.size() - random() % 100);
    const uint32_t crc = Crc32(0, Bytes(bytes).subspan(image.payload_offset));
    std::byte metadata[kMetadataSize];
    EncodeMetadata({kKey, image.prev_tail, crc}, metadata);
    bytes.append(reinterpret_cast<const char*>(metadata), kMetadataSize);
    WriteWholeFile(Path(), bytes);
    OpenWithImage();
    for (int i = 0; i < 50; ++i) {
      const std::string read = Read(absl::StrCat(i));
      EXPECT_TRUE(read == Pattern(i, 1 + i % 97) || read[0] == '(') << read;
    }
    Live();
    Write("a", "b");
    ASSERT_THAT(store_->Delete("3"), IsOk());
    store_->Compact().IgnoreError();
    store_.reset();
  }
}

TEST_F(IndexImageTest, StoreCutBelowOrAboveTheImageIsWhatItWas) {
  Fill(0, 40);
  const EntryLocation image = WriteImage();
  Fill(40, 60);
  store_.reset();
  const std::string sound = File();
  for (size_t size = image.prev_tail - 200; size < sound.size(); size += 13) {
    WriteWholeFile(Path(), sound.substr(0, size));
    OpenWithImage(OpenMode::kRead);
    ExpectSameWithout();
    store_.reset();
    WriteWholeFile(Path(), sound.substr(0, size));
    OpenWithImage();
    ExpectSameWithout();
  }
}

TEST_F(IndexImageTest, TornEntryBelowTheImageIsFoundAndCut) {
  Fill(0, 40);
  const EntryLocation torn = Write("torn", "payload");
  const EntryLocation image = WriteImage();
  Write("more", "text");
  Flip(torn.payload_offset);
  // Nothing is known to be durable: everything is verified.
  const auto vouches = [](const EntryView&) { return uint64_t{0}; };
  OpenWithImage(OpenMode::kRead, vouches);
  EXPECT_EQ(store_->tail(), torn.prev_tail);
  EXPECT_FALSE(HasBase());
  EXPECT_EQ(Read("39"), Pattern(39, 1 + 39 % 97));
  // With what was vouched for it stays, and is damage.
  OpenWithImage(OpenMode::kRead, [&](const EntryView&) { return image.end(); });
  EXPECT_TRUE(HasBase());
  EXPECT_EQ(Read("more"), "text");
}

TEST_F(IndexImageTest, ChainThatBreaksBelowTheImageHidesNoLiveEntry) {
  Fill(0, 40);
  // Not a live one: those that are, the image is compared with.
  const EntryLocation broken = Write("broken", "payload");
  Write("broken", "again");
  WriteImage();
  Write("more", "text");
  const size_t live = Live().size();
  Flip(broken.metadata_offset() + 8 + 7);  // prev_tail
  OpenWithImage(OpenMode::kRead);
  EXPECT_TRUE(HasBase());
  EXPECT_EQ(Read("39"), Pattern(39, 1 + 39 % 97));
  EXPECT_EQ(Live().size(), live);
  EXPECT_THAT(store_->ForEachInChain([](const EntryView&) { return true; }),
              HasCode(absl::StatusCode::kDataLoss));
}

TEST_F(IndexImageTest, ImageThatIsSpoiltWhileInUseIsNotReliedOn) {
  Fill(0, 40);
  const EntryLocation image = WriteImage();
  OpenWithImage();
  EXPECT_THAT(store_->CheckIndex(), IsOk());
  std::fstream(Path()).seekp(image.metadata_offset() - 100).put('\xa5');
  for (const absl::Status& status : {store_->CheckIndex(), store_->Compact(),
                                     store_->WriteIndexImage(kKey)}) {
    EXPECT_THAT(status, HasCode(absl::StatusCode::kDataLoss));
  }
  OpenWithImage();
  EXPECT_FALSE(HasBase());
}

TEST_F(IndexImageTest, FailedImageChangesNothing) {
  Fill(0, 40);
  const uint64_t tail = store_->tail();
  OpenWithImage(OpenMode::kRead);
  EXPECT_THAT(store_->WriteIndexImage(kKey), HasErrorNumber(EROFS));
  OpenWithImage();
  EXPECT_EQ(store_->tail(), tail);
}

}  // namespace
}  // namespace varve
