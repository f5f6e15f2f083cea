// ReplyWriter: puts the results of requests into the form that the client understands, and queues them to be sent.
//
// A reply of a request that was not started yet may find no memory: then nothing was queued, and the request stays
// where it is. A request that was started has its reply in any case, over the limit of the budget if need be. Owned by
// the session; thread: its reactor's. Never waits.
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
  // Success of a request that asks for nothing.
  bool succeed_now(const Request& request);
  bool refuse_now(const Request& request, const Verdict& verdict);
  // A READ of zeroes.
  bool put_hole(const ReadPlan& plan);
  // Memory for what write_run() or succeed() of as many requests will take.
  bool reserve_successes(std::size_t requests) { return !queue_.reserve(requests * kReplyHeadBytesMax).empty(); }

  // A short READ that is read into the queue: where its data go, empty without memory; then its head, or nothing.
  std::span<std::byte> reserve_read(const ReadPlan& plan) {
    const std::span<std::byte> room = queue_.reserve(plan.reply_bytes());
    return room.empty() ? room : room.subspan(plan.head_bytes);
  }
  void commit_read(const ReadPlan& plan, std::span<std::byte> data) {
    std::ranges::copy(plan.head(), data.data() - plan.head_bytes);
    queue_.commit(plan.reply_bytes());
  }
  // A longer one, whose data stand in `buffer` from kReplyDataStart on.
  void put_read(aio::Buffer buffer, std::size_t head_bytes, std::size_t data_bytes, std::size_t budget_bytes) {
    queue_.push(std::move(buffer), kReplyDataStart - head_bytes, kReplyDataStart + data_bytes, budget_bytes);
  }

  // --- replies that find their memory in any case ---
  void succeed(const Request& request);
  // What the error number leaves open is said by a text; the number that goes out.
  NbdError report_failure(const Request& request, Errno error);
  // Success of each of them, in memory that was reserved.
  void write_run(const WriteRun& run);
  // A whole answer to BLOCK_STATUS, for which `budget_bytes` were taken.
  void put_status(const StatusReply& reply, std::size_t budget_bytes);

 private:
  aio::BufferPool& pool_;
  aio::MemoryBudget& budget_;
  HeaderMode mode_;
  const RequestRules& rules_;
  ReplyQueue queue_;
};

}  // namespace blockexport::nbd
