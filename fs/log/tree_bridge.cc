#include "fs/log/tree_bridge.h"

#include <algorithm>
#include <string>
#include <utility>

#include "engine/base/status.h"
#include "fs/base/error.h"

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
    absl::Status status;
    VARVE_RETURN_IF_ERROR(reader_.ForEachInode([&](const InodeItem& inode) {
      status = Add(inode);
      return status.ok();
    }));
    VARVE_RETURN_IF_ERROR(status);
    VARVE_RETURN_IF_ERROR(reader_.ForEachInode([&](const InodeItem& inode) {
      if (inode.is_directory()) status = AddNames(inode);
      return status.ok();
    }));
    VARVE_RETURN_IF_ERROR(status);
    VARVE_RETURN_IF_ERROR(reader_.ForEachInode([&](const InodeItem& inode) {
      status = FixFirstName(inode);
      return status.ok();
    }));
    VARVE_RETURN_IF_ERROR(status);
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

  absl::Status Add(const InodeItem& inode) {
    VARVE_RETURN_IF_ERROR(
        Apply(PutInode{.ino = inode.ino, .attributes = inode.attributes}));
    if (!inode.is_directory()) VARVE_RETURN_IF_ERROR(AddContent(inode));
    absl::Status status;
    VARVE_RETURN_IF_ERROR(
        reader_.ForEachXattr(inode.ino, [&](absl::string_view name) {
          status = AddXattr(inode.ino, name);
          return status.ok();
        }));
    return status;
  }

  absl::Status AddContent(const InodeItem& inode) {
    SetContent set{.ino = inode.ino};
    VARVE_RETURN_IF_ERROR(reader_.ForEachExtent(inode, 0, kMaxFileSize,
                                                [&](const Extent& extent) {
                                                  set.extents.push_back(extent);
                                                  return true;
                                                }));
    return set.extents.empty() ? absl::OkStatus() : Apply(std::move(set));
  }

  absl::Status AddXattr(uint64_t ino, absl::string_view name) {
    VARVE_ASSIGN_OR_RETURN(const auto value, reader_.FindXattr(ino, name));
    if (!value.has_value()) return DamageError("an attribute has no value");
    return Apply(SetXattr{.ino = ino, .name = name, .value = *value});
  }

  absl::Status AddNames(const InodeItem& directory) {
    absl::Status status;
    VARVE_RETURN_IF_ERROR(reader_.ForEachNameAfter(
        {.directory = directory.ino}, [&](const NameItem& name) {
          status = Apply(PutName{
              .parent = directory.ino, .ino = name.ino, .name = name.text});
          return status.ok();
        }));
    return status;
  }

  absl::Status FixFirstName(const InodeItem& inode) {
    if (inode.is_directory() || inode.links < 2) return absl::OkStatus();
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
