#include "configuration/reading.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/similar_text.h"
#include "configuration/files.h"
#include "configuration/source_document.h"
#include "schema/collecting_decoder.h"

namespace blockexport::configuration {
namespace {

constexpr std::string_view kDaemonSection = "daemon";

std::string_view id_member(Section section) {
  return section == Section::kNodes ? "node-name" : "id";
}

std::optional<Section> section_of(std::string_view name) {
  const auto found = std::ranges::find(kSections, name, name_of);
  if (found == std::end(kSections)) return std::nullopt;
  return *found;
}

// An object of a section, before it is decoded.
struct Entry {
  Section section;
  std::string id;
  json::Value document;  // with its ID
  bool is_own_file;      // a file of exports.d
  std::size_t file;
};

class Joining {
 public:
  explicit Joining(ReadConfiguration& result) : result_(result) {}

  void add(std::size_t number, const ConfigurationFile& file) {
    SourceDocument document = file.is_json() ? parse_json(file.text.view()) : parse_toml(file.text.view());
    for (const DocumentError& error : document.errors) {
      std::string message = error.message;
      if (error.other_position) {
        message += fmt::format(" (first at {})", text_of(place(number, *error.other_position)));
      }
      result_.findings.add(place(number, error.position), std::move(message));
    }
    if (!document.errors.empty()) return;
    const std::size_t entries_before = entries_.size();
    if (file.kind == FileKind::kExport) {
      add_export(number, file, document);
    } else {
      add_sections(number, document);
    }
    for (std::size_t i = entries_before; i < entries_.size(); ++i) check_secrecy(file, entries_[i]);
  }

  const json::Object& daemon() const { return daemon_; }
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  Place place(std::size_t file, const json::Position& position) const {
    return {.file = result_.files[file], .line = position.line, .column = position.column};
  }

  Place place_in(const SourceDocument& document, std::size_t file, const std::string& path) const {
    const auto found = document.positions.find(path);
    return place(file, found != document.positions.end() ? found->second : json::Position{});
  }

  void add_sections(std::size_t number, SourceDocument& document) {
    for (const auto& [name, value] : document.root) {
      const std::optional<Section> section = section_of(name);
      if (!section && name != kDaemonSection) {
        unknown_section(place_in(document, number, name), name);
      } else if (value.as_object() == nullptr) {
        result_.findings.add(place_in(document, number, name),
                             fmt::format("Invalid parameter type for '{}', expected: object", name));
      } else if (section) {
        add_objects(number, document, *section, *value.as_object());
      } else {
        add_daemon(number, document, *value.as_object());
      }
    }
    note_positions(number, document, {});
  }

  void unknown_section(Place at, const std::string& name) {
    std::vector<std::string_view> known{kDaemonSection};
    for (Section section : kSections) known.push_back(name_of(section));
    std::string hint = suggest_similar(name, known);
    if (hint.empty()) hint = fmt::format("The sections are {}.", fmt::join(known, ", "));
    result_.findings.add(std::move(at), fmt::format("Parameter '{}' is unexpected", name), std::move(hint));
  }

  void add_daemon(std::size_t number, const SourceDocument& document, const json::Object& members) {
    for (const auto& [name, value] : members) {
      const std::string path = path_key(kDaemonSection, name);
      if (daemon_.insert(name, value)) continue;
      twice(place_in(document, number, path), fmt::format("daemon.{}", name),
            result_.places.find({std::string(kDaemonSection), name}));
    }
  }

  void add_objects(std::size_t number, const SourceDocument& document, Section section, const json::Object& objects) {
    for (const auto& [id, value] : objects) {
      const std::string path = path_key(name_of(section), id);
      const Place at = place_in(document, number, path);
      if (value.as_object() == nullptr) {
        result_.findings.add(at,
                             fmt::format("Invalid parameter type for '{}.{}', expected: object", name_of(section), id));
        continue;
      }
      json::Object members = *value.as_object();
      if (!members.insert(std::string(id_member(section)), id)) {
        result_.findings.add(
            place_in(document, number, path_key(path, id_member(section))),
            fmt::format("Parameter '{}.{}.{}' is unexpected", name_of(section), id, id_member(section)),
            "The name of the table is the ID.");
      }
      add_entry({section, id, std::move(members), false, number}, at);
    }
  }

  void add_export(std::size_t number, const ConfigurationFile& file, SourceDocument& document) {
    std::string id = file.id;
    if (const json::Value* own = document.root.find("id")) {
      const std::string* text = own->as_string();
      if (text != nullptr) id = *text;
    } else {
      document.root.set("id", id);
    }
    const Place at = place(number, {1, 1});
    if (add_entry({Section::kExports, id, std::move(document.root), true, number}, at)) {
      const std::string around = path_key(name_of(Section::kExports), id);
      result_.places.add(around, number, 1, 1);
      note_positions(number, document, around);
    }
  }

