#include "schema/image_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "json/keyval.h"
#include "json/parser.h"
#include "schema/codec.h"

namespace blockexport::schema {
namespace {

constexpr std::array kPlainKeys = {std::string_view("driver"), std::string_view("filename"),
                                   std::string_view("file.driver"), std::string_view("file.filename")};

Error no_file_error() {
  return Error("A block device must be specified for \"file\"");
}

Result<BlockdevDriver> driver_of(std::string_view name) {
  if (std::optional<BlockdevDriver> driver = value_of<BlockdevDriver>(name)) return *driver;
  return fail(fmt::format("Unknown driver '{}'", name));
}

template <class Branch>
bool has_member_file() {
  bool found = false;
  auto see_member = [&found]<class Member>(std::string_view name, Member&) {
    if constexpr (std::is_same_v<Member, BlockdevRef>) found = found || name == "file";
  };
  Branch branch;
  if constexpr (requires { branch.for_each_member(see_member); }) branch.for_each_member(see_member);
  return found;
}

// True if a node of that driver stands on a node "file".
bool has_file(BlockdevDriver driver) {
  return [driver]<class... Branch>(const std::variant<Branch...>*) {
    constexpr std::array<bool (*)(), sizeof...(Branch)> kByDriver = {has_member_file<Branch>...};
    return kByDriver[static_cast<std::size_t>(driver)]();
  }(static_cast<const decltype(BlockdevOptions::branch)*>(nullptr));
}

bool is_key(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
}

// A JSON object as text for parse_keyval(), which turns keys with dots into objects and lists, and as the keys that are
// null, for which that text has no form.
class KeyvalText {
 public:
  Result<> add(const json::Object& object, const std::string& prefix = {}) {
    for (const auto& [name, value] : object) {
      if (!is_key(name)) return fail(fmt::format("Invalid parameter '{}'", name));
      TRY(add_value(value, prefix + name));
    }
    return {};
  }
  const std::string& text() const { return text_; }
  const std::vector<std::string>& keys() const { return keys_; }
  const std::vector<std::string>& null_keys() const { return null_keys_; }

 private:
  Result<> add_value(const json::Value& value, const std::string& key) {
    if (const json::Object* object = value.as_object()) return add(*object, key + '.');
    if (const json::Array* array = value.as_array()) {
      for (std::size_t i = 0; i < array->size(); ++i) TRY(add_value((*array)[i], fmt::format("{}.{}", key, i)));
      return {};
    }
    keys_.push_back(key);
    if (value.is_null()) {
      null_keys_.push_back(key);
      return {};
    }
    text_ += key + '=';
    for (char c : text_of(value)) text_.append(c == ',' ? 2 : 1, c);
    text_ += ',';
    return {};
  }

  static std::string text_of(const json::Value& scalar) {
    if (const bool* boolean = scalar.as_bool()) return *boolean ? "on" : "off";
    if (const std::int64_t* integer = scalar.as_integer()) return fmt::format("{}", *integer);
    if (const std::uint64_t* integer = scalar.as_unsigned()) return fmt::format("{}", *integer);
    if (const double* number = scalar.as_double()) return fmt::format("{}", *number);
    return *scalar.as_string();
  }

