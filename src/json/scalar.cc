#include "json/scalar.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "base/secret_bytes.h"
#include "json/utf8.h"

namespace blockexport::json {
namespace {

constexpr std::size_t kUnicodeEscapeBytes = 6;  // \uXXXX

// The value of the \uXXXX at the front; nothing when there is none.
std::optional<std::uint32_t> unicode_escape(std::string_view text) {
  if (text.size() < kUnicodeEscapeBytes || !text.starts_with("\\u")) return std::nullopt;
  std::uint32_t code = 0;
  const char* end = text.data() + kUnicodeEscapeBytes;
  auto [stopped, error] = std::from_chars(text.data() + 2, end, code, 16);
  if (stopped != end) return std::nullopt;
  return code;
}

char short_escape(char letter) {
  switch (letter) {
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
    case '"':
    case '\'':
    case '\\':
    case '/':
      return letter;
    default:
      return 0;
  }
}

class StringDecoder {
 public:
  StringDecoder(std::string_view token, std::string& out) : token_(token), end_(token.size() - 1), out_(out) {}

  // False on failure: then take_reason() returns the reason.
  bool run() {
    out_.reserve(end_ - position_);
    while (position_ < end_) {
      const char byte = token_[position_];
      const bool good = byte == '\\' ? escape() : static_cast<unsigned char>(byte) < 0x80 ? ascii() : multibyte();
      if (!good) return false;
    }
    return true;
  }

  std::string take_reason() { return std::move(reason_); }

 private:
  bool ascii() {
    const std::size_t begin = position_;
    while (position_ < end_ && token_[position_] != '\\' && static_cast<unsigned char>(token_[position_]) < 0x80) {
      ++position_;
    }
    out_.append(token_, begin, position_ - begin);
    return true;
  }

  bool multibyte() {
    const Utf8Sequence sequence = decode_utf8(token_.substr(position_, end_ - position_));
    if (!sequence.valid) return fail("invalid UTF-8 sequence in string");
    out_.append(token_, position_, sequence.length);
    position_ += sequence.length;
    return true;
  }

  bool escape() {
    const char letter = token_[position_ + 1];
    if (letter == 'u') return unicode();
    const char meant = short_escape(letter);
    if (meant == 0) return fail("invalid escape sequence in string");
    out_ += meant;
    position_ += 2;
    return true;
  }

  bool unicode() {
    const std::string_view rest = token_.substr(position_);
    std::size_t length = kUnicodeEscapeBytes;
    std::optional<std::uint32_t> code = unicode_escape(rest);
    if (code && *code >= 0xD800 && *code < 0xDC00) {
      std::optional<std::uint32_t> low = unicode_escape(rest.substr(length));
      if (low && *low >= 0xDC00 && *low < 0xE000) {
        code = 0x10000 + ((*code & 0x3FF) << 10 | (*low & 0x3FF));
        length *= 2;
      }
    }
    if (!code || !is_character(*code)) {
      return fail(std::string(rest.substr(0, length)) + " is not a valid Unicode character");
    }
    append_utf8(out_, *code);
    position_ += length;
    return true;
  }

  bool fail(std::string reason) {
    reason_ = std::move(reason);
    return false;
  }

  std::string_view token_;
  std::size_t position_ = 1;
  std::size_t end_;   // position of the closing quote
  std::string& out_;  // never grows beyond its reserved capacity
  std::string reason_;
};

}  // namespace

std::string_view quoted_text(std::string_view text) {
  text = text.substr(0, kQuotedTextMax);
  return text.substr(0, text.find('\0'));
}

std::expected<std::string, std::string> decode_string(std::string_view token) {
  std::expected<std::string, std::string> text;
  StringDecoder decoder(token, *text);
  if (!decoder.run()) {
    wipe(*text);
    text = std::unexpected(decoder.take_reason());
  }
  return text;
}

std::expected<Value, std::string> decode_keyword(std::string_view token) {
  if (token == "true") return Value(true);
  if (token == "false") return Value(false);
  if (token == "null") return Value();
  return std::unexpected("invalid keyword '" + std::string(quoted_text(token)) + "'");
}

std::expected<Value, std::string> decode_integer(std::string_view token) {
  const char* end = token.data() + token.size();
  std::int64_t whole = 0;
  if (std::from_chars(token.data(), end, whole).ec == std::errc()) return Value(whole);
  std::uint64_t large = 0;
  if (token.front() != '-' && std::from_chars(token.data(), end, large).ec == std::errc()) return Value(large);
  return decode_double(token);
}

std::expected<Value, std::string> decode_double(std::string_view token) {
  double value = 0;
  if (std::from_chars(token.data(), token.data() + token.size(), value).ec == std::errc()) return Value(value);
  // Out of range; only strtod() tells overflow from underflow.
  value = std::strtod(std::string(token).c_str(), nullptr);
  if (!std::isfinite(value)) return std::unexpected("number out of range");
  return Value(value);
}

}  // namespace blockexport::json
