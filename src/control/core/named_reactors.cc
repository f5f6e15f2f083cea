#include "control/core/named_reactors.h"

#include "control/core/control.h"

namespace blockexport::control {

std::vector<NamedReactor> named_reactors(Control& control) {
  std::vector<NamedReactor> reactors;
  control.data_reactors().for_each(
      [&](const std::string& name, aio::DataReactor& data_reactor) { reactors.push_back({name, &data_reactor}); });
  for (const auto& object : control.objects().all()) {
    aio::DataReactor* own = object->own_reactor();
    if (own != nullptr) reactors.push_back({"iothread " + object->id(), own});
  }
  return reactors;
}

}  // namespace blockexport::control
