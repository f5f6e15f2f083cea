#include "client/exit_code.h"

#include <cstdio>

#include "base/print.h"

namespace blockexport::client {

int report(const Error& error) {
  print(stderr, "blockexport: {}\n", error.message());
  if (!error.hint().empty()) print(stderr, "{}\n", error.hint());
  return kExitFailed;
}

int code_of(const Result<int>& done) {
  return done ? *done : report(done.error());
}

int code_of(const Result<>& done) {
  return done ? kExitFine : report(done.error());
}

}  // namespace blockexport::client
