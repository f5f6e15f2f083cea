// The calls of libpam, which pam_library.h loads.
#include <fmt/format.h>

#include <cstdlib>

#include "authz/pam_authorizer.h"
#include "base/printable.h"

namespace blockexport::authz {
namespace {

// There is no user to talk to: messages of a module are dropped, and a prompt fails.
int no_conversation(int count, const PamMessage** messages, PamResponse** responses, void*) {
  if (count <= 0 || count > kPamMessagesMax) return kPamConversationError;
  for (int i = 0; i < count; ++i) {
    int style = messages[i]->style;
    if (style != kPamErrorMessage && style != kPamTextInfo) return kPamConversationError;
  }
  // libpam frees the array.
  *responses = static_cast<PamResponse*>(calloc(static_cast<std::size_t>(count), sizeof(PamResponse)));
  return *responses != nullptr ? kPamSuccess : kPamBufferError;
}

}  // namespace

bool ask_pam(const PamLibrary& pam, const char* directory, const char* service, const char* user, std::string& reason) {
  if (pam.start == nullptr) {
    reason = "the library of PAM is not loaded";
    return false;
  }
  if (directory != nullptr && pam.start_confdir == nullptr) {
    reason = "this PAM reads the system's service files only";
    return false;
  }
  PamHandle* handle = nullptr;
  PamConversation conversation{no_conversation, nullptr};
  int status = directory != nullptr ? pam.start_confdir(service, user, &conversation, directory, &handle)
                                    : pam.start(service, user, &conversation, &handle);
  if (status != kPamSuccess) {
    reason = fmt::format("Unable to start PAM transaction: {}", pam.strerror(handle, status));
    return false;
  }
  status = pam.acct_mgmt(handle, kPamSilent);
  reason = status == kPamSuccess
               ? "the account rules allow it"
               : fmt::format("Unable to authorize user '{}': {}", printable(user), pam.strerror(handle, status));
  pam.end(handle, status);
  return status == kPamSuccess;
}

}  // namespace blockexport::authz
