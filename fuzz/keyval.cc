// Fuzzes the parsers of the two option grammars: no text may break them, and a tree from keyval has the documented
// form.
//
// Input: one option text.
#include "json/keyval.h"

#include <cstdint>
#include <cstdlib>

#include "json/option_list.h"
#include "json/writer.h"

namespace blockexport::json {
namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

// All leaves must be strings, and only the root may be empty.
void check_tree(const Value& value) {
  if (const Array* array = value.as_array()) {
    require(!array->empty());
    for (const Value& element : *array) check_tree(element);
  } else if (const Object* object = value.as_object()) {
    require(!object->empty());
    for (const auto& [name, member] : *object) check_tree(member);
  } else {
    require(value.as_string() != nullptr);
  }
}

void append_escaped(std::string_view value, std::string& text) {
  for (char byte : value) text.append(byte == ',' ? 2 : 1, byte);
}

// Appends the option text of a tree.
void spell(const Value& value, const std::string& key, std::string& text) {
  if (const Array* array = value.as_array()) {
    for (std::size_t i = 0; i < array->size(); ++i) {
      std::string element = key;
      element += '.';
      element += std::to_string(i);
      spell((*array)[i], element, text);
    }
  } else if (const Object* object = value.as_object()) {
    for (const auto& [name, member] : *object) spell(member, key.empty() ? name : key + "." + name, text);
  } else {
    text += key + "=";
    append_escaped(*value.as_string(), text);
    text += ',';
  }
}

void check_keyval(std::string_view input) {
  auto parsed = parse_keyval(input, "driver");
  if (!parsed) return require(!parsed.error().message().empty());
  if (parsed->help || parsed->options.empty()) return;
  const Value tree(parsed->options);
  check_tree(tree);
  std::string text;
  spell(tree, "", text);
  auto again = parse_keyval(text, "driver");
  require(again && Value(again->options) == tree);
}

void check_option_list(std::string_view input) {
  const OptionList list = parse_option_list(input, "backend");
  std::string text;
  for (const Option& option : list.options) {
    require(list.find(option.key) != nullptr);
    require(!option.short_form || !deprecation_note(option).empty());
    text += option.key + "=";
    append_escaped(option.value, text);
    text += ',';
  }
  const OptionList again = parse_option_list(text, "backend");
  require(again.options.size() == list.options.size());
  for (std::size_t i = 0; i < list.options.size(); ++i) {
    require(again.options[i].key == list.options[i].key && again.options[i].value == list.options[i].value);
  }
}

}  // namespace
}  // namespace blockexport::json

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace blockexport::json;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  check_keyval(input);
  check_option_list(input);
  return 0;
}
