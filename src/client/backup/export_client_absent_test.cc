#include <gtest/gtest.h>

#include "client/backup/export_client.h"

namespace blockexport::backup {
namespace {

TEST(ExportClientAbsentTest, ABuildWithoutLibnbdSaysSoAndWhatToInstall) {
  auto client = connect_export("nbd://localhost");
  ASSERT_FALSE(client);
  EXPECT_EQ(client.error().message(), "cannot connect to an NBD server: this blockexport was built without libnbd");
  EXPECT_NE(client.error().hint().find("-DBLOCKEXPORT_LIBNBD=ON"), std::string::npos) << client.error().hint();
  EXPECT_NE(client.error().hint().find("libnbd-dev"), std::string::npos) << client.error().hint();
}

}  // namespace
}  // namespace blockexport::backup
