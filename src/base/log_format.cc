#include "base/log_format.h"

#include <fmt/format.h>
#include <syslog.h>

#include <chrono>
#include <cstring>

#include "base/printable.h"

namespace blockexport {
namespace {

constexpr std::int64_t kMicrosecondsPerSecond = 1'000'000;

std::string_view text_of_level(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return "";
    case LogLevel::kWarning:
      return "warning: ";
    case LogLevel::kInfo:
      return "info: ";
    case LogLevel::kDebug:
      return "debug: ";
  }
  __builtin_unreachable();
}

// The faulty option or file without the separators of the text format: "FILE:LINE: ", or nothing.
std::string_view place_of(std::string_view location) {
  location.remove_prefix(std::min(location.find_first_not_of(": "), location.size()));
  return location;
}

// Length of the UTF-8 sequence at the beginning of `text`; 0 when the bytes are none (RFC 3629, section 4).
std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(i < text.size() ? text[i] : 0); };
  const auto is_in = [&](std::size_t i, unsigned least, unsigned most) { return byte(i) >= least && byte(i) <= most; };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return is_in(1, 0x80, 0xBF) ? 2 : 0;
  if (first >= 0xE0 && first <= 0xEF) {
    const bool valid = is_in(1, first == 0xE0 ? 0xA0 : 0x80, first == 0xED ? 0x9F : 0xBF) && is_in(2, 0x80, 0xBF);
    return valid ? 3 : 0;
  }
  if (first >= 0xF0 && first <= 0xF4) {
    const bool valid = is_in(1, first == 0xF0 ? 0x90 : 0x80, first == 0xF4 ? 0x8F : 0xBF) && is_in(2, 0x80, 0xBF) &&
                       is_in(3, 0x80, 0xBF);
    return valid ? 4 : 0;
  }
  return 0;
}

// Bytes that are not UTF-8 become U+FFFD.
void append_json_text(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  while (!text.empty()) {
    const auto byte = static_cast<unsigned char>(text[0]);
    const std::size_t length = utf8_length(text);
    if (length == 0) {
      out += "\\ufffd";
    } else if (byte == '"' || byte == '\\') {
      out += {'\\', text[0]};
    } else if (byte == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      out += text.substr(0, length);
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  out += '"';
}

void append_text(const LogRecord& record, std::string& out) {
  if (!record.is_trace) {
    out += record.program;
    append_printable(out, record.location, true);
    out += text_of_level(record.level);
  }
  append_printable(out, record.message, true);
  out += '\n';
}

void append_json(const LogRecord& record, std::int64_t wall_us, std::string& out) {
  const std::chrono::sys_seconds second{std::chrono::seconds(wall_us / kMicrosecondsPerSecond)};
  const auto day = std::chrono::floor<std::chrono::days>(second);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(second - day);
  out += fmt::format(R"({{"time":"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z","level":"{}","message":)",
                     static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                     static_cast<unsigned>(date.day()), time.hours().count(), time.minutes().count(),
                     time.seconds().count(), wall_us % kMicrosecondsPerSecond, log_level_name(record.level));
  append_json_text(out, std::string(place_of(record.location)).append(record.message));
  for (const LogField& field : record.fields) {
    out += ',';
    append_json_text(out, field.name);
    out += ':';
    if (field.is_number) {
      out += field.value;
    } else {
      append_json_text(out, field.value);
    }
  }
  out += "}\n";
}

// Appends NAME=value, or the form with a length when the value has a newline (systemd.io/JOURNAL_NATIVE_PROTOCOL).
void append_journal_field(std::string& out, std::string_view name, std::string_view value) {
  for (char c : name) out += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  if (!value.contains('\n')) {
    out += '=';
  } else {
    out += '\n';
    for (unsigned i = 0; i < 8; ++i) out += static_cast<char>(static_cast<std::uint64_t>(value.size()) >> 8 * i & 0xFF);
  }
  out += value;
  out += '\n';
}

void append_journal(const LogRecord& record, std::string& out) {
  std::string message(place_of(record.location));
  append_printable(message, record.message, true);
  append_journal_field(out, "MESSAGE", message);
  append_journal_field(out, "PRIORITY", fmt::format("{}", syslog_priority(record.level)));
  append_journal_field(out, "SYSLOG_IDENTIFIER", record.program);
  for (const LogField& field : record.fields) append_journal_field(out, field.name, printable(field.value, 4096));
}

void append_frame(std::string& out, std::string_view payload) {
  const auto length = static_cast<std::uint32_t>(payload.size());
  out.append(reinterpret_cast<const char*>(&length), sizeof length);
  out += payload;
}

// The payload is the digit of the priority, then the line.
void append_syslog(const LogRecord& record, std::string& out) {
  std::string text(place_of(record.location));
  text += record.message;
  std::string_view rest = text;
  do {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    std::string payload(1, static_cast<char>('0' + syslog_priority(record.level)));
    append_printable(payload, line, false);
    append_frame(out, payload);
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
  } while (!rest.empty());
}

}  // namespace

void append_log_record(LogFormat format, const LogRecord& record, std::int64_t wall_us, std::string& out) {
  switch (format) {
    case LogFormat::kText:
      return append_text(record, out);
    case LogFormat::kJson:
      return append_json(record, wall_us, out);
    case LogFormat::kJournal: {
      std::string payload;
      append_journal(record, payload);
      return append_frame(out, payload);
    }
    case LogFormat::kSyslog:
      return append_syslog(record, out);
  }
}

int syslog_priority(LogLevel level) {
  switch (level) {
    case LogLevel::kError:
      return LOG_ERR;
    case LogLevel::kWarning:
      return LOG_WARNING;
    case LogLevel::kInfo:
      return LOG_INFO;
    case LogLevel::kDebug:
      return LOG_DEBUG;
  }
  __builtin_unreachable();
}

std::optional<std::string_view> take_log_frame(std::string_view& frames) {
  std::uint32_t length = 0;
  if (frames.size() < sizeof length) return std::nullopt;
  std::memcpy(&length, frames.data(), sizeof length);
  const std::string_view payload = frames.substr(sizeof length, length);
  frames.remove_prefix(sizeof length + payload.size());
  return payload;
}

}  // namespace blockexport
