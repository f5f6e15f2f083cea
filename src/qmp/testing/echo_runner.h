// EchoRunner: a CommandRunner for tests and fuzz targets, with the simple commands echo, fail, slow, big and event.
//
// Thread: the reactor's. Not part of the daemon.
#pragma once

#include <string>
#include <utility>

#include "aio/sync/sync.h"
#include "qmp/command.h"
#include "qmp/event_queue.h"

namespace blockexport::qmp::testing {

class EchoRunner final : public CommandRunner {
 public:
  static constexpr std::size_t kBigBytes = 1u << 20;

  explicit EchoRunner(EventQueue& events) : events_(events) {}

  aio::Task<Result<json::Value>> run(Command command) override {
    ++commands;
    most_at_once = std::max(most_at_once, ++running_);
    auto result = co_await perform(std::move(command));
    --running_;
    co_return result;
  }
  json::Value version() const override {
    return json::Object{{"qemu", json::Object{{"micro", 1}, {"minor", 2}, {"major", 3}}}, {"package", "test"}};
  }

  aio::Event* gate = nullptr;  // event for which "slow" waits
  std::size_t commands = 0;    // commands that have begun
  int most_at_once = 0;

 private:
  aio::Task<Result<json::Value>> perform(Command command) {
    if (command.out_of_band && command.name == "big") co_return fail("The command big does not support OOB");
    if (command.name == "echo") {
      co_return command.arguments == nullptr ? json::Value(json::Object{}) : json::Value(*command.arguments);
    }
    if (command.name == "big") co_return json::Value(std::string(kBigBytes, 'x'));
    if (command.name == "slow") {
      if (gate != nullptr) (void)co_await gate->wait();
      co_return json::Value(json::Object{});
    }
    if (command.name == "event") {
      events_.emit(json::Object{{"event", "HAPPENED"}});
      co_return json::Value(json::Object{});
    }
    if (command.name == "fail") co_return fail(Error(ErrorKind::kDeviceNotFound, "Device 'x' not found"));
    co_return fail(Error(ErrorKind::kCommandNotFound, "The command " + command.name + " has not been found"));
  }

  EventQueue& events_;
  int running_ = 0;
};

}  // namespace blockexport::qmp::testing
