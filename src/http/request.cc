#include "http/request.h"

#include <algorithm>

namespace blockexport::http {
namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";
constexpr int kBadRequest = 400;
constexpr int kContentTooLarge = 413;
constexpr int kHeadTooLarge = 431;
constexpr int kNotImplemented = 501;
constexpr int kVersionNotSupported = 505;
constexpr int kFullQuality = 1000;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_same_word(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, lower, lower);
}

// RFC 9110 section 5.6.2
bool is_token_byte(char c) {
  const char small = lower(c);
  return (small >= 'a' && small <= 'z') || is_digit(c) ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, is_token_byte);
}

bool is_visible(char c) {
  return c > ' ' && c < '\x7f';
}

// Bytes of a field's value: no control bytes except tabs.
bool is_value_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

std::string_view trim(std::string_view text) {
  const auto is_blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// Removes and returns the part of `text` before the first `separator`, or all of it.
std::string_view next_part(std::string_view& text, char separator) {
  const std::size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

// 0 for a good one.
int check_version(std::string_view version) {
  constexpr std::string_view kPattern = "HTTP/d.d";
  if (version.size() != kPattern.size()) return kBadRequest;
  for (std::size_t i = 0; i < version.size(); ++i) {
    const bool fits = kPattern[i] == 'd' ? is_digit(version[i]) : version[i] == kPattern[i];
    if (!fits) return kBadRequest;
  }
  return version == "HTTP/1.1" || version == "HTTP/1.0" ? 0 : kVersionNotSupported;
}

// Splits a target in origin form, or in absolute form, whose authority replaces the field Host.
bool take_target(std::string_view target, Request& request) {
  constexpr std::string_view kScheme = "http://";
  if (!std::ranges::all_of(target, is_visible)) return false;
  if (is_same_word(target.substr(0, kScheme.size()), kScheme)) {
    target.remove_prefix(kScheme.size());
    const std::size_t end = std::min(target.find_first_of("/?"), target.size());
    request.host = target.substr(0, end);
    target.remove_prefix(end);
    if (target.empty()) target = "/";
  } else if (target == "*") {
    request.path = target;
    return true;
  }
  if (!target.starts_with('/')) return false;
  request.path = target.substr(0, target.find('?'));
  return true;
}

int take_request_line(std::string_view line, Request& request, bool& is_old) {
  request.method = next_part(line, ' ');
  const std::string_view target = next_part(line, ' ');
  if (!is_token(request.method)) return kBadRequest;
  if (int code = check_version(line); code != 0) return code;
  is_old = line == "HTTP/1.0";
  return take_target(target, request) ? 0 : kBadRequest;
}

bool has_word(std::string_view list, std::string_view word) {
  while (!list.empty()) {
    if (is_same_word(trim(next_part(list, ',')), word)) return true;
  }
  return false;
}

// Fields that matter, as they are found.
struct Fields {
  std::optional<std::string_view> host;
  bool closes = false;
};

int take_length(std::string_view value) {
  if (value.empty() || !std::ranges::all_of(value, is_digit)) return kBadRequest;
  return std::ranges::all_of(value, [](char c) { return c == '0'; }) ? 0 : kContentTooLarge;
}

int take_field(std::string_view line, Request& request, Fields& fields) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return kBadRequest;
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = trim(line.substr(colon + 1));
  if (!std::ranges::all_of(value, is_value_byte)) return kBadRequest;
  if (is_same_word(name, "host")) {
    // A second one is an attack on whoever looks at the first.
    if (fields.host) return kBadRequest;
    fields.host = value;
  } else if (is_same_word(name, "content-length")) {
    return take_length(value);
  } else if (is_same_word(name, "transfer-encoding")) {
    return kNotImplemented;
  } else if (is_same_word(name, "connection")) {
    fields.closes = fields.closes || has_word(value, "close");
  } else if (is_same_word(name, "accept") && request.accept.empty()) {
    request.accept = value;
  }
  return 0;
}

int parse_head(std::string_view head, Request& request) {
  bool is_old = false;
  Fields fields;
  bool is_first = true;
  while (!head.empty()) {
    const std::size_t end = std::min(head.find(kLineEnd), head.size());
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + kLineEnd.size(), head.size()));
    const int code = is_first ? take_request_line(line, request, is_old) : take_field(line, request, fields);
    if (code != 0) return code;
    is_first = false;
  }
  if (!fields.host && !is_old) return kBadRequest;
  if (!request.host) request.host = fields.host;
  request.keeps_connection = !is_old && !fields.closes;
  return 0;
}

