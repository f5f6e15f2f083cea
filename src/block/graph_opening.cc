#include "block/graph_opening.h"

#include <fmt/format.h>

#include "block/chain.h"
#include "block/permission_update.h"

namespace blockexport::block {
namespace {

// Number of images on a chain whose errors get a prefix each, as in qemu-storage-daemon: a chain may be long.
constexpr std::size_t kErrorPrefixesMax = 8;

std::string child_name(const ImageReference& reference) {
  switch (reference.kind) {
    case ReferenceKind::kBacking:
      return "backing";
    case ReferenceKind::kDataFile:
      return "data-file";
    case ReferenceKind::kExtent:
      break;
  }
  return reference.child;
}

// The path of the host file that contains the image in `node`; empty when there is none.
std::string image_path(Node& node) {
  for (Node* one = &node; one != nullptr; one = image_node(*one)) {
    if (std::optional<HostFile> file = one->driver().host_file()) return std::move(file->path);
  }
  return {};
}

Error reference_error(std::string_view what, std::string_view name) {
  return Error(fmt::format("An image cannot refer to the {} '{}'", what, name))
      .with_hint("Only options of a node that the user defines may name what belongs to this daemon.");
}

}  // namespace

std::unique_ptr<Edge> Graph::Opening::edge_to(Node& node, std::string_view name, ChildRoles roles) const {
  EdgeParent parent{.name = std::string(name), .description = fmt::format("node '{}'", parent_name_), .roles = roles};
  return std::make_unique<Edge>(node, std::move(parent), Permissions{});
}

aio::Task<Result<std::unique_ptr<Edge>>> Graph::Opening::open_child(const schema::BlockdevRef& reference,
                                                                    std::string_view name, ChildRoles roles) {
  Node* node = nullptr;
  if (const std::string* node_name = reference.reference()) {
    if (is_named_by_image()) co_return fail(reference_error("node", *node_name));
    node = nodes_.graph().find(*node_name);
    if (node == nullptr) {
      co_return fail(fmt::format("Cannot find device='{}' nor node-name='{}'", *node_name, *node_name));
    }
  } else {
    const NodeOptions inherited = inherited_options(parent_, roles);
    CO_TRY_ASSIGN(node, co_await nodes_.open(*reference.definition(), &inherited, place_));
  }
  co_return edge_to(*node, name, roles);
}

aio::Task<Result<std::unique_ptr<Edge>>> Graph::Opening::open_named_child(ImageReference reference, const Edge& file,
                                                                          ChildRoles roles) {
  const ReferenceKind kind = reference.kind;
  const std::string name = child_name(reference);
  Result<Node*> node = co_await open_name(std::move(reference), file, roles);
  if (node) co_return edge_to(**node, name, roles);
  Error error = std::move(node).error();
  const bool is_near = place_ == nullptr || place_->depth < kErrorPrefixesMax;
  if (kind == ReferenceKind::kBacking && is_near) error = std::move(error).with_prefix("Could not open backing file: ");
  co_return fail(std::move(error));
}

aio::Task<Result<Node*>> Graph::Opening::open_name(ImageReference reference, const Edge& file, ChildRoles roles) {
  if (reference.name.size() > kImageNameBytesMax) {
    co_return fail(fmt::format("The name inside the image has more than {} bytes", kImageNameBytesMax));
  }
  OpeningPlace place{.above = place_, .depth = place_ == nullptr ? 1 : place_->depth + 1};
  if (place.depth > kBackingChainDepthMax) {
    co_return fail(fmt::format("The chain of images has more than {} images", kBackingChainDepthMax));
  }
  CO_TRY(nodes_.count_reference());
  for (Node* node : with_all_below(file.node())) {
    if (std::optional<HostFile> opened = node->driver().host_file()) place.files.push_back(std::move(*opened));
  }
  CO_TRY_ASSIGN(const schema::BlockdevOptions options,
                co_await nodes_.graph().drivers_.resolve(std::move(reference), image_path(file.node())));
  const NodeOptions inherited = inherited_options(parent_, roles);
  co_return co_await nodes_.open(options, &inherited, &place);
}

Result<const DirtyBitmap*> Graph::Opening::find_bitmap(const std::string& node_name, const std::string& name) {
  if (is_named_by_image()) return fail(reference_error("bitmap", name));
  const Node* node = nodes_.graph().find(node_name);
  if (node == nullptr) return fail(fmt::format("Node '{}' not found", node_name));
  return node->bitmaps().list().require(name);
}

Result<> Graph::NewNodes::count_reference() {
  if (++references_ <= kImageReferencesMax) return {};
  return fail(fmt::format("The images refer to more than {} files", kImageReferencesMax));
}

Result<> check_named_options(const schema::BlockdevOptions& options) {
  if (!options.bitmap_store) return {};
  return fail(reference_error("bitmap store", options.bitmap_store->filename));
}

Result<> check_named_file(const Driver& driver, const OpeningPlace& place) {
  const std::optional<HostFile> file = driver.host_file();
  if (!file || !place.contains(*file)) return {};
  return fail(fmt::format("'{}' contains an image above it in the chain, which would never end", file->path));
}

aio::Task<Result<schema::BlockdevOptions>> DriverTable::resolve(ImageReference reference, std::string) {
  co_return fail(fmt::format("The name '{}' inside an image cannot be opened", reference.name));
}

}  // namespace blockexport::block
