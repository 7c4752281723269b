#include "fs/mend/mender.h"

#include <bit>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_format.h"
#include "engine/base/status.h"
#include "engine/entry/byte_source.h"
#include "engine/entry/entry.h"
#include "engine/mend/link_mend.h"
#include "engine/mend/mended_file.h"
#include "engine/store/store.h"
#include "fs/format/commit_record.h"
#include "fs/format/identity.h"
#include "fs/log/store_identity.h"

namespace varve::fs {
namespace {

// The most passes. Each pass finds the damage in the part of the chain that can
// be reached; a mended link makes more of the chain reachable.
constexpr int kMaxPasses = 64;

constexpr uint64_t kCrcOffset = 16;  // in the metadata

template <typename T>
std::string BytesOf(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

class Mender {
 public:
  Mender(FileSystem& file_system, const std::string& path)
      : file_system_(file_system), path_(path) {}

  absl::StatusOr<std::vector<Mend>> Run() {
    VARVE_ASSIGN_OR_RETURN(const auto identity,
                           FindIdentityCopy(file_system_, path_));
    if (identity.has_value()) mends_.push_back(FirstEntry(*identity));
    for (int pass = 0; pass < kMaxPasses; ++pass) {
      const size_t before = mends_.size();
      VARVE_RETURN_IF_ERROR(Pass());
      if (mends_.size() == before) break;
    }
    return std::move(mends_);
  }

 private:
  absl::Status Pass() {
    OpenOptions options;
    options.mode = OpenMode::kRead;
    options.file_system = &file_system_;
    options.mends = mends_;
    VARVE_ASSIGN_OR_RETURN(store_, Store::Open(path_, std::move(options)));
    mends_ = store_->recovery().mends;
    VARVE_ASSIGN_OR_RETURN(std::unique_ptr<File> file,
                           file_system_.Open(path_, OpenMode::kRead, 0));
    file = MakeMendedFile(std::move(file), mends_);
    bytes_ = ByteSource::FromFile(*file, store_->tail());
    // Find the identity first: without it, records cannot be recognized.
    identity_.reset();
    const auto visit_all = [this](bool records) {
      return store_->ForEachInChain([this, records](const EntryView& entry) {
        if (!entry.is_tombstone()) Look(entry, records);
        return true;
      });
    };
    VARVE_RETURN_IF_ERROR(visit_all(/*records=*/false));
    const absl::Status status = visit_all(/*records=*/true);
    bytes_.reset();
    return status;
  }

  // The entry with which the file began.
  static Mend FirstEntry(const Identity& identity) {
    std::string bytes = identity.Encode();
    const uint32_t crc = Crc32(0, AsBytes(bytes));
    bytes += BytesOf(HashKey(Identity::Key()));
    bytes += BytesOf(uint64_t{0});  // prev_tail
    bytes += BytesOf(crc);
    return {.offset = 0,
            .bytes = std::move(bytes),
            .reason =
                "the identity at the beginning of the store is lost; "
                "there is a copy of it"};
  }

  // Without `records`, notes the identity; with it, mends everything else.
  void Look(const EntryView& entry, bool records) {
    const bool may_be_identity = entry.size() == Identity::kEncodedSize ||
                                 entry.size() == Identity::kLongSize;
    if (!records && !may_be_identity) return;
    if (store_->Verify(entry.location()).ok()) {
      const auto expected = KeyHashOf(entry.payload_text(), entry.key_hash());
      if (!expected.has_value()) return;
      const uint64_t difference = *expected ^ entry.key_hash();
      if (std::popcount(difference) == 1) {
        Add(entry, entry.location().metadata_offset(), BytesOf(*expected));
      }
      return;
    }
    if (auto mend = MendPayload(entry)) {
      mends_.push_back(*std::move(mend));
      return;
    }
    const auto metadata = bytes_->Check(entry.location().metadata_offset());
    if (!records || !metadata.has_value()) return;
    if (auto link = FindFlippedLink(*bytes_, *metadata)) {
      mends_.push_back(*std::move(link));
    }
  }

  // The key hash that a record of the tree with this payload must have; nothing
  // if the payload is not a whole record. Also takes identities, which it
  // remembers, but only under their own key, give or take a bit: anybody can
  // write a file that looks like an identity, but not under that key.
  std::optional<uint64_t> KeyHashOf(absl::string_view payload,
                                    uint64_t key_hash) {
    const uint64_t identity_hash = HashKey(Identity::Key());
    if (Identity::LooksLikeOne(payload) &&
        std::popcount(identity_hash ^ key_hash) <= 1) {
      const auto identity = Identity::Decode(payload);
      if (!identity.ok()) return std::nullopt;
      identity_ = *identity;
      return identity_hash;
    }
    if (!identity_.has_value()) return std::nullopt;
    const auto header = CommitReader::ReadHeader(payload);
    if (!header.ok() || !CommitReader::HasValidDigest(payload)) {
      return std::nullopt;
    }
    return identity_->KeyHashFor(*header);
  }

  // Whether `payload` is that of a record with this key.
  bool IsRecord(absl::string_view payload, uint64_t key_hash) {
    return KeyHashOf(payload, key_hash) == key_hash;
  }

  // Mends the payload of an entry whose checksum does not match.
  std::optional<Mend> MendPayload(const EntryView& entry) {
    const EntryLocation& location = entry.location();
    const auto payload_offset = bytes_->Check(location.payload_offset);
    if (!payload_offset.has_value()) return std::nullopt;
    const uint32_t crc =
        bytes_->Crc32Of(0, *payload_offset, location.payload_size);
    const uint32_t difference = crc ^ location.crc32;
    if (std::popcount(difference) == 1 &&
        IsRecord(entry.payload_text(), entry.key_hash())) {
      return MendOf(entry, location.metadata_offset() + kCrcOffset,
                    BytesOf(crc));
    }
    const auto bit = FindFlippedBit(difference, location.payload_size);
    if (!bit.has_value()) return std::nullopt;
    std::string payload(entry.payload_text());
    char& byte = payload[*bit / 8];
    byte = static_cast<char>(byte ^ (1 << *bit % 8));
    if (!IsRecord(payload, entry.key_hash())) return std::nullopt;
    return MendOf(entry, location.payload_offset + *bit / 8,
                  std::string(1, byte));
  }

  static Mend MendOf(const EntryView& entry, uint64_t offset,
                     std::string bytes) {
    return {.offset = offset,
            .bytes = std::move(bytes),
            .reason = absl::StrFormat(
                "a bit of the record at offset %d is wrong, at offset %d",
                entry.location().payload_offset, offset)};
  }
  void Add(const EntryView& entry, uint64_t offset, std::string bytes) {
    mends_.push_back(MendOf(entry, offset, std::move(bytes)));
  }

  FileSystem& file_system_;
  const std::string& path_;
  std::vector<Mend> mends_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<ByteSource> bytes_;
  std::optional<Identity> identity_;
};

}  // namespace

absl::StatusOr<std::vector<Mend>> FindMends(FileSystem& file_system,
                                            const std::string& path) {
  return Mender(file_system, path).Run();
}

}  // namespace varve::fs
