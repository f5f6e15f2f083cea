#include "client/image/image_source.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <vector>

#include "json/keyval.h"

namespace blockexport::image {
namespace {

std::string_view driver_of_file(const std::string& filename) {
  return is_block_device(filename) ? "host_device" : "file";
}

// Adds the driver of each node below that has a file name. The nesting is that of the text.
json::Object with_drivers(const json::Object& options) {
  json::Object whole;
  for (const auto& [name, value] : options) {
    const json::Object* const members = value.as_object();
    if (members == nullptr) {
      whole.set(name, value);
      continue;
    }
    json::Object below = with_drivers(*members);
    const json::Value* const filename = below.find("filename");
    if (filename != nullptr && filename->as_string() != nullptr) {
      below.insert("driver", std::string(driver_of_file(*filename->as_string())));
    }
    whole.set(name, std::move(below));
  }
  return whole;
}

}  // namespace

bool is_block_device(const std::string& filename) {
  struct stat status{};
  return stat(filename.c_str(), &status) == 0 && S_ISBLK(status.st_mode);
}

json::Object file_options(const std::string& filename) {
  return {{"driver", std::string(driver_of_file(filename))}, {"filename", filename}};
}

Result<> check_source(const ImageSource& source) {
  if (source.is_options && !source.format.empty()) return fail("--image-opts and --format are mutually exclusive");
  return {};
}

Result<json::Object> source_options(const ImageSource& source) {
  auto parsed = json::parse_keyval(source.text);
  if (!parsed) return fail(std::move(parsed).error().with_prefix(fmt::format("Could not open '{}': ", source.text)));
  if (parsed->options.find("node-name") != nullptr) {
    return fail(fmt::format("Could not open '{}': the tool names the node itself", source.text));
  }
  return with_drivers(parsed->options);
}

}  // namespace blockexport::image
