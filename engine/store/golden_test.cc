// Stores written by the original implementation, and the same calls made here.

#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/base/test_util.h"
#include "engine/store/store.h"

namespace varve {
namespace {

using Json = nlohmann::json;

constexpr char kFolder[] = "tests/format/golden/";

uint64_t FromHex(const std::string& text) {
  uint64_t value = 0;
  EXPECT_TRUE(absl::SimpleHexAtoi(text, &value)) << text;
  return value;
}

std::string KeyOf(const Json& object) {
  if (object.contains("key")) return object["key"].get<std::string>();
  return absl::HexStringToBytes(object["key_hex"].get<std::string>());
}

// The bytes that a manifest's recipe stands for.
std::string PayloadOf(const Json& object) {
  const std::string recipe = object["payload"].get<std::string>();
  const std::vector<std::string> parts = absl::StrSplit(recipe, ':');
  const auto number = [&](size_t i) {
    uint64_t value = 0;
    EXPECT_TRUE(absl::SimpleAtoi(parts.at(i), &value)) << recipe;
    return value;
  };
  if (parts[0] == "text") return recipe.substr(5);
  if (parts[0] == "zeros") return std::string(number(1), '\0');
  if (parts[0] == "fill") {
    return std::string(number(2), static_cast<char>(FromHex(parts.at(1))));
  }
  EXPECT_EQ(parts[0], "pat") << recipe;
  return Pattern(number(1), number(2));
}

class GoldenTest : public testing::TestWithParam<const char*> {
 protected:
  GoldenTest()
      : manifest_(Json::parse(
            ReadWholeFile(absl::StrCat(kFolder, GetParam(), ".json")))) {}

  std::string Original() const {
    return absl::StrCat(kFolder, GetParam(), ".store");
  }
  std::string Copy() const { return directory_.File("copy.store"); }

  void Open(OpenMode mode) {
    store_.reset();
    auto store = Store::Open(Copy(), {.mode = mode});
    ASSERT_THAT(store, IsOk());
    store_ = *std::move(store);
  }

  void Replay(const Json& operation);
  void ReplayBatch(const Json& entries);
  void ExpectLive() const;
  void ExpectChain() const;