// The "q" among the parameters of a media range, in thousandths; malformed ones count as 0.
int quality_in(std::string_view parameters) {
  while (!parameters.empty()) {
    const std::string_view parameter = trim(next_part(parameters, ';'));
    if (parameter.size() < 2 || lower(parameter[0]) != 'q' || parameter[1] != '=') continue;
    const std::string_view number = parameter.substr(2);
    if (number.empty() || (number[0] != '0' && number[0] != '1')) return 0;
    int quality = number[0] == '1' ? kFullQuality : 0;
    int place = kFullQuality / 10;
    for (std::size_t i = 2; i < number.size() && place > 0; ++i, place /= 10) {
      if (number[1] != '.' || !is_digit(number[i])) return 0;
      quality += (number[i] - '0') * place;
    }
    return std::min(quality, kFullQuality);
  }
  return kFullQuality;
}

}  // namespace

Parsed parse_request(std::string_view bytes) {
  // RFC 9112 section 2.2: a server ignores an empty line before the request.
  std::size_t begin = 0;
  if (bytes.starts_with(kLineEnd)) begin = kLineEnd.size();
  if (bytes.substr(begin).starts_with(kLineEnd)) return {.status = ParseStatus::kInvalid, .code = kBadRequest};
  const std::size_t end = bytes.find(kHeadEnd, begin);
  if (end == std::string_view::npos) {
    if (bytes.size() < kHeadBytesMax) return {};
    return {.status = ParseStatus::kInvalid, .code = kHeadTooLarge};
  }
  Parsed parsed{.status = ParseStatus::kComplete, .consumed = end + kHeadEnd.size()};
  parsed.code = parse_head(bytes.substr(begin, end - begin), parsed.request);
  if (parsed.code != 0) parsed.status = ParseStatus::kInvalid;
  return parsed;
}

int quality_of(std::string_view accept, std::string_view type, std::string_view subtype) {
  if (trim(accept).empty()) return kFullQuality;
  int quality = 0;
  int best_precision = 0;  // 3 for "type/subtype", 2 for "type/*", 1 for "*/*"
  while (!accept.empty()) {
    std::string_view parameters = next_part(accept, ',');
    std::string_view range = trim(next_part(parameters, ';'));
    const std::string_view wanted_type = next_part(range, '/');
    int precision = 0;
    if (is_same_word(wanted_type, type)) precision = is_same_word(range, subtype) ? 3 : range == "*" ? 2 : 0;
    if (wanted_type == "*" && range == "*") precision = 1;
    if (precision == 0 || precision < best_precision) continue;
    const int found = quality_in(parameters);
    quality = precision > best_precision ? found : std::max(quality, found);
    best_precision = precision;
  }
  return quality;
}

std::optional<std::string_view> host_name(std::string_view host) {
  std::string_view name;
  std::string_view rest;
  if (host.starts_with('[')) {
    const std::size_t close = host.find(']');
    if (close == std::string_view::npos) return std::nullopt;
    name = host.substr(1, close - 1);
    rest = host.substr(close + 1);
  } else {
    name = host.substr(0, host.find(':'));
    rest = host.substr(name.size());
  }
  if (!rest.empty() && (rest[0] != ':' || !std::ranges::all_of(rest.substr(1), is_digit))) return std::nullopt;
  return name;
}

}  // namespace blockexport::http
