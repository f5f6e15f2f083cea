// A configuration file of any content: the first byte chooses TOML or JSON. It is parsed, and decoded as a whole
// configuration: errors have places inside of the file, and accepted values encode to what decodes again.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "configuration/source_document.h"
#include "configuration/toml_dots.h"
#include "json/writer.h"
#include "schema/codec.h"
#include "schema/collecting_decoder.h"
#include "schema/config.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const bool is_json = data[0] % 2 == 1;
  const blockexport::configuration::SourceDocument document =
      is_json ? blockexport::configuration::parse_json(text) : blockexport::configuration::parse_toml(text);
  for (const blockexport::configuration::DocumentError& error : document.errors) {
    if (error.position.line == 0 || error.message.empty()) std::abort();
  }
  if (!document.errors.empty()) return 0;
  std::string written;
  blockexport::json::write(blockexport::json::Value(document.root), written);
  std::vector<blockexport::schema::DecodingError> errors;
  const auto decoded = blockexport::schema::decode_collecting<blockexport::schema::BlockdevOptions>(
      blockexport::json::Value(document.root), "", 100, errors);
  for (const blockexport::schema::DecodingError& error : errors) {
    if (error.message.empty()) std::abort();
  }
  if (errors.empty() &&
      !blockexport::schema::decode<blockexport::schema::BlockdevOptions>(blockexport::schema::encode(decoded)))
    std::abort();
  return 0;
}
