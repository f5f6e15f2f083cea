// probe_image(): reads the kind and the magic number of a file that shall be exported; chosen_format(): the format in
// which it is exported, which is never guessed.
//
// Main thread; they block on the file.
#pragma once

#include <string>

#include "base/error.h"

namespace blockexport::serve {

// An image and what the file says about itself.
struct ServedImage {
  std::string path;             // absolute
  std::string detected_format;  // as detected_format() tells
  bool is_device = false;
};

// Opens the file and reads what detected_format() needs. Errors: it cannot be read, or it is neither a file nor a block
// device.
Result<ServedImage> probe_image(const std::string& name);

// `format`, or raw when it is empty. An error when it is empty and the file has the magic number of another format.
Result<std::string> chosen_format(const std::string& format, const ServedImage& image);

}  // namespace blockexport::serve
