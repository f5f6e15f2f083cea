#include "daemon/option_help.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "base/print.h"
#include "control/objects/object_types.h"
#include "json/keyval.h"
#include "schema/block_core.h"
#include "schema/block_export.h"
#include "schema/control.h"
#include "schema/member_list.h"
#include "schema/operation.h"

namespace blockexport::daemon {
namespace {

void print_names(std::string_view title, std::span<const std::string_view> names) {
  std::vector<std::string_view> sorted(names.begin(), names.end());
  std::ranges::sort(sorted);
  print(stdout, "{}:\n", title);
  for (std::string_view name : sorted) print(stdout, "  {}\n", name);
}

void print_members(std::string_view of_what, std::vector<schema::MemberDescription> members) {
  std::ranges::sort(members, {}, &schema::MemberDescription::name);
  print(stdout, "{} options:\n", of_what);
  for (const schema::MemberDescription& member : members) {
    print(stdout, "  {}=<{}>{}\n", member.name, member.type, member.is_required ? "  - required" : "");
  }
}

// The type that the option names, if it is one of `names`.
std::optional<std::string> named_type(const json::Object& options, std::string_view key,
                                      std::span<const std::string_view> names) {
  const json::Value* value = options.find(key);
  const std::string* text = value != nullptr ? value->as_string() : nullptr;
  if (text == nullptr || std::ranges::find(names, *text) == names.end()) return std::nullopt;
  return *text;
}

// Help of a union: its types when the option names none, as qemu-storage-daemon does for --object; else the type's
// options.
template <class Options, class Types>
void print_union(std::string_view title, std::string_view key, json::Object options) {
  const auto& names = schema::EnumNames<Types>::kNames;
  if (auto type = named_type(options, key, names)) {
    print_members(*type, schema::list_members<Options>(std::move(options)));
  } else {
    print_names(title, names);
  }
}

void print_objects(const json::Object& options) {
  std::vector<std::string_view> names;
  for (const control::ObjectTypeEntry& type : control::object_types()) {
    if (type.is_user_creatable()) names.push_back(type.name);
  }
  auto type = named_type(options, "qom-type", names);
  if (!type) return print_names("List of user creatable objects", names);
  // From the table of properties, whose type names are those that qemu-storage-daemon shows.
  const std::span properties = control::find_object_type(*type)->properties;
  std::vector<schema::Property> sorted(properties.begin(), properties.end());
  std::ranges::sort(sorted, {}, &schema::Property::name);
  print(stdout, "{} options:\n", *type);
  for (const schema::Property& property : sorted) {
    print(stdout, "  {}=<{}>\n", property.name, property.type);
  }
}

// The implied key of the first value. Nothing: the option has a help of its own.
std::optional<std::string_view> implied_key(OptionKind kind) {
  switch (kind) {
    case OptionKind::kBlockdev:
      return "driver";
    case OptionKind::kExport:
    case OptionKind::kListen:
      return "type";
    case OptionKind::kMetrics:
      return "listen";
    case OptionKind::kMonitor:
      return "chardev";
    case OptionKind::kNbdServer:
      return "";
    case OptionKind::kObject:
      return "qom-type";
    case OptionKind::kChardev:
    case OptionKind::kTrace:
      return std::nullopt;
  }
  __builtin_unreachable();
}

void print_help(OptionKind kind, json::Object options) {
  switch (kind) {
    case OptionKind::kBlockdev:
      return print_union<schema::BlockdevOptions, schema::BlockdevDriver>("List of block drivers", "driver",
                                                                          std::move(options));
    case OptionKind::kExport:
      return print_union<schema::BlockExportOptions, schema::BlockExportType>("List of export types", "type",
                                                                              std::move(options));
    case OptionKind::kListen:
      return print_union<schema::SocketAddress, schema::SocketAddressType>("List of address types", "type",
                                                                           std::move(options));
    case OptionKind::kMetrics:
      return print_members("metrics", schema::list_members<schema::MetricsOptions>(std::move(options)));
    case OptionKind::kMonitor:
      return print_members("monitor", schema::list_members<schema::MonitorOptions>(std::move(options)));
    case OptionKind::kNbdServer:
      return print_members("nbd-server", schema::list_members<schema::NbdServerOptions>(std::move(options)));
    case OptionKind::kObject:
      return print_objects(options);
    case OptionKind::kChardev:
    case OptionKind::kTrace:
      return;
  }
}

}  // namespace

bool answer_help(const StartOption& option) {
  const std::string_view argument = option.argument.view();
  auto key = implied_key(option.kind);
  if (!key || argument.starts_with('{')) return false;
  // Parses only if needed, since parsing copies the argument, which may hold a secret.
  if (!argument.contains("help") && !argument.contains('?')) return false;
  Result<json::Keyval> keyval = json::parse_keyval(argument, *key);
  if (!keyval || !keyval->help) return false;
  print_help(option.kind, std::move(keyval->options));
  return true;
}

}  // namespace blockexport::daemon
