#include "schema/collecting_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/similar_text.h"

namespace blockexport::schema {
namespace {

bool is_scalar(JsonKind kind) {
  return kind != JsonKind::kObject && kind != JsonKind::kArray;
}

std::string_view text_of(JsonKind kind) {
  switch (kind) {
    case JsonKind::kNull:
      return "null";
    case JsonKind::kBoolean:
      return "boolean";
    case JsonKind::kNumber:
      return "number";
    case JsonKind::kString:
      return "string";
    case JsonKind::kArray:
      return "array";
    case JsonKind::kObject:
      return "object";
  }
  __builtin_unreachable();
}

std::string text_of(std::span<const JsonKind> kinds) {
  std::string text;
  for (JsonKind kind : kinds) {
    if (!text.empty()) text += " or ";
    text += text_of(kind);
  }
  return text;
}

}  // namespace

CollectingDecoder::CollectingDecoder(const json::Value& document, std::string path_prefix, std::size_t errors_max)
    : Decoder(document), errors_max_(errors_max) {
  path_prefix_ = std::move(path_prefix);
}

bool CollectingDecoder::keep_at(Name name) {
  Error error = take_error();
  const std::string misspelling = std::exchange(misspelling_, {});
  const Name member = misspelling.empty() ? name : misspelling.c_str();
  if (!hides_errors_.empty() && hides_errors_.back()) return true;
  if (errors_.size() == errors_max_) {
    ++errors_not_kept_;
    return true;
  }
  errors_.push_back({.path = path_components(member), .message = error.message(), .hint = error.hint()});
  return true;
}

bool CollectingDecoder::skips_scalar() {
  return skipped_depth_ > 0 || std::exchange(skips_next_, false);
}

bool CollectingDecoder::begin_object(Name name) {
  const bool is_skipped = skips_scalar();
  if (is_skipped || !Decoder::begin_object(name)) {
    ++skipped_depth_;
    return is_skipped || keep_at(name);
  }
  hides_errors_.push_back(!hides_errors_.empty() && hides_errors_.back());
  return true;
}

bool CollectingDecoder::end_object() {
  if (skipped_depth_ > 0) {
    --skipped_depth_;
    return true;
  }
  (void)Decoder::end_object();
  hides_errors_.pop_back();
  return true;
}

bool CollectingDecoder::fail_unexpected(const std::string& name) {
  (void)Decoder::fail_unexpected(name);
  return keep_at(name.c_str());
}

void CollectingDecoder::fail_missing(Name name) {
  const std::optional<std::string_view> misspelling = take_misspelling(name);
  if (!misspelling) return Decoder::fail_missing(name);
  misspelling_ = *misspelling;
  fail(fmt::format("Parameter '{}' is unexpected", path(misspelling_.c_str())),
       suggest(path(name), path(misspelling_.c_str())));
}

bool CollectingDecoder::begin_list(Name name, std::size_t& count) {
  const bool is_skipped = skips_scalar();
  if (!is_skipped && Decoder::begin_list(name, count)) return true;
  count = 0;
  ++skipped_depth_;
  return is_skipped || keep_at(name);
}

bool CollectingDecoder::end_list() {
  if (skipped_depth_ == 0) return Decoder::end_list();
  --skipped_depth_;
  return true;
}

bool CollectingDecoder::optional(Name name, bool has) {
  if (skipped_depth_ > 0 || !Decoder::optional(name, has)) return false;
  optional_ = name;
  return true;
}

// A branch without members is preferred for a skipped value, because a branch may contain the alternate itself.
bool CollectingDecoder::alternate(Name name, const char* type, std::span<const JsonKind> kinds, std::size_t& which) {
  const bool is_skipped = skipped_depth_ > 0 || skips_next_;
  if (!is_skipped && Decoder::alternate(name, type, kinds, which)) return true;
  const auto scalar = std::ranges::find_if(kinds, is_scalar);
  which = scalar != kinds.end() ? static_cast<std::size_t>(scalar - kinds.begin()) : 0;
  if (is_skipped) return true;
  if (take(name) != nullptr) {
    fail(fmt::format("Invalid parameter type for '{}', expected: {}", path(name), text_of(kinds)));
  }
  skips_next_ = true;
  return keep_at(name);
}

bool CollectingDecoder::boolean(Name name, bool& value) {
  return skips_scalar() || Decoder::boolean(name, value) || keep_at(name);
}

bool CollectingDecoder::integer(Name name, std::int64_t& value) {
  return skips_scalar() || Decoder::integer(name, value) || keep_at(name);
}

bool CollectingDecoder::unsigned_integer(Name name, std::uint64_t& value) {
  if (skips_scalar()) return true;
  const json::Value* found = peek(name);
  const std::int64_t* number = found != nullptr ? found->as_integer() : nullptr;
  const bool is_negative = number != nullptr && *number < 0;
  if (!Decoder::unsigned_integer(name, value)) return keep_at(name);
  if (!is_negative) return true;
  value = 0;
  fail(fmt::format("Parameter '{}' expects a number that is not negative", path(name)));
  return keep_at(name);
}

bool CollectingDecoder::size(Name name, std::uint64_t& bytes) {
  return unsigned_integer(name, bytes);
}

bool CollectingDecoder::number(Name name, double& value) {
  return skips_scalar() || Decoder::number(name, value) || keep_at(name);
}

bool CollectingDecoder::string(Name name, std::string& value) {
  if (reads_enumeration_) return Decoder::string(name, value);
  return skips_scalar() || Decoder::string(name, value) || keep_at(name);
}

bool CollectingDecoder::null(Name name) {
  return skips_scalar() || Decoder::null(name) || keep_at(name);
}

bool CollectingDecoder::any(Name name, json::Value& value) {
  return skips_scalar() || Decoder::any(name, value) || keep_at(name);
}

bool CollectingDecoder::enumeration(Name name, std::span<const std::string_view> names, std::size_t& index) {
  if (skips_scalar()) {
    index = 0;
    return true;
  }
  reads_enumeration_ = true;
  const bool is_read = Decoder::enumeration(name, names, index);
  reads_enumeration_ = false;
  if (is_read) return true;
  index = 0;
  keep_at(name);
  // A required member of this kind selects the branch of a union.
  if (name != nullptr && name != optional_ && !hides_errors_.empty()) hides_errors_.back() = true;
  return true;
}

bool CollectingDecoder::out_of_range(Name name, const char* c_type) {
  (void)Decoder::out_of_range(name, c_type);
  return keep_at(name);
}

}  // namespace blockexport::schema
