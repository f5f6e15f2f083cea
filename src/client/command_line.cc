// With command_tree.cc, image_commands.cc and operate_commands.cc the only file that includes CLI11 and is compiled
// with exceptions; none leaves it.
#include "client/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/print.h"
#include "base/similar_text.h"
#include "client/backup/copier.h"
#include "client/backup/export_client.h"
#include "client/backup/map.h"
#include "client/backup/pull.h"
#include "client/backup/restore.h"
#include "client/command_tree.h"
#include "client/exit_code.h"
#include "client/image/image_secrets.h"
#include "client/image_commands.h"
#include "client/monitor/backup_verbs.h"
#include "client/monitor/config_verbs.h"
#include "client/monitor/qmp_verb.h"
#include "client/monitor/reply.h"
#include "client/monitor/uri_verb.h"
#include "client/monitor_options.h"
#include "client/operate_commands.h"
#include "client/serve/serve.h"
#include "client/tls_check.h"
#include "client/tls_files.h"
#include "client/tls_holders.h"
#include "client/tls_init.h"

namespace blockexport::client {
namespace {

// Hint for the first word that is no known command or option: a similar word; empty when there is none.
std::string hint_for(const CLI::App& app, int argument_count, char** arguments) {
  const CLI::App* command = &app;
  for (int i = 1; i < argument_count; ++i) {
    const std::string_view word = arguments[i];
    std::vector<std::string> names;
    if (word.starts_with("--")) {
      for (const CLI::Option* option : command->get_options()) {
        for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
      }
    } else {
      for (const CLI::App* one : command->get_subcommands({})) {
        if (!one->get_group().empty() && !one->get_name().empty()) names.push_back(one->get_name());
      }
      // Without subcommands the word is a value.
      if (names.empty()) continue;
    }
    const std::string_view name = word.substr(0, word.find('='));
    if (std::ranges::find(names, name) == names.end()) {
      return suggest_similar(name, std::vector<std::string_view>(names.begin(), names.end()));
    }
    if (!word.starts_with("--")) command = command->get_subcommand(std::string(name));
  }
  return {};
}

int print_report(const Result<TlsReport>& found) {
  if (!found) return report(found.error());
  print(stdout, "{}", found->text);
  return found->has_fault ? kExitFailed : kExitFine;
}

// The output may be an archive with a secret key, hence the wipe.
int print_made(Result<std::string> made) {
  if (!made) return report(made.error());
  const bool is_written =
      std::fwrite(made->data(), 1, made->size(), stdout) == made->size() && std::fflush(stdout) == 0;
  wipe(*made);
  if (is_written) return kExitFine;
  return report(Error::system("cannot write to standard output", Errno::last()));
}

// The commands `add`, `renew`, `revoke` and `bundle`, and their options.
struct HolderCommands {
  TlsHolderOptions options;
  CLI::App* add;
  CLI::App* renew;
  CLI::App* revoke;
  CLI::App* bundle;

  explicit HolderCommands(CLI::App& tls)
      : add(tls.add_subcommand("add", "Add a client, a server, or a user of a pre-shared key")),
        renew(tls.add_subcommand("renew", "Make certificates valid for longer; all in the directory, or one")),
        revoke(tls.add_subcommand("revoke", "Revoke the certificate of a client or server, in a new ca-crl.pem")),
        bundle(tls.add_subcommand("bundle",
                                  "Pack the files that a client or server needs on its host, and nothing else")) {
    for (CLI::App* command : {add, renew, revoke, bundle}) {
      command->add_option("DIR", options.directory, "The directory")->required();
      command->add_option("--client", options.client, "Name of the client");
      command->add_option("--server", options.server, "Name of the server");
      command->add_flag("--psk", options.psk, "Use a pre-shared key, although the directory has certificates too");
    }
    for (CLI::App* command : {add, renew, revoke}) {
      command->add_option("--ca-key", options.ca_key, "The key of the CA (default: DIR/ca-key.pem)");
    }
    for (CLI::App* command : {add, renew}) {
      command->add_option("--days", options.days, "How long the certificates are valid (default: 365)");
    }
    add->add_option("--host", options.hosts, "Host name or IP address of the server, repeatable (default: its name)")
        ->allow_extra_args(false);
    renew->add_flag("--new-key", options.new_key, "With a new key too");
    revoke->add_option("--certificate", options.certificate, "File of a certificate, instead of a name");
    bundle->add_option("--output", options.output, "The archive; - is standard output (default: NAME.tar)");
  }

