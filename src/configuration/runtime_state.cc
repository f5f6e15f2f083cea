#include "configuration/runtime_state.h"

#include <fmt/format.h>

#include <set>
#include <utility>
#include <vector>

#include "configuration/source_document.h"
#include "json/writer.h"
#include "schema/codec.h"
#include "schema/collecting_decoder.h"

namespace blockexport::configuration {
namespace {

// The place of the innermost member of a path that the document has.
Place place_of(const std::string& file, const SourceDocument& document, std::vector<std::string> path) {
  for (; !path.empty(); path.pop_back()) {
    std::string key;
    for (const std::string& name : path) key = path_key(key, name);
    const auto found = document.positions.find(key);
    if (found != document.positions.end()) {
      return {.file = file, .line = found->second.line, .column = found->second.column};
    }
  }
  return {.file = file, .line = 1, .column = 1};
}

// IDs that two objects of a list have; nodes also need a name.
struct Duplicates {
  const std::string& path;
  const SourceDocument& document;
  Findings& findings;
  std::set<std::string> ids = {};

  template <class T>
  void check(const std::string& list, const std::vector<T>& all, auto id_of) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::string id = id_of(all[i]);
      const Place place = place_of(path, document, {list, fmt::format("{}", i)});
      if (id.empty()) findings.add(place, "A node needs a node-name");
      if (!id.empty() && !ids.insert(id).second) findings.add(place, fmt::format("The ID '{}' is used twice", id));
    }
  }
};

}  // namespace

schema::RuntimeState parse_runtime_state(const std::string& path, std::string_view text, Findings& findings) {
  SourceDocument document = parse_json(text);
  for (const DocumentError& error : document.errors) {
    findings.add({.file = path, .line = error.position.line, .column = error.position.column}, error.message);
  }
  if (!document.errors.empty()) return {};
  const json::Value* version = document.root.find("version");
  if (version != nullptr && *version != json::Value(std::int64_t{kRuntimeStateVersion})) {
    findings.add(place_of(path, document, {"version"}),
                 fmt::format("The file has another version than {}", kRuntimeStateVersion),
                 "Another version of this program has written it.");
    return {};
  }
  std::vector<schema::DecodingError> errors;
  const json::Value root(std::move(document.root));
  auto state = schema::decode_collecting<schema::RuntimeState>(root, {}, kFindingsMax, errors);
  for (schema::DecodingError& error : errors) {
    findings.add(place_of(path, document, std::move(error.path)), std::move(error.message), std::move(error.hint));
  }
  if (!errors.empty()) return {};
  Duplicates duplicates{.path = path, .document = document, .findings = findings};
  duplicates.check("objects", state.objects, [](const auto& one) { return one.id; });
  duplicates.check("monitors", state.monitors, [](const auto& one) { return one.id; });
  duplicates.ids.clear();
  duplicates.check("chardevs", state.chardevs, [](const auto& one) { return one.id; });
  duplicates.ids.clear();
  duplicates.check("nodes", state.nodes, [](const auto& one) { return one.node_name.value_or(""); });
  duplicates.ids.clear();
  duplicates.check("servers", state.servers, [](const auto& one) { return one.id; });
  duplicates.ids.clear();
  duplicates.check("exports", state.exports, [](const auto& one) { return one.id; });
  return state;
}

std::string text_of(const schema::RuntimeState& state) {
  const json::Value encoded = schema::encode(state);
  std::string text = "{";
  const char* between = "\n";
  for (const auto& [name, value] : *encoded.as_object()) {
    text += fmt::format("{}\"{}\": ", between, name);
    between = ",\n";
    const json::Array* list = value.as_array();
    if (list == nullptr) {
      json::write(value, text);
      continue;
    }
    text += "[";
    for (std::size_t i = 0; i < list->size(); ++i) {
      text += i == 0 ? "\n  " : ",\n  ";
      json::write((*list)[i], text);
    }
    text += list->empty() ? "]" : "\n]";
  }
  return text + "\n}\n";
}

}  // namespace blockexport::configuration
