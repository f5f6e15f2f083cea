// Graph: creation of nodes: options, names, children.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/identifier.h"
#include "block/attached_store.h"
#include "block/graph_new_nodes.h"
#include "block/graph_opening.h"
#include "block/loaded_bitmaps.h"

namespace blockexport::block {
namespace {

DetectZeroes detect_zeroes_of(const schema::BlockdevOptions& options) {
  switch (options.detect_zeroes.value_or(schema::BlockdevDetectZeroesOptions::kOff)) {
    case schema::BlockdevDetectZeroesOptions::kOff:
      return DetectZeroes::kOff;
    case schema::BlockdevDetectZeroesOptions::kOn:
      return DetectZeroes::kOn;
    case schema::BlockdevDetectZeroesOptions::kUnmap:
      return DetectZeroes::kUnmap;
  }
  return DetectZeroes::kOff;
}

// Calls see(name, reference) for each member of the driver's options that may refer to a child.
template <class Options, class See>
void see_children(Options& options, See&& see) {
  auto see_member = [&see]<class Member>(std::string_view name, Member& member) {
    using Plain = std::remove_const_t<Member>;
    if constexpr (std::is_same_v<Plain, schema::BlockdevRef>) see(name, member);
    if constexpr (std::is_same_v<Plain, std::optional<schema::BlockdevRef>> ||
                  std::is_same_v<Plain, std::optional<schema::BlockdevRefOrNull>>) {
      if (member) see(name, *member);
    }
    if constexpr (std::is_same_v<Plain, std::vector<schema::BlockdevRef>>) {
      for (std::size_t i = 0; i < member.size(); ++i) see(fmt::format("{}.{}", name, i), member[i]);
    }
  };
  auto see_branch = [&see_member](auto& branch) {
    if constexpr (requires { branch.for_each_member(see_member); }) branch.for_each_member(see_member);
  };
  std::visit(see_branch, options.branch);
}

bool is_no_child(const schema::BlockdevRef&) {
  return false;
}
bool is_no_child(const schema::BlockdevRefOrNull& reference) {
  return reference.null() != nullptr || (reference.reference() != nullptr && reference.reference()->empty());
}

}  // namespace

Result<NodeOptions> node_options_of(const schema::BlockdevOptions& options, const NodeOptions* parent) {
  const schema::BlockdevCacheOptions cache = options.cache.value_or(schema::BlockdevCacheOptions{});
  NodeOptions inherited = parent != nullptr ? *parent : NodeOptions{};
  NodeOptions result;
  result.read_only = options.read_only.value_or(inherited.read_only);
  result.auto_read_only = options.auto_read_only.value_or(inherited.auto_read_only);
  result.force_share = options.force_share.value_or(inherited.force_share);
  result.cache_direct = cache.direct.value_or(inherited.cache_direct);
  result.cache_no_flush = cache.no_flush.value_or(inherited.cache_no_flush);
  result.detect_zeroes = detect_zeroes_of(options);
  // An inline child without the option always passes discards on, because the parent has decided already.
  result.discard = parent != nullptr ? DiscardMode::kUnmap : DiscardMode::kIgnore;
  if (options.discard) {
    result.discard = *options.discard == schema::BlockdevDiscardOptions::kUnmap ? DiscardMode::kUnmap  //
                                                                                : DiscardMode::kIgnore;
  }
  if (result.force_share && !result.read_only) return fail("force-share=on can only be used with read-only images");
  if (result.detect_zeroes == DetectZeroes::kUnmap && result.discard != DiscardMode::kUnmap) {
    return fail("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap");
  }
  return result;
}

NodeOptions inherited_options(const NodeOptions& parent, ChildRoles roles) {
  NodeOptions inherited = parent;
  if (roles.has(ChildRole::kBacking)) {
    inherited.read_only = true;
    inherited.auto_read_only = false;
  }
  return inherited;
}

std::vector<ChildReference> child_references(const schema::BlockdevOptions& options) {
  std::vector<ChildReference> found;
  see_children(options, [&found](std::string_view name, const auto& reference) {
    if (is_no_child(reference)) return;
    found.push_back({.name = std::string(name), .node = reference.reference(), .definition = reference.definition()});
  });
  return found;
}

std::optional<ChildReference> child_reference(const schema::BlockdevOptions& options, std::string_view name) {
  for (const ChildReference& child : child_references(options)) {
    if (child.name == name) return child;
  }
  return std::nullopt;
}

bool set_child_reference(schema::BlockdevOptions& options, std::string_view name, const std::string& node) {
  bool is_set = false;
  see_children(options, [&](std::string_view member, auto& reference) {
    if (member != name || is_no_child(reference)) return;
    reference = {node};
    is_set = true;
  });
  return is_set;
}

bool set_backing(schema::BlockdevOptions& options, const std::string& node) {
  bool is_set = false;
  auto set_member = [&]<class Member>(std::string_view name, Member& member) {
    if constexpr (std::is_same_v<Member, std::optional<schema::BlockdevRefOrNull>>) {
      if (name != "backing") return;
      member = schema::BlockdevRefOrNull{node};
      is_set = true;
    }
  };
  auto set_branch = [&set_member](auto& branch) {
    if constexpr (requires { branch.for_each_member(set_member); }) branch.for_each_member(set_member);
  };
  std::visit(set_branch, options.branch);
  return is_set;
}

std::optional<schema::BlockdevRef> as_reference(const schema::BlockdevRefOrNull& reference) {
  if (is_no_child(reference)) return std::nullopt;
  if (reference.definition() != nullptr) return schema::BlockdevRef{*reference.definition()};
  return schema::BlockdevRef{*reference.reference()};
}

Result<> Graph::check_name(std::string_view name) const {
  if (!is_identifier(name)) return fail(fmt::format("Invalid node-name: '{}'", name));
  if (find(name) != nullptr || names_being_opened_.contains(name)) {
    return fail(fmt::format("Duplicate nodes with node-name='{}'", name));
  }
  if (name.size() > kNodeNameBytesMax) return fail("Node name too long");
  return {};
}

std::string Graph::generate_name() {
  // Two random digits, so that users do not rely on such names.
  std::uint64_t number = names_generated_++;
  return fmt::format("#block{}{:02}", number, (number * 37 + 61) % 100);
}

aio::Task<Result<Node*>> Graph::NewNodes::open(const schema::BlockdevOptions& options, const NodeOptions* parent,
                                               const OpeningPlace* place) {
  CO_TRY_ASSIGN(NodeOptions node_options, node_options_of(options, parent));
  if (options.node_name) CO_TRY(graph_.check_name(*options.node_name));
  std::string name = options.node_name ? *options.node_name : graph_.generate_name();
  names_.push_back(name);
  graph_.names_being_opened_.insert(name);

  if (place != nullptr) CO_TRY(check_named_options(options));
  Opening opening(*this, name, node_options, place);
  Result<std::unique_ptr<Driver>> driver = co_await graph_.drivers_.open(options, node_options, opening);
  if (driver && (*driver)->size_bytes() > kNodeBytesMax) {
    driver = fail(Error::system("Could not refresh total sector count", Errno(EFBIG))
                      .with_hint(fmt::format("A node has at most {} bytes.", kNodeBytesMax)));
  }
  if (!driver) co_return fail(std::move(driver).error());
  if (place != nullptr) CO_TRY(check_named_file(**driver, *place));
  node_options.read_only = node_options.read_only || (*driver)->is_read_only();
  auto node = std::make_unique<Node>(std::move(name), std::move(*driver), node_options);
  for (Edge* child : node->driver().children()) child->set_parent_node(*node);
  graph_.trace_.note(TraceEvent::kBlockNodeOpened, {node->name(), " driver ", node->driver().format_name()});
  // After a crash a store has the bitmaps of the image beside it, which are inconsistent there.
  if (options.bitmap_store) {
    CO_TRY(co_await attach_store({graph_.control_, graph_.log_}, *options.bitmap_store, *node, node->read_only(),
                                 AttachTo::kNewNode));
  }
  CO_TRY(co_await load_image_bitmaps(*node));
  nodes_.push_back(GraphNode{.node = std::move(node), .options = options});
  co_return nodes_.back().node.get();
}

Graph::NewNodes::~NewNodes() {
  while (!nodes_.empty()) nodes_.pop_back();
  for (const std::string& name : names_) graph_.names_being_opened_.erase(name);
}

bool Graph::refers_to_nodes(const schema::BlockdevOptions& options) {
  return std::ranges::any_of(child_references(options), [](const ChildReference& child) {
    return child.definition == nullptr || refers_to_nodes(*child.definition);
  });
}

}  // namespace blockexport::block
