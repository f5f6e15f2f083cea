// TASK_TEST_P and TASK_TEST_F: a GoogleTest case whose body is a coroutine and a member of its fixture.
//
//   class MyTest : public aio::testing::ForEachBackend {
//    protected:
//     template <class Test>
//     aio::Task<void> body();
//   };
//   TASK_TEST_P(MyTest, DoesThis) { EXPECT_TRUE(co_await reactor().read(...)); }
//
// The fixture declares body() itself and has run(Task<void>). A member function needs no captures, whereas those of a
// lambda are destroyed while its coroutine still runs. ASSERT_* and GTEST_SKIP use return, so coroutines use CO_ASSERT
// and CO_SKIP. Thread: the test's.
#pragma once

#include <gtest/gtest.h>

#include "aio/task/task.h"

// NOLINTBEGIN(readability-identifier-naming): the names of GoogleTest's own macros are the pattern.
#define BLOCKEXPORT_TASK_TEST(kind, suite, name)                       \
  struct suite##_##name##_Body;                                        \
  template <>                                                          \
  ::blockexport::aio::Task<void> suite::body<suite##_##name##_Body>(); \
  kind(suite, name) {                                                  \
    this->run(this->body<suite##_##name##_Body>());                    \
  }                                                                    \
  template <>                                                          \
  ::blockexport::aio::Task<void> suite::body<suite##_##name##_Body>()

#define TASK_TEST_P(suite, name) BLOCKEXPORT_TASK_TEST(TEST_P, suite, name)
#define TASK_TEST_F(suite, name) BLOCKEXPORT_TASK_TEST(TEST_F, suite, name)
// NOLINTEND(readability-identifier-naming)

// ASSERT_TRUE for a coroutine.
#define CO_ASSERT(condition)       \
  do {                             \
    if (!(condition)) {            \
      ADD_FAILURE() << #condition; \
      co_return;                   \
    }                              \
  } while (false)

// GTEST_SKIP for a coroutine, with a reason.
#define CO_SKIP(reason)                 \
  do {                                  \
    []() { GTEST_SKIP() << reason; }(); \
    co_return;                          \
  } while (false)
