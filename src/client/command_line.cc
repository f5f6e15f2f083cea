// The only file that includes CLI11, and the only one that is compiled with exceptions: they do not leave it.
#include "client/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "base/print.h"
#include "client/tls_check.h"
#include "client/tls_init.h"

namespace blockexport::client {
namespace {

int report(const Error& error) {
  print(stderr, "blockexport: {}\n", error.message());
  if (!error.hint().empty()) print(stderr, "{}\n", error.hint());
  return kExitFailed;
}

int print_report(const Result<TlsReport>& found) {
  if (!found) return report(found.error());
  print(stdout, "{}", found->text);
  return found->has_fault ? kExitFailed : kExitFine;
}

int print_made(const Result<std::string>& made) {
  if (!made) return report(made.error());
  print(stdout, "{}", *made);
  return kExitFine;
}

}  // namespace

int run_command_line(int argument_count, char** arguments) {
  CLI::App app("Works with blockexportd, and with other NBD servers, from the command line.", "blockexport");
  app.require_subcommand(1);
  app.set_version_flag("--version", "blockexport " BLOCKEXPORT_VERSION);
  CLI::App* tls = app.add_subcommand("tls", "TLS credentials: make, check and show them");
  tls->require_subcommand(1);

  TlsInitOptions init_options;
  CLI::App* init = tls->add_subcommand("init", "Make a CA and certificates, or a pre-shared key, in a directory");
  init->add_option("DIR", init_options.directory, "Where; made if it is not there, and nothing is overwritten")
      ->required();
  init->add_option("--host", init_options.hosts,
                   "Host name or IP address of the server, repeatable (default: localhost and this host's name)")
      ->allow_extra_args(false);
  init->add_option("--client", init_options.client, "Name of the client (default: client)");
  init->add_option("--days", init_options.days, "How long the certificates are valid (default: 365)");
  init->add_flag("--psk", init_options.psk, "A pre-shared key for the client instead of certificates");

  TlsCheckOptions check_options;
  CLI::App* check = tls->add_subcommand("check", "Say what a handshake with these credentials would do, and why not");
  check->add_option("DIR", check_options.directory, "The directory")->required();
  check->add_option("--host", check_options.host, "Host name or IP address by which clients reach the server");

  std::string show_directory;
  CLI::App* show = tls->add_subcommand("show", "Show what is in the certificates, and who has a pre-shared key");
  show->add_option("DIR", show_directory, "The directory")->required();

  try {
    app.parse(argument_count, arguments);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitFine : kExitUsage;
  }
  if (init->parsed()) return print_made(tls_init(init_options));
  if (check->parsed()) return print_report(tls_check(check_options));
  return print_report(tls_show(show_directory));
}

}  // namespace blockexport::client
