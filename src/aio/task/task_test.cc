#include "aio/task/task.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/testing/backends.h"

namespace blockexport::aio {
namespace {

class TaskTest : public testing::ForEachBackend {};
BLOCKEXPORT_FOR_EACH_BACKEND(TaskTest);

Task<int> identity(int value) {
  co_return value;
}

Task<void> await_many(int count, long& sum) {
  for (int i = 0; i < count; ++i) sum += co_await identity(1);
}

TEST_P(TaskTest, AMillionAwaitsThatCompleteAtOnceNeedNoStack) {
  long sum = 0;
  run(await_many(1'000'000, sum));
  EXPECT_EQ(sum, 1'000'000);
}

Task<int> identity_next_turn(int value) {
  co_await next_turn();
  co_return value;
}

Task<void> await_many_turns(int count, long& sum) {
  for (int i = 0; i < count; ++i) sum += co_await identity_next_turn(1);
}

TEST_P(TaskTest, ManyAwaitsThatSuspendNeedNoStack) {
  long sum = 0;
  run(await_many_turns(20'000, sum));
  EXPECT_EQ(sum, 20'000);
}

Task<int> depth(int levels) {
  if (levels == 0) co_return co_await identity_next_turn(1);
  int below = co_await depth(levels - 1);
  co_return below + 1;
}

Task<void> store(Task<int> task, int& out) {
  out = co_await std::move(task);
}

TEST_P(TaskTest, ResultsComeUpThroughSuspendedParents) {
  int result = 0;
  run(store(depth(100), result));
  EXPECT_EQ(result, 101);
}

Task<std::unique_ptr<std::string>> make_string(std::string text) {
  co_await next_turn();
  co_return std::make_unique<std::string>(std::move(text));
}

struct Options {
  std::shared_ptr<int> token;
  std::string text;
};

Task<std::size_t> take_options(Options options) {
  co_await next_turn();
  co_return options.text.size();
}

Task<void> pass_temporaries(std::shared_ptr<int> token, std::string& text, std::size_t& size) {
  text = *co_await make_string(std::string(50, 'z'));
  size = co_await take_options({token, std::string(60, 'y')});
}

TEST_P(TaskTest, TemporariesInTheAwaitExpressionDieOnce) {
  auto token = std::make_shared<int>(0);
  std::string text;
  std::size_t size = 0;
  run(pass_temporaries(token, text, size));
  EXPECT_EQ(text, std::string(50, 'z'));
  EXPECT_EQ(size, 60u);
  EXPECT_EQ(token.use_count(), 1);
}

TEST_P(TaskTest, ATaskThatIsNeverAwaitedNeverRuns) {
  long sum = 0;
  {
    Task<void> unused = await_many(10, sum);
  }
  EXPECT_EQ(sum, 0);
}

Task<void> note_reactor(Reactor*& out) {
  out = &co_await current_reactor();
}

TEST_P(TaskTest, KnowsItsReactor) {
  Reactor* found = nullptr;
  run(note_reactor(found));
  EXPECT_EQ(found, &reactor());
}

}  // namespace
}  // namespace blockexport::aio
