// run_command<&handler>: decodes the arguments, awaits the handler, and encodes its result. For generated code only.
//
// Thread: the control thread, like the handlers.
#pragma once

#include <type_traits>
#include <utility>

#include "schema/codec.h"
#include "schema/command_entry.h"

namespace blockexport::schema {

template <class Returned>
json::Value encode_result(const Result<Returned>& result) {
  if constexpr (std::is_void_v<Returned>) {
    return json::Object{};
  } else {
    return encode(*result);
  }
}

template <class Returned, class Arguments>
aio::Task<Result<json::Value>> run_handler(aio::Task<Result<Returned>> (*handler)(control::Control&, Arguments),
                                           control::Control& control, const json::Value* arguments) {
  CO_TRY_ASSIGN(auto decoded, decode_arguments<Arguments>(arguments));
  Result<Returned> result = co_await handler(control, std::move(decoded));
  if (!result) co_return std::unexpected(std::move(result).error());
  co_return encode_result(result);
}

template <class Returned>
aio::Task<Result<json::Value>> run_handler(aio::Task<Result<Returned>> (*handler)(control::Control&),
                                           control::Control& control, const json::Value* arguments) {
  CO_TRY(check_no_arguments(arguments));
  Result<Returned> result = co_await handler(control);
  if (!result) co_return std::unexpected(std::move(result).error());
  co_return encode_result(result);
}

template <auto kHandler>
aio::Task<Result<json::Value>> run_command(control::Control& control, const json::Value* arguments) {
  return run_handler(kHandler, control, arguments);
}

}  // namespace blockexport::schema
