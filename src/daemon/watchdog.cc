#include "daemon/watchdog.h"

#include "aio/sync/with_deadline.h"
#include "control/objects/iothread_object.h"

namespace blockexport::daemon {

ReactorRound::ReactorRound(const std::vector<aio::Reactor*>& reactors) {
  auto token = std::make_shared<int>();
  left_ = token;
  for (aio::Reactor* reactor : reactors) reactor->post([token] {});
}

std::vector<aio::Reactor*> all_reactors(control::Control& control) {
  std::vector<aio::Reactor*> reactors;
  control.data_reactors().for_each(
      [&](std::string_view, aio::DataReactor& data_reactor) { reactors.push_back(&data_reactor.reactor); });
  for (const auto& object : control.objects().all()) {
    if (object->type_name() != "iothread") continue;
    reactors.push_back(&static_cast<control::IothreadObject&>(*object).data_reactor().reactor);
  }
  return reactors;
}

aio::Task<void> run_watchdog(control::Control& control, const ServiceNotifier& notifier) {
  if (!notifier.watchdog_ns()) co_return;
  aio::Reactor& reactor = control.reactor();
  const std::uint64_t pause_ns = *notifier.watchdog_ns() / kWatchdogChecksPerLimit;
  ReactorRound round;
  for (;;) {
    if (round.is_complete()) {
      if (control.is_serving()) notifier.kick_watchdog();
      round = ReactorRound(all_reactors(control));
    }
    if (!co_await reactor.sleep_until(aio::deadline_after(reactor, pause_ns))) co_return;
  }
}

}  // namespace blockexport::daemon
