// SimulatedBackend: backend of a simulation, which schedules operations in an order that depends only on the seed.
// Owned by a reactor; its World outlives it. Thread: the reactor's, except wake().
#pragma once

#include <atomic>
#include <map>
#include <utility>

#include "aio/operation/backend.h"
#include "aio/sim/world.h"

namespace blockexport::aio {

class SimulatedBackend final : public Backend {
 public:
  explicit SimulatedBackend(World& world) : world_(world) { world_.backends.push_back(this); }
  ~SimulatedBackend() override { std::erase(world_.backends, this); }

  std::string_view name() const override { return "simulation"; }
  void submit(Operation& operation) override;
  void cancel(Operation& operation) override;
  bool wait(std::uint64_t deadline_ns, OperationList& completed) override;
  void wake() override { woken_.store(true); }
  const Clock& clock() const override { return world_.clock; }
  std::uint64_t times_waited() const override { return world_.times_waited; }
  bool has_waited_since(std::uint64_t before) const override { return world_.times_waited > before; }

  IoCount try_receive(int fd, std::span<std::byte> buffer) override { return world_.try_receive(fd, buffer); }
  IoCount try_send(int fd, std::span<const iovec> vectors) override { return world_.try_send(fd, vectors); }
  IoCount try_send_file(int fd, std::span<const iovec> head, int file, std::uint64_t offset,
                        std::uint64_t length) override {
    return world_.try_send_file(fd, head, file, offset, length);
  }
  bool is_cached(int file, std::uint64_t offset, std::uint64_t length) override {
    return world_.is_cached(file, offset, length);
  }
  IoCount try_read(int fd, std::span<const iovec> vectors, std::uint64_t offset, Caching caching) override {
    if (caching == Caching::kDrop) return fail(EOPNOTSUPP);
    return world_.try_read(fd, vectors, offset);
  }
  IoCount try_read_memory(int fd, std::span<const iovec> vectors, std::uint64_t offset) override {
    return world_.try_read(fd, vectors, offset);
  }
  IoCount try_write(int fd, std::span<const iovec> vectors, std::uint64_t offset) override {
    return world_.try_write(fd, vectors, offset);
  }
  IoResult try_stat(int fd, FileInfo& info) override { return world_.try_stat(fd, info); }
  std::expected<int, Errno> try_accept(int fd) override { return world_.try_accept(fd); }
  void shut_down(int fd) override { world_.shut_down(fd); }
  IoResult watch_hang_up(int fd, HangUpWatch& watch) override;
  void forget_hang_up(int fd) override { watches_.erase(fd); }
  void collect_hang_ups(std::vector<HangUpWatch*>& hung_up) override;
  void close(int fd) override { world_.close(fd); }
  void close_file(int fd) override { world_.close(fd); }

  // Applies a power cut to the operations under way.
  void lose_power();

 private:
  void schedule(Operation& operation);
  void notice_ready_polls();

  World& world_;
  OperationList polls_;  // polls that are not ready yet
  // Operations under way, by completion time; the random second part of the key orders those of the same time.
  std::multimap<std::pair<std::uint64_t, std::uint64_t>, Operation*> under_way_;
  OperationList cancelled_;
  std::map<int, HangUpWatch*> watches_;
  std::atomic<bool> woken_ = false;
};

}  // namespace blockexport::aio
