// Decodes commit records, checkpoints and identities from any bytes, and
// applies them to a tree.
//
// Decoding must not touch bytes outside the record, and must not yield more
// than the record's size allows. Encoding the result and decoding it again must
// give the same. The tree must stay sound, however many of the changes
// contradict it.

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/entry/entry.h"
#include "fs/format/change.h"
#include "fs/format/commit_record.h"
#include "fs/format/identity.h"
#include "fs/format/wire.h"
#include "fs/tree/tree.h"

namespace varve::fs {
namespace {

// The offset and key that the record is said to have.
constexpr uint64_t kPayloadOffset = 1 << 20;
constexpr uint64_t kKeyHash = 0x0123456789abcdef;
constexpr uint32_t kCrc32 = 0x89abcdef;
// The smallest encoded extent: kind, offset and length.
constexpr size_t kSmallestExtent = 3;

void Check(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "commit_record_fuzz: %s\n", what);
  std::abort();
}

// Bytes in a heap block of exactly their size, so that the address sanitizer
// notices reads beyond it.
class Block {
 public:
  explicit Block(absl::string_view bytes)
      : memory_(std::make_unique<char[]>(bytes.size())), size_(bytes.size()) {
    if (size_ > 0) std::memcpy(memory_.get(), bytes.data(), size_);
  }
  absl::string_view text() const { return {memory_.get(), size_}; }

