// Names of files in an image, combined with the name of the image itself.
//
// Pure functions; any thread.
#pragma once

#include <string>
#include <string_view>

namespace blockexport::block {

// `name` as it stands in the image `image_filename`: relative to the directory of the image, unless it is absolute or
// begins with a protocol ("nbd:...").
std::string full_backing_name(std::string_view image_filename, std::string_view name);

}  // namespace blockexport::block
