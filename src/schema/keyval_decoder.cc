#include "schema/keyval_decoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace blockexport::schema {

namespace {

bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// The exponent of two for a size suffix.
std::optional<unsigned> shift_of_suffix(char suffix) {
  constexpr std::string_view kSuffixes = "BKMGTPE";
  auto position = kSuffixes.find(static_cast<char>(suffix & ~0x20));
  if (position == std::string_view::npos) return std::nullopt;
  return static_cast<unsigned>(position) * 10;
}

// Parses all of `text` as digits in `base`.
std::optional<std::uint64_t> parse_digits(std::string_view text, int base) {
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// `digits` of a decimal fraction times 2^shift, rounded down; nothing when it is no whole number of bytes at shift 0.
std::optional<std::uint64_t> parse_fraction(std::string_view digits, unsigned shift) {
  long double fraction = 0;
  for (auto digit = digits.rbegin(); digit != digits.rend(); ++digit) fraction = (fraction + (*digit - '0')) / 10;
  if (shift == 0 && fraction > 0) return std::nullopt;
  return static_cast<std::uint64_t>(std::ldexp(fraction, static_cast<int>(shift)));
}

}  // namespace

std::optional<bool> parse_boolean(std::string_view text) {
  constexpr std::array<std::string_view, 4> kTrue{"on", "yes", "true", "y"};
  constexpr std::array<std::string_view, 4> kFalse{"off", "no", "false", "n"};
  if (std::ranges::find(kTrue, text) != kTrue.end()) return true;
  if (std::ranges::find(kFalse, text) != kFalse.end()) return false;
  return std::nullopt;
}

std::optional<std::int64_t> parse_integer(const std::string& text) {
  char* end = nullptr;
  errno = 0;
  long long value = std::strtoll(text.c_str(), &end, 0);
  if (errno != 0 || end == text.c_str() || end != text.c_str() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> parse_unsigned(const std::string& text) {
  char* end = nullptr;
  errno = 0;
  unsigned long long value = std::strtoull(text.c_str(), &end, 0);
  if (errno != 0 || end == text.c_str() || end != text.c_str() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> parse_size(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.starts_with("0x") || text.starts_with("0X")) return parse_digits(text.substr(2), 16);

  auto whole_end = static_cast<std::size_t>(std::ranges::find_if_not(text, is_digit) - text.begin());
  auto whole = parse_digits(text.substr(0, whole_end), 10);
  if (!whole) return std::nullopt;
  text.remove_prefix(whole_end);

  std::string_view fraction_digits;
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    auto fraction_end = static_cast<std::size_t>(std::ranges::find_if_not(text, is_digit) - text.begin());
    fraction_digits = text.substr(0, fraction_end);
    text.remove_prefix(fraction_end);
  }
  if (text.size() > 1) return std::nullopt;
  auto shift = text.empty() ? std::optional(0U) : shift_of_suffix(text.front());
  if (!shift) return std::nullopt;
  auto fraction = parse_fraction(fraction_digits, *shift);
  std::uint64_t scaled = 0;
  if (!fraction || __builtin_mul_overflow(*whole, std::uint64_t{1} << *shift, &scaled)) return std::nullopt;
  std::uint64_t bytes = 0;
  if (__builtin_add_overflow(scaled, *fraction, &bytes)) return std::nullopt;
  return bytes;
}

std::optional<double> parse_number(const std::string& text) {
  char* end = nullptr;
  errno = 0;
  double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || end != text.c_str() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

const std::string* KeyvalDecoder::take_string(Name name) {
  const json::Value* found = take(name);
  if (found == nullptr) return nullptr;
  const std::string* text = found->as_string();
  if (text == nullptr) fail(fmt::format("Parameters '{}.*' are unexpected", path(name)));
  return text;
}

bool KeyvalDecoder::boolean(Name name, bool& value) {
  const std::string* text = take_string(name);
  if (text == nullptr) return false;
  auto parsed = parse_boolean(*text);
  value = parsed.value_or(false);
  return parsed.has_value() || fail_expects(name, "'on' or 'off'");
}

bool KeyvalDecoder::integer(Name name, std::int64_t& value) {
  const std::string* text = take_string(name);
  if (text == nullptr) return false;
  auto parsed = parse_integer(*text);
  value = parsed.value_or(0);
  return parsed.has_value() || fail_expects(name, "integer");
}

bool KeyvalDecoder::unsigned_integer(Name name, std::uint64_t& value) {
  const std::string* text = take_string(name);
  if (text == nullptr) return false;
  auto parsed = parse_unsigned(*text);
  value = parsed.value_or(0);
  return parsed.has_value() || fail_expects(name, "integer");
}

bool KeyvalDecoder::size(Name name, std::uint64_t& bytes) {
  const std::string* text = take_string(name);
  if (text == nullptr) return false;
  auto parsed = parse_size(*text);
  bytes = parsed.value_or(0);
  return parsed.has_value() || fail_expects(name, "size");
}

bool KeyvalDecoder::number(Name name, double& value) {
  const std::string* text = take_string(name);
  if (text == nullptr) return false;
  auto parsed = parse_number(*text);
  value = parsed.value_or(0);
  return parsed.has_value() || fail_expects(name, "number");
}

bool KeyvalDecoder::string(Name name, std::string& value) {
  const std::string* text = take_string(name);
  if (text == nullptr) return false;
  value = *text;
  return true;
}

std::string KeyvalDecoder::element_text(std::size_t index) const {
  return fmt::format(".{}", index);
}

// A string may be a boolean or a number here, unless the alternate accepts strings.
std::optional<std::size_t> KeyvalDecoder::string_branch(std::string_view text, std::span<const JsonKind> kinds) const {
  if (auto branch = Decoder::string_branch(text, kinds)) return branch;
  for (JsonKind kind : {JsonKind::kBoolean, JsonKind::kNumber}) {
    if (kind == JsonKind::kBoolean && !parse_boolean(text)) continue;
    auto found = std::ranges::find(kinds, kind);
    if (found != kinds.end()) return static_cast<std::size_t>(found - kinds.begin());
  }
  return std::nullopt;
}

}  // namespace blockexport::schema
