#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "base/log.h"
#include "sample_schema/command_table.h"
#include "sample_schema/introspection.h"
#include "sample_schema/sample_commands.h"
#include "schema/sample/json_text.h"

// The handlers that the sample schema declares.
namespace blockexport::control {

class Control {
 public:
  std::vector<std::string> calls;
};

aio::Task<Result<schema::Sum>> add_numbers(Control& control, schema::AddNumbersArguments arguments) {
  control.calls.emplace_back("add-numbers");
  if (arguments.a < 0) co_return fail("negative");
  co_return schema::Sum{.sum = arguments.a + arguments.b.value_or(0)};
}
aio::Task<Result<std::vector<schema::Point>>> boxed_command(Control& control, schema::Shape arguments) {
  control.calls.emplace_back(name_of(arguments.kind()));
  co_return std::vector<schema::Point>{{.x = 1, .y = 2, .color = {}}};
}
aio::Task<Result<>> named_command(Control& control, schema::Point arguments) {
  control.calls.push_back(std::to_string(arguments.x));
  co_return Result<>();
}
aio::Task<Result<std::int64_t>> number_of(Control& control) {
  co_return std::ssize(control.calls);
}
aio::Task<Result<json::Value>> raw_command(Control& /*control*/, const json::Value* arguments) {
  co_return arguments != nullptr ? *arguments : json::Value();
}
aio::Task<Result<>> nothing(Control& control) {
  control.calls.emplace_back("nothing");
  co_return Result<>();
}

}  // namespace blockexport::control

namespace blockexport::schema {
namespace {

using test::array;
using test::object;

class Commands : public testing::Test {
 protected:
  // Runs a command whose handler never waits.
  Result<json::Value> run(std::string_view name, const json::Value* arguments) {
    const CommandEntry* entry = find_command(command_table(), name);
    if (entry == nullptr) return fail("no such command");
    auto reactor = aio::Reactor::create({.backend = aio::BackendKind::kEpoll}, log_);
    if (!reactor) return std::unexpected(std::move(reactor).error());
    Result<json::Value> result = fail("the handler waits");
    aio::Scope scope(**reactor);
    scope.spawn("test", keep(entry->run(control_, arguments), result));
    return result;
  }

  static aio::Task<void> keep(aio::Task<Result<json::Value>> task, Result<json::Value>& result) {
    result = co_await std::move(task);
  }

  Log log_{"schema_test", STDERR_FILENO, LogLevel::kError};
  control::Control control_;
};

TEST_F(Commands, AreSortedByName) {
  auto table = command_table();
  ASSERT_EQ(table.size(), 6U);
  EXPECT_TRUE(std::ranges::is_sorted(table, {}, &CommandEntry::name));
  EXPECT_EQ(find_command(table, "absent-command"), nullptr);
  EXPECT_TRUE(find_command(table, "number-of")->allow_preconfig);
  EXPECT_TRUE(find_command(table, "boxed-command")->allow_oob);
  EXPECT_FALSE(find_command(table, "nothing")->allow_oob);
}

TEST_F(Commands, DecodeRunEncode) {
  auto arguments = object({{"a", 1}, {"b", 2}});
  EXPECT_EQ(*run("add-numbers", &arguments), object({{"sum", 3}}));
}

TEST_F(Commands, AnswerAnEmptyObjectForNothing) {
  EXPECT_EQ(*run("nothing", nullptr), object({}));
  auto point = object({{"x", 7}, {"y", 0}});
  EXPECT_EQ(*run("named-command", &point), object({}));
  EXPECT_EQ(control_.calls, (std::vector<std::string>{"nothing", "7"}));
}

TEST_F(Commands, DoNotRunWithWrongArguments) {
  EXPECT_EQ(run("add-numbers", nullptr).error().message(), "Parameter 'a' is missing");
  auto arguments = object({{"x", 1}});
  EXPECT_EQ(run("nothing", &arguments).error().message(), "Parameter 'x' is unexpected");
  EXPECT_TRUE(control_.calls.empty());
}

TEST_F(Commands, PassErrorsOn) {
  auto arguments = object({{"a", -1}});
  EXPECT_EQ(run("add-numbers", &arguments).error().message(), "negative");
}

TEST_F(Commands, TakeUnionsAndReturnLists) {
  auto shape = object({{"kind", "circle"}, {"radius", 1}});
  EXPECT_EQ(*run("boxed-command", &shape), array({object({{"x", 1}, {"y", 2}})}));
  EXPECT_EQ(control_.calls.at(0), "circle");
}

TEST_F(Commands, ReturnScalarsAndRawValues) {
  EXPECT_EQ(*run("number-of", nullptr), json::Value(0));
  auto arguments = object({{"any", "thing"}});
  EXPECT_EQ(*run("raw-command", &arguments), arguments);
}

TEST(Introspection, IsJsonText) {
  auto text = introspection_text();
  EXPECT_TRUE(text.starts_with(R"([{"name":"add-numbers")"));
  EXPECT_TRUE(text.ends_with("}]"));
  EXPECT_EQ(text.find("Shape"), text.npos);
}

}  // namespace
}  // namespace blockexport::schema
