// CommandObserver: learns of each QMP command that has succeeded, before its reply is sent. Owned by the daemon;
// thread: the control reactor.
#pragma once

#include <string_view>

#include "aio/task/task.h"
#include "json/value.h"

namespace blockexport::control {

class CommandObserver {
 public:
  // `arguments`: null when the client sent none; outlives the task.
  virtual aio::Task<void> command_succeeded(std::string_view name, const json::Value* arguments) = 0;

 protected:
  ~CommandObserver() = default;
};

}  // namespace blockexport::control
