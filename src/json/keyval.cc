#include "json/keyval.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

namespace blockexport::json {
namespace {

constexpr std::size_t kKeyBytesMax = 127;
constexpr std::int64_t kIndexMax = INT32_MAX;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

// The length of a QAPI name at the front of `text`: an optional "__domain_" prefix, then a letter and more.
std::size_t name_length(std::string_view text) {
  std::size_t start = 0;
  if (text.starts_with("__")) {
    std::size_t end = text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-", 2);
    if (end == std::string_view::npos || end == 2 || text[end] != '_') return 0;
    start = end + 1;
  }
  if (start >= text.size() || !is_letter(text[start])) return 0;
  std::size_t length = start + 1;
  while (length < text.size() &&
         (is_letter(text[length]) || is_digit(text[length]) || text[length] == '-' || text[length] == '_')) {
    ++length;
  }
  return length;
}

std::optional<std::int64_t> as_index(std::string_view fragment) {
  std::int64_t index = 0;
  auto [end, error] = std::from_chars(fragment.data(), fragment.data() + fragment.size(), index);
  bool whole = end == fragment.data() + fragment.size();
  if (fragment.empty() || !is_digit(fragment[0]) || !whole) return std::nullopt;
  return error == std::errc{} && index <= kIndexMax ? index : kIndexMax;
}

// Reads "key=value" pairs from the front of the text. While it is being built, an array is an object whose names are
// its indexes.
class KeyvalParser {
 public:
  explicit KeyvalParser(std::string_view text) : text_(text) {}

  Result<Keyval> parse(std::string_view implied_key) {
    while (!text_.empty()) {
      if (take_help()) {
        result_.help = true;
      } else {
        TRY(parse_pair(implied_key));
      }
      implied_key = {};
    }
    TRY_ASSIGN(Value tree, with_arrays(Value(std::move(result_.options)), ""));
    result_.options = std::move(*tree.as_object());
    return std::move(result_);
  }

 private:
  bool take_help() {
    std::string_view element = text_.substr(0, text_.find(','));
    if (element != "help" && element != "?") return false;
    text_.remove_prefix(std::min(text_.size(), element.size() + 1));
    return true;
  }

  Result<> parse_pair(std::string_view implied_key) {
    std::string_view key = text_.substr(0, text_.find_first_of("=,"));
    bool has_equals = key.size() < text_.size() && text_[key.size()] == '=';
    if (!implied_key.empty() && !has_equals && !key.empty()) {
      std::string value(key);
      text_.remove_prefix(std::min(text_.size(), key.size() + 1));
      result_.options.set(std::string(implied_key), Value(std::move(value)));
      return {};
    }
    TRY_ASSIGN(auto fragments, split(key));
    if (!has_equals) return fail(fmt::format("Expected '=' after parameter '{}'", key));
    text_.remove_prefix(key.size() + 1);
    return store(key, fragments, take_value());
  }

  // Up to a single comma; two of them are one.
  std::string take_value() {
    std::string value;
    while (!text_.empty()) {
      if (text_.front() == ',') {
        bool is_double = text_.size() > 1 && text_[1] == ',';
        if (!is_double) {
          text_.remove_prefix(1);
          break;
        }
        text_.remove_prefix(1);
      }
      value += text_.front();
      text_.remove_prefix(1);
    }
    return value;
  }

  static Result<std::vector<std::string_view>> split(std::string_view key) {
    std::vector<std::string_view> fragments;
    std::string_view rest = key;
    for (;;) {
      std::string_view fragment = rest.substr(0, rest.find('.'));
      bool is_index = !fragments.empty() && as_index(fragment).has_value();
      if (!is_index) {
        std::size_t length = name_length(rest);
        if (length == 0 || (length < rest.size() && rest[length] != '.')) {
          return fail(fmt::format("Invalid parameter '{}'", key));
        }
        fragment = rest.substr(0, length);
      }
      if (fragment.size() > kKeyBytesMax) {
        bool alone = fragments.empty() && fragment.size() == key.size();
        return fail(fmt::format("Parameter{} '{}' is too long", alone ? "" : " fragment", fragment));
      }
      fragments.push_back(fragment);
      if (fragment.size() == rest.size()) return fragments;
      rest.remove_prefix(fragment.size() + 1);
    }
  }

  Result<> store(std::string_view key, const std::vector<std::string_view>& fragments, std::string value) {
    Object* object = &result_.options;
    for (std::size_t i = 0; i + 1 < fragments.size(); ++i) {
      std::string name = normal(fragments[i], i > 0);
      if (object->find(name) == nullptr) object->set(name, Value(Object{}));
      Object* inner = object->find(name)->as_object();
      if (inner == nullptr) return fail(inconsistent(key, fragments[i]));
      object = inner;
    }
    std::string name = normal(fragments.back(), fragments.size() > 1);
    const Value* present = object->find(name);
    if (present != nullptr && present->as_object() != nullptr) return fail(inconsistent(key, fragments.back()));
    object->set(std::move(name), Value(std::move(value)));
    return {};
  }

  // An index as its shortest form, so that "00" and "0" are one place.
  static std::string normal(std::string_view fragment, bool may_be_index) {
    std::optional<std::int64_t> index = may_be_index ? as_index(fragment) : std::nullopt;
    return index ? fmt::format("{}", *index) : std::string(fragment);
  }

  static std::string inconsistent(std::string_view key, std::string_view fragment) {
    std::size_t end = static_cast<std::size_t>(fragment.data() - key.data()) + fragment.size();
    return fmt::format("Parameters '{}.*' used inconsistently", key.substr(0, end));
  }

  // The tree with each object whose names are indexes made into an array. `path` ends in a dot, or is empty.
  static Result<Value> with_arrays(Value value, std::string path) {
    Object* object = value.as_object();
    if (object == nullptr) return value;
    std::size_t index_count = 0;
    Object converted;
    for (const auto& [name, member] : *object) {
      if (!path.empty() && as_index(name)) ++index_count;
      TRY_ASSIGN(Value inner, with_arrays(member, fmt::format("{}{}.", path, name)));
      converted.set(name, std::move(inner));
    }
    if (index_count == 0) return Value(std::move(converted));
    if (index_count < converted.size()) return fail(fmt::format("Parameters '{}*' used inconsistently", path));
    Array array;
    for (std::size_t i = 0; i < index_count; ++i) {
      Value* element = converted.find(fmt::format("{}", i));
      if (element == nullptr) return fail(fmt::format("Parameter '{}{}' missing", path, i));
      array.push_back(std::move(*element));
    }
    return Value(std::move(array));
  }

  std::string_view text_;
  Keyval result_;
};

}  // namespace

Result<Keyval> parse_keyval(std::string_view text, std::string_view implied_key) {
  return KeyvalParser(text).parse(implied_key);
}

}  // namespace blockexport::json
