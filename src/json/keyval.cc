#include "json/keyval.h"

#include <algorithm>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "json/option_text.h"

namespace blockexport::json {
namespace {

constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
constexpr bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
constexpr bool is_index(std::string_view fragment) {
  return !fragment.empty() && is_digit(fragment.front());
}

std::string quoted(std::string_view before, std::string_view subject, std::string_view after) {
  std::string text(before);
  text += '\'';
  text += subject;
  text += '\'';
  text += after;
  return text;
}

std::string used_inconsistently(std::string_view path) {
  std::string pattern(path);
  pattern += ".*";
  return quoted("Parameters ", pattern, " used inconsistently");
}

// Length of the longest prefix of `text` whose characters all satisfy `belongs`.
template <class Predicate>
std::size_t run_of(std::string_view text, Predicate belongs) {
  return static_cast<std::size_t>(std::find_if_not(text.begin(), text.end(), belongs) - text.begin());
}

// Length of the QAPI name at the front: a letter, then letters, digits, '-' and '_'; the name of a vendor extension has
// the prefix "__DOMAIN_". 0: there is no name.
std::size_t name_length(std::string_view text) {
  std::size_t prefix = 0;
  if (text.starts_with("__")) {
    prefix = 2 + run_of(text.substr(2), [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '.'; });
    if (prefix == text.size() || text[prefix] != '_') return 0;
    ++prefix;
  }
  const std::string_view name = text.substr(prefix);
  if (name.empty() || !is_letter(name.front())) return 0;
  return prefix + run_of(name, [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == '_'; });
}

class KeyvalParser {
 public:
  explicit KeyvalParser(std::string_view implied_key) : implied_key_(implied_key) {}

  // Parses one element and removes it from the front of `text`.
  Result<> element(std::string_view& text) {
    const std::string_view word = text.substr(0, text.find_first_of("=,"));
    const bool bare = word.size() == text.size() || text[word.size()] == ',';
    const std::string_view implied_key = std::exchange(implied_key_, {});
    if (bare && is_help_word(word)) {
      help_ = true;
    } else if (bare && !word.empty() && !implied_key.empty()) {
      TRY(put(implied_key, word));
    } else {
      TRY_ASSIGN(Leaf leaf, reach(word));
      if (bare) return fail(quoted("Expected '=' after parameter ", word, ""));
      text.remove_prefix(word.size() + 1);
      return put_in(leaf, word, take_option_value(text));
    }
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    return {};
  }

  Object take_options() { return std::move(options_); }
  bool help() const { return help_; }

 private:
  // The object and the member name for a key's value.
  struct Leaf {
    Object* object;
    std::string_view name;
  };

  Result<> put(std::string_view key, std::string_view value) {
    TRY_ASSIGN(Leaf leaf, reach(key));
    return put_in(leaf, key, std::string(value));
  }

  static Result<> put_in(Leaf leaf, std::string_view key, std::string value) {
    const Value* present = leaf.object->find(leaf.name);
    if (present && present->as_object()) return fail(used_inconsistently(key));
    leaf.object->set(std::string(leaf.name), std::move(value));
    return {};
  }

  // Follows the key's fragments, and creates the objects that do not exist yet.
  Result<Leaf> reach(std::string_view key) {
    Object* object = &options_;
    std::size_t begin = 0;
    for (std::size_t fragments = 1;; ++fragments) {
      TRY_ASSIGN(const std::size_t length, fragment_length(key, begin));
      const std::string_view fragment = key.substr(begin, length);
      if (begin + length == key.size()) return Leaf{object, fragment};
      if (fragments == kKeyFragmentsMax) return fail(quoted("Parameter ", key, " has too many fragments"));
      object = descend(*object, fragment);
      if (!object) return fail(used_inconsistently(key.substr(0, begin + length)));
      begin += length + 1;
    }
  }

  static Result<std::size_t> fragment_length(std::string_view key, std::size_t begin) {
    const std::string_view rest = key.substr(begin);
    const std::size_t length = begin > 0 && is_index(rest) ? run_of(rest, is_digit) : name_length(rest);
    if (length == 0 || (length < rest.size() && rest[length] != '.'))
      return fail(quoted("Invalid parameter ", key, ""));
    if (length > kKeyFragmentMax) {
      const bool whole = length == key.size();
      return fail(quoted(whole ? "Parameter " : "Parameter fragment ", rest.substr(0, length), " is too long"));
    }
    return length;
  }

  // The member object of that name, created if it does not exist; null when the member is a string.
  static Object* descend(Object& object, std::string_view name) {
    if (Value* present = object.find(name)) return present->as_object();
    object.insert(std::string(name), Object());
    return object.find(name)->as_object();
  }

  std::string_view implied_key_;
  Object options_;
  bool help_ = false;
};

// Converts the objects whose member names are indexes to arrays, innermost first. `path_` is the key of the current
// value.
class ListAssembler {
 public:
  Result<> assemble(Value& value) {
    Object& object = *value.as_object();
    std::vector<std::string> names;
    for (const auto& [name, child] : object) names.push_back(name);
    bool has_index = false;
    bool has_name = false;
    for (const std::string& name : names) {
      (is_index(name) ? has_index : has_name) = true;
      Value& child = *object.find(name);
      if (child.as_object()) TRY(assemble_child(child, name));
    }
    if (has_index && has_name) return fail(used_inconsistently(path_));
    if (!has_index) return {};
    TRY_ASSIGN(Array array, to_array(object, names));
    value = std::move(array);
    return {};
  }

 private:
  Result<> assemble_child(Value& child, const std::string& name) {
    const std::size_t length = path_.size();
    path_ += path_.empty() ? "" : ".";
    path_ += name;
    TRY(assemble(child));
    path_.resize(length);
    return {};
  }

  Result<Array> to_array(Object& object, const std::vector<std::string>& names) const {
    std::vector<Value*> elements(names.size());
    std::size_t size = 0;
    for (const std::string& name : names) {
      // If an index is past the number of elements, a lower index must be missing.
      std::size_t index = elements.size();
      std::from_chars(name.data(), name.data() + name.size(), index);
      if (index < elements.size()) elements[index] = object.find(name);
      size = std::max(size, std::min(index, elements.size() - 1) + 1);
    }
    Array array;
    for (std::size_t index = 0; index < size; ++index) {
      if (!elements[index]) return fail(quoted("Parameter ", path_ + "." + std::to_string(index), " missing"));
      array.push_back(std::move(*elements[index]));
    }
    return array;
  }

  std::string path_;
};

}  // namespace

Result<Keyval> parse_keyval(std::string_view text, std::string_view implied_key) {
  KeyvalParser parser(implied_key);
  while (!text.empty()) TRY(parser.element(text));
  if (parser.help()) return Keyval{.options = parser.take_options(), .help = true};
  Value tree(parser.take_options());
  TRY(ListAssembler().assemble(tree));
  return Keyval{.options = std::move(*tree.as_object())};
}

}  // namespace blockexport::json