  // Runs the command that was given; nothing when it was none of these.
  std::optional<int> run() const {
    if (add->parsed()) return print_made(tls_add(options));
    if (renew->parsed()) return print_made(tls_renew(options));
    if (revoke->parsed()) return print_made(tls_revoke(options));
    if (bundle->parsed()) return print_made(tls_bundle(options));
    return std::nullopt;
  }
};

int misused(std::string_view message, std::string_view command) {
  print(stderr, "blockexport: {}\nSee: blockexport {} --help\n", message, command);
  return kExitUsage;
}

// The commands that work with exports and backups, and their options.
struct BackupCommands {
  backup::MapOptions map_options;
  backup::PullOptions pull_options;
  backup::RestoreOptions restore_options;
  CLI::App* map;
  CLI::App* pull;
  CLI::App* restore;

  explicit BackupCommands(CLI::App& app)
      : map(app.add_subcommand("map", "Show which extents of an NBD export are data, holes or changed")),
        pull(app.add_subcommand("pull", "Copy an NBD export: into a raw image, or as a point into a directory")),
        restore(app.add_subcommand("restore", "Rebuild the raw image of a point; or list the points")) {
    map->add_option("URI", map_options.uri, "The NBD URI of the export")->required();
    map->add_option("--context", map_options.context,
                    "The meta context, such as qemu:dirty-bitmap:NAME (default: base:allocation)");
    map->add_flag("--json", map_options.is_json, "Print JSON, as `nbdinfo --map --json` does");
    map->add_flag("--totals", map_options.totals_only, "Print only the sum of the extents of each type");
    add_timeout(map, map_options.timeout_seconds);
    add_pull_options();
    restore->add_option("DIRECTORY", restore_options.directory, "The directory of the points")->required();
    restore->add_option("TARGET", restore_options.target, "The raw image: a new file, or a block device");
    restore->add_option("--point", restore_options.point_id, "The point (default: the newest)");
    restore->add_flag("--list", restore_options.lists, "List the points, and whether each can be restored");
    restore->add_flag("--verify", restore_options.verifies, "Read the image back and compare it");
    restore->add_flag("--overwrite", restore_options.overwrites, "Replace an existing file, or write to a device");
    add_output(restore, restore_options.progress, restore_options.is_json);
  }

  void add_pull_options() {
    pull->add_option("URI", pull_options.uri, "The NBD URI of the export")->required();
    pull->add_option("TARGET", pull_options.target, "A raw image: a new file, or a block device");
    pull->add_option("--into", pull_options.directory,
                     "Add a point to this directory: an incremental one if the export offers a dirty bitmap");
    pull->add_option("--bitmap", pull_options.bitmap, "The dirty bitmap, if the export offers several");
    pull->add_flag("--full", pull_options.is_full, "Add a full point, whatever the export offers");
    pull->add_flag("--incremental", pull_options.is_incremental, "Fail instead of adding a full point");
    pull->add_flag("--other-export", pull_options.accepts_other_export,
                   "The directory has points of the same disk under another export name");
    pull->add_flag("--resume", pull_options.is_resumed,
                   "Continue an interrupted pull, if any; the export must still show the same point in time");
    pull->add_flag("--verify", pull_options.verifies, "Read the copy back and compare checksums");
    pull->add_flag("--overwrite", pull_options.overwrites, "Replace an existing file, or write to a device");
    pull->add_option("--connections", pull_options.connections, "Number of connections (default: 4 with multi-conn)")
        ->check(CLI::Range(1u, backup::kConnectionsMax));
    pull->add_option("--requests", pull_options.requests,
                     "Reads in flight on each connection (default: 32 over all connections)")
        ->check(CLI::Range(1u, backup::kRequestsMax));
    add_timeout(pull, pull_options.timeout_seconds);
    add_output(pull, pull_options.progress, pull_options.is_json);
  }

