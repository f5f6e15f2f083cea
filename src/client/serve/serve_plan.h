// ServePlan: the command line of blockexportd that serves what the user of `blockexport serve` asked for, and the URIs
// for clients. Plain values and pure functions; any thread.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "client/serve/image_probe.h"
#include "client/serve/serve_options.h"

namespace blockexport::serve {

struct ServePlan {
  std::vector<std::string> arguments;  // without the program
  std::vector<std::string> uris;       // for each image, those of each address
  std::vector<std::string> sockets;    // paths of unix sockets, which are removed in the end
};

// Images that one command can serve.
inline constexpr std::size_t kServedImagesMax = 1000;

// `private_socket`: the unix socket that is listened on when the user names no address. Errors: an address that cannot
// be parsed, two images with one name, a format that has to be chosen.
Result<ServePlan> make_plan(const ServeOptions& options, const std::vector<ServedImage>& images,
                            const std::string& private_socket, bool has_shared_keys);

}  // namespace blockexport::serve
