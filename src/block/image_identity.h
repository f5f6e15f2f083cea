// ImageIdentity: the image that a node shows, as its driver recognises it again after a restart of the daemon.
//
// A bitmap store keeps it and refuses another image. Plain value.
#pragma once

#include <string>

namespace blockexport::block {

struct ImageIdentity {
  // The image. A copy of it has another one.
  std::string identity;
  // The content: every program that writes the image changes it. A text before a newline is its scope: values of
  // different scopes cannot be compared.
  std::string generation;

  friend bool operator==(const ImageIdentity&, const ImageIdentity&) = default;
};

}  // namespace blockexport::block
