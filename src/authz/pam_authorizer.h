// PamAuthorizer: asks PAM whether an account may come in (pam_acct_mgmt); PamCalls: the threads that this takes.
//
// PAM blocks, so it runs on a worker; no more than a few workers at a time, since files are served by the same ones. A
// check gives up after a time and denies; the call that it gave up on goes on until its module returns, and belongs to
// PamCalls. One that never returns is left alone when the process ends. PamCalls is owned by Control and outlives all
// authorizers; thread: the reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "aio/reactor.h"
#include "aio/scope.h"
#include "aio/sync.h"
#include "authz/authorizer.h"
#include "authz/pam_library.h"

namespace blockexport::authz {

// Less than the default time for a handshake, so that the reason still reaches the log.
inline constexpr std::uint64_t kPamWaitNs = 8'000'000'000;
inline constexpr std::uint64_t kPamCallsMax = 4;       // at a time
inline constexpr std::uint64_t kPamWaitingMax = 1024;  // besides; one more is denied at once
// How long the end of the process waits for modules whose answers nobody needs any longer.
inline constexpr std::uint64_t kPamCloseWaitNs = 1'000'000'000;

// Whether PAM lets `user` in by the rules of `service`; the reason why not in `reason`. Blocks; any thread.
// `directory`: of the service files, or null for the system's.
bool ask_pam(const PamLibrary& pam, const char* directory, const char* service, const char* user, std::string& reason);

class PamCalls {
 public:
  using Ask = bool (*)(const PamLibrary& pam, const char* directory, const char* service, const char* user,
                       std::string& reason);

  // `ask` does it; ask_pam(), or a test's. `directory` is handed to it.
  explicit PamCalls(aio::Reactor& reactor, Ask ask = ask_pam, const char* directory = nullptr,
                    std::uint64_t wait_ns = kPamWaitNs, std::uint64_t close_wait_ns = kPamCloseWaitNs)
      : reactor_(reactor),
        ask_(ask),
        directory_(directory),
        wait_ns_(wait_ns),
        close_wait_ns_(close_wait_ns),
        scope_(reactor),
        free_(reactor, kPamCallsMax),
        none_run_(reactor) {}

  // Loads PAM's library if it has not been loaded yet; without it every check denies. Reads files.
  Result<> load();
  aio::Task<Verdict> check(std::string service, std::string identity);

  // Refuses the checks that are under way, and waits for the calls that run. False: their modules have not returned in
  // time, and threads are still inside of them. It must not be destroyed before close() has given true, nor its
  // reactor: a process that does not want to wait longer ends without that.
  aio::Task<bool> close();
  // The questions that are with a module, or wait for their turn.
  std::size_t under_way() const { return scope_.size(); }

 private:
  struct Call;
  static aio::Task<void> run(PamCalls& calls, std::shared_ptr<Call> call);

  aio::Reactor& reactor_;
  Ask ask_;
  PamLibrary pam_;
  const char* directory_;
  std::uint64_t wait_ns_;
  std::uint64_t close_wait_ns_;
  aio::Scope scope_;
  aio::Semaphore free_;
  aio::Event none_run_;  // set when the last call ends, and when close() has waited long enough
};

class PamAuthorizer final : public Authorizer {
 public:
  PamAuthorizer(PamCalls& calls, std::string service) : calls_(calls), service_(std::move(service)) {}

  const std::string& service() const { return service_; }
  void set_service(std::string service) { service_ = std::move(service); }

  aio::Task<Verdict> check(std::string identity) override { return calls_.check(service_, std::move(identity)); }

 private:
  PamCalls& calls_;
  std::string service_;
};

}  // namespace blockexport::authz
