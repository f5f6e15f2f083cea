// PamAuthorizer: asks PAM whether an account may connect (pam_acct_mgmt); PamCalls: runs these calls on worker threads.
//
// PAM blocks, so it runs on worker threads; on few at a time, since the same workers serve file I/O. A check that gets
// no answer in time denies; its call goes on until the PAM module returns, and belongs to PamCalls. A call that never
// returns is abandoned when the process ends. PamCalls is owned by Control and outlives all authorizers; thread: the
// reactor's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "aio/reactor/reactor.h"
#include "aio/sync/scope.h"
#include "aio/sync/sync.h"
#include "authz/authorizer.h"
#include "authz/pam_library.h"

namespace blockexport::authz {

// Deadline of one check. Less than the default handshake time, so that the reason is still logged.
inline constexpr std::uint64_t kPamWaitNs = 8'000'000'000;
inline constexpr std::uint64_t kPamCallsMax = 4;       // calls that run at one time
inline constexpr std::uint64_t kPamWaitingMax = 1024;  // calls that wait for a worker; one more is denied at once
// Longest wait of close() for PAM modules that have not returned.
inline constexpr std::uint64_t kPamCloseWaitNs = 1'000'000'000;

// Returns whether the account rules of `service` allow `user`, and sets `reason`. Blocks; any thread. `directory`: of
// the service files, or null for the system's.
bool ask_pam(const PamLibrary& pam, const char* directory, const char* service, const char* user, std::string& reason);

class PamCalls {
 public:
  using Ask = bool (*)(const PamLibrary& pam, const char* directory, const char* service, const char* user,
                       std::string& reason);

  // `ask`: the blocking call, ask_pam() or a replacement in tests. `directory` is passed to it.
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

  // Denies the running checks, and waits for the running calls. False: PAM modules have not returned in time, and
  // worker threads are still inside them. The PamCalls and its reactor must not be destroyed before close() has
  // returned true: a process that does not wait longer ends without destroying them.
  aio::Task<bool> close();
  // The number of calls that run or wait for a worker.
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
  aio::Event none_run_;  // set when the last call ends
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
