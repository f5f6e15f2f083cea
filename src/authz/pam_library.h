// PamLibrary: the part of PAM's library that is asked, found when it is wanted.
//
// The daemon is not linked with libpam, which brings libaudit and libcap-ng into a process: it is loaded when the
// first authz-pam object is made. What is declared here is the part of its interface that has not changed since
// libpam.so.0 came about, so nothing of PAM is needed to build; a test compares it with the header where that is there.
// Thread: any; a PamLibrary is a handful of pointers that stay valid until the process ends.
#pragma once

#include "base/error.h"

namespace blockexport::authz {

inline constexpr const char* kPamLibrary = "libpam.so.0";

// As in <security/pam_appl.h>.
struct PamMessage {
  int style;
  const char* text;
};
struct PamResponse {
  char* text;
  int unused;
};
struct PamConversation {
  int (*talk)(int count, const PamMessage** messages, PamResponse** responses, void* data);
  void* data;
};
struct PamHandle;  // the library's own

inline constexpr int kPamSuccess = 0;
inline constexpr int kPamBufferError = 5;
inline constexpr int kPamConversationError = 19;
inline constexpr int kPamErrorMessage = 3;
inline constexpr int kPamTextInfo = 4;
inline constexpr int kPamSilent = 0x8000;
inline constexpr int kPamMessagesMax = 32;  // PAM_MAX_NUM_MSG

// Null pointers: not loaded.
struct PamLibrary {
  int (*start)(const char* service, const char* user, const PamConversation* conversation,
               PamHandle** handle) = nullptr;
  // Null in a Linux-PAM older than 1.4.
  int (*start_confdir)(const char* service, const char* user, const PamConversation* conversation,
                       const char* directory, PamHandle** handle) = nullptr;
  int (*acct_mgmt)(PamHandle* handle, int flags) = nullptr;
  int (*end)(PamHandle* handle, int status) = nullptr;
  const char* (*strerror)(PamHandle* handle, int status) = nullptr;
};

// Loads the library for the rest of the process's life: modules may have threads inside of it. Reads files.
// `name` as for dlopen(3). Fails when the library is not installed, or this build was told to have no PAM; the hint
// says what to do.
Result<PamLibrary> load_pam(const char* name = kPamLibrary);

}  // namespace blockexport::authz
