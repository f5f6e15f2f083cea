#include "block/file_description.h"

#include <fmt/format.h>

#include <algorithm>
#include <ranges>

#include "block/chain.h"
#include "block/edge.h"

namespace blockexport::block {
namespace {

// The members of a node's description, in JSON.
class Members {
 public:
  explicit Members(schema::BlockdevDriver driver) {
    using Names = schema::EnumNames<schema::BlockdevDriver>;
    add_text("driver", Names::kNames[static_cast<std::size_t>(driver)]);
  }
  void add_text(std::string_view name, std::string_view value) {
    std::string quoted = "\"";
    for (char c : value) {
      if (c == '"' || c == '\\') quoted += '\\';
      if (static_cast<unsigned char>(c) < 0x20) {
        quoted += fmt::format("\\u{:04x}", c);
      } else {
        quoted += c;
      }
    }
    add(name, quoted + '"');
  }
  template <class T>
  void add_if(std::string_view name, const std::optional<T>& value) {
    if (value) add(name, fmt::format("{}", *value));
  }
  void add(std::string_view name, std::string_view json) {
    if (!text_.empty()) text_ += ", ";
    text_ += fmt::format("\"{}\": {}", name, json);
    count_++;
  }

  bool only_driver() const { return count_ == 1; }
  std::string json() const { return fmt::format("{{{}}}", text_); }

