// ServeOptions: the command line of `blockexport serve`. Plain values.
#pragma once

#include <string>
#include <vector>

namespace blockexport::serve {

struct ServeOptions {
  std::vector<std::string> images = {};
  std::string format = {};  // empty: raw, unless the file has the magic number of another one
  bool is_writable = false;
  std::vector<std::string> listen = {};  // net::parse_address(), and HOST for its port 10809; none: a private
                                         // unix socket
  std::string export_name = {};          // of the only image
  std::string tls_directory = {};
  std::string tls_authz_identity = {};
  std::string run = {};  // a command for the shell, with which the server ends
  bool exits_with_parent = false;
  bool is_json = false;
};

}  // namespace blockexport::serve
