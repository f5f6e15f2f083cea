// HostCheck: the names of this host that a request may be for.
//
// A web page can make a browser send requests to an address of this host under a name of its own, which it changes
// after the page was loaded (DNS rebinding), and then read the replies. Such a request has that name in its field Host.
// A literal address there was not looked up, so it is accepted. Immutable; thread: any.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace blockexport::http {

// Most names besides those of the addresses to listen on.
inline constexpr std::size_t kHostNamesMax = 64;
// Longest such name: that of a domain name.
inline constexpr std::size_t kHostNameBytesMax = 253;

class HostCheck {
 public:
  // Adds a name of this host; an empty one has no effect. Errors: too many names, too long a name.
  Result<> add(std::string_view name);
  // True if a request may be for `host`, which may have a port: "localhost", a literal address, or an added name.
  bool accepts(std::string_view host) const;

 private:
  std::vector<std::string> names_;  // in lower case
};

}  // namespace blockexport::http