  std::string text_;
  std::vector<std::string> keys_;
  std::vector<std::string> null_keys_;
};

// Sets the member that `key`, with dots, names to null; an error where it is inside something that is no object.
Result<> set_null(json::Object& root, std::string_view key) {
  json::Object* object = &root;
  for (std::size_t dot = key.find('.'); dot != std::string_view::npos; dot = key.find('.')) {
    const std::string name(key.substr(0, dot));
    if (object->find(name) == nullptr) object->set(name, json::Object{});
    object = object->find(name)->as_object();
    if (object == nullptr) return fail(fmt::format("Parameters '{}.*' used inconsistently", name));
    key.remove_prefix(dot + 1);
  }
  if (!object->insert(std::string(key), json::Null{})) {
    return fail(fmt::format("Parameters '{}' used inconsistently", key));
  }
  return {};
}

// Fills in the drivers of the nodes below `node`, along "file".
Result<> complete_files(json::Object& node, ImageOptions& result) {
  for (json::Object* above = &node;;) {
    const json::Value* driver = above->find("driver");
    const std::string* name = driver != nullptr ? driver->as_string() : nullptr;
    if (name == nullptr) return fail("Parameter 'driver' is missing");
    TRY_ASSIGN(const BlockdevDriver known, driver_of(*name));
    if (!has_file(known)) return {};
    json::Value* below = above->find("file");
    if (below == nullptr || (below->as_object() == nullptr && below->as_string() == nullptr)) {
      return fail(no_file_error());
    }
    // A string names a node; the graph decides about it.
    if (below->as_string() != nullptr) return {};
    above = below->as_object();
    if (above->find("driver") != nullptr) continue;
    if (above->find("filename") == nullptr) return fail(no_file_error());
    above->set("driver", "file");
    result.implies_file = true;
  }
}

Result<ImageOptions> complete(json::Object node, std::string_view format, ImageOptions result) {
  if (!format.empty()) node.set("driver", format);
  if (node.find("driver") == nullptr) {
    if (node.find("file") == nullptr) return fail("Must specify either driver or file");
    node.set("driver", "raw");
    result.needs_format = true;
  }
  TRY(complete_files(node, result));
  TRY_ASSIGN(result.options, decode_keyval<BlockdevOptions>(json::Value(std::move(node))));
  return result;
}

Result<json::Object> object_of(std::string_view text) {
  Result<json::Value> parsed =
      json::parse(text, {.message_bytes_max = text.size() + 1, .nesting_max = kNameNestingMax});
  if (!parsed) return fail(std::move(parsed).error().with_prefix("Could not parse the JSON options: "));
  json::Object* object = parsed->as_object();
  if (object == nullptr) return fail("Invalid JSON object given");
  return std::move(*object);
}

}  // namespace

Result<ImageOptions> options_of_path(std::string path, std::string_view protocol, std::string_view format) {
  ImageOptions result{.implies_file = protocol.empty()};
  json::Object file{{"driver", protocol.empty() ? std::string_view("file") : protocol}};
  TRY_ASSIGN(const BlockdevDriver below, driver_of(protocol.empty() ? "file" : protocol));
  if (below == BlockdevDriver::kFile || below == BlockdevDriver::kHostDevice) file.set("filename", std::move(path));
  if (!format.empty()) {
    TRY_ASSIGN(const BlockdevDriver driver, driver_of(format));
    if (!has_file(driver)) {
      // Then the driver that the header names decides, not the path.
      result.implies_file = false;
      return complete(std::move(file), format, result);
    }
  }
  return complete(json::Object{{"file", std::move(file)}}, format, result);
}

Result<ImageOptions> options_of_json(std::string_view text, std::string_view format) {
  TRY_ASSIGN(const json::Object object, object_of(text));
  KeyvalText keyval;
  TRY(keyval.add(object));
  TRY_ASSIGN(json::Keyval parsed, json::parse_keyval(keyval.text()));
  for (const std::string& key : keyval.null_keys()) TRY(set_null(parsed.options, key));
  const bool is_plain = std::ranges::all_of(
      keyval.keys(), [](const std::string& key) { return std::ranges::find(kPlainKeys, key) != kPlainKeys.end(); });
  return complete(std::move(parsed.options), format, {.is_plain = is_plain});
}

BlockdevOptions& lowest_file(BlockdevOptions& options) {
  BlockdevOptions* node = &options;
  for (;;) {
    BlockdevOptions* below = nullptr;
    auto see_member = [&below]<class Member>(std::string_view name, Member& member) {
      if constexpr (std::is_same_v<std::remove_const_t<Member>, BlockdevRef>) {
        if (name == "file") below = const_cast<BlockdevOptions*>(std::as_const(member).definition());
      }
    };
    auto see_branch = [&see_member](auto& branch) {
      if constexpr (requires { branch.for_each_member(see_member); }) branch.for_each_member(see_member);
    };
    std::visit(see_branch, node->branch);
    if (below == nullptr) return *node;
    node = below;
  }
}

}  // namespace blockexport::schema
