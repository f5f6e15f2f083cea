// ImageSource: an image as a command line tells it: by a file name, or by options of its node.
//
// Plain value and a pure function, apart from the kind of a file; any thread.
#pragma once

#include <string>

#include "base/error.h"
#include "json/value.h"

namespace blockexport::image {

struct ImageSource {
  std::string text = {};    // the file's name; or options
  std::string format = {};  // of a file; empty: as its begin tells
  // `text` has options, each NAME=VALUE, as --blockdev of the daemon has them; ",," stands for a comma of a value. The
  // driver of a node with a "filename" may be left out.
  bool is_options = false;
};

bool is_block_device(const std::string& filename);

// The options of the node of a file or a block device.
json::Object file_options(const std::string& filename);

// The options of `source`, all values of which are texts. Errors: the text is malformed, or names the node.
Result<json::Object> source_options(const ImageSource& source);

// Fails if both --image-opts and a format were given.
Result<> check_source(const ImageSource& source);

}  // namespace blockexport::image
