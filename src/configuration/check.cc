#include "configuration/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "aio/threads/reactor_pool.h"
#include "base/identifier.h"
#include "base/similar_text.h"
#include "block/graph.h"
#include "configuration/node_options.h"
#include "export/nbd/wire/contexts.h"
#include "export/nbd/wire/wire.h"
#include "schema/codec.h"

namespace blockexport::configuration {
namespace {

constexpr std::uint32_t kShutdownGraceSecondsMax = 3600;
constexpr std::size_t kServersMax = 64;

class Checking {
 public:
  Checking(ReadConfiguration& configuration, const Surroundings& surroundings)
      : configuration_(configuration), content_(configuration.content), surroundings_(surroundings) {}

  void run_process() { check_daemon(); }

  void run() {
    note_ids();
    check_daemon();
    for (const schema::ObjectOptions& one : content_.objects) check_object(one);
    for (const schema::ChardevConfiguration& one : content_.chardevs) check_chardev(one);
    for (const schema::MonitorOptions& one : content_.monitors) check_monitor(one);
    note_node_names();
    check_nodes();
    check_servers();
    for (const schema::ExportConfiguration& one : content_.exports) check_export(one);
  }

 private:
  void add(std::vector<std::string> path, std::string message, std::string hint = {}) {
    configuration_.findings.add(configuration_.places.find(std::move(path)), std::move(message), std::move(hint));
  }
  void add(Section section, const std::string& id, std::initializer_list<std::string_view> members, std::string message,
           std::string hint = {}) {
    std::vector<std::string> path{std::string(name_of(section)), id};
    for (std::string_view member : members) path.emplace_back(member);
    add(std::move(path), std::move(message), std::move(hint));
  }

  void check_id(Section section, const std::string& id) {
    if (is_identifier(id)) return;
    add(section, id, {}, fmt::format("'{}' is no identifier", id), kIdentifierHint);
  }

  void note_ids() {
    objects_ = surroundings_.objects;
    chardevs_ = surroundings_.chardevs;
    for (const auto& one : content_.objects) objects_[one.id] = schema::name_of(one.qom_type());
    for (const auto& one : content_.chardevs) chardevs_.insert(one.id);
    servers_ = surroundings_.servers;
    for (const auto& one : content_.servers) servers_.insert(one.id);
  }

  void check_daemon() {
    const schema::DaemonConfiguration& daemon = content_.daemon;
    if (daemon.reactors && (*daemon.reactors < 1 || *daemon.reactors > aio::kDataReactorsMax)) {
      add({"daemon", "reactors"},
          fmt::format("Parameter 'daemon.reactors' expects a number from 1 to {}", aio::kDataReactorsMax));
    }
    if (daemon.shutdown_grace_seconds.value_or(0) > kShutdownGraceSecondsMax) {
      add({"daemon", "shutdown-grace-seconds"},
          fmt::format("Parameter 'daemon.shutdown-grace-seconds' expects a number from 0 to {}",
                      kShutdownGraceSecondsMax));
    }
    check_sandbox();
    check_log();
    if (daemon.state_dir && !daemon.state_dir->starts_with('/')) {
      add({"daemon", "state-dir"}, "Parameter 'daemon.state-dir' expects an absolute path");
    }
    if (daemon.persist_runtime.value_or(false) && !daemon.state_dir) {
      add({"daemon", "persist-runtime"}, "'persist-runtime' requires 'state-dir'");
    }
    if (daemon.user && (daemon.user->empty() || daemon.user->starts_with(':') || daemon.user->ends_with(':'))) {
      add({"daemon", "user"}, "Parameter 'daemon.user' expects NAME or NAME:GROUP");
    }
    if (!daemon.image_references) return;
    const std::vector<std::string>& list = *daemon.image_references;
    const bool has_rule = std::ranges::any_of(list, [](const auto& one) { return one == "allow" || one == "deny"; });
    if (list.empty() || (has_rule && list.size() > 1)) {
      add({"daemon", "image-references"},
          "Parameter 'daemon.image-references' expects \"allow\", \"deny\", or one or more directories");
    }
  }

