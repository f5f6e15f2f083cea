#include "daemon/secret_option.h"

#include <gtest/gtest.h>

namespace blockexport::daemon {
namespace {

TEST(SecretOption, TheDataOfASecretIsFound) {
  EXPECT_EQ(secret_in_object_option("secret,id=s,data=geheim"), "geheim");
  EXPECT_EQ(secret_in_object_option("secret,data=ge,,heim,id=s"), "ge,,heim");
  EXPECT_EQ(secret_in_object_option("qom-type=secret,data=geheim,format=raw"), "geheim");
  EXPECT_EQ(secret_in_object_option("secret,id=s,data=a=b"), "a=b");
  EXPECT_EQ(secret_in_object_option(R"({"qom-type":"secret","id":"s","data":"x"})"),
            R"({"qom-type":"secret","id":"s","data":"x"})");
}

TEST(SecretOption, WhatIsNoSecretIsLeftAlone) {
  EXPECT_EQ(secret_in_object_option("secret,id=s,file=/x,data"), "");
  EXPECT_EQ(secret_in_object_option("iothread,id=data=x"), "");
  EXPECT_EQ(secret_in_object_option(R"({"qom-type":"secret","id":"s","file":"x"})"), "");
  EXPECT_EQ(secret_in_object_option(""), "");
}

}  // namespace
}  // namespace blockexport::daemon
