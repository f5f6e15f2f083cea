// IothreadObject: the object type "iothread": a thread with a reactor, which serves the exports that name it.
//
// The thread begins and ends with the object. Owned by the ObjectStore; thread: the control reactor.
#pragma once

#include "aio/threads/reactor_thread.h"
#include "control/objects/object_properties.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

class IothreadObject final : public ObjectOf<schema::IothreadProperties> {
 public:
  // Errors: a value out of range.
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);

  std::string_view type_name() const override { return "iothread"; }

  // Starts the thread. Errors: the system cannot start one.
  aio::Task<Result<>> complete() override;

  // Valid once completed; outlives every export that names the object.
  aio::DataReactor& data_reactor() { return thread_->data_reactor(); }
  aio::DataReactor* own_reactor() override { return &data_reactor(); }

 private:
  IothreadObject(Control& control, std::string id, schema::IothreadProperties properties)
      : ObjectOf(std::move(id), std::move(properties)), control_(control) {}
  // Errors: a value out of range.
  Result<> change(std::string_view name, schema::IothreadProperties changed) override;
  aio::BusyPollLimits busy_poll() const;

  Control& control_;
  std::unique_ptr<aio::ReactorThread> thread_;
};

}  // namespace blockexport::control
