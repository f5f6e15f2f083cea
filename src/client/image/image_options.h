// Options of the verbs `blockexport image info`, `check` and `map`. Plain values.
#pragma once

#include <cstdint>
#include <string>

#include "client/image/image_secrets.h"
#include "client/image/image_source.h"

namespace blockexport::image {

struct ImageOptions {
  ImageSource image;
  ObjectTexts objects;
  std::string output = "human";      // or "json"
  bool is_json = false;              // as output "json"
  bool is_quiet = false;             // check: no output unless it fails
  bool force_share = false;          // open it although another process writes
  std::string repair;                // check: "", "leaks" or "all"
  bool shows_backing_chain = false;  // info
  std::uint64_t start_offset = 0;    // map
  std::uint64_t length_max = UINT64_MAX;

  bool wants_json() const { return is_json || output == "json"; }
};

}  // namespace blockexport::image
