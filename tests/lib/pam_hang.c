// Preloaded into a server: a PAM that never answers, as one whose directory server is gone.
#include <unistd.h>

int pam_acct_mgmt(void* handle, int flags) {
  (void)handle;
  (void)flags;
  for (;;) pause();
}

// Nothing of the system's rules is read.
int pam_start(const char* service, const char* user, const void* conversation, void** handle) {
  (void)service;
  (void)user;
  (void)conversation;
  *handle = (void*)0;
  return 0;
}