  void check_sandbox() {
    if (!content_.daemon.sandbox) return;
    const schema::SandboxConfiguration& sandbox = *content_.daemon.sandbox;
    const bool is_full = sandbox.mode == schema::SandboxModeKind::kFull;
    auto check_paths = [&](std::string_view name, const std::optional<std::vector<std::string>>& paths) {
      const std::vector<std::string> path{"daemon", "sandbox", std::string(name)};
      if (paths && !is_full) {
        add(path, fmt::format("Parameter 'daemon.sandbox.{}' belongs to the mode 'full'", name),
            "The other modes do not restrict files.");
      }
      if (paths && std::ranges::find(*paths, std::string()) != paths->end()) {
        add(path, fmt::format("Parameter 'daemon.sandbox.{}' contains an empty path", name));
      }
    };
    check_paths("images", sandbox.images);
    check_paths("credentials", sandbox.credentials);
    check_paths("state", sandbox.state);
    check_paths("sockets", sandbox.sockets);
    if (sandbox.mode == schema::SandboxModeKind::kOff) return;
    for (const schema::ObjectOptions& one : content_.objects) {
      if (one.qom_type() != schema::ObjectType::kAuthzPam) continue;
      add(Section::kObjects, one.id, {"qom-type"},
          "PAM modules start programs and open files of their own, so an authz-pam object cannot work in a sandbox");
    }
  }

  void check_log() {
    const auto& log = content_.daemon.log;
    if (!log || !log->file) return;
    if (log->file->empty()) add({"daemon", "log", "file"}, "The path is empty");
    if (log->format != schema::LogFormat::kJournal) return;
    add({"daemon", "log", "format"}, "The journal is no file, so 'daemon.log.file' cannot be given too");
  }

  // `types`: how the names of the accepted types begin.
  void check_reference(Section section, const std::string& id, std::initializer_list<std::string_view> members,
                       const std::string& object, std::string_view types, std::string_view description) {
    const auto found = objects_.find(object);
    if (found != objects_.end() && found->second.starts_with(types)) return;
    if (found != objects_.end()) {
      add(section, id, members, fmt::format("Object '{}' is of type {}, not {}", object, found->second, description));
      return;
    }
    std::vector<std::string_view> known;
    for (const auto& [name, type] : objects_) {
      if (type.starts_with(types)) known.push_back(name);
    }
    add(section, id, members, fmt::format("There is no object '{}'", object), suggest_similar(object, known));
  }

  void check_object(const schema::ObjectOptions& one) {
    check_id(Section::kObjects, one.id);
    if (one.qom_type() == schema::ObjectType::kMonitorQmp) {
      add(Section::kObjects, one.id, {"qom-type"}, "Monitors belong to the section 'monitors'",
          fmt::format("Write [monitors.{}].", one.id));
    }
    if (surroundings_.objects.contains(one.id)) {
      add(Section::kObjects, one.id, {},
          fmt::format("An object '{}' exists, which no configuration file made", one.id));
    }
    const json::Value encoded = schema::encode(one);
    for (const char* member : {"passwordid", "keyid"}) {
      const json::Value* value = encoded.as_object()->find(member);
      if (value == nullptr || value->as_string() == nullptr) continue;
      check_reference(Section::kObjects, one.id, {member}, *value->as_string(), "secret", "secret");
    }
  }

  void check_chardev(const schema::ChardevConfiguration& one) {
    if (one.id.empty()) add(Section::kChardevs, one.id, {}, "The ID is empty");
    if (surroundings_.chardevs.contains(one.id)) {
      add(Section::kChardevs, one.id, {},
          fmt::format("A character device '{}' exists, which no configuration file made", one.id));
    }
    const auto* socket = one.as_if<schema::ChardevBackendKind::kSocket>();
    if (socket == nullptr) return;
    if (socket->addr.type() == schema::SocketAddressType::kFd) {
      add(Section::kChardevs, one.id, {"addr", "type"}, "A configuration file cannot pass a file descriptor");
    }
    if (socket->tls_creds) {
      check_reference(Section::kChardevs, one.id, {"tls-creds"}, *socket->tls_creds, "tls-creds-", "TLS credentials");
    }
    if (socket->tls_authz) {
      check_reference(Section::kChardevs, one.id, {"tls-authz"}, *socket->tls_authz, "authz-", "an authorizer");
      if (!socket->tls_creds) add(Section::kChardevs, one.id, {"tls-authz"}, "'tls-authz' requires 'tls-creds'");
    }
  }

