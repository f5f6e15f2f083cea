#include "schema/decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

#include "base/similar_text.h"
#include "schema/hints.h"

namespace blockexport::schema {

namespace {

// Longest part of a peer's string that an error repeats.
constexpr std::size_t kMaxEchoBytes = 1024;

// Returns `text`, truncated at a UTF-8 character boundary when it is long.
std::string echo(std::string_view text) {
  if (text.size() <= kMaxEchoBytes) return std::string(text);
  std::size_t end = kMaxEchoBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

// Errors about some kinds of values name only the member itself, and call a list's element 'null', as QSD does.
const char* last_component(Name name) {
  return name == nullptr ? "null" : name;
}

JsonKind kind_of(const json::Value& value) {
  switch (value.kind()) {
    case json::Kind::kNull:
      return JsonKind::kNull;
    case json::Kind::kBool:
      return JsonKind::kBoolean;
    case json::Kind::kInteger:
    case json::Kind::kUnsigned:
    case json::Kind::kDouble:
      return JsonKind::kNumber;
    case json::Kind::kString:
      return JsonKind::kString;
    case json::Kind::kArray:
      return JsonKind::kArray;
    case json::Kind::kObject:
      return JsonKind::kObject;
  }
  __builtin_unreachable();
}

std::optional<std::size_t> branch_of(JsonKind kind, std::span<const JsonKind> kinds) {
  auto found = std::ranges::find(kinds, kind);
  if (found == kinds.end()) return std::nullopt;
  return static_cast<std::size_t>(found - kinds.begin());
}

}  // namespace

const json::Value* Decoder::peek(Name name) const {
  if (frames_.empty()) return &document_;
  const Frame& frame = frames_.back();
  if (const json::Array* array = frame.value->as_array()) {
    return frame.next < array->size() ? &(*array)[frame.next] : nullptr;
  }
  return frame.value->as_object()->find(name);
}

const json::Value* Decoder::take(Name name) {
  note_requested(name);
  const json::Value* value = peek(name);
  if (value == nullptr) {
    fail_missing(name);
    return nullptr;
  }
  if (frames_.empty()) return value;
  if (frames_.back().value->as_array() != nullptr) {
    ++frames_.back().next;
  } else {
    known_.emplace_back(name);
  }
  return value;
}

void Decoder::note_requested(Name name) {
  if (name != nullptr && !frames_.empty() && frames_.back().value->as_object() != nullptr)
    requested_.emplace_back(name);
}

std::string Decoder::hint_for_unexpected(std::string_view name) const {
  const Frame& frame = frames_.back();
  const auto options = std::span(requested_).subspan(frame.first_requested);
  std::string context;
  if (!options.empty()) {
    context = options.front();
    const json::Value* tag = frame.value->as_object()->find(options.front());
    const std::string* branch = tag != nullptr ? tag->as_string() : nullptr;
    if (branch != nullptr) context += " " + *branch;
  }
  return hint_for_option(name, options, context, path(""));
}

std::vector<std::string_view> Decoder::unknown_members() const {
  if (frames_.empty() || frames_.back().value->as_object() == nullptr) return {};
  const auto requested = std::span(requested_).subspan(frames_.back().first_requested);
  std::vector<std::string_view> unknown;
  for (const auto& [written, value] : *frames_.back().value->as_object()) {
    if (unknown.size() == kSimilarCandidatesMax) break;
    if (std::ranges::find(requested, written) == requested.end()) unknown.push_back(written);
  }
  return unknown;
}

std::string Decoder::hint_for_missing(Name name) const {
  if (frames_.empty() || name == nullptr || frames_.back().value->as_object() == nullptr) return {};
  return hint_for_absent_option(name, unknown_members(), path(""));
}

std::optional<std::string_view> Decoder::take_misspelling(Name name) {
  if (name == nullptr) return std::nullopt;
  const std::optional<std::string_view> found = most_similar(name, unknown_members());
  if (found) known_.push_back(*found);
  return found;
}

void Decoder::fail_missing(Name name) {
  fail(fmt::format("Parameter '{}' is missing", path(name)), hint_for_missing(name));
}

std::string Decoder::element_text(std::size_t index) const {
  return fmt::format("[{}]", index);
}

std::vector<std::string> Decoder::path_components(Name name) const {
  std::vector<std::string> components;
  for (std::size_t i = 0; i < frames_.size(); ++i) {
    const Frame& frame = frames_[i];
    if (frame.value->as_array() != nullptr) {
      components.push_back(fmt::format("{}", frame.next == 0 ? 0 : frame.next - 1));
      continue;
    }
    const Name inner = i + 1 < frames_.size() ? frames_[i + 1].name : name;
    if (inner != nullptr) components.emplace_back(inner);
  }
  return components;
}

std::string Decoder::path(Name name) const {
  std::string text = path_prefix_;
  for (std::size_t i = 0; i < frames_.size(); ++i) {
    const Frame& frame = frames_[i];
    if (frame.value->as_array() != nullptr) {
      text += element_text(frame.next == 0 ? 0 : frame.next - 1);
      continue;
    }
    Name inner = i + 1 < frames_.size() ? frames_[i + 1].name : name;
    if (!text.empty()) text += '.';
    text += last_component(inner);
  }
  return text.empty() ? last_component(name) : text;
}

bool Decoder::fail(std::string message, std::string hint) {
  error_.emplace(Error(std::move(message)).with_hint(std::move(hint)));
  return false;
}
bool Decoder::fail_type(Name name, const char* expected) {
  return fail(fmt::format("Invalid parameter type for '{}', expected: {}", path(name), expected));
}
bool Decoder::fail_expects(Name name, const char* expected) {
  return fail(fmt::format("Parameter '{}' expects {}", path(name), expected));
}
bool Decoder::out_of_range(Name name, const char* c_type) {
  return fail(fmt::format("Parameter '{}' expects {}", last_component(name), c_type));
}

bool Decoder::begin_object(Name name) {
  const json::Value* value = take(name);
  if (value == nullptr) return false;
  if (value->as_object() == nullptr) return fail_type(name, "object");
  frames_.push_back(
      {.value = value, .name = name, .next = 0, .first_known = known_.size(), .first_requested = requested_.size()});
  return true;
}

bool Decoder::end_object() {
  assert(!frames_.empty());
  const Frame& frame = frames_.back();
  auto known = std::span(known_).subspan(frame.first_known);
  const json::Object& object = *frame.value->as_object();
  if (known.size() != object.size()) {
    for (const auto& [name, value] : object) {
      if (std::ranges::find(known, name) != known.end()) continue;
      if (!fail_unexpected(name)) return false;
    }
  }
  known_.resize(frame.first_known);
  requested_.resize(frame.first_requested);
  frames_.pop_back();
  return true;
}

bool Decoder::fail_unexpected(const std::string& name) {
  return fail(fmt::format("Parameter '{}' is unexpected", path(echo(name).c_str())), hint_for_unexpected(name));
}

bool Decoder::begin_list(Name name, std::size_t& count) {
  const json::Value* value = take(name);
  if (value == nullptr) return false;
  const json::Array* array = value->as_array();
  if (array == nullptr) return fail_type(name, "array");
  count = array->size();
  frames_.push_back(
      {.value = value, .name = name, .next = 0, .first_known = known_.size(), .first_requested = requested_.size()});
  return true;
}

bool Decoder::end_list() {
  frames_.pop_back();
  return true;
}

bool Decoder::optional(Name name, bool /*has*/) {
  note_requested(name);
  return peek(name) != nullptr;
}

std::optional<std::size_t> Decoder::string_branch(std::string_view /*text*/, std::span<const JsonKind> kinds) const {
  return branch_of(JsonKind::kString, kinds);
}

bool Decoder::alternate(Name name, const char* type, std::span<const JsonKind> kinds, std::size_t& which) {
  const json::Value* value = peek(name);
  if (value == nullptr) {
    fail_missing(name);
    return false;
  }
  const std::string* text = value->as_string();
  auto branch = text != nullptr ? string_branch(*text, kinds) : branch_of(kind_of(*value), kinds);
  if (!branch) {
    return fail(fmt::format("Invalid parameter type for '{}', expected: {}", last_component(name), type));
  }
  which = *branch;
  return true;
}

bool Decoder::boolean(Name name, bool& value) {
  const json::Value* found = take(name);
  if (found == nullptr) return false;
  const bool* truth = found->as_bool();
  if (truth == nullptr) return fail_type(name, "boolean");
  value = *truth;
  return true;
}

bool Decoder::integer(Name name, std::int64_t& value) {
  const json::Value* found = take(name);
  if (found == nullptr) return false;
  const std::int64_t* number = found->as_integer();
  if (number == nullptr) return fail_type(name, "integer");
  value = *number;
  return true;
}

bool Decoder::unsigned_integer(Name name, std::uint64_t& value) {
  const json::Value* found = take(name);
  if (found == nullptr) return false;
  if (const std::uint64_t* large = found->as_unsigned()) {
    value = *large;
  } else if (const std::int64_t* number = found->as_integer()) {
    value = static_cast<std::uint64_t>(*number);  // a negative number wraps: clients rely on it
  } else {
    return fail_expects(name, "uint64");
  }
  return true;
}

bool Decoder::size(Name name, std::uint64_t& bytes) {
  return Decoder::unsigned_integer(name, bytes);
}

bool Decoder::number(Name name, double& value) {
  const json::Value* found = take(name);
  if (found == nullptr) return false;
  if (const double* number = found->as_double()) {
    value = *number;
  } else if (const std::int64_t* integer = found->as_integer()) {
    value = static_cast<double>(*integer);
  } else if (const std::uint64_t* large = found->as_unsigned()) {
    value = static_cast<double>(*large);
  } else {
    return fail_type(name, "number");
  }
  return true;
}

bool Decoder::string(Name name, std::string& value) {
  const json::Value* found = take(name);
  if (found == nullptr) return false;
  const std::string* text = found->as_string();
  if (text == nullptr) return fail_type(name, "string");
  value = *text;
  return true;
}

bool Decoder::null(Name name) {
  const json::Value* found = take(name);
  if (found == nullptr) return false;
  return found->is_null() || fail_type(name, "null");
}

bool Decoder::any(Name name, json::Value& value) {
  const json::Value* found = take(name);
  if (found == nullptr) return false;
  value = *found;
  return true;
}

bool Decoder::enumeration(Name name, std::span<const std::string_view> names, std::size_t& index) {
  std::string text;
  if (!string(name, text)) return false;
  auto found = std::ranges::find(names, text);
  if (found == names.end()) {
    return fail(fmt::format("Parameter '{}' does not accept value '{}'", last_component(name), echo(text)),
                hint_for_value(path(name), last_component(name), text, names));
  }
  index = static_cast<std::size_t>(found - names.begin());
  return true;
}

}  // namespace blockexport::schema
