#include "fs/log/tree_bridge.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "fs/base/error.h"
#include "fs/btree/overlay.h"
#include "fs/tree/items.h"

namespace varve::fs {
namespace {

// From the log into memory.
class Reading {
 public:
  Reading(const TreeReader& reader, absl::FunctionRef<void(Change&)> look,
          Tree& tree)
      : reader_(reader), look_(look), tree_(tree) {}

  absl::Status Run() {
    tree_.BeginCommit();
    VARVE_RETURN_IF_ERROR(AddInodes());
    for (const uint64_t directory : directories_) {
      VARVE_RETURN_IF_ERROR(AddNames(directory));
    }
    for (const uint64_t ino : with_links_) {
      VARVE_RETURN_IF_ERROR(FixFirstName(ino));
    }
    absl::Status status;
    VARVE_RETURN_IF_ERROR(
        reader_.ForEachUnfinished([&](uint64_t begin, uint64_t end) {
          status = Apply(KeepUnfinished{.begin = begin, .end = end});
          return status.ok();
        }));
    return status;
  }

 private:
  absl::Status Apply(Change change) {
    look_(change);
    return tree_.Apply(change, std::nullopt);
  }

  // All inodes with what belongs to them, but for names: in one pass, as there
  // are many.
  absl::Status AddInodes() {
    LayeredCursor cursor(&reader_.items());
    VARVE_RETURN_IF_ERROR(cursor.Seek(InodeKey(kRootIno)));
    while (cursor.valid()) {
      VARVE_ASSIGN_OR_RETURN(const ItemKey key, ParseKey(cursor.key()));
      if (key.kind != ItemKind::kInode && key.ino != ino_) {
        return DamageError("an inode is missing, but not what belongs to it");
      }
      if (key.kind == ItemKind::kName || key.kind == ItemKind::kHash) {
        VARVE_RETURN_IF_ERROR(cursor.Seek(KeyPrefix(key.ino, ItemKind::kLink)));
        continue;
      }
      VARVE_RETURN_IF_ERROR(AddItem(key, cursor.value()));
      VARVE_RETURN_IF_ERROR(cursor.Next());
    }
    return EndOfInode();
  }

  absl::Status AddItem(const ItemKey& key, absl::string_view value) {
    if (key.kind == ItemKind::kInode) {
      VARVE_RETURN_IF_ERROR(EndOfInode());
      VARVE_ASSIGN_OR_RETURN(const InodeItem inode,
                             DecodeInode(key.ino, value));
      return AddInode(inode);
    }
    if (key.kind == ItemKind::kXattr) {
      if (key.chunk == 0) {
        VARVE_RETURN_IF_ERROR(EndOfXattr());
        xattr_ = std::string(key.xattr);
      } else if (xattr_ != key.xattr) {
        return DamageError("an attribute is without its first part");
      }
      absl::StrAppend(&xattr_value_, value);
    } else if (key.kind == ItemKind::kExtent) {
      VARVE_ASSIGN_OR_RETURN(const Extent extent,
                             DecodeExtentItem(key.file_offset, value));
      content_.extents.push_back(extent);
    }
    return absl::OkStatus();
  }

  absl::Status AddInode(const InodeItem& inode) {
    ino_ = inode.ino;
    if (inode.is_directory()) {
      directories_.push_back(inode.ino);
    } else if (inode.links > 1) {
      with_links_.push_back(inode.ino);
    }
    if (inode.whole_entry.has_value()) {
      content_.extents.push_back(inode.WholeExtent());
    }
    return Apply(PutInode{.ino = inode.ino, .attributes = inode.attributes});
  }

  // What was gathered of the inode is whole.
  absl::Status EndOfInode() {
    VARVE_RETURN_IF_ERROR(EndOfXattr());
    if (content_.extents.empty()) return absl::OkStatus();
    content_.ino = ino_;
    return Apply(std::exchange(content_, {}));
  }
  absl::Status EndOfXattr() {
    if (xattr_.empty()) return absl::OkStatus();
    const std::string name = std::exchange(xattr_, {});
    const std::string value = std::exchange(xattr_value_, {});
    return Apply(SetXattr{.ino = ino_, .name = name, .value = value});
  }

  absl::Status AddNames(uint64_t directory) {
    absl::Status status;
    VARVE_RETURN_IF_ERROR(reader_.ForEachNameAfter(
        {.directory = directory}, [&](const NameItem& name) {
          status = Apply(
              PutName{.parent = directory, .ino = name.ino, .name = name.text});
          return status.ok();
        }));
    return status;
  }

