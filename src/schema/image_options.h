// Options of a node from a name inside an image: a path, or a text "json:{...}" with the options themselves.
//
// Pure functions of untrusted bytes; any thread. They fill in the drivers that the name leaves out, as
// qemu-storage-daemon does; whether a path leads to a device is left to the caller. Errors are for users.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/error.h"
#include "schema/block_core.h"

namespace blockexport::schema {

// Objects and arrays inside one another in a name.
inline constexpr std::size_t kNameNestingMax = 64;

struct ImageOptions {
  BlockdevOptions options = {};
  // Neither the name nor the header says the format of the image: `options` have the driver raw.
  bool needs_format = false;
  // The name does not say whether its path leads to a file or to a device: the options of that node have the driver
  // file.
  bool implies_file = false;
  // The options are no more than drivers and a path.
  bool is_plain = true;
};

// The node of driver `format` (empty: not known) over a node of driver `protocol` (empty: not known) of that path. A
// format that is itself a driver of files needs no node below.
Result<ImageOptions> options_of_path(std::string path, std::string_view protocol, std::string_view format);

// The node that the JSON object `text` describes; its scalars may be strings, and its keys may contain dots. `format`
// replaces the driver of the node, unless it is empty.
Result<ImageOptions> options_of_json(std::string_view text, std::string_view format);

// The options of the node at the bottom of the chain of "file" children.
BlockdevOptions& lowest_file(BlockdevOptions& options);

}  // namespace blockexport::schema
