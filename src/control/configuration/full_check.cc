#include "control/configuration/full_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "configuration/files.h"
#include "configuration/node_options.h"
#include "configuration/runtime_state.h"
#include "control/commands/addresses.h"
#include "control/commands/server_preparation.h"
#include "control/configuration/reload.h"
#include "control/configuration/runtime_keeper.h"
#include "control/configuration/staged_objects.h"
#include "control/core/control.h"
#include "control/core/denial_note.h"
#include "control/metrics/metrics_service.h"
#include "control/objects/object_types.h"
#include "net/listen_probe.h"
#include "schema/codec.h"

namespace blockexport::control {
namespace {

using configuration::Section;

// The options of a node with which it can be read beside a process that uses the image.
schema::BlockdevOptions read_only_options(const schema::BlockdevOptions& options) {
  struct Rewriting {
    static void rewrite(json::Value& value) {
      if (json::Array* list = value.as_array()) {
        for (json::Value& one : *list) rewrite(one);
      }
      json::Object* object = value.as_object();
      if (object == nullptr) return;
      std::vector<std::string> names;
      for (const auto& [name, inner] : *object) names.push_back(name);
      for (const std::string& name : names) rewrite(*object->find(name));
      if (object->find("driver") == nullptr) return;
      object->erase("auto-read-only");
      object->erase("bitmap-store");
      object->set("read-only", true);
      object->set("force-share", true);
    }
  };
  json::Value encoded = schema::encode(options);
  Rewriting::rewrite(encoded);
  return schema::decode<schema::BlockdevOptions>(encoded).value_or(options);
}

class DeepCheck {
 public:
  DeepCheck(Control& control, configuration::ReadConfiguration& read)
      : control_(control), read_(read), objects_(control) {}

  aio::Task<void> run(bool is_deep) {
    for (const schema::ObjectOptions* options : in_making_order(read_.content.objects)) {
      Result<> made;
      if (is_deep) {
        made = co_await objects_.prepare(
            {.section = Section::kObjects, .id = options->id, .action = schema::ConfigurationAction::kAdd}, *options);
      } else if (auto object = object_type(options->qom_type()).create(control_, *options); !object) {
        made = fail(std::move(object).error());
      }
      if (!made) add(Section::kObjects, options->id, made.error());
    }
    for (const schema::ServerConfiguration& server : read_.content.servers) check_server(server, is_deep);
    check_process();
    if (is_deep) {
      co_await open_nodes();
      co_await probe_addresses();
      probe_files();
      check_runtime_state();
    }
    co_await objects_.abort();
  }

 private:
  void check_server(const schema::ServerConfiguration& server, bool is_deep) {
    Result<> checked = control_.servers().check_new_id(server.id);
    if (checked) checked = control::check_server(plain_server(server));
    if (checked && server.tls && is_deep && has_object(server.tls->creds)) {
      auto credentials = objects_.find(server.tls->creds, net::TlsEndpoint::kServer);
      if (!credentials) checked = fail(std::move(credentials).error());
    }
    if (!checked) add(Section::kServers, server.id, checked.error());
  }

  // Reports each address on which the daemon could not listen, as far as that can be known without listening.
  aio::Task<void> probe_addresses() {
    for (const schema::ServerConfiguration& server : read_.content.servers) {
      auto addresses = listen_addresses(plain_server(server));
      if (!addresses) continue;  // that is an error already
      for (net::SocketAddress& address : *addresses) {
        Result<> probed = co_await net::probe_address(std::move(address));
        if (!probed) add(Section::kServers, server.id, probed.error());
      }
    }
    for (const schema::ChardevConfiguration& one : read_.content.chardevs) {
      const auto* socket = one.as_if<schema::ChardevBackendKind::kSocket>();
      if (socket == nullptr || !socket->server.value_or(true)) continue;
      Result<> probed = co_await net::probe_address(to_net(socket->addr));
      if (!probed) add(Section::kChardevs, one.id, probed.error());
    }
    const auto& metrics = read_.content.daemon.metrics;
    auto addresses = metrics ? metrics_addresses(*metrics) : Result<std::vector<net::SocketAddress>>();
    for (net::SocketAddress& address : addresses ? *addresses : std::vector<net::SocketAddress>()) {
      Result<> probed = co_await net::probe_address(std::move(address));
      if (!probed) add_option("metrics", probed.error());
    }
  }

