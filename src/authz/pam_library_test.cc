#include "authz/pam_library.h"

#include <gtest/gtest.h>

#include <string>

#if __has_include(<security/pam_appl.h>)
#include <security/pam_appl.h>

#include <cstddef>
#endif

namespace blockexport::authz {
namespace {

#if __has_include(<security/pam_appl.h>)
static_assert(sizeof(PamMessage) == sizeof(pam_message));
static_assert(offsetof(PamMessage, style) == offsetof(pam_message, msg_style));
static_assert(sizeof(PamResponse) == sizeof(pam_response));
static_assert(sizeof(PamConversation) == sizeof(pam_conv));
static_assert(offsetof(PamConversation, talk) == offsetof(pam_conv, conv));
static_assert(kPamSuccess == PAM_SUCCESS && kPamBufferError == PAM_BUF_ERR);
static_assert(kPamConversationError == PAM_CONV_ERR && kPamSilent == PAM_SILENT);
static_assert(kPamErrorMessage == PAM_ERROR_MSG && kPamTextInfo == PAM_TEXT_INFO);
static_assert(kPamMessagesMax == PAM_MAX_NUM_MSG);
#endif

TEST(PamLibraryTest, ALibraryThatIsNotThereSaysWhatToInstall) {
  auto library = load_pam("libnot-there.so.7");
  ASSERT_FALSE(library);
  EXPECT_TRUE(library.error().message().starts_with("cannot use PAM: ")) << library.error().message();
  EXPECT_NE(library.error().hint().find("libpam0g"), std::string::npos) << library.error().hint();
}

TEST(PamLibraryTest, ALibraryOfSomethingElseIsRefused) {
  auto library = load_pam("libc.so.6");
  ASSERT_FALSE(library);
  EXPECT_TRUE(library.error().message().starts_with("cannot use PAM: ")) << library.error().message();
  EXPECT_NE(library.error().hint().find("libpam0g"), std::string::npos) << library.error().hint();
}

}  // namespace
}  // namespace blockexport::authz
