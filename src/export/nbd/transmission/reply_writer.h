// ReplyWriter: encodes the results of requests in the client's header mode, and queues the replies.
//
// The reply to a request that was not started yet may get no memory: then nothing is queued, and the request stays in
// the input. A request that was started always gets its reply, over the limit of the budget if need be. Owned by the
// session; thread: that of its reactor. Never waits.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "export/nbd/transmission/read_plan.h"
#include "export/nbd/transmission/reply_queue.h"
#include "export/nbd/transmission/request_memory.h"
#include "export/nbd/transmission/status_reply.h"
#include "export/nbd/wire/reply_encoder.h"
#include "export/nbd/wire/request_check.h"
#include "export/nbd/wire/write_run.h"

namespace blockexport::nbd {

static_assert(kReadHeadBytesMax <= kReplyDataStart);

class ReplyWriter {
 public:
  // `rules` are the session's, and outlive it.
  ReplyWriter(aio::BufferPool& pool, aio::MemoryBudget& budget, HeaderMode mode, const RequestRules& rules)
      : pool_(pool), budget_(budget), mode_(mode), rules_(rules), queue_(pool, budget) {}

  ReplyQueue& queue() { return queue_; }
  const ReplyQueue& queue() const { return queue_; }

  // --- replies of requests that were not started; false: no memory, see ReplyQueue::grant_shared_buffer() ---
  // Success of a request that returns no data.
  bool succeed_now(const Request& request);
  bool refuse_now(const Request& request, const Verdict& verdict);
  // A READ of zeroes.
  bool put_hole(const ReadPlan& plan);
  // Reserves memory for write_run(), or for succeed() of as many requests.
  bool reserve_successes(std::size_t requests) { return !queue_.reserve(requests * kReplyHeadBytesMax).empty(); }

  // A short READ into the queue's own memory: returns the buffer for its data, empty if there is no memory; then
  // commits it with its header, or drops it.
  std::span<std::byte> reserve_read(const ReadPlan& plan) {
    const std::span<std::byte> space = queue_.reserve(plan.reply_bytes());
    return space.empty() ? space : space.subspan(plan.head_bytes);
  }
  void commit_read(const ReadPlan& plan, std::span<std::byte> data) {
    std::ranges::copy(plan.head(), data.data() - plan.head_bytes);
    queue_.commit(plan.reply_bytes());
  }
  // A longer READ, whose data are in `buffer` from kReplyDataStart on.
  void put_read(aio::Buffer buffer, std::size_t head_bytes, std::size_t data_bytes, std::size_t budget_bytes) {
    queue_.push(std::move(buffer), kReplyDataStart - head_bytes, kReplyDataStart + data_bytes, budget_bytes);
  }

  // --- replies that always get memory ---
  void succeed(const Request& request);
  // The reply to a failed request, with a text that adds details to the error number; returns the number that is sent.
  NbdError report_failure(const Request& request, Errno error);
  // Success of each request, in reserved memory.
  void write_run(const WriteRun& run);
  // A complete BLOCK_STATUS reply, for which `budget_bytes` were taken.
  void put_status(const StatusReply& reply, std::size_t budget_bytes);

 private:
  aio::BufferPool& pool_;
  aio::MemoryBudget& budget_;
  HeaderMode mode_;
  const RequestRules& rules_;
  ReplyQueue queue_;
};

}  // namespace blockexport::nbd
