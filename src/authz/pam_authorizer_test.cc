#include "authz/pam_authorizer.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <fstream>
#include <optional>

#include "aio/testing/backends.h"
#include "authz/rule_list.h"

namespace blockexport::authz {
namespace {

class PamTest : public aio::testing::ForEachBackend {
 protected:
  static aio::Task<void> keep(aio::Task<Verdict> task, std::optional<Verdict>& verdict) {
    verdict.emplace(co_await std::move(task));
  }
  Verdict check(PamCalls& calls, std::string identity) {
    PamAuthorizer authorizer(calls, "blockexport-test");
    std::optional<Verdict> verdict;
    run(keep(authorizer.check(std::move(identity)), verdict));
    return *verdict;
  }
  static aio::Task<void> note(aio::Task<bool> task, bool& outcome) { outcome = co_await std::move(task); }
  bool try_close(PamCalls& calls) {
    bool closed = false;
    run(note(calls.close(), closed));
    return closed;
  }
  void close(PamCalls& calls) { EXPECT_TRUE(try_close(calls)); }
  // Creates a directory of service files that contains this one.
  std::string service_directory(std::string_view rules) {
    std::ofstream(directory_.path() + "/blockexport-test") << rules;
    return directory_.path();
  }
  aio::testing::TemporaryDirectory directory_;
};
BLOCKEXPORT_FOR_EACH_BACKEND(PamTest);

TEST_P(PamTest, AnAccountThatTheRulesPermitMayComeIn) {
  std::string directory = service_directory("account required pam_permit.so\n");
  PamCalls calls(reactor(), ask_pam, directory.c_str());
  ASSERT_TRUE(calls.load());
  Verdict verdict = check(calls, "root");
  EXPECT_TRUE(verdict.allowed) << verdict.reason;
  EXPECT_EQ(verdict.rule, "service 'blockexport-test'");
  close(calls);
}

TEST_P(PamTest, AnAccountThatTheRulesDenyMayNot) {
  std::string directory = service_directory("account required pam_deny.so\n");
  PamCalls calls(reactor(), ask_pam, directory.c_str());
  ASSERT_TRUE(calls.load());
  Verdict verdict = check(calls, "root");
  EXPECT_FALSE(verdict.allowed);
  EXPECT_TRUE(verdict.reason.starts_with("Unable to authorize user 'root': ")) << verdict.reason;
  close(calls);
}

// PAM then uses the service "other", which every system has. (Without a service file libpam leaks memory.)
TEST_P(PamTest, AServiceThatIsNotThereDenies) {
  std::ofstream(directory_.path() + "/other") << "account required pam_deny.so\n";
  PamCalls calls(reactor(), ask_pam, directory_.path().c_str());
  ASSERT_TRUE(calls.load());
  EXPECT_FALSE(check(calls, "root").allowed);
  close(calls);
}

TEST_P(PamTest, WithoutTheLibraryNobodyMayComeIn) {
  PamCalls calls(reactor());
  Verdict verdict = check(calls, "root");
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.reason, "the library of PAM is not loaded");
  close(calls);
}

bool allow_all(const PamLibrary&, const char*, const char*, const char*, std::string&) {
  return true;
}

TEST_P(PamTest, ANameThatPamWouldCutIsRefused) {
  PamCalls calls(reactor(), allow_all);
  EXPECT_TRUE(check(calls, "root").allowed);
  EXPECT_EQ(check(calls, std::string("root\0x", 6)).reason, "the identity has a NUL in it");
  EXPECT_EQ(check(calls, std::string(kIdentityBytesMax + 1, 'x')).reason, "the identity is too long");
  close(calls);
}

// Global state that the fake PAM calls of the tests below use; each test sets it up again.
std::atomic<bool> let_go = false;
std::atomic<int> running = 0;
std::atomic<int> running_most = 0;
std::atomic<int> asked = 0;

bool hang(const PamLibrary&, const char*, const char*, const char*, std::string&) {
  int now = ++running;
  int most = running_most;
  while (now > most && !running_most.compare_exchange_weak(most, now)) {
  }
  ++asked;
  let_go.wait(false);
  --running;
  return true;
}

void set_up_hang() {
  let_go = false;
  running = 0;
  running_most = 0;
  asked = 0;
}

TEST_P(PamTest, AModuleThatHangsIsGivenUpOn) {
  if (simulated()) GTEST_SKIP() << "a simulation has no thread that could hang";
  set_up_hang();
  constexpr std::uint64_t kWaitNs = 50'000'000;
  PamCalls calls(reactor(), hang, nullptr, kWaitNs);
  std::uint64_t before_ns = reactor().now_ns();
  Verdict verdict = check(calls, "root");
  EXPECT_FALSE(verdict.allowed);
  EXPECT_EQ(verdict.reason, "PAM did not answer in time");
  EXPECT_GE(reactor().now_ns() - before_ns, kWaitNs);
  let_go = true;
  let_go.notify_all();
  close(calls);
  EXPECT_EQ(running, 0);
}

TEST_P(PamTest, NoMoreThanAFewWorkersAreTakenAndWhoGaveUpWaitingIsNotAskedFor) {
  if (simulated()) GTEST_SKIP() << "a simulation has no thread that could hang";
  set_up_hang();
  PamCalls calls(reactor(), hang);
  aio::Scope scope(reactor());
  std::array<std::optional<Verdict>, 12> verdicts;
  for (auto& verdict : verdicts) scope.spawn("check", keep(calls.check("s", "root"), verdict));
  while (running_most < static_cast<int>(kPamCallsMax)) reactor().run_once(10'000'000);
  scope.cancel();
  run(scope.join());
  for (auto& verdict : verdicts) {
    EXPECT_FALSE(verdict->allowed);
    EXPECT_EQ(verdict->reason, "the check was cancelled before PAM answered");
  }
  let_go = true;
  let_go.notify_all();
  close(calls);
  EXPECT_EQ(running_most, static_cast<int>(kPamCallsMax));
  EXPECT_EQ(asked, static_cast<int>(kPamCallsMax));
}

TEST_P(PamTest, TheEndDoesNotWaitForAModuleThatHangs) {
  if (simulated()) GTEST_SKIP() << "a simulation has no thread that could hang";
  set_up_hang();
  constexpr std::uint64_t kWaitNs = 50'000'000;
  PamCalls calls(reactor(), hang, nullptr, kWaitNs, kWaitNs);
  EXPECT_FALSE(check(calls, "root").allowed);
  const std::uint64_t before_ns = reactor().now_ns();
  EXPECT_FALSE(try_close(calls));
  EXPECT_GE(reactor().now_ns() - before_ns, kWaitNs);
  EXPECT_EQ(calls.under_way(), 1u);
  let_go = true;
  let_go.notify_all();
  while (!try_close(calls)) {
  }
  EXPECT_EQ(running, 0);
}

TEST_P(PamTest, TheEndWaitsForAModuleThatReturnsInTime) {
  if (simulated()) GTEST_SKIP() << "a simulation has no thread that could hang";
  set_up_hang();
  constexpr std::uint64_t kWaitNs = 10'000'000;
  PamCalls calls(reactor(), hang, nullptr, kWaitNs);
  EXPECT_FALSE(check(calls, "root").allowed);
  let_go = true;
  let_go.notify_all();
  close(calls);
  EXPECT_EQ(calls.under_way(), 0u);
}

TEST_P(PamTest, ACheckThatComesWhenItEndsIsRefused) {
  PamCalls calls(reactor(), allow_all);
  close(calls);
  EXPECT_EQ(check(calls, "root").reason, "the daemon is shutting down");
}

}  // namespace
}  // namespace blockexport::authz
