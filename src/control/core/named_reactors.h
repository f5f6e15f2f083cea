// The reactors that serve clients, with their names. Thread: the control reactor.
#pragma once

#include <string>
#include <vector>

#include "aio/threads/data_reactor.h"

namespace blockexport::control {

class Control;

struct NamedReactor {
  std::string name;  // "main", the name of a thread of the pool, or "iothread" and the ID of the object
  aio::DataReactor* data_reactor;
};

// The control reactor first. A caller that keeps the result over an await holds Control::iothread_visits().
std::vector<NamedReactor> named_reactors(Control& control);

}  // namespace blockexport::control
