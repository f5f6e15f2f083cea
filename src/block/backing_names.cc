#include "block/backing_names.h"

namespace blockexport::block {

std::string full_backing_name(std::string_view image_filename, std::string_view name) {
  const std::size_t special = name.find_first_of(":/");
  const bool is_whole = special != std::string_view::npos && (name[special] == ':' || special == 0);
  const std::size_t slash = image_filename.rfind('/');
  if (is_whole || slash == std::string_view::npos) return std::string(name);
  return std::string(image_filename.substr(0, slash + 1)).append(name);
}

}  // namespace blockexport::block
