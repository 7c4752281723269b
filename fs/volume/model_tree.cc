#include "fs/volume/model_tree.h"

#include <errno.h>
#include <stdio.h>

#include <algorithm>
#include <utility>

namespace varve::fs {

ModelTree::ModelTree() : root_(std::make_shared<ModelNode>()) {
  root_->ino = 1;
  root_->mode = S_IFDIR | 0755;
}

ModelTree::Place ModelTree::Resolve(absl::string_view path) const {
  Place place{.directory = root_};
  while (true) {
    const size_t slash = path.find('/');
    place.name = std::string(path.substr(0, slash));
    const auto it = place.directory->names.find(place.name);
    place.node = it == place.directory->names.end() ? nullptr : it->second;
    if (slash == absl::string_view::npos) return place;
    path = path.substr(slash + 1);
    if (place.node == nullptr || !place.node->is_directory()) {
      place.not_a_directory = place.node != nullptr;
      place.directory = nullptr;
      return place;
    }
    place.directory = place.node;
  }
}

int ModelTree::ErrorOf(const Place& place) {
  if (place.directory != nullptr) return 0;
  return place.not_a_directory ? ENOTDIR : ENOENT;
}

ModelNodePtr ModelTree::Find(absl::string_view path) const {
  if (path.empty()) return root_;
  const Place place = Resolve(path);
  return place.directory == nullptr ? nullptr : place.node;
}

void ModelTree::ForEach(
    const std::function<void(const std::string&, const ModelNodePtr&)>& visit)
    const {
  const std::function<void(const std::string&, const ModelNode&)> walk =
      [&](const std::string& prefix, const ModelNode& directory) {
        for (const auto& [name, node] : directory.names) {
          visit(prefix + name, node);
          if (node->is_directory()) walk(prefix + name + "/", *node);
        }
      };
  walk("", *root_);
}

std::vector<std::string> ModelTree::Paths() const {
  std::vector<std::string> paths;
  ForEach([&](const std::string& path, const ModelNodePtr&) {
    paths.push_back(path);
  });
  return paths;
}

int ModelTree::Make(absl::string_view path, uint32_t mode,
                    absl::string_view target) {
  const Place place = Resolve(path);
  if (const int error = ErrorOf(place)) return error;
  if (place.node != nullptr) return EEXIST;
  auto node = std::make_shared<ModelNode>();
  node->mode = mode;
  node->uid = node->gid = 1000;
  node->links = 1;
  node->content = std::string(target);
  place.directory->names.emplace(place.name, std::move(node));
  place.directory->mtime.reset();
  return 0;
}

int ModelTree::Link(absl::string_view from, absl::string_view to) {
  const ModelNodePtr node = Find(from);
  const Place place = Resolve(to);
  if (node == nullptr) return ENOENT;
  if (node->is_directory()) return EPERM;
  if (const int error = ErrorOf(place)) return error;
  if (place.node != nullptr) return EEXIST;
  ++node->links;
  place.directory->names.emplace(place.name, node);
  place.directory->mtime.reset();
  return 0;
}

void ModelTree::Drop(const Place& place) {
  --place.node->links;
  place.directory->names.erase(place.name);
  place.directory->mtime.reset();
}

int ModelTree::Unlink(absl::string_view path) {
  const Place place = Resolve(path);
  if (const int error = ErrorOf(place)) return error;
  if (place.node == nullptr) return ENOENT;
  if (place.node->is_directory()) return EISDIR;
  Drop(place);
  return 0;
}

int ModelTree::RemoveDirectory(absl::string_view path) {
  const Place place = Resolve(path);
  if (const int error = ErrorOf(place)) return error;
  if (place.node == nullptr) return ENOENT;
  if (!place.node->is_directory()) return ENOTDIR;
  if (!place.node->names.empty()) return ENOTEMPTY;
  Drop(place);
  return 0;
}

bool ModelTree::Contains(const ModelNode& directory, const ModelNode* node) {
  if (&directory == node) return true;
  return std::any_of(
      directory.names.begin(), directory.names.end(), [node](const auto& item) {
        return item.second->is_directory() && Contains(*item.second, node);
      });
}

int ModelTree::Rename(absl::string_view from, absl::string_view to,
                      uint32_t flags) {
  const Place source = Resolve(from);
  const Place target = Resolve(to);
  if (const int error = ErrorOf(source)) return error;
  if (const int error = ErrorOf(target)) return error;
  if (source.node == nullptr) return ENOENT;
  const bool exchange = flags == RENAME_EXCHANGE;
  if (target.node == nullptr && exchange) return ENOENT;
  if (target.node != nullptr && flags == RENAME_NOREPLACE) return EEXIST;
  if (source.node->is_directory() &&
      Contains(*source.node, target.directory.get())) {
    return EINVAL;
  }
  if (exchange && target.node->is_directory() &&
      Contains(*target.node, source.directory.get())) {
    return EINVAL;
  }
  if (target.node != nullptr && !exchange && target.node != source.node) {
    if (source.node->is_directory() && !target.node->is_directory()) {
      return ENOTDIR;
    }
    if (!source.node->is_directory() && target.node->is_directory()) {
      return EISDIR;
    }
    if (!target.node->names.empty()) return ENOTEMPTY;
  }
  if (target.node == source.node) return 0;
  if (target.node != nullptr && !exchange) --target.node->links;
  source.directory->names.erase(source.name);
  target.directory->names[target.name] = source.node;
  if (exchange) source.directory->names[source.name] = target.node;
  source.directory->mtime.reset();
  target.directory->mtime.reset();
  return 0;
}

void ModelTree::Write(ModelNode& file, uint64_t offset,
                      absl::string_view bytes) {
  file.mtime.reset();
  if (bytes.empty()) return;
  const uint64_t end = offset + bytes.size();
  if (file.content.size() < end) file.content.resize(end);
  file.content.replace(offset, bytes.size(), bytes.data(), bytes.size());
}

void ModelTree::Resize(ModelNode& file, uint64_t size) {
  file.content.resize(size);
  file.mtime.reset();
}

void ModelTree::Zero(ModelNode& file, uint64_t offset, uint64_t length) {
  const uint64_t end = std::min<uint64_t>(offset + length, file.content.size());
  for (uint64_t at = offset; at < end; ++at) file.content[at] = '\0';
  file.mtime.reset();
}

}  // namespace varve::fs
