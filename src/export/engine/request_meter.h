// RequestMeter: counts the answered requests of one session in the counters of its client and of its export.
//
// Requests that are answered while their batch is handled are collected, and counted with one time stamp when their
// replies are handed to the stream; other requests are counted at once. Owned by the session; thread: that of its
// reactor. Never allocates.
#pragma once

#include <array>
#include <cstdint>

#include "export/engine/operation_counters.h"

namespace blockexport::exports {

class RequestMeter {
 public:
  // Null pointers: it counts nothing. Both outlive it.
  RequestMeter(ReactorCounters* shared, ClientCounters* client) : shared_(shared), client_(client) {}

  // `requests` requests with `bytes` bytes together have succeeded, which were received with this batch.
  void succeeded_in_batch(Verb verb, std::uint64_t bytes, std::uint64_t requests = 1) {
    Pending& pending = pending_[index_of(verb)];
    pending.operations += requests;
    pending.bytes += bytes;
    has_pending_ = true;
  }
  void failed_in_batch(Verb verb, ErrorClass error) {
    succeeded_in_batch(verb, 0);
    count_error(verb, error);
  }
  bool has_pending() const { return has_pending_; }
  // The replies of the batch that was received at `received_ns` are handed to the stream.
  void batch_ends(std::uint64_t received_ns, std::uint64_t now_ns) {
    has_pending_ = false;
    for (std::size_t verb = 0; verb < kVerbs; ++verb) {
      Pending& pending = pending_[verb];
      if (pending.operations == 0) continue;
      count(verb, pending.operations, pending.bytes, now_ns - received_ns);
      pending = {};
    }
  }

  // A request that was received at `received_ns` ends outside of its batch.
  void succeeded(Verb verb, std::uint64_t bytes, std::uint64_t received_ns, std::uint64_t now_ns) {
    count(index_of(verb), 1, bytes, now_ns - received_ns);
  }
  void failed(Verb verb, ErrorClass error, std::uint64_t received_ns, std::uint64_t now_ns) {
    count(index_of(verb), 1, 0, now_ns - received_ns);
    count_error(verb, error);
  }

  // The reader of the session has waited for a resource.
  void waited(LimitKind kind, std::uint64_t elapsed_ns) {
    if (shared_ == nullptr) return;
    shared_->limit_waits[static_cast<std::size_t>(kind)].add(1);
    shared_->limit_wait_ns[static_cast<std::size_t>(kind)].add(elapsed_ns);
  }
  void waited_for_fence() {
    if (shared_ != nullptr) shared_->fence_waits.add(1);
  }

 private:
  struct Pending {
    std::uint32_t operations = 0;
    std::uint64_t bytes = 0;
  };

  static std::size_t index_of(Verb verb) { return static_cast<std::size_t>(verb); }
  void count(std::size_t verb, std::uint64_t operations, std::uint64_t bytes, std::uint64_t elapsed_ns) {
    if (client_ != nullptr) {
      client_->operations[verb].add(operations);
      client_->bytes[verb].add(bytes);
    }
    if (shared_ == nullptr) return;
    VerbCounts<OwnedCounter>& counts = shared_->verbs[verb];
    counts.operations.add(operations);
    counts.bytes.add(bytes);
    counts.elapsed_ns.add(operations * elapsed_ns);
    counts.latencies[latency_bucket(elapsed_ns)].add(operations);
  }
  void count_error(Verb verb, ErrorClass error) {
    if (shared_ != nullptr) shared_->verbs[index_of(verb)].errors[static_cast<std::size_t>(error)].add(1);
  }

  ReactorCounters* shared_;
  ClientCounters* client_;
  std::array<Pending, kVerbs> pending_{};
  bool has_pending_ = false;
};

}  // namespace blockexport::exports
