#include "configuration/difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "configuration/node_options.h"
#include "schema/codec.h"

namespace blockexport::configuration {
namespace {

using schema::ConfigurationAction;

constexpr std::uint32_t kShutdownGraceSecondsDefault = 1;

// Removes a member that has its default value.
void drop_default(json::Object& members, const char* name, const json::Value& value) {
  const json::Value* found = members.find(name);
  if (found != nullptr && *found == value) members.erase(name);
}

// The options of a node that is no child of another one.
json::Value with_defaults(const schema::BlockdevOptions& options) {
  json::Value encoded = schema::encode(options);
  json::Object& members = *encoded.as_object();
  for (const char* name : {"read-only", "auto-read-only", "force-share"}) drop_default(members, name, false);
  drop_default(members, "discard", "ignore");
  drop_default(members, "detect-zeroes", "off");
  if (json::Value* cache = members.find("cache"); cache != nullptr && cache->as_object() != nullptr) {
    for (const char* name : {"direct", "no-flush"}) drop_default(*cache->as_object(), name, false);
    drop_default(members, "cache", json::Object{});
  }
  return encoded;
}

// The options of an export, without its own node.
json::Value with_defaults(const schema::ExportConfiguration& one) {
  schema::ExportConfiguration plain = one;
  plain.node.reset();
  json::Value encoded = schema::encode(plain);
  json::Object& members = *encoded.as_object();
  drop_default(members, "name", one.id);
  drop_default(members, "on-remove", "safe");
  for (const char* name : {"writable", "writethrough", "allocation-depth", "fixed-iothread"}) {
    drop_default(members, name, false);
  }
  drop_default(members, "bitmaps", json::Array{});
  return encoded;
}

// Each table is there, so that its options are compared one by one.
json::Value with_defaults(const schema::DaemonConfiguration& daemon) {
  schema::DaemonConfiguration plain = daemon;
  if (plain.shutdown_grace_seconds == kShutdownGraceSecondsDefault) plain.shutdown_grace_seconds.reset();
  json::Value encoded = schema::encode(plain);
  json::Object& members = *encoded.as_object();
  for (const char* table : {"log", "metrics", "sandbox"}) {
    if (members.find(table) == nullptr) members.set(table, json::Object{});
  }
  drop_default(*members.find("log")->as_object(), "format", "auto");
  json::Object& metrics = *members.find("metrics")->as_object();
  drop_default(metrics, "per-client", false);
  drop_default(metrics, "host", json::Array{});
  json::Object& sandbox = *members.find("sandbox")->as_object();
  drop_default(sandbox, "mode", "off");
  for (const char* paths : {"images", "credentials", "state", "sockets"}) drop_default(sandbox, paths, json::Array{});
  drop_default(members, "aio-backend", "auto");
  drop_default(members, "image-references", json::Array{"allow"});
  drop_default(members, "persist-runtime", false);
  drop_default(members, "polling", "auto");
  return encoded;
}

bool is_live(std::string_view option) {
  return option == "log.level" || option == "log.format" || option.starts_with("metrics.");
}

template <class T>
json::Value with_defaults(const T& options) {
  return schema::encode(options);
}

const std::string& id_of(const schema::ObjectOptions& one) {
  return one.id;
}
const std::string& id_of(const schema::ChardevConfiguration& one) {
  return one.id;
}
const std::string& id_of(const schema::MonitorOptions& one) {
  return *one.id;
}
const std::string& id_of(const schema::BlockdevOptions& one) {
  return *one.node_name;
}
const std::string& id_of(const schema::ServerConfiguration& one) {
  return one.id;
}
const std::string& id_of(const schema::ExportConfiguration& one) {
  return one.id;
}

// Adds the names of the members in which two objects differ: of an object inside with the names around.
void add_differing(const json::Value& a, const json::Value& b, const std::string& prefix,
                   std::vector<std::string>& names) {
  auto compare = [&](const std::string& name, const json::Value* one, const json::Value* other) {
    if (one != nullptr && other != nullptr && *one == *other) return;
    const bool are_objects =
        one != nullptr && other != nullptr && one->as_object() != nullptr && other->as_object() != nullptr;
    if (are_objects) {
      add_differing(*one, *other, prefix + name + ".", names);
    } else {
      names.push_back(prefix + name);
    }
  };
  for (const auto& [name, value] : *a.as_object()) compare(name, &value, b.as_object()->find(name));
  for (const auto& [name, value] : *b.as_object()) {
    if (a.as_object()->find(name) == nullptr) compare(name, nullptr, &value);
  }
}

class Comparison {
 public:
  Comparison(const schema::Configuration& before, const schema::Configuration& after, bool reopens)
      : before_(before), after_(after), reopens_(reopens) {}