  const TemporaryDirectory directory_;
  const Json manifest_;
  std::unique_ptr<Store> store_;
};

void GoldenTest::ExpectLive() const {
  EXPECT_EQ(store_->size(), manifest_["live_keys"].get<size_t>());
  ASSERT_EQ(manifest_["live"].size(), store_->size());
  for (const Json& expected : manifest_["live"]) {
    SCOPED_TRACE(expected.dump());
    const std::string key = KeyOf(expected);
    EXPECT_EQ(HashKey(key), FromHex(expected["key_hash"]));
    const auto entry = store_->Read(key);
    ASSERT_THAT(entry, IsOk());
    const std::string payload = PayloadOf(expected);
    EXPECT_EQ(payload.size(), expected["payload_length"].get<size_t>());
    EXPECT_TRUE(entry->payload_text() == payload);
    EXPECT_EQ(entry->location().payload_offset, expected["payload_start"]);
    EXPECT_EQ(entry->location().metadata_offset(), expected["metadata_offset"]);
    EXPECT_EQ(entry->location().prev_tail, expected["prev_offset"]);
    EXPECT_EQ(entry->checksum(), FromHex(expected["crc32"]));
    EXPECT_TRUE(entry->HasValidChecksum());
    EXPECT_THAT(store_->Verify(entry->location()), IsOk());
  }
}

void GoldenTest::ExpectChain() const {
  std::vector<EntryView> chain;
  ASSERT_THAT(store_->ForEachInChain([&](const EntryView& entry) {
    chain.insert(chain.begin(), entry);
    return true;
  }),
              IsOk());
  ASSERT_EQ(chain.size(), manifest_["chain"].size());
  for (size_t i = 0; i < chain.size(); ++i) {
    const Json& expected = manifest_["chain"][i];
    SCOPED_TRACE(expected.dump());
    EXPECT_EQ(chain[i].is_tombstone(), expected["kind"] == "tombstone");
    EXPECT_EQ(chain[i].key_hash(), FromHex(expected["key_hash"]));
    EXPECT_EQ(chain[i].size(), expected["payload_length"]);
    EXPECT_EQ(chain[i].location().payload_offset, expected["payload_start"]);
    EXPECT_EQ(chain[i].location().prev_tail, expected["prev_offset"]);
    EXPECT_EQ(chain[i].checksum(), FromHex(expected["crc32"]));
    EXPECT_TRUE(chain[i].HasValidChecksum());
  }
}

TEST_P(GoldenTest, OpensAsItsManifestSays) {
  CopyFile(Original(), Copy());
  for (const OpenMode mode : {OpenMode::kRead, OpenMode::kReadWrite}) {
    Open(mode);
    EXPECT_EQ(store_->recovery().torn_bytes, 0);
    EXPECT_EQ(store_->tail(), manifest_["file_length"]);
    ExpectLive();
    ExpectChain();
  }
  store_.reset();
  EXPECT_TRUE(ReadWholeFile(Copy()) == ReadWholeFile(Original()));
}

TEST_P(GoldenTest, IteratesLiveEntriesNewestFirst) {
  CopyFile(Original(), Copy());
  Open(OpenMode::kRead);
  std::map<uint64_t, uint64_t> expected;  // metadata offset -> key hash
  for (const Json& entry : manifest_["live"]) {
    expected[entry["metadata_offset"]] = FromHex(entry["key_hash"]);
  }
  auto next = expected.rbegin();
  store_->ForEach([&](const EntryView& entry) {
    EXPECT_TRUE(next != expected.rend());
    if (next == expected.rend()) return false;
    EXPECT_EQ(entry.location().metadata_offset(), next->first);
    EXPECT_EQ(entry.key_hash(), next->second);
    ++next;
    return true;
  });
  EXPECT_TRUE(next == expected.rend());
}

void GoldenTest::ReplayBatch(const Json& entries) {
  std::vector<std::string> keys;
  std::vector<std::string> payloads;
  for (const Json& entry : entries) {
    keys.push_back(KeyOf(entry));
    payloads.push_back(PayloadOf(entry));
  }
  std::vector<BatchItem> items;
  for (size_t i = 0; i < keys.size(); ++i) {
    items.push_back({keys[i], Bytes(payloads[i])});
  }
  EXPECT_THAT(store_->WriteBatch(items), IsOk());
}

void GoldenTest::Replay(const Json& operation) {
  const std::string name = operation["op"];
  if (name == "reopen") {
    Open(OpenMode::kReadWrite);
  } else if (name == "write") {
    EXPECT_THAT(store_->Write(KeyOf(operation), Bytes(PayloadOf(operation))),
                IsOk());
  } else if (name == "stream") {
    std::istringstream source(PayloadOf(operation));
    EXPECT_THAT(store_->WriteStream(KeyOf(operation), source), IsOk());
  } else if (name == "batch") {
    ReplayBatch(operation["entries"]);
  } else if (name == "rename") {
    EXPECT_THAT(
        store_->Rename(KeyOf(operation["from"]), KeyOf(operation["to"])),
        IsOk());
  } else if (name == "compact") {
    EXPECT_THAT(store_->Compact(), IsOk());
  } else {
    ASSERT_EQ(name, "delete");
    std::vector<std::string> keys;
    for (const Json& key : operation["keys"]) keys.push_back(KeyOf(key));
    const std::vector<EntryKey> names(keys.begin(), keys.end());
    EXPECT_THAT(store_->DeleteBatch(names), IsOk());
  }
}

TEST_P(GoldenTest, SameCallsGiveSameBytes) {
  if (manifest_.contains("starts_from")) {
    CopyFile(kFolder + manifest_["starts_from"].get<std::string>(), Copy());
  }
  Open(OpenMode::kCreate);
  for (const Json& operation : manifest_["operations"]) {
    SCOPED_TRACE(operation.dump());
    Replay(operation);
  }
  EXPECT_EQ(store_->size(), manifest_["live_keys"].get<size_t>());
  const std::string here = ReadWholeFile(Copy());
  const std::string there = ReadWholeFile(Original());
  if (absl::string_view(GetParam()) == "delete_after_reopen") {
    // The original deletes a key a second time after a reopen. Here deleting
    // an absent key writes nothing, so everything behind it moves down.
    EXPECT_EQ(here.size(), there.size() - 64);
    EXPECT_EQ(here.substr(0, 51), there.substr(0, 51));
    EXPECT_EQ(store_->Read("b")->payload_text(), Pattern(2, 10));
  } else if (absl::string_view(GetParam()) == "after_compact") {
    // The original reverses the order at each compaction; here the oldest
    // entry stays first. Only the last entry has no pad behind it.
    EXPECT_EQ(Align64(here.size()), Align64(there.size()));
    for (const Json& expected : manifest_["live"]) {
      const auto entry = store_->Read(KeyOf(expected));
      ASSERT_THAT(entry, IsOk());
      EXPECT_TRUE(entry->payload_text() == PayloadOf(expected));
    }
  } else {
    EXPECT_TRUE(here == there);
  }
}

INSTANTIATE_TEST_SUITE_P(
    AllStores, GoldenTest,
    testing::Values("after_compact", "after_compact_append", "all_deleted",
                    "batch", "before_compact", "delete_after_reopen",
                    "delete_aligned", "deletes", "empty", "hash_collision",
                    "key_lengths", "many_opens", "odd_keys", "one_key",
                    "overwrites", "path_keys", "rename", "sizes", "sizes_batch",
                    "stream", "zeros_batch", "zeros_mixed"),
    [](const auto& instance) { return std::string(instance.param); });

}  // namespace
}  // namespace varve
