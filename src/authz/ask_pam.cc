// The one place that calls PAM's library.
#include <fmt/format.h>
#include <security/pam_appl.h>

#include <cstdlib>

#include "authz/pam_authorizer.h"
#include "base/log.h"

namespace blockexport::authz {
namespace {

// Account rules have nobody to talk to: what a module wants to say is dropped, and a question fails.
int no_conversation(int count, const pam_message** messages, pam_response** responses, void*) {
  if (count <= 0 || count > PAM_MAX_NUM_MSG) return PAM_CONV_ERR;
  for (int i = 0; i < count; ++i) {
    int style = messages[i]->msg_style;
    if (style != PAM_ERROR_MSG && style != PAM_TEXT_INFO) return PAM_CONV_ERR;
  }
  // The library frees it.
  *responses = static_cast<pam_response*>(calloc(static_cast<std::size_t>(count), sizeof(pam_response)));
  return *responses != nullptr ? PAM_SUCCESS : PAM_BUF_ERR;
}

}  // namespace

bool ask_pam(const char* directory, const char* service, const char* user, std::string& reason) {
  pam_handle_t* handle = nullptr;
  pam_conv conversation{no_conversation, nullptr};
  int status = directory != nullptr ? pam_start_confdir(service, user, &conversation, directory, &handle)
                                    : pam_start(service, user, &conversation, &handle);
  if (status != PAM_SUCCESS) {
    reason = fmt::format("Unable to start PAM transaction: {}", pam_strerror(handle, status));
    return false;
  }
  status = pam_acct_mgmt(handle, PAM_SILENT);
  reason = status == PAM_SUCCESS
               ? "the account rules allow it"
               : fmt::format("Unable to authorize user '{}': {}", printable(user), pam_strerror(handle, status));
  pam_end(handle, status);
  return status == PAM_SUCCESS;
}

}  // namespace blockexport::authz
