#include "daemon/configuration_option.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/absolute_path.h"
#include "base/print.h"
#include "json/keyval.h"
#include "json/option_list.h"
#include "json/parser.h"

namespace blockexport::daemon {
namespace {

aio::BackendKind backend_of(schema::AioBackendKind kind) {
  switch (kind) {
    case schema::AioBackendKind::kAuto:
      return aio::BackendKind::kAuto;
    case schema::AioBackendKind::kIoUring:
      return aio::BackendKind::kIoUring;
    case schema::AioBackendKind::kEpoll:
      return aio::BackendKind::kEpoll;
  }
  __builtin_unreachable();
}

LogLevel level_of(schema::LogLevel level) {
  switch (level) {
    case schema::LogLevel::kError:
      return LogLevel::kError;
    case schema::LogLevel::kWarning:
      return LogLevel::kWarning;
    case schema::LogLevel::kInfo:
      return LogLevel::kInfo;
    case schema::LogLevel::kDebug:
      return LogLevel::kDebug;
  }
  __builtin_unreachable();
}

std::optional<LogFormat> format_of(schema::LogFormat format) {
  switch (format) {
    case schema::LogFormat::kAuto:
      return std::nullopt;
    case schema::LogFormat::kText:
      return LogFormat::kText;
    case schema::LogFormat::kJson:
      return LogFormat::kJson;
    case schema::LogFormat::kJournal:
      return LogFormat::kJournal;
  }
  __builtin_unreachable();
}

SandboxOptions sandbox_of(const schema::SandboxConfiguration& sandbox) {
  SandboxOptions options{.is_configured = true};
  switch (sandbox.mode) {
    case schema::SandboxModeKind::kOff:
      options.mode = SandboxMode::kOff;
      break;
    case schema::SandboxModeKind::kSeccomp:
      options.mode = SandboxMode::kSeccomp;
      break;
    case schema::SandboxModeKind::kFull:
      options.mode = SandboxMode::kFull;
      break;
  }
  options.images = sandbox.images.value_or(options.images);
  options.credentials = sandbox.credentials.value_or(options.credentials);
  options.state = sandbox.state.value_or(options.state);
  options.sockets = sandbox.sockets.value_or(options.sockets);
  return options;
}

void take_image_references(ImageReferenceOptions& references, const std::vector<std::string>& list) {
  for (const std::string& one : list) {
    if (one == "allow" || one == "deny") {
      references.rule = one;
    } else {
      references.directories.push_back(one);
    }
  }
}

// The sandbox of a daemon with files must let it read them again.
void let_read(SandboxOptions& sandbox, const std::string& file) {
  if (sandbox.mode != SandboxMode::kFull) return;
  const std::size_t slash = file.rfind('/');
  sandbox.credentials.push_back(slash == 0 || slash == std::string::npos ? "/" : file.substr(0, slash));
}

void take_options(CommandLine& line, const schema::DaemonConfiguration& daemon) {
  auto is_given = [&line](const char* name) { return line.given.contains(name); };
  if (daemon.aio_backend && !is_given("aio-backend")) line.backend = backend_of(*daemon.aio_backend);
  if (daemon.reactors && !is_given("reactors")) line.reactors = daemon.reactors;
  if (daemon.polling && !is_given("polling")) {
    line.polling = daemon.polling == schema::PollingMode::kOff ? Polling::kOff : Polling::kAuto;
  }
  if (daemon.shutdown_grace_seconds && !is_given("shutdown-grace-seconds")) {
    line.shutdown_grace_seconds = *daemon.shutdown_grace_seconds;
  }
  if (!is_given("pidfile")) line.pidfile = daemon.pidfile;
  if (!is_given("user")) line.user = daemon.user;
  if (daemon.sandbox && !is_given("sandbox")) line.sandbox = sandbox_of(*daemon.sandbox);
  if (daemon.image_references && !is_given("image-references")) {
    take_image_references(line.image_references, *daemon.image_references);
  }
  line.log = with_configuration(line.log, line.given, daemon.log.value_or(schema::LogConfiguration{}));
}

// The value of a member of an argument, which is JSON or keyval text; empty when it has none.
std::string member_of(std::string_view argument, std::string_view implied_key, std::string_view member) {
  json::Object options;
  if (argument.starts_with('{')) {
    Result<json::Value> parsed = json::parse(argument);
    if (parsed && parsed->as_object() != nullptr) options = *parsed->as_object();
  } else if (auto keyval = json::parse_keyval(argument, implied_key)) {
    options = std::move(keyval->options);
  }
  const json::Value* value = options.find(member);
  const std::string* text = value != nullptr ? value->as_string() : nullptr;
  return text != nullptr ? *text : std::string();
}

void find_contradictions(const CommandLine& line, configuration::ReadConfiguration& read) {
  if (!line.log.file || line.log.format != LogFormat::kJournal) return;
  const bool is_in_file = !line.given.contains("log.file") || !line.given.contains("log.format");
  if (!is_in_file) return;
  read.findings.add(read.places.find({"daemon", "log"}),
                    "The log goes to the journal and to a file, by the command line and the configuration");
}

}  // namespace

LogOptions with_configuration(LogOptions on_line, const std::set<std::string>& given,
                              const schema::LogConfiguration& log) {
  if (!given.contains("log.file")) on_line.file = log.file;
  if (!given.contains("log.level")) on_line.level = level_of(log.level.value_or(schema::LogLevel::kInfo));
  if (!given.contains("log.format")) on_line.format = log.format ? format_of(*log.format) : std::nullopt;
  return on_line;
}

std::string place_of_rights(const configuration::ReadConfiguration& read, const CommandLine& line,
                            std::string_view message) {
  const char* option = message.starts_with("--user") ? "user" : "sandbox";
  if (line.given.contains(option)) return {};
  return configuration::text_of(read.places.find({"daemon", option})) + ": ";
}

std::optional<configuration::ReadConfiguration> read_configuration_of(CommandLine& line) {
  if (!line.config) return std::nullopt;
  configuration::ReadConfiguration read = configuration::read_configuration(absolute_path(*line.config));
  if (!read.findings.empty()) return read;
  configuration::check_process(read);
  if (!read.findings.empty()) {
    // All errors in one go.
    read.findings = {};
    configuration::check(read, surroundings_of(line));
    return read;
  }
  take_options(line, read.content.daemon);
  let_read(line.sandbox, read.path);
  if (line.sandbox.mode == SandboxMode::kFull && read.content.daemon.state_dir) {
    line.sandbox.state.push_back(*read.content.daemon.state_dir);
  }
  find_contradictions(line, read);
  if (!read.findings.empty()) return read;
  if (line.check_config) {
    // Nothing is started, so that nothing is written.
    line.log.file.reset();
    line.pidfile.reset();
    line.daemonize = false;
    // Directories are opened, as images are.
    if (!line.deep) {
      line.image_references = {};
      line.sandbox = {};
      line.user.reset();
    }
  }
  line.configures_pam = std::ranges::any_of(read.content.objects, [](const schema::ObjectOptions& one) {
    return one.qom_type() == schema::ObjectType::kAuthzPam;
  });
  return read;
}

configuration::Surroundings surroundings_of(const CommandLine& line) {
  configuration::Surroundings found;
  for (const StartOption& option : line.options) {
    const std::string_view argument = option.argument.view();
    if (option.kind == OptionKind::kObject) {
      found.objects.emplace(member_of(argument, "qom-type", "id"), member_of(argument, "qom-type", "qom-type"));
    } else if (option.kind == OptionKind::kBlockdev) {
      found.nodes.insert(member_of(argument, "driver", "node-name"));
    } else if (option.kind == OptionKind::kNbdServer) {
      found.servers.insert("default");
    } else if (option.kind == OptionKind::kChardev) {
      const json::OptionList list = json::parse_option_list(argument, "backend");
      if (const json::Option* id = list.find("id")) found.chardevs.insert(id->value);
    }
  }
  return found;
}

int report_check(configuration::ReadConfiguration& read, const CommandLine& line) {
  if (read.findings.empty()) configuration::check(read, surroundings_of(line));
  if (read.findings.empty()) return 0;
  print(stderr, "{}\n", read.findings.text());
  return kConfigurationErrorExit;
}

}  // namespace blockexport::daemon