  Differences run() {
    compare_daemon();
    // The first pass finds the replaced secrets.
    compare(Section::kObjects, before_.objects, after_.objects);
    result_.list.clear();
    compare(Section::kObjects, before_.objects, after_.objects);
    compare(Section::kChardevs, before_.chardevs, after_.chardevs);
    compare(Section::kMonitors, before_.monitors, after_.monitors);
    compare(Section::kNodes, before_.nodes, after_.nodes);
    replace_nodes_above();
    compare(Section::kServers, before_.servers, after_.servers);
    compare(Section::kExports, before_.exports, after_.exports);
    std::ranges::sort(result_.list, [](const Difference& a, const Difference& b) {
      return std::tie(a.section, a.id) < std::tie(b.section, b.id);
    });
    return std::move(result_);
  }

 private:
  void compare_daemon() {
    std::vector<std::string> names;
    add_differing(with_defaults(before_.daemon), with_defaults(after_.daemon), {}, names);
    std::ranges::sort(names);
    for (std::string& name : names) {
      (is_live(name) ? result_.live_options : result_.daemon_options).push_back(std::move(name));
    }
  }

  template <class T>
  void compare(Section section, const std::vector<T>& before, const std::vector<T>& after) {
    std::map<std::string, std::pair<const T*, const T*>> pairs;
    for (const T& one : before) pairs[id_of(one)].first = &one;
    for (const T& one : after) pairs[id_of(one)].second = &one;
    for (const auto& [id, pair] : pairs) {
      auto [old_one, new_one] = pair;
      Difference difference{.section = section, .id = id, .action = ConfigurationAction::kAdd};
      if (new_one == nullptr) {
        difference.action = ConfigurationAction::kRemove;
      } else if (old_one != nullptr) {
        if (!alter(difference, *old_one, *new_one)) continue;
      } else {
        describe_new(difference, *new_one);
      }
      result_.list.push_back(std::move(difference));
    }
  }

  template <class T>
  void describe_new(Difference&, const T&) {}
  void describe_new(Difference& difference, const schema::ExportConfiguration& one) {
    if (one.node) difference.node = NodeEffect::kReplace;
  }

  // Compares two of one ID; false when there is no difference.
  bool alter(Difference& difference, const schema::ObjectOptions& before, const schema::ObjectOptions& after) {
    add_differing(with_defaults(before), with_defaults(after), {}, difference.options);
    const bool is_live =
        after.qom_type() == schema::ObjectType::kThrottleGroup || after.qom_type() == schema::ObjectType::kIothread;
    difference.action =
        is_live && before.qom_type() == after.qom_type() ? ConfigurationAction::kChange : ConfigurationAction::kReplace;
    if (difference.options.empty() && refers_to_replaced_secret(after)) difference.options.emplace_back("passwordid");
    const bool is_different = !difference.options.empty();
    if (is_different && after.qom_type() == schema::ObjectType::kSecret) replaced_secrets_.insert(after.id);
    return is_different;
  }

  // Credentials have read their password already.
  bool refers_to_replaced_secret(const schema::ObjectOptions& options) const {
    const json::Value encoded = schema::encode(options);
    const json::Value* id = encoded.as_object()->find("passwordid");
    const std::string* text = id != nullptr ? id->as_string() : nullptr;
    return text != nullptr && replaced_secrets_.contains(*text);
  }

  bool alter(Difference& difference, const schema::ServerConfiguration& before,
             const schema::ServerConfiguration& after) {
    add_differing(with_defaults(before), with_defaults(after), {}, difference.options);
    difference.action = ConfigurationAction::kChange;
    return !difference.options.empty();
  }

  template <class T>
  bool alter_at_restart(Difference& difference, const T& before, const T& after) {
    add_differing(with_defaults(before), with_defaults(after), {}, difference.options);
    difference.action = ConfigurationAction::kRestart;
    return !difference.options.empty();
  }
  bool alter(Difference& difference, const schema::ChardevConfiguration& before,
             const schema::ChardevConfiguration& after) {
    return alter_at_restart(difference, before, after);
  }
  bool alter(Difference& difference, const schema::MonitorOptions& before, const schema::MonitorOptions& after) {
    return alter_at_restart(difference, before, after);
  }

