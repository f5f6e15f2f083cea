#include "daemon/process_state.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <initializer_list>

namespace blockexport::daemon {
namespace {

bool has_pam_object(const CommandLine& line) {
  return line.configures_pam || std::ranges::any_of(line.options, [](const StartOption& option) {
           return option.kind == OptionKind::kObject && option.argument.view().contains("authz-pam");
         });
}

}  // namespace

void outlive_io_signals() {
  for (int number : {SIGPIPE, SIGXFSZ, SIGIO, SIGTTIN, SIGTTOU}) signal(number, SIG_IGN);
}

void restrict_process(const CommandLine& line) {
  const rlimit none{.rlim_cur = 0, .rlim_max = 0};
  (void)setrlimit(RLIMIT_CORE, &none);
  if (!has_pam_object(line)) (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

Result<> give_up_rights(const CommandLine& line) {
  if (line.user) {
    // Others than root may check a configuration too.
    TRY(line.check_config && geteuid() != 0 ? check_user(*line.user) : become_user(*line.user));
  }
  if (line.sandbox.mode != SandboxMode::kOff && has_pam_object(line)) {
    return fail(
        Error("--sandbox: PAM modules start programs and open files of their own, so an authz-pam object cannot "
              "work in a sandbox")
            .with_hint("Use '--sandbox off', or another authorization object."));
  }
  return enter_sandbox(line.sandbox);
}

}  // namespace blockexport::daemon