  static void add_timeout(CLI::App* command, unsigned& seconds) {
    command->add_option("--timeout", seconds, "Seconds for which the server may send nothing (default: 300)")
        ->check(CLI::Range(1u, backup::kTimeoutSecondsMax));
  }

  static void add_output(CLI::App* command, std::string& progress, bool& is_json) {
    command->add_flag("--progress", progress,
                      "Show the progress also without a terminal; --progress=FD writes lines like 12/100 there");
    command->add_flag("--json", is_json, "Print the result, and the lines of --progress, as JSON");
  }

  // Runs the command that was given; nothing when it was none of these.
  std::optional<int> run() const {
    if (map->parsed()) return code_of(backup::print_map(map_options));
    if (pull->parsed()) {
      if (pull_options.target.empty() != pull_options.directory.empty()) return code_of(backup::pull(pull_options));
      return misused("pull needs a TARGET, or a directory with --into", "pull");
    }
    if (!restore->parsed()) return std::nullopt;
    if (!restore_options.lists) {
      if (!restore_options.target.empty()) return code_of(backup::restore(restore_options));
      return misused("restore needs a TARGET, or --list", "restore");
    }
    bool has_fault = false;
    const int code = code_of(backup::list_points(restore_options, has_fault));
    return has_fault ? kExitFailed : code;
  }
};

// `blockexport serve`: the daemon for one command.
struct ServeCommand {
  serve::ServeOptions options;
  CLI::App* command;

  explicit ServeCommand(CLI::App& app)
      : command(app.add_subcommand("serve", "Export images until Ctrl-C, or until a command ends")) {
    command->add_option("IMAGE", options.images, "Files or block devices")->required();
    command->add_flag("-w,--writable", options.is_writable, "Clients may write (default: they only read)");
    command->add_option("-f,--format", options.format, "Format of the images (default: raw; other files are refused)")
        ->check(CLI::IsMember({"raw", "qcow2", "vdi", "vhdx", "vmdk", "vpc", "parallels"}));
    command
        ->add_option("-l,--listen", options.listen,
                     "unix:PATH, HOST:PORT, [IPV6]:PORT, :PORT or vsock:CID:PORT; repeatable (default: a private unix "
                     "socket)")
        ->allow_extra_args(false);
    command->add_option("-x,--export-name", options.export_name,
                        "Name of the only export (default: none; of several images: the names of their files)");
    command->add_option("--tls", options.tls_directory, "TLS with the credentials of this directory");
    command->add_option("--tls-client", options.tls_authz_identity,
                        "The only client that may come: the subject of its certificate, or its user name");
    command->add_option("--run", options.run, "A shell command, with $uri and $unixsocket; its end ends the server");
    command->add_flag("--exit-with-parent", options.exits_with_parent, "End with the program that started this one");
    command->add_flag("--json", options.is_json, "Print the URIs and the process ID as JSON");
  }

  std::optional<int> run() const {
    return command->parsed() ? std::optional(code_of(serve::serve(options))) : std::nullopt;
  }
};

// `blockexport backup`, `qmp` and `uri`: what a running daemon does or tells on request.
struct MonitorCommands {
  monitor::BackupBeginOptions begin_options;
  monitor::BackupEndOptions end_options;
  monitor::MonitorOptions list_options;
  monitor::QmpOptions qmp_options;
  monitor::UriOptions uri_options;
  CLI::App* begin;
  CLI::App* end;
  CLI::App* list;
  CLI::App* qmp;
  CLI::App* uri;

