// Fuzzes the parser of HTTP requests: it never reads beyond its input, takes no more than there is, gives the same
// answer for a request whatever follows it, and accepts no head with control bytes.
//
// Input: the bytes that a client sends.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "http/host_check.h"
#include "http/request.h"

namespace blockexport::http {
namespace {

void require(bool promise) {
  if (!promise) std::abort();
}

bool is_inside(std::string_view part, std::string_view whole) {
  return part.empty() || (part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_complete(std::string_view bytes, const Parsed& parsed) {
  const Request& request = parsed.request;
  require(parsed.consumed <= bytes.size() && parsed.consumed >= 4);
  require(!request.method.empty() && !request.path.empty());
  require(request.path == "*" || request.path.front() == '/');
  for (std::string_view part : {request.method, request.path, request.accept, request.host.value_or("")}) {
    // An absolute target without a path has the path "/".
    require(part == "/" || is_inside(part, bytes.substr(0, parsed.consumed)));
    require(std::ranges::none_of(part, [](char c) { return (c >= 0 && c < ' ' && c != '\t') || c == 0x7f; }));
  }
  // The end of a head does not depend on the bytes behind it.
  const Parsed alone = parse_request(bytes.substr(0, parsed.consumed));
  require(alone.status == ParseStatus::kComplete && alone.consumed == parsed.consumed);
  require(parse_request(bytes.substr(0, parsed.consumed - 1)).status == ParseStatus::kIncomplete);
  HostCheck hosts;
  (void)hosts.accepts(request.host.value_or(""));
  const int quality = quality_of(request.accept, "text", "plain");
  require(quality >= 0 && quality <= 1000);
}

void fuzz(std::string_view input) {
  const std::string_view bytes = input.substr(0, kHeadBytesMax);
  const Parsed parsed = parse_request(bytes);
  switch (parsed.status) {
    case ParseStatus::kIncomplete:
      return require(bytes.size() < kHeadBytesMax);
    case ParseStatus::kInvalid:
      return require(parsed.code >= 400 && parsed.code < 600);
    case ParseStatus::kComplete:
      return check_complete(bytes, parsed);
  }
}

}  // namespace
}  // namespace blockexport::http

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  blockexport::http::fuzz({reinterpret_cast<const char*>(data), size});
  return 0;
}