  void check_monitor(const schema::MonitorOptions& one) {
    const std::string& id = *one.id;
    check_id(Section::kMonitors, id);
    if (objects_.contains(id)) add(Section::kMonitors, id, {}, fmt::format("An object has the ID '{}' too", id));
    if (one.mode == schema::MonitorMode::kReadline) add(Section::kMonitors, id, {"mode"}, "Only QMP is supported");
    if (!chardevs_.contains(one.chardev)) {
      const std::vector<std::string_view> known(chardevs_.begin(), chardevs_.end());
      add(Section::kMonitors, id, {"chardev"}, fmt::format("There is no character device '{}'", one.chardev),
          suggest_similar(one.chardev, known));
    }
    auto [first, is_new] = monitored_.emplace(one.chardev, id);
    if (!is_new) {
      add(Section::kMonitors, id, {"chardev"},
          fmt::format("Monitor '{}' uses the character device '{}' already (at {})", first->second, one.chardev,
                      text_of(configuration_.places.of(Section::kMonitors, first->second, "chardev"))));
    }
  }

  // --- nodes ---

  // All nodes that the files name, with the paths of their definitions.
  void note_node_names() {
    for (const schema::BlockdevOptions& node : content_.nodes) {
      note_names(node, {std::string(name_of(Section::kNodes)), *node.node_name});
    }
    for (const schema::ExportConfiguration& one : content_.exports) {
      if (const auto node = own_node_of(one)) {
        note_names(*node, {std::string(name_of(Section::kExports)), one.id, "node"});
      }
    }
  }

  void note_names(const schema::BlockdevOptions& options, const std::vector<std::string>& path) {
    for (const std::string& name : names_in(options)) {
      std::string hint = path.size() == 3 ? fmt::format(
                                                "The node of an export has the name of the export, unless "
                                                "its options give a node-name.")
                                          : std::string();
      if (!is_identifier(name)) {
        add(path, fmt::format("Invalid node-name: '{}'", name), kIdentifierHint);
      } else if (name.size() > block::Graph::kNodeNameBytesMax) {
        add(path, fmt::format("The node-name '{}' has more than {} bytes", name, block::Graph::kNodeNameBytesMax),
            std::move(hint));
      } else if (surroundings_.nodes.contains(name)) {
        add(path, fmt::format("A node '{}' exists, which no configuration file made", name), std::move(hint));
      } else if (auto [first, is_new] = node_paths_.emplace(name, path); !is_new) {
        add(path,
            fmt::format("The node-name '{}' is used twice (first at {})", name,
                        text_of(configuration_.places.find(first->second))),
            std::move(hint));
      }
    }
  }

  void check_nodes() {
    for (const schema::BlockdevOptions& node : content_.nodes) {
      check_node(node, {std::string(name_of(Section::kNodes)), *node.node_name}, nullptr);
    }
    if (in_opening_order(content_.nodes)) return;
    for (const schema::BlockdevOptions& node : content_.nodes) {
      if (!is_in_circle(*node.node_name)) continue;
      add(Section::kNodes, *node.node_name, {},
          fmt::format("Node '{}' refers to itself through other nodes", *node.node_name));
    }
  }

  bool is_in_circle(const std::string& start) const {
    std::map<std::string, const schema::BlockdevOptions*> by_name;
    for (const schema::BlockdevOptions& node : content_.nodes) by_name.emplace(*node.node_name, &node);
    std::vector<std::string> to_visit{start};
    std::set<std::string> seen;
    while (!to_visit.empty()) {
      const std::string name = std::move(to_visit.back());
      to_visit.pop_back();
      const auto node = by_name.find(name);
      if (node == by_name.end()) continue;
      for (const std::string& below : references_of(*node->second)) {
        if (below == start) return true;
        if (seen.insert(below).second) to_visit.push_back(below);
      }
    }
    return false;
  }

  void check_node(const schema::BlockdevOptions& options, std::vector<std::string> path,
                  const block::NodeOptions* parent) {
    const Result<block::NodeOptions> own = block::node_options_of(options, parent);
    if (!own) {
      add(path, own.error().message());
      return;
    }
    check_objects_of(options, path);
    for (const block::ChildReference& child : block::child_references(options)) {
      std::vector<std::string> inner = path;
      for (std::size_t start = 0; start <= child.name.size();) {
        const std::size_t dot = std::min(child.name.find('.', start), child.name.size());
        inner.push_back(child.name.substr(start, dot - start));
        start = dot + 1;
      }
      if (child.definition != nullptr) {
        check_node(*child.definition, std::move(inner), &*own);
      } else {
        check_node_reference(*child.node, std::move(inner));
      }
    }
  }