  bool alter(Difference& difference, const schema::BlockdevOptions& before, const schema::BlockdevOptions& after) {
    add_differing(with_defaults(before), with_defaults(after), {}, difference.options);
    if (difference.options.empty()) return false;
    const bool is_reopened = reopens_ && have_same_images(before, after);
    difference.action = is_reopened ? ConfigurationAction::kChange : ConfigurationAction::kReplace;
    if (!is_reopened) replaced_nodes_.insert(*after.node_name);
    return true;
  }

  // Nodes above a replaced one get a new child, and so are replaced too.
  void replace_nodes_above() {
    const auto ordered = in_opening_order(after_.nodes);
    if (!ordered) return;
    for (const schema::BlockdevOptions& node : *ordered) {
      const std::string& name = *node.node_name;
      const bool existed = std::ranges::find(before_.nodes, name, id_of_node) != before_.nodes.end();
      if (!existed || replaced_nodes_.contains(name) || !refers_to_replaced(node)) continue;
      replaced_nodes_.insert(name);
      auto found = std::ranges::find_if(
          result_.list, [&name](const Difference& one) { return one.section == Section::kNodes && one.id == name; });
      if (found == result_.list.end()) {
        result_.list.push_back({.section = Section::kNodes, .id = name, .action = ConfigurationAction::kReplace});
        found = std::prev(result_.list.end());
      }
      found->action = ConfigurationAction::kReplace;
    }
  }

  static const std::string& id_of_node(const schema::BlockdevOptions& options) { return *options.node_name; }

  bool refers_to_replaced(const schema::BlockdevOptions& options) const {
    return std::ranges::any_of(references_of(options),
                               [this](const std::string& name) { return replaced_nodes_.contains(name); });
  }

  bool alter(Difference& difference, const schema::ExportConfiguration& before,
             const schema::ExportConfiguration& after) {
    add_differing(with_defaults(before), with_defaults(after), {}, difference.options);
    bool is_replaced = std::ranges::any_of(difference.options, [&](const std::string& name) {
      if (name == "tls-authz") return before.tls_authz.has_value() != after.tls_authz.has_value();
      return name != "description" && name != "on-remove" && name != "servers";
    });
    if (after.node_name && replaced_nodes_.contains(*after.node_name)) is_replaced = true;
    difference.node = effect_on_node(difference, before, after);
    if (difference.node == NodeEffect::kReplace || before.node.has_value() != after.node.has_value()) {
      is_replaced = true;
    }
    difference.action = is_replaced ? ConfigurationAction::kReplace : ConfigurationAction::kChange;
    return is_replaced || !difference.options.empty();
  }

  NodeEffect effect_on_node(Difference& difference, const schema::ExportConfiguration& before,
                            const schema::ExportConfiguration& after) {
    const auto old_node = own_node_of(before);
    const auto new_node = own_node_of(after);
    if (!new_node) return NodeEffect::kNone;
    if (!old_node || refers_to_replaced(*new_node)) return NodeEffect::kReplace;
    const std::size_t count = difference.options.size();
    add_differing(with_defaults(*old_node), with_defaults(*new_node), "node.", difference.options);
    if (difference.options.size() == count) return NodeEffect::kKeep;
    const bool is_reopened =
        reopens_ && old_node->node_name == new_node->node_name && have_same_images(*old_node, *new_node);
    return is_reopened ? NodeEffect::kReopen : NodeEffect::kReplace;
  }

  const schema::Configuration& before_;
  const schema::Configuration& after_;
  const bool reopens_;
  Differences result_;
  std::set<std::string> replaced_secrets_;
  std::set<std::string> replaced_nodes_;
};

}  // namespace

const Difference* Differences::find(Section section, const std::string& id) const {
  const auto found =
      std::ranges::find_if(list, [&](const Difference& one) { return one.section == section && one.id == id; });
  return found != list.end() ? &*found : nullptr;
}

std::vector<std::string> options_of(const schema::DaemonConfiguration& daemon) {
  std::vector<std::string> names;
  const json::Value encoded = schema::encode(daemon);
  for (const auto& [name, value] : *encoded.as_object()) {
    if (value.as_object() == nullptr) {
      names.push_back(name);
    } else {
      for (const auto& [inner, option] : *value.as_object()) names.push_back(name + "." + inner);
    }
  }
  return names;
}

Differences difference(const schema::Configuration& before, const schema::Configuration& after, bool reopens) {
  return Comparison(before, after, reopens).run();
}

}  // namespace blockexport::configuration