  // The process ID and the log are written.
  void probe_files() {
    const schema::DaemonConfiguration& daemon = read_.content.daemon;
    const std::optional<std::string> log = daemon.log ? daemon.log->file : std::nullopt;
    for (const auto& [option, path] : {std::pair("pidfile", daemon.pidfile), std::pair("log", log)}) {
      Result<> probed = path ? net::probe_directory_of(*path) : Result<>();
      if (!probed) add_option(option, probed.error());
    }
  }

  void check_runtime_state() {
    const schema::DaemonConfiguration& daemon = read_.content.daemon;
    if (!daemon.persist_runtime.value_or(false) || !daemon.state_dir) return;
    const std::string path = fmt::format("{}/{}", *daemon.state_dir, kRuntimeFileName);
    std::error_code error;
    if (Result<> probed = net::probe_directory_of(path); !probed) add_option("state-dir", probed.error());
    if (!std::filesystem::exists(path, error)) return;
    if (auto text = configuration::read_file(path, read_.findings)) {
      configuration::parse_runtime_state(path, text->view(), read_.findings);
    }
  }

  void check_process() {
    if (!read_.content.daemon.metrics) return;
    if (Result<> checked = check_metrics(*read_.content.daemon.metrics); !checked)
      add_option("metrics", checked.error());
  }

  aio::Task<void> open_nodes() {
    const auto ordered = configuration::in_opening_order(read_.content.nodes);
    for (const schema::BlockdevOptions& node : ordered.value_or(std::vector<schema::BlockdevOptions>{})) {
      if (refers_outside(node)) continue;
      Result<> opened = co_await control_.graph().add(read_only_options(node));
      if (!opened) add(Section::kNodes, *node.node_name, opened.error());
    }
    for (const schema::ExportConfiguration& one : read_.content.exports) {
      const auto own = configuration::own_node_of(one);
      if (!own || refers_outside(*own)) continue;
      Result<> opened = co_await control_.graph().add(read_only_options(*own));
      if (!opened) add(Section::kExports, one.id, opened.error());
    }
  }

  // Nodes of the command line do not exist here.
  bool refers_outside(const schema::BlockdevOptions& options) const {
    return std::ranges::any_of(configuration::references_of(options), [this](const std::string& name) {
      return control_.graph().find(name) == nullptr && !is_configured(name);
    });
  }
  bool is_configured(const std::string& name) const {
    return std::ranges::any_of(read_.content.nodes,
                               [&](const schema::BlockdevOptions& one) { return one.node_name == name; });
  }
  bool has_object(const std::string& id) const {
    return std::ranges::any_of(read_.content.objects, [&](const schema::ObjectOptions& one) { return one.id == id; });
  }

  void add_option(const std::string& option, const Error& error) {
    read_.findings.add(read_.places.find({"daemon", option}), fmt::format("daemon.{}: {}", option, error.message()),
                       error.hint());
  }
  void add(Section section, const std::string& id, const Error& error) {
    const Error noted = with_denial_note(error.clone(), control_.denial_note());
    read_.findings.add(read_.places.of(section, id), fmt::format("{}.{}: {}", name_of(section), id, noted.message()),
                       noted.hint());
  }

  Control& control_;
  configuration::ReadConfiguration& read_;
  StagedObjects objects_;
};

}  // namespace

aio::Task<void> check_fully(Control& control, configuration::ReadConfiguration& read, bool is_deep) {
  DeepCheck check(control, read);
  co_await check.run(is_deep);
  read.findings.sort(read.files);
}

}  // namespace blockexport::control