  absl::Status FixFirstName(uint64_t ino) {
    VARVE_ASSIGN_OR_RETURN(const InodeItem inode, reader_.GetInode(ino));
    VARVE_ASSIGN_OR_RETURN(const NameItem name,
                           reader_.GetName(inode.first_name));
    const Inode* found = tree_.Find(inode.first_name.directory);
    found = found == nullptr ? nullptr : tree_.Lookup(*found, name.text);
    if (found == nullptr || found->ino != inode.ino) {
      return DamageError("the first name of an inode is not its own");
    }
    tree_.MakeFirst(inode.first_name.directory, name.text);
    return absl::OkStatus();
  }

  const TreeReader& reader_;
  const absl::FunctionRef<void(Change&)> look_;
  Tree& tree_;
  std::vector<uint64_t> directories_;
  std::vector<uint64_t> with_links_;  // inodes of several names
  // What has been gathered so far of this inode.
  uint64_t ino_ = 0;
  SetContent content_;
  std::string xattr_;  // none if that is empty
  std::string xattr_value_;
};

// From memory into the log.
class Writing {
 public:
  Writing(const Tree& tree, LiveTree& live) : tree_(tree), live_(live) {}

  void Run() {
    tree_.ForEach([this](const Inode& inode) { Add(inode); });
    for (const auto& [begin, end] : tree_.unfinished().ranges()) {
      items_.Put(UnfinishedKey(begin), EncodeUnfinished(end));
    }
    live_.Lay(std::move(items_), {.inodes = tree_.inode_count(),
                                  .names = tree_.name_count(),
                                  .extents = tree_.extent_count(),
                                  .content_bytes = tree_.content_bytes(),
                                  .data_bytes = tree_.data_bytes(),
                                  .may_have_clones = tree_.may_have_clones()});
  }

 private:
  static NamePlace PlaceOf(const Name& name) {
    return {.directory = name.parent->ino, .place = name.cookie};
  }

  void Add(const Inode& inode) {
    InodeItem item{.ino = inode.ino, .attributes = inode.attributes};
    if (inode.names != nullptr) item.first_name = PlaceOf(*inode.names);
    for (const Name* name = inode.names; name != nullptr;
         name = name->next_link()) {
      if (name != inode.names) {
        items_.Put(LinkKey(inode.ino, PlaceOf(*name)), {});
      }
    }
    if (inode.is_directory()) {
      AddNames(inode, item);
    } else {
      item.links = inode.link_count;
      AddContent(inode, item);
    }
    if (inode.detail != nullptr) AddXattrs(inode);
    items_.Put(InodeKey(inode.ino), EncodeInode(item));
  }

  void AddNames(const Inode& inode, InodeItem& item) {
    item.links = inode.link_count > 2 ? inode.link_count - 2 : 0;
    item.name_count = inode.directory().size();
    item.next_place = inode.directory().end();
    inode.directory().ForEachAfter(0, [&](const Name& name) {
      items_.Put(NameKey(PlaceOf(name)),
                 EncodeName(name.inode->ino, name.inode->attributes.mode,
                            name.text()));
      items_.Put(NameHashKey(PlaceOf(name), live_.reader().HashOf(name.text())),
                 {});
      return true;
    });
  }

  void AddContent(const Inode& inode, InodeItem& item) {
    if (inode.whole_entry != Inode::kNone) {
      item.whole_entry = {.store_offset = inode.whole_entry,
                          .key_hash = inode.whole_entry_hash,
                          .crc32 = inode.whole_entry_crc32};
      return;
    }
    if (inode.detail == nullptr) return;
    item.patched = inode.detail->patched;
    for (const auto& [offset, extent] : inode.detail->extents.extents()) {
      items_.Put(ExtentKey(inode.ino, extent.file_offset),
                 EncodeExtentItem(extent));
      ++item.extent_count;
      item.extent_bytes += extent.length;
    }
  }

  void AddXattrs(const Inode& inode) {
    for (const auto& [name, value] : inode.detail->xattrs) {
      PutXattrItems(inode.ino, name, value, &items_);
    }
  }

  const Tree& tree_;
  LiveTree& live_;
  Overlay items_;
};

}  // namespace

absl::Status CopyToMemory(const TreeReader& reader,
                          absl::FunctionRef<void(Change&)> look, Tree& tree) {
  return Reading(reader, look, tree).Run();
}

void CopyToLog(const Tree& tree, LiveTree& live) { Writing(tree, live).Run(); }

}  // namespace varve::fs
