#include "export/engine/request_engine.h"

#include <cassert>

#include "aio/reactor/reactor.h"

namespace blockexport::exports {

RequestEngine::RequestEngine(EngineContext context)
    : context_(context),
      budget_(context.reactor, context.process_budget),
      requests_(context.reactor),
      slot_free_(context.reactor) {}

RequestEngine::~RequestEngine() {
  assert(!inside_ && !fence_raised_ && requests_in_flight_ == 0);
}

bool RequestEngine::take_memory(std::size_t bytes) {
  if (credit_bytes_ >= bytes) {
    // The wait may have acquired more memory than the request needs now.
    budget_.give_back(credit_bytes_ - bytes);
    credit_bytes_ = 0;
    return true;
  }
  give_back_credit();
  wanted_bytes_ = bytes;
  return budget_.try_take(bytes);
}

aio::Task<IoResult> RequestEngine::wait_for_memory() {
  IoResult taken = co_await budget_.take(wanted_bytes_, kMemoryPatienceNs);
  if (taken) credit_bytes_ += wanted_bytes_;
  if (taken || taken.error() != Errno(ETIMEDOUT)) co_return taken;
  memory_is_scarce_ = true;
  co_return IoResult{};
}

std::size_t RequestEngine::bounce_bytes(Verb verb, block::Range range) const {
  if (!inside_) return 0;
  const block::Node& node = context_.edge.node();
  switch (verb) {
    case Verb::kRead:
    case Verb::kWrite:
      return node.bounce_bytes(range);
    case Verb::kWriteZeroes:
      return node.bounce_bytes_of_zeroes(range);
    default:
      return 0;
  }
}

std::expected<block::FileSpan, Errno> RequestEngine::share_now(block::Range range) {
  if (!inside_) return fail(EAGAIN);
  auto span = context_.edge.node().try_share(context_.reactor, range);
  if (span) inline_bytes_ += range.length;
  return span;
}

void RequestEngine::start(const char* name, const BlockRequest& request, aio::Task<void> task) {
  assert(accepts_requests_);
  ++requests_in_flight_;
  if (request.changes_data()) ++writes_in_flight_;
  requests_.spawn(name, std::move(task));
}

void RequestEngine::begin_running(Running& running) {
  const bool is_oldest = running_.empty();
  running_.push_back(running);
  if (context_.client == nullptr) return;
  context_.client->in_flight.add(1);
  if (is_oldest) context_.client->oldest_since_ns.set(running.received_ns);
}

void RequestEngine::end_running(Running& running) {
  const bool was_oldest = &running_.front() == &running;
  running.unlink();
  if (context_.client == nullptr) return;
  context_.client->in_flight.subtract(1);
  if (was_oldest) context_.client->oldest_since_ns.set(running_.empty() ? 0 : running_.front().received_ns);
}

void RequestEngine::request_ended(const BlockRequest& request) {
  --requests_in_flight_;
  slot_free_.set();
  if (request.changes_data()) --writes_in_flight_;
  lower_fence_when_done();
}

aio::Task<IoResult> RequestEngine::perform(BlockRequest request) {
  block::Node& node = context_.edge.node();
  const bool force_unit_access = request.force_unit_access || context_.writethrough;
  switch (request.verb) {
    case Verb::kFlush:
      co_return co_await node.flush();
    case Verb::kPrefetch:
      co_return co_await node.prefetch(request.range);
    case Verb::kDiscard: {
      CO_TRY(co_await node.discard(request.range));
      if (!force_unit_access) co_return IoResult{};
      co_return co_await node.flush();
    }
    case Verb::kWriteZeroes: {
      const block::ZeroOptions options{
          .force_unit_access = force_unit_access, .may_unmap = request.may_unmap, .no_fallback = request.no_fallback};
      co_return co_await node.write_zeroes(request.range, options);
    }
    default:
      co_return fail(EINVAL);
  }
}

aio::Task<IoResult> RequestEngine::read_part(block::Range range, iovec data, bool was_shared) {
  CO_TRY(co_await context_.edge.enter());
  block::Node& node = context_.edge.node();
  aio::Task<IoResult> reading = was_shared ? node.read_shared(range, {&data, 1}) : node.read(range, {&data, 1});
  IoResult result = co_await std::move(reading);
  context_.edge.leave();
  co_return result;
}

void RequestEngine::end_requests(bool may_be_succeeded) {
  accepts_requests_ = false;
  if (may_be_succeeded && writes_in_flight_ > 0) raise_fence();
  lower_fence_when_done();
}

void RequestEngine::raise_fence() {
  if (std::exchange(fence_raised_, true)) return;
  context_.fence.raise();
}

void RequestEngine::lower_fence_when_done() {
  if (!fence_raised_ || accepts_requests_ || writes_in_flight_ > 0) return;
  fence_raised_ = false;
  context_.fence.lower();
}

}  // namespace blockexport::exports
