// Requests of HTTP/1.1 (RFC 9112) without a body: a parser of the head, and the choice of a media type (RFC 9110).
//
// Pure functions; thread: any. The views of a Request refer to the parsed bytes, or to static text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace blockexport::http {

// Maximum length of a head: the request line and all fields.
inline constexpr std::size_t kHeadBytesMax = 8192;

struct Request {
  std::string_view method;
  std::string_view path;                 // without the query
  std::optional<std::string_view> host;  // of an absolute target, else of the field Host; with its port
  std::string_view accept;               // of the first field Accept; "" = none
  bool keeps_connection = false;         // whether the client wants to send another request
};

enum class ParseStatus : std::uint8_t {
  kIncomplete,  // more bytes are needed
  kComplete,
  kInvalid,  // the connection must be closed after a reply with `code`
};

struct Parsed {
  ParseStatus status = ParseStatus::kIncomplete;
  int code = 0;              // status code for an invalid request
  std::size_t consumed = 0;  // bytes of the complete request
  Request request = {};
};

// Parses the request at the start of `bytes`. The caller passes at most kHeadBytesMax bytes; a head that is not
// complete then is too long (431). A request with a body is invalid (413, 501).
Parsed parse_request(std::string_view bytes);

// Quality, in thousandths, that the field Accept gives to the media type `type`/`subtype`; 0: not acceptable. A range
// that names it goes before a range with "*". An empty field accepts everything.
int quality_of(std::string_view accept, std::string_view type, std::string_view subtype);

// The name or address in `host` without its port and without brackets; nothing when it is malformed.
std::optional<std::string_view> host_name(std::string_view host);

}  // namespace blockexport::http