  explicit MonitorCommands(CLI::App& app) {
    CLI::App* backup = app.add_subcommand("backup", "Begin, end and list backups of a running blockexportd");
    backup->require_subcommand(1);
    begin = backup->add_subcommand("begin", "Fix the contents of disks at this moment, and export them");
    begin->add_option("ID", begin_options.id, "A name for the backup")->required();
    add_monitor(begin, begin_options.monitor);
    begin->add_option("--disk", begin_options.disks, "NODE, or NODE=EXPORT to choose the export's name; repeatable")
        ->required()
        ->allow_extra_args(false);
    begin->add_option("--checkpoint", begin_options.checkpoint,
                      "The dirty bitmap of the changes since the last backup; it makes this one incremental");
    begin
        ->add_option("--scratch-directory", begin_options.scratch_directory,
                     "Where the old contents of changed blocks are kept during the backup")
        ->required();
    begin->add_option("--cbw-timeout", begin_options.cbw_timeout_seconds,
                      "Seconds that a write waits for its copy; 0: no limit");
    add_json(begin, begin_options.monitor);
    end = backup->add_subcommand("end", "End a backup");
    end->add_option("ID", end_options.id, "The backup")->required();
    end->add_option("OUTCOME", end_options.outcome, "success, if all data were copied, or abort")
        ->required()
        ->check(CLI::IsMember({"success", "abort"}));
    add_monitor(end, end_options.monitor);
    end->add_flag("--force", end_options.force, "End with success although clients are connected");
    list = backup->add_subcommand("list", "List the running backups");
    add_monitor(list, list_options);
    add_json(list, list_options);
    qmp = app.add_subcommand("qmp", "Run a QMP command of a running blockexportd, and print its value as JSON");
    add_monitor(qmp, qmp_options.monitor);
    qmp->add_option("COMMAND", qmp_options.command, "The command, such as query-block-exports")->required();
    qmp->add_option("ARGUMENT", qmp_options.words,
                    "NAME=VALUE, with NAME.NAME and NAME.NUMBER for parts; or one JSON object; or 'help'");
    uri = app.add_subcommand("uri", "Print the URIs of exports of a running blockexportd");
    add_monitor(uri, uri_options.monitor);
    uri->add_option("EXPORT", uri_options.export_name, "The name of an export (default: all, with their names)");
    uri->add_option("--server", uri_options.server, "Only the URIs of this NBD server, such as default");
    add_json(uri, uri_options.monitor);
  }

  static void add_json(CLI::App* command, monitor::MonitorOptions& options) {
    command->add_flag("--json", options.is_json, "Print the daemon's reply");
  }

  // The exit code of the parsed command, if it is one of these.
  std::optional<int> run() const {
    if (begin->parsed()) return code_of(monitor::backup_begin(begin_options));
    if (end->parsed()) return code_of(monitor::backup_end(end_options));
    if (list->parsed()) return code_of(monitor::backup_list(list_options));
    if (qmp->parsed()) return code_of(monitor::run_qmp(qmp_options));
    if (uri->parsed()) return code_of(monitor::print_uris(uri_options));
    return std::nullopt;
  }
};

// `blockexport config` and `reload`: the configuration of a running daemon.
struct ConfigCommands {
  monitor::MonitorOptions show_options;
  monitor::ReloadOptions diff_options;
  monitor::ReloadOptions reload_options;
  CLI::App* show;
  CLI::App* diff;
  CLI::App* reload;

  explicit ConfigCommands(CLI::App& app) {
    CLI::App* config = app.add_subcommand("config", "Show the configuration of a running blockexportd");
    config->require_subcommand(1);
    show = config->add_subcommand("show", "List the objects with their makers, and where they drift from their files");
    add_monitor(show, show_options);
    MonitorCommands::add_json(show, show_options);
    diff = config->add_subcommand("diff", "Show the effect that a reload would have");
    diff_options.is_dry_run = true;
    add_monitor(diff, diff_options.monitor);
    MonitorCommands::add_json(diff, diff_options.monitor);
    reload = app.add_subcommand("reload", "Make a running blockexportd read its configuration files again");
    add_monitor(reload, reload_options.monitor);
    MonitorCommands::add_json(reload, reload_options.monitor);
    reload->add_flag("--dry-run", reload_options.is_dry_run, "Only show the effect");
    reload->add_flag("--disruptive", reload_options.is_disruptive, "Replace exports even if they have clients");
  }