  bool add_entry(Entry entry, const Place& at) {
    const std::string path = path_key(name_of(entry.section), entry.id);
    auto [first, is_new] = first_.emplace(path, at);
    if (!is_new) {
      twice(at, fmt::format("{}.{}", name_of(entry.section), entry.id), first->second);
      return false;
    }
    entries_.push_back(std::move(entry));
    return true;
  }

  void twice(Place at, std::string_view what, const Place& first) {
    result_.findings.add(std::move(at), fmt::format("'{}' is set twice (first at {})", what, text_of(first)));
  }

  void note_positions(std::size_t number, const SourceDocument& document, std::string_view around) {
    for (const auto& [path, position] : document.positions) {
      result_.places.add(path_key(around, path), number, position.line, position.column);
    }
  }

  // The data of a secret are an inline password.
  void check_secrecy(const ConfigurationFile& file, const Entry& entry) {
    if (entry.section != Section::kObjects || file.read_exposure.empty()) return;
    const json::Object& members = *entry.document.as_object();
    const json::Value* type = members.find("qom-type");
    const bool is_secret = type != nullptr && type->as_string() != nullptr && *type->as_string() == "secret";
    if (!is_secret || members.find("data") == nullptr) return;
    result_.findings.add(result_.places.of(entry.section, entry.id, "data"),
                         fmt::format("The file contains a secret, and {}", file.read_exposure));
  }

  ReadConfiguration& result_;
  json::Object daemon_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, Place> first_;
};

class Decoding {
 public:
  explicit Decoding(ReadConfiguration& result) : result_(result) {}

  template <class T>
  T decode(const json::Value& document, std::vector<std::string> around, std::string prefix) {
    std::vector<schema::DecodingError> errors;
    T value = schema::decode_collecting<T>(document, std::move(prefix), kFindingsMax, errors);
    for (schema::DecodingError& error : errors) {
      std::vector<std::string> path = around;
      path.insert(path.end(), error.path.begin(), error.path.end());
      result_.findings.add(result_.places.find(std::move(path)), std::move(error.message), std::move(error.hint));
    }
    return value;
  }

  template <class T>
  void append(std::vector<T>& list, const Entry& entry) {
    const std::string section(name_of(entry.section));
    std::string prefix = entry.is_own_file ? std::string() : fmt::format("{}.{}", section, entry.id);
    list.push_back(decode<T>(entry.document, {section, entry.id}, std::move(prefix)));
  }

  void append(const Entry& entry) {
    schema::Configuration& content = result_.content;
    switch (entry.section) {
      case Section::kObjects:
        return append(content.objects, entry);
      case Section::kChardevs:
        return append(content.chardevs, entry);
      case Section::kMonitors:
        return append(content.monitors, entry);
      case Section::kNodes:
        return append(content.nodes, entry);
      case Section::kServers:
        return append(content.servers, entry);
      case Section::kExports:
        return append(content.exports, entry);
    }
  }

 private:
  ReadConfiguration& result_;
};

}  // namespace

std::string_view name_of(Section section) {
  switch (section) {
    case Section::kObjects:
      return "objects";
    case Section::kChardevs:
      return "chardevs";
    case Section::kMonitors:
      return "monitors";
    case Section::kNodes:
      return "nodes";
    case Section::kServers:
      return "servers";
    case Section::kExports:
      return "exports";
  }
  __builtin_unreachable();
}

Place Places::find(std::vector<std::string> path) const {
  for (; !path.empty(); path.pop_back()) {
    std::string key;
    for (const std::string& name : path) key = path_key(key, name);
    if (auto found = positions_.find(key); found != positions_.end()) {
      const Position& position = found->second;
      return {.file = files_[position.file], .line = position.line, .column = position.column};
    }
  }
  return files_.empty() ? Place{} : Place{.file = files_.front()};
}

Place Places::of(Section section, const std::string& id, std::string_view member) const {
  std::vector<std::string> path{std::string(name_of(section)), id};
  if (!member.empty()) path.emplace_back(member);
  return find(std::move(path));
}

void Places::add(std::string path, std::size_t file, std::size_t line, std::size_t column) {
  positions_.try_emplace(std::move(path), Position{file, line, column});
}

ReadConfiguration read_configuration(const std::string& path) {
  ReadConfiguration result;
  result.path = path;
  ConfigurationFiles read = read_files(path, result.findings);
  result.files = std::move(read.paths);
  result.places.set_files(result.files);
  Joining joining(result);
  for (const ConfigurationFile& file : read.files) {
    const auto number = std::ranges::find(result.files, file.path) - result.files.begin();
    joining.add(static_cast<std::size_t>(number), file);
  }
  Decoding decoding(result);
  result.content.daemon = decoding.decode<schema::DaemonConfiguration>(
      json::Value(joining.daemon()), {std::string(kDaemonSection)}, std::string(kDaemonSection));
  for (const Entry& entry : joining.entries()) decoding.append(entry);
  result.findings.sort(result.files);
  return result;
}

}  // namespace blockexport::configuration
