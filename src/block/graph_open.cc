// The part of Graph that makes nodes: options, names, children.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "block/graph.h"

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

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// A letter, then letters, digits, '-', '.' and '_'.
bool is_well_formed(std::string_view name) {
  if (name.empty() || !is_letter(name[0])) return false;
  return std::ranges::all_of(
      name, [](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_'; });
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
  // For a child that was not told, the parent has decided already whether to pass a discard on.
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

const schema::BlockdevRef* child_reference(const schema::BlockdevOptions& options, std::string_view role) {
  return std::visit(
      [role](const auto& branch) -> const schema::BlockdevRef* {
        if constexpr (requires { branch.file; }) {
          if (role == "file") return &branch.file;
        }
        return nullptr;
      },
      options.branch);
}

schema::BlockdevRef* child_reference(schema::BlockdevOptions& options, std::string_view role) {
  return const_cast<schema::BlockdevRef*>(child_reference(std::as_const(options), role));
}

// What one driver asks for while it is being opened.
class Graph::Opening final : public ChildOpener {
 public:
  Opening(Graph& graph, std::string parent_name, const NodeOptions& parent)
      : graph_(graph), parent_name_(std::move(parent_name)), parent_(parent) {}

  aio::Task<Result<std::unique_ptr<Edge>>> open_child(const schema::BlockdevRef& reference,
                                                      std::string_view role) override {
    Node* node = nullptr;
    if (const std::string* name = reference.reference()) {
      node = graph_.find(*name);
      if (node == nullptr) {
        co_return fail(fmt::format("Cannot find device='{}' nor node-name='{}'", *name, *name));
      }
    } else {
      CO_TRY_ASSIGN(node, co_await graph_.open_node(*reference.definition(), &parent_));
    }
    EdgeParent parent{.role = std::string(role), .description = fmt::format("node '{}'", parent_name_)};
    co_return std::make_unique<Edge>(*node, std::move(parent), Permissions{});
  }

 private:
  Graph& graph_;
  std::string parent_name_;
  const NodeOptions& parent_;
};

Result<> Graph::check_name(std::string_view name) const {
  if (!is_well_formed(name)) return fail(fmt::format("Invalid node-name: '{}'", name));
  if (find(name) != nullptr || std::ranges::find(names_being_opened_, name) != names_being_opened_.end()) {
    return fail(fmt::format("Duplicate nodes with node-name='{}'", name));
  }
  if (name.size() > kNodeNameBytesMax) return fail("Node name too long");
  return {};
}

std::string Graph::generate_name() {
  // Two digits that are hard to guess by counting, so that nobody comes to rely on such names.
  std::uint64_t number = names_generated_++;
  return fmt::format("#block{}{:02}", number, (number * 37 + 61) % 100);
}

aio::Task<Result<Node*>> Graph::open_node(const schema::BlockdevOptions& options, const NodeOptions* parent) {
  CO_TRY_ASSIGN(NodeOptions node_options, node_options_of(options, parent));
  if (options.node_name) CO_TRY(check_name(*options.node_name));
  std::string name = options.node_name ? *options.node_name : generate_name();

  Opening opening(*this, name, node_options);
  names_being_opened_.push_back(name);
  Result<std::unique_ptr<Driver>> driver = co_await drivers_.open(options, node_options, opening);
  names_being_opened_.pop_back();
  if (driver && (*driver)->size_bytes() > kNodeBytesMax) {
    driver = fail(Error::system("Could not refresh total sector count", Errno(EFBIG))
                      .with_hint(fmt::format("A node has at most {} bytes.", kNodeBytesMax)));
  }
  if (!driver) co_return fail(std::move(driver).error());
  node_options.read_only = node_options.read_only || (*driver)->is_read_only();
  auto node = std::make_unique<Node>(std::move(name), std::move(*driver), node_options);
  for (Edge* child : node->driver().children()) child->set_parent_node(*node);
  trace_.note(TraceEvent::kBlockNodeOpened, {node->name(), " driver ", node->driver().format_name()});
  nodes_.push_back(GraphNode{.node = std::move(node), .options = options});
  Node* added = nodes_.back().node.get();
  nodes_by_name_.emplace(added->name(), std::prev(nodes_.end()));
  co_return added;
}

}  // namespace blockexport::block
