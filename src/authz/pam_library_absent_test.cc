#include <gtest/gtest.h>

#include <string>

#include "authz/pam_library.h"

namespace blockexport::authz {
namespace {

TEST(PamLibraryAbsentTest, ABuildWithoutPamSaysSoAndWhatToInstall) {
  auto library = load_pam();
  ASSERT_FALSE(library);
  EXPECT_EQ(library.error().message(), "cannot use PAM: this blockexportd was built without it");
  EXPECT_NE(library.error().hint().find("-DBLOCKEXPORT_PAM=ON"), std::string::npos) << library.error().hint();
  EXPECT_NE(library.error().hint().find("libpam0g"), std::string::npos) << library.error().hint();
}

}  // namespace
}  // namespace blockexport::authz
