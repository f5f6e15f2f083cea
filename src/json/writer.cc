#include "json/writer.h"

#include <fmt/format.h>

#include <cstdio>
#include <iterator>

#include "json/string_literal.h"

namespace blockexport::json {
namespace {

constexpr int kIndent = 4;

void write_unicode(char32_t code, std::string& out) {
  auto unit = [&](char32_t value) {
    fmt::format_to(std::back_inserter(out), "\\u{:04X}", static_cast<unsigned>(value));
  };
  if (code < 0x10000) return unit(code);
  unit(0xd800 + ((code - 0x10000) >> 10));
  unit(0xdc00 + ((code - 0x10000) & 0x3ff));
}

void write_character(char32_t code, std::string& out) {
  switch (code) {
    case '"':
      out += "\\\"";
      return;
    case '\\':
      out += "\\\\";
      return;
    case '\b':
      out += "\\b";
      return;
    case '\f':
      out += "\\f";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  if (code >= 0x20 && code < 0x7f) {
    out += static_cast<char>(code);
  } else {
    write_unicode(code, out);
  }
}

void write_string(std::string_view text, std::string& out) {
  out += '"';
  while (!text.empty()) {
    char32_t code = 0;
    std::size_t length = read_utf8(text, code);
    if (length == 0) {
      // Not valid: one replacement character for each wrong byte.
      code = 0xfffd;
      length = 1;
    }
    write_character(code, out);
    text.remove_prefix(length);
  }
  out += '"';
}

void write_double(double value, std::string& out) {
  char text[32];
  std::snprintf(text, sizeof text, "%.17g", value);
  out += text;
}

class Writer {
 public:
  Writer(std::string& out, bool pretty) : out_(out), pretty_(pretty) {}

  void write(const Value& value) {
    switch (value.kind()) {
      case Kind::kNull:
        out_ += "null";
        break;
      case Kind::kBool:
        out_ += *value.as_bool() ? "true" : "false";
        break;
      case Kind::kInteger:
        fmt::format_to(std::back_inserter(out_), "{}", *value.as_integer());
        break;
      case Kind::kUnsigned:
        fmt::format_to(std::back_inserter(out_), "{}", *value.as_unsigned());
        break;
      case Kind::kDouble:
        write_double(*value.as_double(), out_);
        break;
      case Kind::kString:
        write_string(*value.as_string(), out_);
        break;
      case Kind::kArray:
        write_array(*value.as_array());
        break;
      case Kind::kObject:
        write_object(*value.as_object());
        break;
    }
  }

 private:
  void write_array(const Array& array) {
    open('[');
    for (const Value& element : array) {
      separate();
      write(element);
    }
    close(']');
  }

  void write_object(const Object& object) {
    open('{');
    for (const auto& [name, value] : object) {
      separate();
      write_string(name, out_);
      out_ += ": ";
      write(value);
    }
    close('}');
  }

  void open(char bracket) {
    out_ += bracket;
    depth_ += 1;
    first_ = true;
  }

  void separate() {
    if (!first_) out_ += pretty_ ? "," : ", ";
    first_ = false;
    new_line();
  }

  void close(char bracket) {
    depth_ -= 1;
    new_line();
    out_ += bracket;
    first_ = false;
  }

  void new_line() {
    if (!pretty_) return;
    out_ += '\n';
    out_.append(static_cast<std::size_t>(depth_ * kIndent), ' ');
  }

  std::string& out_;
  bool pretty_;
  bool first_ = true;
  int depth_ = 0;
};

}  // namespace

void write(const Value& value, std::string& out) {
  Writer(out, false).write(value);
}

void write_pretty(const Value& value, std::string& out) {
  Writer(out, true).write(value);
}

std::string to_string(const Value& value) {
  std::string out;
  write(value, out);
  return out;
}

}  // namespace blockexport::json
