// Found by a server in place of libpam.so.0: a PAM that never answers, as one whose directory server is gone.
// Nothing of the system's rules is read.
#include <unistd.h>

int pam_start(const char* service, const char* user, const void* conversation, void** handle) {
  (void)service;
  (void)user;
  (void)conversation;
  *handle = (void*)0;
  return 0;
}

int pam_acct_mgmt(void* handle, int flags) {
  (void)handle;
  (void)flags;
  for (;;) pause();
}

int pam_end(void* handle, int status) {
  (void)handle;
  return status;
}

const char* pam_strerror(void* handle, int status) {
  (void)handle;
  (void)status;
  return "this PAM never answers";
}