 private:
  std::unique_ptr<char[]> memory_;
  size_t size_;
};

struct Record {
  CommitHeader header;
  std::vector<Change> changes;  // their views are into the payload
};

void CheckSizes(const Change& change, absl::string_view payload) {
  const auto check_view = [payload](absl::string_view view) {
    Check(view.empty() || (view.data() >= payload.data() &&
                           view.end() <= payload.data() + payload.size()),
          "a name or value lies outside of the record");
  };
  std::visit(
      [&check_view](const auto& c) {
        if constexpr (requires { c.name; }) check_view(c.name);
        if constexpr (requires { c.value; }) check_view(c.value);
        if constexpr (requires { c.parent; }) {
          Check(IsValidName(c.name), "a name cannot be one");
        }
      },
      change);
  const ExtentList* extents = ExtentsOf(change);
  if (extents == nullptr) return;
  Check(extents->size() <= payload.size() / kSmallestExtent,
        "there are more extents than the record has room for");
  for (const Extent& extent : *extents) {
    Check(extent.length > 0 && extent.file_offset <= kMaxFileSize &&
              extent.length <= kMaxFileSize - extent.file_offset,
          "an extent lies beyond the largest file");
    if (extent.is_hole()) continue;
    Check(extent.entry_offset <= extent.store_offset &&
              extent.entry_offset <= extent.entry_size &&
              extent.length <= extent.entry_size - extent.entry_offset,
          "an extent lies outside of its entry");
  }
}

// The content of the record up to the first damage; nothing if the bytes are
// not a record.
std::optional<Record> Decode(absl::string_view payload) {
  const auto header = CommitReader::ReadHeader(payload);
  auto reader = CommitReader::Open(payload, kPayloadOffset, kKeyHash, kCrc32);
  if (!reader.ok()) {
    Check(absl::IsDataLoss(reader.status()) ||
              absl::IsUnimplemented(reader.status()),
          "unexpected error");
    return std::nullopt;
  }
  Check(header.ok() && header->sequence == reader->header().sequence,
        "the header alone is another one");
  Record record{.header = reader->header(), .changes = {}};
  for (size_t calls = 0;; ++calls) {
    Check(calls <= payload.size(), "a record never ends");
    auto change = reader->Next();
    if (absl::IsUnimplemented(change.status())) continue;
    if (!change.ok()) {
      Check(absl::IsDataLoss(change.status()), "unexpected error");
      return record;
    }
    if (!change->has_value()) return record;
    CheckSizes(**change, payload);
    record.changes.push_back(**std::move(change));
  }
}

// --- Equality ----------------------------------------------------------------

bool Same(const CommitHeader& a, const CommitHeader& b) {
  return a.version == b.version && a.flags == b.flags &&
         a.sequence == b.sequence && a.time == b.time &&
         a.position == b.position && a.batch_begin == b.batch_begin &&
         a.durable_tail == b.durable_tail && a.next_ino == b.next_ino &&
         a.next_data_id == b.next_data_id && a.checkpoint == b.checkpoint;
}

// --- What is made of them ----------------------------------------------------

void CheckAgain(const Record& record) {
  CommitWriter writer(record.header);
  for (const Change& change : record.changes) writer.Add(change);
  const Block block(writer.payload());
  const std::optional<Record> again = Decode(block.text());
  Check(again.has_value(), "an encoded record cannot be decoded");
  Check(Same(again->header, record.header), "the header has changed");
  Check(again->changes.size() == record.changes.size(),
        "there is another number of changes");
  for (size_t i = 0; i < record.changes.size(); ++i) {
    Check(again->changes[i] == record.changes[i], "a change has changed");
  }
}

void CheckExtents(const Inode& inode, uint64_t& data, uint64_t& extents) {
  if (inode.whole_entry != Inode::kNone) {
    data += inode.attributes.size;
    return;
  }
  if (inode.detail == nullptr) return;
  uint64_t end = 0;
  for (const auto& [offset, extent] : inode.detail->extents.extents()) {
    Check(offset == extent.file_offset && offset >= end && extent.length > 0,
          "extents are out of order");
    end = extent.file_end();
    data += extent.length;
    ++extents;
  }
}

void CheckNames(const Inode& directory, uint64_t& names) {
  uint32_t links = 2;
  directory.directory().ForEachAfter(0, [&](const Name& name) {
    ++names;
    Check(name.parent == &directory, "a name is of another directory");
    Check(!Tree::IsWithin(directory, *name.inode),
          "a directory lies in itself");
    links += name.inode->is_directory() ? 1 : 0;
    return true;
  });
  Check(directory.nlink() == links, "a directory has another number of links");
}

// Only inodes that can be reached from the root are counted again.
void CheckTree(const Tree& tree) {
  uint64_t inodes = 0;
  uint64_t names = 0;
  uint64_t data = 0;
  uint64_t extents = 0;
  tree.ForEach([&](const Inode& inode) {
    ++inodes;
    Check(inode.is_root() || inode.names != nullptr, "a name leads nowhere");
    Check(tree.Find(inode.ino) == &inode, "an inode has another number");
    if (inode.is_directory()) CheckNames(inode, names);
    CheckExtents(inode, data, extents);
  });
  Check(inodes <= tree.inode_count() && names <= tree.name_count(),
        "there is more in the tree than was counted");
  if (!tree.CheckConsistency().empty()) return;
  Check(inodes == tree.inode_count() && names == tree.name_count(),
        "there is less in the tree than was counted");
  Check(data == tree.data_bytes() && extents == tree.extent_count(),
        "there is another amount of data than was counted");
}

void Apply(const Record& record) {
  Tree tree;
  std::optional<Timestamp> time;
  if (!record.header.is_checkpoint()) time = record.header.time;
  for (const Change& change : record.changes) {
    const absl::Status status = tree.Apply(change, time);
    Check(status.ok() || absl::IsDataLoss(status), "unexpected error");
  }
  CheckTree(tree);
}

// The same bytes with a valid digest at the end.
void CheckWithDigest(absl::string_view input) {
  std::string payload(input);
  const uint64_t digest = HashKey(payload);
  WireWriter out(&payload);
  out.U8(kDigestKind);
  out.U8(8);
  out.U64(digest);
  const Block block(payload);
  Check(CommitReader::HasValidDigest(block.text()), "a digest is not its own");
  if (const auto record = Decode(block.text())) Apply(*record);
  // Functions that tell records from other entries must take any bytes.
  const Identity identity;
  const absl::string_view head = block.text().substr(0, Identity::kRecordHead);
  const auto header = CommitReader::ReadHeader(block.text());
  if (!header.ok()) return;
  Check(identity.Reserves(identity.KeyHashFor(*header), head),
        "a record's key is not the tree's");
  Check(identity.Reserves(identity.KeyHashFor(*header) ^ 4, head),
        "a record's key that has a flipped bit is not the tree's");
}

void RunInput(absl::string_view input) {
  CheckWithDigest(input);
  const Block block(input);
  if (const std::optional<Record> record = Decode(block.text())) {
    CheckAgain(*record);
    Apply(*record);
  }
  if (const auto identity = Identity::Decode(block.text()); identity.ok()) {
    // An identity with a least length has the long form.
    const std::string again = identity->Encode();
    Check(input.substr(0, again.size()) == again,
          "the identity is another one");
  }
  WireReader in(block.text());
  if (const uint64_t number = in.Varint(); in.ok()) {
    std::string text;
    WireWriter(&text).Varint(number);
    WireReader again(text);
    Check(again.Varint() == number && again.ok() && again.at_end() &&
              text.size() <= input.size() - in.rest().size(),
          "the number is another one, or longer");
  }
}

}  // namespace
}  // namespace varve::fs

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  varve::fs::RunInput({reinterpret_cast<const char*>(data), size});
  return 0;
}
