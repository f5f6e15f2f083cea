#include "qmp/event_queue.h"

#include <gtest/gtest.h>

#include "aio/testing/backends.h"
#include "aio/testing/simulation.h"

namespace blockexport::qmp {
namespace {

// Records "NAME" or "NAME NUMBER" of each event.
class Listener final : public EventListener {
 public:
  ~Listener() { unlink(); }
  void on_event(const json::Value& event) override {
    const json::Object& message = *event.as_object();
    std::string text = *message.find("event")->as_string();
    if (const json::Value* data = message.find("data")) {
      if (const json::Value* number = data->as_object()->find("number")) text += " " + *number->as_string();
    }
    heard.push_back(text);
    if (leaves) unlink();
  }
  std::vector<std::string> heard;
  bool leaves = false;
};

using Heard = std::vector<std::string>;

class EventQueueTest : public ::testing::Test {
 protected:
  EventQueueTest() { queue_.add(listener_); }
  ~EventQueueTest() override {
    listener_.unlink();
    aio::testing::run(*reactor_, queue_.close());
  }

  void emit(std::string name, std::string number, std::string member = "", std::string subject = "") {
    json::Object data{{"number", number}};
    if (!member.empty()) data.set(member, subject);
    queue_.emit(json::Object{{"event", name}, {"data", std::move(data)}});
  }
  void advance(std::uint64_t milliseconds) {
    aio::testing::run(*reactor_, [](aio::Reactor& reactor, std::uint64_t until_ns) -> aio::Task<void> {
      (void)co_await reactor.sleep_until(until_ns);
    }(*reactor_, reactor_->now_ns() + milliseconds * 1'000'000));
  }

  aio::Simulation simulation_;
  std::unique_ptr<aio::Reactor> reactor_ = simulation_.make_reactor();
  Listener listener_;
  EventQueue queue_{*reactor_};
};

TEST_F(EventQueueTest, EveryListenerHearsEveryEventInOrder) {
  Listener other;
  queue_.add(other);
  for (int i = 0; i < 5; ++i) emit("JOB_STATUS_CHANGE", std::to_string(i));
  EXPECT_EQ(listener_.heard.size(), 5u);
  EXPECT_EQ(listener_.heard, other.heard);
  EXPECT_EQ(listener_.heard[4], "JOB_STATUS_CHANGE 4");
}

TEST_F(EventQueueTest, AListenerMayLeaveWhileItHears) {
  Listener other;
  listener_.leaves = true;
  queue_.add(other);
  emit("A", "1");
  emit("A", "2");
  EXPECT_EQ(listener_.heard, Heard{"A 1"});
  EXPECT_EQ(other.heard, (Heard{"A 1", "A 2"}));
}

TEST_F(EventQueueTest, AFloodIsLimitedToOneInASecondAndTheLastOneWins) {
  for (int i = 0; i < 10; ++i) emit("BLOCK_IO_ERROR", std::to_string(i), "qom-path", "/a");
  EXPECT_EQ(listener_.heard, Heard{"BLOCK_IO_ERROR 0"});
  advance(1100);
  EXPECT_EQ(listener_.heard, (Heard{"BLOCK_IO_ERROR 0", "BLOCK_IO_ERROR 9"}));
  emit("BLOCK_IO_ERROR", "10", "qom-path", "/a");
  EXPECT_EQ(listener_.heard.size(), 2u);
  advance(1100);
  EXPECT_EQ(listener_.heard.back(), "BLOCK_IO_ERROR 10");
  advance(1100);
  emit("BLOCK_IO_ERROR", "11", "qom-path", "/a");
  EXPECT_EQ(listener_.heard.back(), "BLOCK_IO_ERROR 11");
}

TEST_F(EventQueueTest, EachSubjectHasALimitOfItsOwn) {
  emit("QUORUM_REPORT_BAD", "1", "node-name", "a");
  emit("QUORUM_REPORT_BAD", "2", "node-name", "b");
  emit("QUORUM_REPORT_BAD", "3", "node-name", "a");
  EXPECT_EQ(listener_.heard, (Heard{"QUORUM_REPORT_BAD 1", "QUORUM_REPORT_BAD 2"}));
}

TEST_F(EventQueueTest, AnErrorThatStopsSomethingIsNotHeldBack) {
  for (const char* number : {"1", "2"}) {
    json::Object data{{"number", number}, {"qom-path", "/a"}, {"action", "stop"}};
    queue_.emit(json::Object{{"event", "BLOCK_IO_ERROR"}, {"data", std::move(data)}});
  }
  EXPECT_EQ(listener_.heard, (Heard{"BLOCK_IO_ERROR 1", "BLOCK_IO_ERROR 2"}));
}

TEST_F(EventQueueTest, ClosingDeliversWhatIsHeldBack) {
  emit("QUORUM_FAILURE", "1");
  emit("QUORUM_FAILURE", "2");
  aio::testing::run(*reactor_, queue_.close());
  EXPECT_EQ(listener_.heard, (Heard{"QUORUM_FAILURE 1", "QUORUM_FAILURE 2"}));
}

}  // namespace
}  // namespace blockexport::qmp
