#include "daemon/startup.h"

#include <fmt/format.h>

#include "control/commands/addresses.h"
#include "control/commands/chardev.h"
#include "control/commands/nbd_server.h"
#include "control/core/denial_note.h"
#include "daemon/chardev_option.h"
#include "daemon/option_help.h"
#include "daemon/path_hint.h"
#include "daemon/trace_option.h"
#include "json/keyval.h"
#include "json/parser.h"
#include "schema/block_core_commands.h"
#include "schema/block_export_commands.h"
#include "schema/codec.h"
#include "schema/control.h"
#include "schema/operation.h"
#include "schema/qom_commands.h"

namespace blockexport::daemon {
namespace {

// Decodes an argument, which is JSON when it begins with a brace.
template <class T>
Result<T> decode_argument(std::string_view argument, std::string_view implied_key) {
  if (argument.starts_with('{')) {
    TRY_ASSIGN(json::Value document, json::parse(argument));
    return schema::decode<T>(document);
  }
  TRY_ASSIGN(json::Keyval keyval, json::parse_keyval(argument, implied_key));
  return schema::decode_keyval<T>(json::Value(std::move(keyval.options)));
}

}  // namespace

aio::Task<Startup::Outcome> Startup::run(StartOption option) {
  if (answer_help(option)) co_return Exit{0};
  Outcome outcome = co_await carry_out(option);
  if (!outcome) outcome = fail(control::with_denial_note(std::move(outcome).error(), control_.denial_note()));
  if (outcome || !outcome.error().hint().empty()) co_return outcome;
  std::string hint = path_hint(option, outcome.error().message());
  co_return fail(std::move(outcome).error().with_hint(std::move(hint)));
}

aio::Task<Startup::Outcome> Startup::carry_out(const StartOption& option) {
  switch (option.kind) {
    case OptionKind::kBlockdev:
      co_return co_await run_blockdev(option.argument.view());
    case OptionKind::kExport:
      co_return co_await run_export(option.argument.view());
    case OptionKind::kNbdServer:
      co_return co_await run_nbd_server(option.argument.view());
    case OptionKind::kListen:
      co_return co_await run_listen(option.argument.view());
    case OptionKind::kObject:
      co_return co_await run_object(option.argument.view());
    case OptionKind::kChardev:
      co_return co_await run_chardev(option);
    case OptionKind::kMonitor:
      co_return co_await run_monitor(option.argument.view());
    case OptionKind::kMetrics:
      co_return co_await run_metrics(option.argument.view());
    case OptionKind::kTrace:
      CO_TRY_ASSIGN(std::optional<int> exit_code, run_trace_option(option, trace_, control_.log()));
      if (exit_code) co_return Exit{*exit_code};
      co_return std::nullopt;
  }
  __builtin_unreachable();
}

template <class Begin>
aio::Task<Result<>> Startup::while_busy(Begin begin) {
  aio::Reactor& reactor = control_.reactor();
  const std::uint64_t deadline_ns = reactor.now_ns() + kBusyStartMaxNs;
  for (;;) {
    Result<> begun = co_await begin();
    if (begun || !begun.error().is_busy() || reactor.now_ns() >= deadline_ns) co_return begun;
    if (!co_await reactor.sleep_until(reactor.now_ns() + kBusyStartPauseNs)) co_return begun;
  }
}

aio::Task<Startup::Outcome> Startup::run_blockdev(std::string_view argument) {
  CO_TRY_ASSIGN(auto options, decode_argument<schema::BlockdevOptions>(argument, "driver"));
  CO_TRY(co_await while_busy([&] { return control::blockdev_add(control_, options); }));
  co_return std::nullopt;
}

aio::Task<Startup::Outcome> Startup::run_export(std::string_view argument) {
  CO_TRY_ASSIGN(auto options, decode_argument<schema::BlockExportOptions>(argument, "type"));
  CO_TRY(co_await while_busy([&] { return control::block_export_add(control_, options); }));
  co_return std::nullopt;
}

aio::Task<Startup::Outcome> Startup::run_nbd_server(std::string_view argument) {
  CO_TRY_ASSIGN(auto options, decode_argument<schema::NbdServerOptions>(argument, ""));
  const schema::NbdServerOptionsBase base{.handshake_max_seconds = options.handshake_max_seconds,
                                          .tls_creds = options.tls_creds,
                                          .tls_authz = options.tls_authz,
                                          .max_connections = options.max_connections};
  net::SocketAddress address = control::to_net(options.addr);
  CO_TRY(take_inherited(address));
  CO_TRY(co_await while_busy([&] { return control::start_nbd_server(control_, address, base); }));
  co_return std::nullopt;
}

aio::Task<Startup::Outcome> Startup::run_listen(std::string_view argument) {
  CO_TRY_ASSIGN(auto options, decode_argument<schema::SocketAddress>(argument, "type"));
  net::SocketAddress address = control::to_net(options);
  CO_TRY(take_inherited(address));
  CO_TRY(co_await while_busy([&] { return control::add_nbd_listener(control_, address); }));
  co_return std::nullopt;
}

Result<> Startup::take_inherited(net::SocketAddress& address) {
  auto* named = std::get_if<net::FdAddress>(&address);
  if (named == nullptr) return {};
  TRY_ASSIGN(OwnedFd socket, inherited_.take_socket(named->descriptor));
  named->socket = std::make_shared<OwnedFd>(std::move(socket));
  return {};
}

aio::Task<Startup::Outcome> Startup::run_object(std::string_view argument) {
  CO_TRY_ASSIGN(auto options, decode_argument<schema::ObjectOptions>(argument, "qom-type"));
  CO_TRY(co_await control::object_add(control_, std::move(options)));
  co_return std::nullopt;
}

aio::Task<Startup::Outcome> Startup::run_chardev(const StartOption& typed) {
  json::OptionList list = json::parse_option_list(typed.argument.view(), "backend");
  if (list.help) {
    const json::Option* backend = list.find("backend");
    bool wants_list = backend == nullptr || backend->value == "help" || backend->value == "?";
    wants_list ? print_chardev_backends() : print_chardev_options();
    co_return Exit{wants_list ? 0 : 1};
  }
  CO_TRY_ASSIGN(ChardevOption option, read_chardev_option(list, typed.as_typed, control_.log()));
  if (control_.is_daemonized() && std::holds_alternative<chardev::StdioOptions>(option.options)) {
    co_return fail("cannot use stdio with -daemonize");
  }
  if (control_.chardevs().find(option.id) != nullptr) {
    co_return fail(fmt::format("attempt to add duplicate property '{}' to object (type 'container')", option.id));
  }
  if (auto* socket = std::get_if<chardev::SocketOptions>(&option.options)) {
    CO_TRY_ASSIGN(socket->tls,
                  control::chardev_tls(control_, socket->address, socket->server, option.tls_creds, option.tls_authz));
    CO_TRY(take_inherited(socket->address));
  }
  CO_TRY(co_await while_busy([&] { return control::add_chardev(control_, option.id, option.options); }));
  co_return std::nullopt;
}

// Creates a monitor-qmp object, with a generated ID if none is given.
aio::Task<Startup::Outcome> Startup::run_monitor(std::string_view argument) {
  CO_TRY_ASSIGN(auto monitor, decode_argument<schema::MonitorOptions>(argument, "chardev"));
  if (monitor.mode == schema::MonitorMode::kReadline) co_return fail("Only QMP is supported");
  schema::ObjectOptions object{.id = monitor.id ? *monitor.id : fmt::format("compat_monitor{}", unnamed_monitors_++)};
  object.branch = schema::MonitorQMPProperties{.chardev = monitor.chardev, .pretty = monitor.pretty};
  CO_TRY(co_await control::object_add(control_, std::move(object)));
  co_return std::nullopt;
}

// On the command line a list may be one text.
aio::Task<Startup::Outcome> Startup::run_metrics(std::string_view argument) {
  schema::MetricsOptions options;
  if (argument.starts_with('{')) {
    CO_TRY_ASSIGN(json::Value document, json::parse(argument));
    CO_TRY_ASSIGN(options, schema::decode<schema::MetricsOptions>(document));
  } else {
    CO_TRY_ASSIGN(json::Keyval keyval, json::parse_keyval(argument, "listen"));
    for (const char* name : {"listen", "host"}) {
      const json::Value* given = keyval.options.find(name);
      if (given != nullptr && given->as_string() != nullptr) keyval.options.set(name, json::Array{*given});
    }
    CO_TRY_ASSIGN(options, schema::decode_keyval<schema::MetricsOptions>(json::Value(std::move(keyval.options))));
  }
  CO_TRY(co_await while_busy([&] { return metrics_.open(options); }));
  co_return std::nullopt;
}

}  // namespace blockexport::daemon
