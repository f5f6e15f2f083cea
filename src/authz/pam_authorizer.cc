#include "authz/pam_authorizer.h"

#include <fmt/format.h>

#include <utility>

#include "authz/rule_list.h"
#include "base/printable.h"

namespace blockexport::authz {

// One call of PAM. Shared by the check and by the task that runs the call, which may outlive the check.
struct PamCalls::Call {
  Call(aio::Reactor& reactor, const PamCalls& calls, std::string service_name, std::string user_name)
      : ask(calls.ask_),
        pam(calls.pam_),
        directory(calls.directory_),
        service(std::move(service_name)),
        user(std::move(user_name)),
        ended(reactor) {}

  Ask ask;
  PamLibrary pam;
  const char* directory;
  std::string service;
  std::string user;
  // Written by the worker thread, until `answered`.
  bool allowed = false;
  std::string reason;

  bool abandoned = false;  // the check has ended
  bool answered = false;
  aio::Event ended;  // set on the answer, or at the deadline
};

namespace {

aio::Task<void> set_at(aio::Reactor& reactor, std::uint64_t deadline_ns, aio::Event& event) {
  if (co_await reactor.sleep_until(deadline_ns)) event.set();
}

}  // namespace

aio::Task<void> PamCalls::run(PamCalls& calls, std::shared_ptr<Call> call) {
  if (co_await calls.free_.acquire(1)) {
    if (!call->abandoned) {
      auto work = [](void* argument) -> std::int64_t {
        Call& one = *static_cast<Call*>(argument);
        one.allowed = one.ask(one.pam, one.directory, one.service.c_str(), one.user.c_str(), one.reason);
        return 0;
      };
      call->answered = (co_await calls.reactor_.call(work, call.get())).has_value();
    }
    calls.free_.release(1);
  }
  call->ended.set();
  if (calls.scope_.size() == 1) calls.none_run_.set();
}

Result<> PamCalls::load() {
  if (pam_.start != nullptr) return {};
  TRY_ASSIGN(pam_, load_pam());
  return {};
}

aio::Task<Verdict> PamCalls::check(std::string service, std::string identity) {
  Verdict verdict{.allowed = false, .rule = fmt::format("service '{}'", printable(service)), .reason = {}};
  auto refuse = [&verdict](std::string reason) {
    verdict.reason = std::move(reason);
    return std::move(verdict);
  };
  // PAM's names end at a NUL, so an identity with one could pass by a prefix that is a valid name.
  if (identity.find('\0') != std::string::npos) co_return refuse("the identity has a NUL in it");
  if (identity.size() > kIdentityBytesMax) co_return refuse("the identity is too long");
  if (scope_.cancelled()) co_return refuse("the daemon is shutting down");
  if (scope_.size() >= kPamCallsMax + kPamWaitingMax) co_return refuse("too many checks wait for PAM");

  auto call = std::make_shared<Call>(reactor_, *this, std::move(service), std::move(identity));
  scope_.spawn("pam", run(*this, call));
  aio::Scope timer(reactor_);
  timer.spawn("pam timer", set_at(reactor_, reactor_.now_ns() + wait_ns_, call->ended));
  IoResult waited = co_await call->ended.wait();
  timer.cancel();
  co_await timer.join();
  if (!call->answered) {
    call->abandoned = true;
    co_return refuse(waited && !scope_.cancelled() ? "PAM did not answer in time"
                                                   : "the check was cancelled before PAM answered");
  }
  verdict.allowed = call->allowed;
  verdict.reason = std::move(call->reason);
  co_return verdict;
}

aio::Task<bool> PamCalls::close() {
  scope_.cancel();
  if (scope_.size() > 0) {
    none_run_.reset();
    aio::Scope timer(reactor_);
    const std::uint64_t deadline_ns = reactor_.now_ns() + close_wait_ns_;
    timer.spawn("pam close timer", set_at(reactor_, deadline_ns, none_run_));
    (void)co_await none_run_.wait();
    timer.cancel();
    co_await timer.join();
    // The last task may not have left the scope yet, but then no worker thread runs for it.
    if (reactor_.now_ns() >= deadline_ns && scope_.size() > 0) co_return false;
  }
  co_await scope_.join();
  co_return true;
}

}  // namespace blockexport::authz
