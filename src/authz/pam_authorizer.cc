#include "authz/pam_authorizer.h"

#include <fmt/format.h>

#include <utility>

#include "aio/sync/with_deadline.h"
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
  aio::Event ended;  // set on the answer, or when nobody asks any more
};

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
  const std::uint64_t deadline_ns = aio::deadline_after(reactor_, wait_ns_);
  IoResult waited = co_await aio::with_deadline("pam answer", deadline_ns, call->ended);
  if (!call->answered) {
    call->abandoned = true;
    const bool is_late = !waited && waited.error() == Errno(ETIMEDOUT) && !scope_.cancelled();
    co_return refuse(is_late ? "PAM did not answer in time" : "the check was cancelled before PAM answered");
  }
  verdict.allowed = call->allowed;
  verdict.reason = std::move(call->reason);
  co_return verdict;
}

aio::Task<bool> PamCalls::close() {
  scope_.cancel();
  if (scope_.size() > 0) {
    none_run_.reset();
    const std::uint64_t deadline_ns = aio::deadline_after(reactor_, close_wait_ns_);
    IoResult waited = co_await aio::with_deadline("pam end", deadline_ns, none_run_);
    const bool is_late = !waited && waited.error() == Errno(ETIMEDOUT);
    // The last task may not have left the scope yet, but then no worker thread runs for it.
    if (is_late && scope_.size() > 0) co_return false;
  }
  co_await scope_.join();
  co_return true;
}

}  // namespace blockexport::authz
