// CreateOptions: the command line of `blockexport image create`, and its translation to options of blockdev-create.
//
// Plain values and pure functions; any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "client/image/image_secrets.h"
#include "json/value.h"
#include "schema/block_create.h"

namespace blockexport::image {

struct CreateOptions {
  std::string filename;
  ObjectTexts objects;
  std::string size;  // as it was given; empty: that of the backing file
  std::string format = "raw";
  std::optional<std::string> backing;
  std::optional<std::string> backing_format;
  std::vector<std::string> options;  // each NAME=VALUE,...
  bool is_unsafe = false;            // the backing file is not opened
  bool is_json = false;
  std::string output = "human";  // or "json"
  bool is_quiet = false;

  bool wants_json() const { return is_json || output == "json"; }
};

// All options by their names in the schema; the values are strings. A later one replaces an earlier one. "," ends a
// value, ",," stands for one comma; a name without a value means "on".
Result<json::Object> create_words(const CreateOptions& options);

// The options that make the file `filename`, and those that make an image in it: in the node `file`, with the data file
// as a node of its own. The size, which must be there, becomes a multiple of 512 bytes.
Result<schema::BlockdevCreateOptions> file_creation_of(const json::Object& words, const std::string& filename,
                                                       bool is_raw_image);
Result<schema::BlockdevCreateOptions> qcow2_creation_of(const json::Object& words, json::Object file);
// The same for an image that is encrypted with LUKS, or for its header alone if that is what the words ask for.
Result<schema::BlockdevCreateOptions> luks_creation_of(const json::Object& words, json::Object file);

// The options with which the new image is opened: of its format, and with the id of its secret.
json::Object opening_options_of(const json::Object& words, const std::string& filename, const std::string& format);

// One line, as qemu-img prints it.
std::string formatting_text(const std::string& filename, const json::Object& words,
                            const schema::BlockdevCreateOptions& options);

}  // namespace blockexport::image