  // The exit code of the parsed command, if it is one of these.
  std::optional<int> run() const {
    if (show->parsed()) return code_of(monitor::show_configuration(show_options));
    if (diff->parsed()) return code_of(monitor::reload_configuration(diff_options));
    if (reload->parsed()) return code_of(monitor::reload_configuration(reload_options));
    return std::nullopt;
  }
};

}  // namespace

int run_command_line(int argument_count, char** arguments) {
  CLI::App app("Works with blockexportd, and with other NBD servers, from the command line.", "blockexport");
  app.require_subcommand(1);
  app.set_version_flag("--version", "blockexport " BLOCKEXPORT_VERSION);
  CLI::App* tls = app.add_subcommand("tls", "TLS credentials: make, check, show, renew and revoke them");
  tls->require_subcommand(1);

  TlsInitOptions init_options;
  CLI::App* init = tls->add_subcommand("init", "Make a CA and certificates, or a pre-shared key, in a directory");
  init->add_option("DIR", init_options.directory, "The directory; created if it does not exist; nothing is overwritten")
      ->required();
  init->add_option("--host", init_options.hosts,
                   "Host name or IP address of the server, repeatable (default: localhost and this host's name)")
      ->allow_extra_args(false);
  init->add_option("--client", init_options.client, "Name of the client (default: client)");
  init->add_option("--days", init_options.days, "How long the certificates are valid (default: 365)");
  init->add_flag("--psk", init_options.psk, "A pre-shared key for the client instead of certificates");

  TlsCheckOptions check_options;
  CLI::App* check = tls->add_subcommand("check", "Check the credentials, also by a trial handshake");
  check->add_option("DIR", check_options.directory, "The directory")->required();
  check->add_option("--host", check_options.host, "Host name or IP address by which clients reach the server");

  std::string show_directory;
  CLI::App* show = tls->add_subcommand("show", "Show what is in the certificates, and who has a pre-shared key");
  show->add_option("DIR", show_directory, "The directory")->required();
  const HolderCommands holder_commands(*tls);
  const BackupCommands backup_commands(app);
  const MonitorCommands monitor_commands(app);
  const ConfigCommands config_commands(app);
  const ImageCommands image_commands(app);
  const ServeCommand serve_command(app);
  const OperateCommands operate_commands(app);
  // For the build of the manual pages and of the completion; without a group it is not listed.
  CLI::App* describe = app.add_subcommand("__describe", "Print these commands as JSON")->group("");

  try {
    app.parse(argument_count, arguments);
    image::hide_secrets(argument_count, arguments);
  } catch (const CLI::ParseError& error) {
    if (app.exit(error) == 0) return kExitFine;
    const std::string hint = hint_for(app, argument_count, arguments);
    if (!hint.empty()) print(stderr, "{}\n", hint);
    // Among the exit codes of `image check`, that of a wrong command line has another meaning.
    return image_commands.is_check() ? kExitFailed : kExitUsage;
  }
  if (init->parsed()) return print_made(tls_init(init_options));
  if (check->parsed()) return print_report(tls_check(check_options));
  if (auto code = holder_commands.run()) return *code;
  if (auto code = backup_commands.run()) return *code;
  if (auto code = monitor_commands.run()) return *code;
  if (auto code = config_commands.run()) return *code;
  if (auto code = image_commands.run()) return *code;
  if (auto code = serve_command.run()) return *code;
  if (auto done = operate_commands.run()) return code_of(*done);
  if (describe->parsed()) {
    monitor::print_json(command_tree(app));
    return kExitFine;
  }
  return print_report(tls_show(show_directory));
}

}  // namespace blockexport::client