  void check_objects_of(const schema::BlockdevOptions& options, const std::vector<std::string>& path) {
    auto check_object_at = [&](std::initializer_list<std::string_view> members, const std::string& id,
                               std::string_view type) {
      std::vector<std::string> inner = path;
      for (std::string_view member : members) inner.emplace_back(member);
      const auto found = objects_.find(id);
      if (found != objects_.end() && found->second == type) return;
      std::vector<std::string_view> known;
      for (const auto& [name, of_type] : objects_) {
        if (of_type == type) known.push_back(name);
      }
      add(std::move(inner), fmt::format("There is no {} '{}'", type, id), suggest_similar(id, known));
    };
    if (const auto* throttle = options.as_if<schema::BlockdevDriver::kThrottle>()) {
      check_object_at({"throttle-group"}, throttle->throttle_group, "throttle-group");
    }
    const json::Value encoded = schema::encode(options);
    const json::Object& members = *encoded.as_object();
    if (const json::Value* key = members.find("key-secret"); key != nullptr && key->as_string() != nullptr) {
      check_object_at({"key-secret"}, *key->as_string(), "secret");
    }
    const json::Value* encrypt = members.find("encrypt");
    const json::Object* inner = encrypt != nullptr ? encrypt->as_object() : nullptr;
    const json::Value* key = inner != nullptr ? inner->find("key-secret") : nullptr;
    if (key != nullptr && key->as_string() != nullptr) {
      check_object_at({"encrypt", "key-secret"}, *key->as_string(), "secret");
    }
  }

  bool is_shared_node(const std::string& name) const {
    return surroundings_.nodes.contains(name) ||
           std::ranges::any_of(content_.nodes,
                               [&](const schema::BlockdevOptions& one) { return one.node_name == name; });
  }

  // Nodes of exports end with their exports, so that nobody else may depend on them.
  void check_node_reference(const std::string& name, std::vector<std::string> path) {
    if (is_shared_node(name)) return;
    if (node_paths_.contains(name)) {
      add(std::move(path), fmt::format("Node '{}' belongs to another object", name),
          "Only nodes of the section 'nodes' can be shared.");
      return;
    }
    std::vector<std::string_view> known(surroundings_.nodes.begin(), surroundings_.nodes.end());
    for (const schema::BlockdevOptions& one : content_.nodes) known.push_back(*one.node_name);
    add(std::move(path), fmt::format("There is no node '{}'", name), suggest_similar(name, known));
  }

  // --- servers and exports ---

  void check_servers() {
    if (content_.servers.size() > kServersMax) {
      add({"servers"}, fmt::format("There are more than {} servers", kServersMax));
    }
    for (const schema::ServerConfiguration& one : content_.servers) {
      check_id(Section::kServers, one.id);
      has_tls_ = has_tls_ || one.tls.has_value();
      if (!one.tls) continue;
      check_reference(Section::kServers, one.id, {"tls", "creds"}, one.tls->creds, "tls-creds-", "TLS credentials");
      if (one.tls->authz) {
        check_reference(Section::kServers, one.id, {"tls", "authz"}, *one.tls->authz, "authz-", "an authorizer");
      }
    }
  }

  void check_export(const schema::ExportConfiguration& one) {
    check_id(Section::kExports, one.id);
    const std::string& name = one.name.value_or(one.id);
    auto [first, is_new] = export_names_.emplace(name, one.id);
    if (!is_new) {
      add(Section::kExports, one.id, {"name"},
          fmt::format("Export '{}' has the name '{}' already (at {})", first->second, name,
                      text_of(configuration_.places.of(Section::kExports, first->second, "name"))));
    }
    if (name.size() > nbd::kStringBytesMax) {
      add(Section::kExports, one.id, {"name"}, fmt::format("The name has more than {} bytes", nbd::kStringBytesMax));
    }
    if (one.description && one.description->size() > nbd::kStringBytesMax) {
      add(Section::kExports, one.id, {"description"},
          fmt::format("The description has more than {} bytes", nbd::kStringBytesMax));
    }
    if (one.bitmaps && one.bitmaps->size() > nbd::kBitmapsPerExportMax) {
      add(Section::kExports, one.id, {"bitmaps"},
          fmt::format("There are more than {} bitmaps", nbd::kBitmapsPerExportMax));
    }
    if (one.tls_authz) {
      check_reference(Section::kExports, one.id, {"tls-authz"}, *one.tls_authz, "authz-", "an authorizer");
      if (!has_tls_) {
        add(Section::kExports, one.id, {"tls-authz"}, "'tls-authz' requires a server with TLS credentials");
      }
    }
    check_node_of_export(one);
    check_iothreads(one);
    check_servers_of(one);
  }

