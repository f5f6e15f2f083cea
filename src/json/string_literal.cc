#include "json/string_literal.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace blockexport::json {
namespace {

bool is_noncharacter(char32_t code) {
  return (code >= 0xfdd0 && code <= 0xfdef) || (code & 0xfffe) == 0xfffe;
}
bool is_surrogate(char32_t code) {
  return code >= 0xd800 && code <= 0xdfff;
}

void append_utf8(std::string& out, char32_t code) {
  auto byte = [&](char32_t value) { out += static_cast<char>(value); };
  if (code == 0) {
    out += "\xc0\x80";
  } else if (code < 0x80) {
    byte(code);
  } else if (code < 0x800) {
    byte(0xc0 | code >> 6);
    byte(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    byte(0xe0 | code >> 12);
    byte(0x80 | (code >> 6 & 0x3f));
    byte(0x80 | (code & 0x3f));
  } else {
    byte(0xf0 | code >> 18);
    byte(0x80 | (code >> 12 & 0x3f));
    byte(0x80 | (code >> 6 & 0x3f));
    byte(0x80 | (code & 0x3f));
  }
}

// The four hexadecimal digits behind "\u" at the front of `text`.
std::optional<char32_t> hex4(std::string_view text) {
  if (text.size() < 4) return std::nullopt;
  char32_t code = 0;
  for (char c : text.substr(0, 4)) {
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0) return std::nullopt;
    code = code * 16 + static_cast<char32_t>(digit);
  }
  return code;
}

// `escape` begins behind the 'u'. The quote that ends the token stands behind it in any case.
Error bad_unicode(std::string_view escape) {
  std::string_view shown(escape.data(), std::min<std::size_t>(4, escape.size() + 1));
  return Error(fmt::format("\\u{} is not a valid Unicode character", shown));
}

// One "\uXXXX", or the surrogate pair that begins with it. `text` begins behind the 'u'; what was used is removed.
Result<char32_t> unicode_escape(std::string_view& text) {
  std::string_view first_text = text;
  std::optional<char32_t> first = hex4(text);
  if (!first) return fail(bad_unicode(first_text));
  text.remove_prefix(4);
  char32_t code = *first;
  if (code >= 0xd800 && code < 0xdc00 && text.starts_with("\\u")) {
    std::optional<char32_t> second = hex4(text.substr(2));
    if (second && *second >= 0xdc00 && *second <= 0xdfff) {
      text.remove_prefix(6);
      code = 0x10000 + ((code - 0xd800) << 10) + (*second - 0xdc00);
    }
  }
  if (is_surrogate(code) || is_noncharacter(code)) return fail(bad_unicode(first_text));
  return code;
}

// The character behind a backslash other than 'u'; 0 when there is no such escape.
char simple_escape(char c) {
  switch (c) {
    case '"':
    case '\'':
    case '\\':
    case '/':
      return c;
    case 'b':
      return '\b';
    case 'f':
      return '\f';
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    default:
      return 0;
  }
}

}  // namespace

std::size_t read_utf8(std::string_view text, char32_t& code) {
  auto byte_at = [&](std::size_t i) -> char32_t { return static_cast<unsigned char>(text[i]); };
  if (text.empty()) return 0;
  char32_t first = byte_at(0);
  if (first < 0x80) {
    code = first;
    return first == 0 ? 0 : 1;
  }
  std::size_t length = first >= 0xf0 && first < 0xf8   ? 4
                       : first >= 0xe0 && first < 0xf0 ? 3
                       : first >= 0xc0 && first < 0xe0 ? 2
                                                       : 0;
  if (length == 0 || text.size() < length) return 0;
  code = first & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte_at(i) & 0xc0) != 0x80) return 0;
    code = code << 6 | (byte_at(i) & 0x3f);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  bool modified_nul = length == 2 && code == 0;
  if (modified_nul) return length;
  if (code < kSmallest[length] || code > 0x10ffff || is_surrogate(code) || is_noncharacter(code)) return 0;
  return length;
}

Result<std::string> unquote(std::string_view token) {
  std::string_view text = token.substr(1, token.size() - 2);
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    if (text.front() != '\\') {
      char32_t code;
      std::size_t length = read_utf8(text, code);
      if (length == 0) return fail("invalid UTF-8 sequence in string");
      out.append(text.substr(0, length));
      text.remove_prefix(length);
      continue;
    }
    char escape = text.size() > 1 ? text[1] : '\0';
    text.remove_prefix(std::min<std::size_t>(2, text.size()));
    if (escape == 'u') {
      TRY_ASSIGN(char32_t code, unicode_escape(text));
      append_utf8(out, code);
    } else if (char c = simple_escape(escape); c != 0) {
      out += c;
    } else {
      return fail("invalid escape sequence in string");
    }
  }
  return out;
}

}  // namespace blockexport::json
