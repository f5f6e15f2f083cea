#include "aio/threads/reactor_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <cassert>

namespace blockexport::aio {

ReactorPool::ReactorPool(DataReactor& control, ReactorOptions options, const Log& log, std::uint32_t count_max)
    : options_(options), log_(log), count_max_(count_max) {
  assert(count_max > 0);
  members_.push_back(Member{.reactor = &control, .thread = nullptr});
}

ReactorPool::~ReactorPool() {
  assert(std::ranges::all_of(members_, [](const Member& one) { return one.reactor->client_count == 0; }));
}

DataReactor& ReactorPool::least_loaded() {
  return *std::ranges::min_element(members_, {}, [](const Member& one) { return one.reactor->client_count; })->reactor;
}

ReactorPool::Assignment ReactorPool::assign() {
  if (least_loaded().client_count > 0 && members_.size() < count_max_) start_one();
  return Assignment(least_loaded());
}

ReactorPool::Assignment ReactorPool::assign_among(std::span<DataReactor* const> reactors) {
  assert(!reactors.empty());
  return Assignment(**std::ranges::min_element(reactors, {}, &DataReactor::client_count));
}

void ReactorPool::start_one() {
  auto thread = ReactorThread::start(fmt::format("reactor-{}", members_.size()), options_, log_);
  if (!thread) {
    log_.warning(fmt::format("clients are served by only {} threads: {}", members_.size(), thread.error().message()));
    // Stops further attempts, which would otherwise come with each client.
    count_max_ = static_cast<std::uint32_t>(members_.size());
    return;
  }
  DataReactor& reactor = (*thread)->data_reactor();
  members_.push_back(Member{.reactor = &reactor, .thread = std::move(*thread)});
}

}  // namespace blockexport::aio
