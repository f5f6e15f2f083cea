#include "drivers/replicas/all_at_once.h"

#include <utility>

#include "aio/sync/scope.h"
#include "aio/task/current.h"

namespace blockexport::drivers {
namespace {

aio::Task<void> keep_result(aio::Task<IoResult> task, IoResult& result) {
  result = co_await std::move(task);
}

}  // namespace

aio::Task<std::vector<IoResult>> all_at_once(const char* name, std::vector<aio::Task<IoResult>> tasks) {
  std::vector<IoResult> results(tasks.size());
  aio::Scope scope(co_await aio::current_reactor());
  for (std::size_t i = 0; i < tasks.size(); ++i) scope.spawn(name, keep_result(std::move(tasks[i]), results[i]));
  co_await scope.join();
  co_return results;
}

}  // namespace blockexport::drivers
