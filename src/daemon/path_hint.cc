#include "daemon/path_hint.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <vector>

#include "json/keyval.h"
#include "json/option_list.h"
#include "json/parser.h"

namespace blockexport::daemon {
namespace {

// True if the message contains an error about a missing or inaccessible path.
bool is_about_a_path(std::string_view message) {
  return std::ranges::any_of(std::initializer_list<int>{ENOENT, ENOTDIR, EACCES},
                             [&](int error) { return message.contains(errno_text(Errno(error))); });
}

// " in DIRECTORY" with the working directory, for a relative path.
std::string where(const std::string& path) {
  char directory[PATH_MAX];
  if (path.starts_with('/') || getcwd(directory, sizeof directory) == nullptr) return {};
  return fmt::format(" in {}", directory);
}

// A sentence about the fault of `directory`, whose parents are correct. Empty: there is none.
std::string fault_of(const std::string& directory) {
  struct stat info{};
  if (stat(directory.c_str(), &info) != 0) {
    if (errno == ENOENT) return fmt::format("There is no directory '{}'{}.", directory, where(directory));
    return fmt::format("'{}'{}: {}.", directory, where(directory), errno_text(Errno::last()));
  }
  if (!S_ISDIR(info.st_mode)) return fmt::format("'{}'{} is not a directory.", directory, where(directory));
  if (access(directory.c_str(), X_OK) != 0) {
    return fmt::format("The directory '{}'{} may not be searched by this user.", directory, where(directory));
  }
  return {};
}

void collect_strings(const json::Value& value, std::vector<std::string>& strings) {
  if (const std::string* text = value.as_string()) strings.push_back(*text);
  if (const json::Object* object = value.as_object()) {
    for (const auto& [name, member] : *object) collect_strings(member, strings);
  }
  if (const json::Array* array = value.as_array()) {
    for (const json::Value& element : *array) collect_strings(element, strings);
  }
}

std::vector<std::string> values_of(const StartOption& option) {
  const std::string_view argument = option.argument.view();
  std::vector<std::string> values;
  if (option.kind == OptionKind::kChardev || option.kind == OptionKind::kTrace) {
    for (const json::Option& one : json::parse_option_list(argument, "").options) values.push_back(one.value);
  } else if (argument.starts_with('{')) {
    if (auto document = json::parse(argument)) collect_strings(*document, values);
  } else if (auto keyval = json::parse_keyval(argument, "first")) {
    collect_strings(std::move(keyval->options), values);
  }
  return values;
}

}  // namespace

std::string path_hint(const std::string& path) {
  for (std::size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    if (path[slash - 1] == '/') continue;
    if (std::string fault = fault_of(path.substr(0, slash)); !fault.empty()) return fault;
  }
  struct stat info{};
  if (stat(path.c_str(), &info) != 0 && errno == ENOENT && lstat(path.c_str(), &info) == 0) {
    return fmt::format("'{}'{} is a symbolic link to something that does not exist.", path, where(path));
  }
  return {};
}

std::string path_hint(const StartOption& option, std::string_view message) {
  if (!is_about_a_path(message)) return {};
  for (const std::string& value : values_of(option)) {
    // An error about watching a file names its directory.
    const std::string directory = value.substr(0, std::min(value.rfind('/'), value.size()));
    if (value.empty() || directory.empty()) continue;
    if (!message.contains(value) && !message.contains(directory)) continue;
    if (std::string hint = path_hint(value); !hint.empty()) return hint;
  }
  return {};
}

}  // namespace blockexport::daemon
