// IothreadObject: the object type "iothread": a thread with a reactor, which serves the exports that name it.
//
// The thread begins and ends with the object. Owned by the ObjectStore; thread: the control reactor.
#pragma once

#include "aio/reactor_thread.h"
#include "control/object_store.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

class IothreadObject final : public UserObject {
 public:
  // Errors: a value out of range.
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);

  static std::span<const PropertyDescription> property_list();
  // Those that every event loop has.
  static std::span<const PropertyDescription> event_loop_properties();

  std::string_view type_name() const override { return "iothread"; }
  std::span<const PropertyDescription> properties() const override { return property_list(); }
  json::Value get(std::string_view name) const override;
  Result<> set(std::string_view name, const json::Value& value) override;

  // Starts the thread. Errors: there is none to be had.
  aio::Task<Result<>> complete() override;

  // Once completed; outlives every export that names the object.
  aio::DataReactor& place() { return thread_->data_reactor(); }

 private:
  IothreadObject(Control& control, std::string id) : UserObject(std::move(id)), control_(control) {}
  std::int64_t& member(std::string_view name);
  Result<> set_integer(std::string_view name, std::int64_t value);
  aio::BusyPollLimits busy_poll() const;

  Control& control_;
  std::int64_t thread_pool_min_ = 0;
  std::int64_t aio_max_batch_ = 0;
  std::int64_t thread_pool_max_ = 64;
  std::int64_t poll_max_ns_ = 32768;
  std::int64_t poll_grow_ = 2;
  std::int64_t poll_shrink_ = 2;
  std::int64_t poll_weight_ = 3;
  std::unique_ptr<aio::ReactorThread> thread_;
};

}  // namespace blockexport::control