 private:
  std::string text_;
  std::size_t count_ = 0;
};

struct Description {
  std::string name;  // empty when a name alone does not describe it
  std::string json;
  bool is_storage = false;  // the node is not on top of another one
};

// The child of that name, which the driver has.
Node& child_of(Node& node, std::string_view name) {
  const std::vector<Edge*> children = node.driver().children();
  return (*std::ranges::find(children, name, [](const Edge* child) { return child->name(); }))->node();
}

// The text that stands for the node.
std::string full_name(const Description& description) {
  return description.name.empty() ? "json:" + description.json : description.name;
}

Description describe(const Graph& graph, Node& node);

// An image format: its file's name is enough when opening that file gives the same backing node.
Description describe_format(const Graph& graph, Node& node, Members members) {
  Description file;
  for (Edge* child : node.driver().children()) {
    if (child->name() == "file") file = describe(graph, child->node());
  }
  members.add("file", file.json);
  const std::optional<std::string> named = node.driver().backing_name();
  bool says_all = file.is_storage;
  if (Edge* backing = child_of_role(node, ChildRole::kBacking)) {
    const Description below = describe(graph, backing->node());
    if (named != full_name(below)) {
      says_all = false;
      members.add("backing", below.json);
    }
  } else if (named && !named->empty()) {
    says_all = false;
    members.add("backing", "null");
  }
  return {says_all ? file.name : "", members.json(), false};
}

// The file's name is not enough to open an encrypted image.
Description describe_qcow2(const Graph& graph, Node& node, const schema::BlockdevOptionsQcow2& options,
                           Members members) {
  using Format = schema::BlockdevQcow2EncryptionFormat;
  std::optional<std::string> key_secret;
  if (options.encrypt && options.encrypt->format() == Format::kAes) {
    key_secret = options.encrypt->as<Format::kAes>().key_secret;
  } else if (options.encrypt) {
    key_secret = options.encrypt->as<Format::kLuks>().key_secret;
  }
  if (key_secret) members.add_text("encrypt.key-secret", *key_secret);
  Description image = describe_format(graph, node, members);
  if (key_secret) image.name.clear();
  return image;
}

template <class Rule>
void add_rules(Members& members, std::string_view name, const std::optional<std::vector<Rule>>& rules) {
  if (!rules) return;
  for (std::size_t i = 0; i < rules->size(); ++i) {
    auto add_member = [&]<class Member>(std::string_view option, const Member& value) {
      const std::string key = fmt::format("{}.{}.{}", name, i, option);
      if constexpr (schema::SchemaEnum<Member>) {
        members.add_text(key, schema::name_of(value));
      } else if constexpr (std::is_same_v<Member, std::optional<schema::BlkdebugIOType>>) {
        if (value) members.add_text(key, schema::name_of(*value));
      } else if constexpr (std::is_same_v<Member, std::int64_t>) {
        members.add(key, fmt::format("{}", value));
      } else {
        members.add_if(key, value);
      }
    };
    (*rules)[i].for_each_member(add_member);
  }
}

void add_permissions(Members& members, std::string_view name,
                     const std::optional<std::vector<schema::BlockPermission>>& permissions) {
  if (!permissions) return;
  for (std::size_t i = 0; i < permissions->size(); ++i) {
    members.add_text(fmt::format("{}.{}", name, i), schema::name_of((*permissions)[i]));
  }
}

// A node with no more than a rule file has a name in the form of a protocol.
Description describe_blkdebug(const schema::BlockdevOptionsBlkdebug& options, const Description& image,
                              Members& members) {
  members.add_if("align", options.align);
  members.add_if("max-transfer", options.max_transfer);
  members.add_if("opt-write-zero", options.opt_write_zero);
  members.add_if("max-write-zero", options.max_write_zero);
  members.add_if("opt-discard", options.opt_discard);
  members.add_if("max-discard", options.max_discard);
  add_rules(members, "inject-error", options.inject_error);
  add_rules(members, "set-state", options.set_state);
  add_permissions(members, "take-child-perms", options.take_child_perms);
  add_permissions(members, "unshare-child-perms", options.unshare_child_perms);
  const std::string config = options.config.value_or("");
  const bool has_name = members.only_driver() && !image.name.empty();
  if (options.config) members.add_text("config", config);
  members.add("image", image.json);
  return {has_name ? fmt::format("blkdebug:{}:{}", config, image.name) : "", members.json(), false};
}

// Two children with names give one in the form of a protocol.
Description describe_blkverify(const Description& test, const Description& raw, Members& members) {
  members.add("test", test.json);
  members.add("raw", raw.json);
  const bool has_name = !test.name.empty() && !raw.name.empty();
  return {has_name ? fmt::format("blkverify:{}:{}", raw.name, test.name) : "", members.json(), has_name};
}

// A quorum node, whose children are in the reverse order.
Description describe_quorum(const Graph& graph, Node& node, const schema::BlockdevOptionsQuorum& options,
                            Members& members) {
  std::string children;
  for (Edge* child : node.driver().children() | std::views::reverse) {
    if (!children.empty()) children += ", ";
    children += describe(graph, child->node()).json;
  }
  members.add("children", fmt::format("[{}]", children));
  members.add("vote-threshold", fmt::format("{}", options.vote_threshold));
  members.add_if("blkverify", options.blkverify);
  members.add_if("rewrite-corrupted", options.rewrite_corrupted);
  if (options.read_pattern) members.add_text("read-pattern", schema::name_of(*options.read_pattern));
  return {"", members.json(), false};
}

// Returns true for a format whose options are those that many formats and filters have.
bool is_plain_format(schema::BlockdevDriver driver) {
  using enum schema::BlockdevDriver;
  return driver == kParallels || driver == kVdi || driver == kVhdx || driver == kVmdk || driver == kVpc;
}

Description describe(const Graph& graph, Node& node) {
  const schema::BlockdevOptions& options = graph.about(node).options;
  Members members(options.driver());
  if (is_plain_format(options.driver())) return describe_format(graph, node, members);
  auto describe_branch = [&]<class Branch>(const Branch& branch) -> Description {
    if constexpr (std::is_same_v<Branch, schema::BlockdevOptionsFile>) {
      members.add_text("filename", branch.filename);
      return {branch.filename, members.json(), true};
    } else if constexpr (std::is_same_v<Branch, schema::BlockdevOptionsNull>) {
      members.add_if("size", branch.size);
      members.add_if("read-zeroes", branch.read_zeroes);
      return {members.only_driver() ? node.driver().filename() : "", members.json(), true};
    } else if constexpr (std::is_same_v<Branch, schema::BlockdevOptionsRaw>) {
      members.add_if("offset", branch.offset);
      members.add_if("size", branch.size);
      Description file = describe(graph, *image_node(node));
      bool says_all = members.only_driver() && file.is_storage;
      members.add("file", file.json);
      return {says_all ? file.name : "", members.json(), false};
    } else if constexpr (std::is_same_v<Branch, schema::BlockdevOptionsQcow2>) {
      return describe_qcow2(graph, node, branch, members);
    } else if constexpr (std::is_same_v<Branch, schema::BlockdevOptionsLUKS>) {
      Description file = describe(graph, child_of(node, "file"));
      members.add("file", file.json);
      if (branch.header) members.add("header", describe(graph, child_of(node, "header")).json);
      if (branch.key_secret) members.add_text("key-secret", *branch.key_secret);
      // Without a key, the header alone is shown, and the file's name says all.
      const bool says_all = file.is_storage && !branch.header && !branch.key_secret;
      return {says_all ? file.name : "", members.json(), false};
    } else if constexpr (std::is_same_v<Branch, schema::BlockdevOptionsBlkdebug>) {
      return describe_blkdebug(branch, describe(graph, *image_node(node)), members);
    } else if constexpr (std::is_same_v<Branch, schema::BlockdevOptionsBlklogwrites>) {
      members.add_if("log-append", branch.log_append);
      members.add_if("log-sector-size", branch.log_sector_size);
      members.add("file", describe(graph, child_of(node, "file")).json);
      members.add("log", describe(graph, child_of(node, "log")).json);
      return {"", members.json(), false};
    } else if constexpr (std::is_same_v<Branch, schema::BlockdevOptionsBlkverify>) {
      return describe_blkverify(describe(graph, child_of(node, "test")), describe(graph, child_of(node, "raw")),
                                members);
    } else if constexpr (std::is_same_v<Branch, schema::BlockdevOptionsQuorum>) {
      return describe_quorum(graph, node, branch, members);
    } else {
      // A filter, which goes by the name of the image that it stands on.
      Description file = describe(graph, *image_node(node));
      members.add("file", file.json);
      if constexpr (std::is_same_v<Branch, schema::BlockdevOptionsCbw>) {
        members.add("target", describe(graph, child_of(node, "target")).json);
      }
      if constexpr (std::is_same_v<Branch, schema::BlockdevOptionsThrottle>) {
        members.add_text("throttle-group", branch.throttle_group);
      }
      // The reference names most filters by their options alone.
      using enum schema::BlockdevDriver;
      const bool has_name = options.driver() == kCopyBeforeWrite || options.driver() == kSnapshotAccess;
      return {has_name ? file.name : "", members.json(), false};
    }
  };
  return std::visit(describe_branch, options.branch);
}

}  // namespace

std::string file_description(const Graph& graph, const Node& node) {
  return full_name(describe(graph, *graph.about(node).node));
}

}  // namespace blockexport::block
