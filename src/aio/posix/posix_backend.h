// PosixBackend: common base of the backends over real descriptors: clock, workers, wake-ups, and the calls that never
// wait. Thread: as Backend.
#pragma once

#include <memory>

#include "aio/operation/backend.h"
#include "aio/posix/hang_up_set.h"
#include "aio/posix/seen_windows.h"
#include "aio/posix/system_calls.h"
#include "aio/posix/wake_event.h"
#include "aio/posix/worker_pool.h"

namespace blockexport::aio::posix {

class PosixBackend : public Backend {
 public:
  // `calls` outlives the backend.
  PosixBackend(std::unique_ptr<WakeEvent> wake, std::uint32_t worker_threads_max, const SystemCalls& calls)
      : calls_(calls), wake_(std::move(wake)), workers_(worker_threads_max, *wake_, calls) {}

  void wake() final { wake_->wake(); }
  bool has_abandoned_calls() final { return workers_.abandoned() > 0; }
  const Clock& clock() const final { return clock_; }
  std::uint64_t times_waited() const final;
  std::uint64_t times_preempted() const final;
  bool has_waited_since(std::uint64_t before) const final;

  IoCount try_receive(int fd, std::span<std::byte> buffer) final;
  IoCount try_send(int fd, std::span<const iovec> vectors) final;
  IoCount try_send_file(int fd, std::span<const iovec> head, int file, std::uint64_t offset,
                        std::uint64_t length) final;
  bool is_cached(int file, std::uint64_t offset, std::uint64_t length) final;
  IoCount try_read(int fd, std::span<const iovec> vectors, std::uint64_t offset, Caching caching) final;
  IoCount try_read_memory(int fd, std::span<const iovec> vectors, std::uint64_t offset) final;
  IoCount try_write(int fd, std::span<const iovec> vectors, std::uint64_t offset) final;
  IoResult try_stat(int fd, FileInfo& info) final;
  std::expected<int, Errno> try_accept(int fd) final;
  void shut_down(int fd) final;
  IoResult watch_hang_up(int fd, HangUpWatch& watch) final { return hang_ups_.add(fd, watch); }
  void forget_hang_up(int fd) final { hang_ups_.remove(fd); }
  void collect_hang_ups(std::vector<HangUpWatch*>& hung_up) final { hang_ups_.collect(hung_up); }
  void close(int fd) override;
  void close_file(int fd) final;

 protected:
  WakeEvent& wake_event() { return *wake_; }
  WorkerPool& workers() { return workers_; }

 private:
  const SystemCalls& calls_;
  SystemClock clock_;
  SeenWindows seen_;
  HangUpSet hang_ups_;
  std::unique_ptr<WakeEvent> wake_;
  WorkerPool workers_;
};

}  // namespace blockexport::aio::posix
