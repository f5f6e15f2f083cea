// Compiled with exceptions, which CLI11 needs; none leaves command_line.cc.
#include "client/operate_commands.h"

#include <CLI/CLI.hpp>

#include "client/monitor_options.h"
#include "client/operate/client_verbs.h"
#include "client/operate/complete.h"
#include "client/operate/export_verbs.h"
#include "client/operate/status_verbs.h"
#include "client/operate/top.h"

namespace blockexport::client {

struct OperateCommands::Parts {
  monitor::MonitorOptions ping_options;
  monitor::MonitorOptions monitor;
  operate::AddOptions add_options;
  operate::DelOptions del_options;
  operate::ResizeOptions resize_options;
  operate::ClientsOptions clients_options;
  operate::KickOptions kick_options;
  operate::TopOptions top_options;
  operate::CompleteOptions complete_options;
  CLI::App* ping;
  CLI::App* status;
  CLI::App* exports;
  CLI::App* add;
  CLI::App* del;
  CLI::App* resize;
  CLI::App* clients;
  CLI::App* kick;
  CLI::App* top;
  CLI::App* complete;

  explicit Parts(CLI::App& app)
      : ping(app.add_subcommand("ping", "Check that a running blockexportd answers")),
        status(app.add_subcommand("status", "Show what a running blockexportd has")),
        exports(app.add_subcommand("exports", "List the exports of a running blockexportd")),
        add(app.add_subcommand("add", "Export one more image from a running blockexportd")),
        del(app.add_subcommand("del", "Remove an export from a running blockexportd")),
        resize(app.add_subcommand("resize", "Change the size of an exported image")),
        clients(app.add_subcommand("clients", "List the clients of a running blockexportd")),
        kick(app.add_subcommand("kick", "Disconnect clients of a running blockexportd")),
        top(app.add_subcommand("top", "Show again and again how busy exports and clients are")),
        complete(app.add_subcommand("__complete", "Print words for the completion of a shell")->group("")) {
    add_common(ping, ping_options);
    ping_options.timeout_seconds = operate::kPingTimeoutSecondsDefault;
    ping->get_option("--timeout")->description("Seconds to wait for the daemon (default: 5)");
    for (CLI::App* command : {status, exports}) add_common(command, monitor);
    add_common(add, add_options.monitor);
    add_common(del, del_options.monitor);
    add_common(resize, resize_options.monitor);
    add->add_option("IMAGE", add_options.image, "File or block device, as the daemon can open it")->required();
    add->add_flag("-w,--writable", add_options.is_writable, "Clients may write (default: they only read)");
    add->add_option("-f,--format", add_options.format, "Format of the image (default: raw; other files are refused)")
        ->check(CLI::IsMember({"raw", "qcow2", "vdi", "vhdx", "vmdk", "vpc", "parallels"}));
    add->add_option("--id", add_options.id, "ID of the export and of its node (default: the name of the file)");
    add->add_option("-x,--export-name", add_options.export_name, "The name for clients (default: the ID)");
    add->add_option("-D,--description", add_options.description, "A text for clients that list the exports");
    del->add_option("EXPORT", del_options.id, "ID of the export")->required();
    del->add_option("--mode", del_options.mode,
                    "What becomes of its clients: safe: fail if there are any (default); hide: they may go on; soft: "
                    "their requests fail; hard: they are disconnected")
        ->check(CLI::IsMember({"safe", "hide", "soft", "hard"}));
    del->add_flag("--keep-node", del_options.keeps_node,
                  "Keep the node; else one with the name of the export goes too");
    resize->add_option("EXPORT", resize_options.id, "ID of the export")->required();
    resize->add_option("SIZE", resize_options.size, "Bytes, or with a suffix k, M, G, T, P or E; +SIZE adds")
        ->required();
    add_client_commands();
    add_completion();
  }

  void add_client_commands() {
    add_common(clients, clients_options.monitor);
    clients->add_option("EXPORT", clients_options.export_id, "ID of the export (default: all)");
    add_common(kick, kick_options.monitor);
    CLI::Option_group* const selectors = kick->add_option_group("selectors");
    selectors->add_option("CLIENT", kick_options.client, "Number of the client");
    selectors->add_option("--identity", kick_options.identity,
                          "The subject of its certificate, or its user name: all clients with it");
    selectors->add_option("--export", kick_options.export_id, "ID of an export: all its clients");
    kick->add_option("--ban", kick_options.ban,
                     "Refuse them for this time too, such as 60s, 10m or 2h: by identity, or else by address");
    // At least one; of several a client has to match all.
    selectors->require_option(1, 0);
    add_common(top, top_options.monitor);
    top->add_option("--interval", top_options.interval_seconds, "Seconds between two tables (default: 1)")
        ->check(CLI::Range(1u, operate::kTopIntervalSecondsMax));
    top->add_option("--count", top_options.count, "End after so many tables (default: with Ctrl-C, or q)");
  }

  void add_completion() {
    complete->add_option("KIND", complete_options.kind, "What the words name")
        ->required()
        ->check(CLI::IsMember({"exports", "nodes", "clients"}));
    add_monitor(complete, complete_options.monitor);
  }

  static void add_common(CLI::App* command, monitor::MonitorOptions& options) {
    add_monitor(command, options);
    command->add_flag("--json", options.is_json, "Print JSON");
  }
};

OperateCommands::OperateCommands(CLI::App& app) : parts_(std::make_unique<Parts>(app)) {}
OperateCommands::~OperateCommands() = default;

std::optional<Result<>> OperateCommands::run() const {
  const Parts& parts = *parts_;
  if (parts.ping->parsed()) return operate::ping(parts.ping_options);
  if (parts.status->parsed()) return operate::print_status(parts.monitor);
  if (parts.exports->parsed()) return operate::print_exports(parts.monitor);
  if (parts.add->parsed()) return operate::add_export(parts.add_options);
  if (parts.del->parsed()) return operate::delete_export(parts.del_options);
  if (parts.resize->parsed()) return operate::resize_export(parts.resize_options);
  if (parts.clients->parsed()) return operate::print_clients(parts.clients_options);
  if (parts.kick->parsed()) return operate::kick_clients(parts.kick_options);
  if (parts.top->parsed()) return operate::show_top(parts.top_options);
  if (parts.complete->parsed()) {
    operate::print_completions(parts.complete_options);
    return Result<>();
  }
  return std::nullopt;
}

}  // namespace blockexport::client