  void check_servers_of(const schema::ExportConfiguration& one) {
    if (!one.servers) return;
    std::set<std::string> seen;
    for (std::size_t i = 0; i < one.servers->size(); ++i) {
      const std::string& id = (*one.servers)[i];
      const std::string number = fmt::format("{}", i);
      if (!servers_.contains(id)) {
        const std::vector<std::string_view> known(servers_.begin(), servers_.end());
        add(Section::kExports, one.id, {"servers", number}, fmt::format("There is no server '{}'", id),
            suggest_similar(id, known));
      } else if (!seen.insert(id).second) {
        add(Section::kExports, one.id, {"servers", number}, fmt::format("Server '{}' is named twice", id));
      }
    }
  }

  void check_node_of_export(const schema::ExportConfiguration& one) {
    if (one.node.has_value() == one.node_name.has_value()) {
      add(Section::kExports, one.id, {one.node ? "node-name" : ""},
          one.node ? "'node' and 'node-name' exclude each other" : "Either 'node' or 'node-name' is needed");
      return;
    }
    if (one.node_name) {
      check_node_reference(*one.node_name, {std::string(name_of(Section::kExports)), one.id, "node-name"});
      if (const schema::BlockdevOptions* node = shared_node(*one.node_name)) check_writable(one, *node);
      return;
    }
    check_node(*one.node, {std::string(name_of(Section::kExports)), one.id, "node"}, nullptr);
    check_writable(one, *one.node);
  }

  const schema::BlockdevOptions* shared_node(const std::string& name) const {
    const auto found = std::ranges::find_if(
        content_.nodes, [&](const schema::BlockdevOptions& node) { return node.node_name == name; });
    return found != content_.nodes.end() ? &*found : nullptr;
  }

  void check_writable(const schema::ExportConfiguration& one, const schema::BlockdevOptions& node) {
    std::set<std::string> seen;
    if (!one.writable.value_or(false) || !writes_read_only(node, seen)) return;
    add(Section::kExports, one.id, {"writable"},
        node.read_only.value_or(false) ? "Cannot export read-only node as writable"
                                       : "Cannot export a node above a read-only one as writable");
  }

  // True if writes to a node would reach a read-only one. They do not reach backing nodes.
  bool writes_read_only(const schema::BlockdevOptions& options, std::set<std::string>& seen) const {
    if (options.read_only.value_or(false)) return true;
    for (const block::ChildReference& child : block::child_references(options)) {
      if (child.name == "backing") continue;
      if (child.definition != nullptr && writes_read_only(*child.definition, seen)) return true;
      if (child.node == nullptr || !seen.insert(*child.node).second) continue;
      const schema::BlockdevOptions* below = shared_node(*child.node);
      if (below != nullptr && writes_read_only(*below, seen)) return true;
    }
    return false;
  }

  void check_iothreads(const schema::ExportConfiguration& one) {
    if (!one.iothread) return;
    if (const std::string* single = one.iothread->single()) {
      check_reference(Section::kExports, one.id, {"iothread"}, *single, "iothread", "an iothread");
      return;
    }
    const std::vector<std::string>& list = *one.iothread->multi();
    if (one.fixed_iothread.value_or(false)) {
      add(Section::kExports, one.id, {"fixed-iothread"}, "Cannot use fixed-iothread for a multi-threaded export");
    }
    if (list.empty()) add(Section::kExports, one.id, {"iothread"}, "The set of I/O threads must not be empty");
    std::set<std::string> seen;
    for (std::size_t i = 0; i < list.size(); ++i) {
      check_reference(Section::kExports, one.id, {"iothread", fmt::format("{}", i)}, list[i], "iothread",
                      "an iothread");
      if (!seen.insert(list[i]).second) {
        add(Section::kExports, one.id, {"iothread", fmt::format("{}", i)},
            fmt::format("iothread \"{}\" is named twice", list[i]));
      }
    }
  }

  ReadConfiguration& configuration_;
  const schema::Configuration& content_;
  const Surroundings& surroundings_;
  std::map<std::string, std::string> objects_;  // type by ID
  std::set<std::string> chardevs_;
  std::set<std::string> servers_;
  std::map<std::string, std::string> monitored_;                // monitor by chardev
  std::map<std::string, std::vector<std::string>> node_paths_;  // by node-name
  std::map<std::string, std::string> export_names_;             // ID by name
  bool has_tls_ = false;
};

}  // namespace

void check_process(ReadConfiguration& configuration) {
  Checking(configuration, {}).run_process();
  configuration.findings.sort(configuration.files);
}

void check(ReadConfiguration& configuration, const Surroundings& surroundings) {
  Checking(configuration, surroundings).run();
  configuration.findings.sort(configuration.files);
}

}  // namespace blockexport::configuration
