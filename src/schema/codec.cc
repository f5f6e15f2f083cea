#include "schema/codec.h"

namespace blockexport::schema {

Result<> check_no_arguments(const json::Value* arguments) {
  if (arguments == nullptr) return {};
  Decoder decoder(*arguments);
  if (!decoder.begin_object(nullptr) || !decoder.end_object()) return std::unexpected(decoder.take_error());
  return {};
}

}  // namespace blockexport::schema
