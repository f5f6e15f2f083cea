// PamLibrary: the functions of libpam that the daemon calls, loaded with dlopen(3) on demand.
//
// The daemon is not linked with libpam, which would load libaudit and libcap-ng too: it is loaded when the first
// authz-pam object is created. The declarations here are a part of its ABI that has not changed in libpam.so.0, so the
// build needs no PAM headers; a test compares them with the header where it is installed. Thread: any; a PamLibrary is
// a handful of pointers that stay valid until the process ends.
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
struct PamHandle;  // opaque

inline constexpr int kPamSuccess = 0;
inline constexpr int kPamBufferError = 5;
inline constexpr int kPamConversationError = 19;
inline constexpr int kPamErrorMessage = 3;
inline constexpr int kPamTextInfo = 4;
inline constexpr int kPamSilent = 0x8000;
inline constexpr int kPamMessagesMax = 32;  // PAM_MAX_NUM_MSG

// All pointers are null while the library is not loaded.
struct PamLibrary {
  int (*start)(const char* service, const char* user, const PamConversation* conversation,
               PamHandle** handle) = nullptr;
  // Null when Linux-PAM is older than 1.4.
  int (*start_confdir)(const char* service, const char* user, const PamConversation* conversation,
                       const char* directory, PamHandle** handle) = nullptr;
  int (*acct_mgmt)(PamHandle* handle, int flags) = nullptr;
  int (*end)(PamHandle* handle, int status) = nullptr;
  const char* (*strerror)(PamHandle* handle, int status) = nullptr;
};

// Loads the library until the process ends, since PAM modules may keep threads that run its code. Reads files. `name`
// as for dlopen(3). Fails when the library is not installed, or when the daemon was built without PAM; the hint names
// the remedy.
Result<PamLibrary> load_pam(const char* name = kPamLibrary);

}  // namespace blockexport::authz
