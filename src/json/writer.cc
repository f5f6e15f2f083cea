#include "json/writer.h"

#include <charconv>
#include <cmath>

#include "json/utf8.h"

namespace blockexport::json {
namespace {

constexpr std::size_t kIndent = 4;
constexpr int kDoubleDigits = 17;

constexpr bool is_plain(char c) {
  return c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
}

// The letter of the short escape of `c`; 0 when it has none.
constexpr char escape_letter(char c) {
  switch (c) {
    case '\b':
      return 'b';
    case '\f':
      return 'f';
    case '\n':
      return 'n';
    case '\r':
      return 'r';
    case '\t':
      return 't';
    case '"':
    case '\\':
      return c;
    default:
      return 0;
  }
}

void write_code_unit(std::string& out, std::uint32_t unit) {
  constexpr char kHex[] = "0123456789ABCDEF";
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += kHex[unit >> shift & 0xF];
}

void write_codepoint(std::string& out, std::uint32_t codepoint) {
  if (codepoint < 0x10000) return write_code_unit(out, codepoint);
  write_code_unit(out, 0xD7C0 + (codepoint >> 10));
  write_code_unit(out, 0xDC00 + (codepoint & 0x3FF));
}

template <class Number, class... Format>
void write_number(std::string& out, Number number, Format... format) {
  char digits[40];
  auto [end, error] = std::to_chars(std::begin(digits), std::end(digits), number, format...);
  out.append(digits, end);
}

void write_double(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += "null";
  } else {
    write_number(out, value, std::chars_format::general, kDoubleDigits);
  }
}

enum class Layout { kCompact, kPretty };

class Writer {
 public:
  Writer(std::string& out, Layout layout) : out_(out), layout_(layout) {}

  void write(const Value& value) {
    switch (value.kind()) {
      case Kind::kNull:
        out_ += "null";
        return;
      case Kind::kBool:
        out_ += *value.as_bool() ? "true" : "false";
        return;
      case Kind::kInteger:
        return write_number(out_, *value.as_integer());
      case Kind::kUnsigned:
        return write_number(out_, *value.as_unsigned());
      case Kind::kDouble:
        return write_double(out_, *value.as_double());
      case Kind::kString:
        return write_string(*value.as_string(), out_);
      case Kind::kArray:
        return write_all(*value.as_array(), "[]", [this](const Value& element) { write(element); });
      case Kind::kObject:
        return write_all(*value.as_object(), "{}", [this](const Object::Member& member) {
          write_string(member.first, out_);
          out_ += ": ";
          write(member.second);
        });
    }
  }

 private:
  template <class Items, class WriteItem>
  void write_all(const Items& items, std::string_view brackets, WriteItem write_item) {
    out_ += brackets.front();
    ++depth_;
    bool first = true;
    for (const auto& item : items) {
      if (!first) out_ += layout_ == Layout::kPretty ? "," : ", ";
      first = false;
      start_line();
      write_item(item);
    }
    --depth_;
    start_line();
    out_ += brackets.back();
  }

  void start_line() {
    if (layout_ != Layout::kPretty) return;
    out_ += '\n';
    out_.append(depth_ * kIndent, ' ');
  }

  std::string& out_;
  Layout layout_;
  std::size_t depth_ = 0;
};

}  // namespace

void write(const Value& value, std::string& out) {
  Writer(out, Layout::kCompact).write(value);
}

void write_pretty(const Value& value, std::string& out) {
  Writer(out, Layout::kPretty).write(value);
}

std::string to_string(const Value& value) {
  std::string text;
  write(value, text);
  return text;
}

void write_string(std::string_view text, std::string& out) {
  out += '"';
  while (!text.empty()) {
    std::size_t plain = 0;
    while (plain < text.size() && is_plain(text[plain])) ++plain;
    out.append(text, 0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    if (const char letter = escape_letter(text.front())) {
      out += '\\';
      out += letter;
      text.remove_prefix(1);
      continue;
    }
    const Utf8Sequence sequence = decode_utf8(text);
    write_codepoint(out, sequence.valid ? sequence.codepoint : kReplacementCharacter);
    text.remove_prefix(sequence.length);
  }
  out += '"';
}

}  // namespace blockexport::json
