#include "control/core/control.h"

#include <algorithm>

#include "aio/sync/shielded.h"
#include "aio/sync/with_deadline.h"
#include "schema/block_export.h"
#include "schema/job.h"

namespace blockexport::control {

void JobEvents::status_changed(const jobs::Job& job) {
  events_.emit(schema::job_status_change_event({.id = job.id(), .status = job.status()}));
}

Control::Control(aio::Reactor& reactor, DataReactorOptions data_reactors, const Log& log,
                 block::DriverTable& driver_table, std::move_only_function<void()> quit)
    : reactor_(reactor),
      log_(log),
      quit_(std::move(quit)),
      reactor_options_(data_reactors.each),
      here_(reactor),
      data_reactors_(here_, data_reactors.each, log, data_reactors.count_max),
      events_(reactor),
      command_mutex_(reactor),
      drivers_(driver_table),
      graph_(reactor, driver_table, log.trace(), &log),
      serving_(reactor),
      servers_(reactor, data_reactors_, budget_, log, serving_, exports_),
      exports_(
          reactor, [this](std::unique_ptr<block::Edge> edge) { return graph_.detach(std::move(edge)); },
          [this](const std::string& id) { export_gone(id); }),
      backups_(reactor, graph_, exports_, log),
      jobs_(reactor, job_events_),
      pam_calls_(reactor),
      removals_(reactor),
      shut_down_done_(reactor, aio::Event::Cancellation::kIgnored),
      iothread_visits_(reactor) {
  exports_.observe_clients(client_events_);
}

Control::~Control() = default;

void Control::use_iothreads(const std::string& export_id, std::vector<std::string> iothread_ids) {
  for (const std::string& id : iothread_ids) ++objects_.find(id)->users;
  iothreads_in_use_.emplace(export_id, std::move(iothread_ids));
}

std::optional<std::vector<std::string>> Control::iothreads_of(const std::string& export_id) const {
  // The youngest export of that id: an older one may be leaving.
  auto used = iothreads_in_use_.upper_bound(export_id);
  if (used == iothreads_in_use_.begin() || (--used)->first != export_id || used->second.empty()) return std::nullopt;
  return used->second;
}

void Control::export_gone(const std::string& id) {
  if (auto used = iothreads_in_use_.lower_bound(id); used != iothreads_in_use_.end() && used->first == id) {
    for (const std::string& iothread : used->second) --objects_.find(iothread)->users;
    iothreads_in_use_.erase(used);
  }
  log_.trace().note(TraceEvent::kBlockExportRemoved, {id});
  events_.emit(schema::block_export_deleted_event({.id = id}));
}

void Control::serve() {
  serving_.set();
  chardevs_.settle();
  for (const auto& object : objects_.all()) object->begin_service();
}

void Control::remove_monitor_later(const std::string& id, const std::string& chardev_id) {
  if (!shut_down_) removals_.spawn("monitor removal", remove_monitor(id, chardev_id));
}

aio::Task<void> Control::remove_monitor(std::string id, std::string chardev_id) {
  Result<std::unique_ptr<UserObject>> removed = objects_.remove(id);
  if (!removed) co_return;
  co_await (*removed)->close();
  removed->reset();
  // Another command may have removed it meanwhile, and added one of that name, which is in use and is not removed.
  (void)chardevs_.remove(chardev_id);
}

void Control::set_shutdown_grace_ns(std::uint64_t grace_ns) {
  shutdown_grace_ns_ = grace_ns;
  servers_.set_close_grace_ns(std::max(nbd::kCloseGraceNs, grace_ns));
}

aio::Task<void> Control::cut_clients_after_grace() {
  if (!co_await reactor_.sleep_until(aio::deadline_after(reactor_, shutdown_grace_ns_))) co_return;
  co_await exports_.remove_all(exports::RemoveMode::kHard, [](const exports::Export&) { return true; });
}

aio::Task<void> Control::shut_down() {
  if (std::exchange(shut_down_, true)) {
    (void)co_await shut_down_done_.wait();
    co_return;
  }
  co_await aio::shielded("shutdown", end_everything());
  shut_down_done_.set();
}

aio::Task<void> Control::end_everything() {
  for (Opening& opening : openings_) opening.cancel();
  aio::Scope grace(reactor_);
  grace.spawn("shutdown grace", cut_clients_after_grace());
  co_await servers_.stop_all(/*keeps_default_paths=*/is_serving());
  co_await exports_.remove_all(exports::RemoveMode::kFinish, [](const exports::Export&) { return true; });
  grace.cancel();
  co_await grace.join();
  co_await backups_.abort_all();
  co_await jobs_.end_all();
  co_await graph_.close();
  can_be_destroyed_ = co_await pam_calls_.close();
  if (!can_be_destroyed_) log_.warning("a PAM module does not return; the process exits without waiting for it");
  co_await removals_.join();
  auto visits = co_await iothread_visits_.lock();
  co_await objects_.close(/*serving_commands=*/false);
}

aio::Task<void> Control::close_monitors() {
  co_await objects_.close(/*serving_commands=*/true);
}

}  // namespace blockexport::control
