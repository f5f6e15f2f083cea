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

void take_options(CommandLine& line, const schema::DaemonConfiguration& daemon) {
  if (daemon.aio_backend && !line.has_backend) line.backend = backend_of(*daemon.aio_backend);
  if (daemon.reactors && !line.has_reactors) line.reactors = daemon.reactors;
  if (daemon.shutdown_grace_seconds && !line.has_shutdown_grace) {
    line.shutdown_grace_seconds = *daemon.shutdown_grace_seconds;
  }
  if (!line.pidfile) line.pidfile = daemon.pidfile;
  if (!line.log.file) line.log.file = daemon.log_file;
  ImageReferenceOptions& references = line.image_references;
  if (!daemon.image_references || references.rule || !references.directories.empty()) return;
  for (const std::string& one : *daemon.image_references) {
    if (one == "allow" || one == "deny") {
      references.rule = one;
    } else {
      references.directories.push_back(one);
    }
  }
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

}  // namespace

std::optional<configuration::ReadConfiguration> read_configuration_of(CommandLine& line) {
  if (!line.config) return std::nullopt;
  configuration::ReadConfiguration read = configuration::read_configuration(absolute_path(*line.config));
  if (!read.findings.empty()) return read;
  take_options(line, read.content.daemon);
  if (line.check_config) {
    // Nothing is started, so that nothing is written.
    line.log.file.reset();
    line.pidfile.reset();
    line.daemonize = false;
    // Its directories are opened, as images are.
    if (!line.deep) line.image_references = {};
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
