#include "base/error.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "base/printable.h"

namespace blockexport {
namespace {

Result<int> half(int value) {
  if (value % 2 != 0) return fail("odd");
  return value / 2;
}

Result<int> quarter(int value) {
  TRY_ASSIGN(int first, half(value));
  TRY_ASSIGN(int second, half(first));
  return second;
}

TEST(Error, TryAssignPassesValueAndError) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(quarter(6).error().message(), "odd");
}

TEST(Error, SystemErrorNamesTheThingAndTheCause) {
  Error error = Error::system("Could not open 'a'", Errno(ENOENT));
  EXPECT_EQ(error.message(), "Could not open 'a': No such file or directory");
  EXPECT_EQ(error_class_name(error.kind()), "GenericError");
}

TEST(Error, HintAndPrefixKeepTheRest) {
  Error error = Error(ErrorKind::kDeviceNotFound, "gone").with_hint("look").with_prefix("x: ");
  EXPECT_EQ(error.message(), "x: gone");
  EXPECT_EQ(error.hint(), "look");
  EXPECT_EQ(error_class_name(error.clone().kind()), "DeviceNotFound");
}

TEST(Error, KnowsWhatMayBeFreeSoon) {
  EXPECT_TRUE(Error::system("bind", Errno(EADDRINUSE)).is_busy());
  EXPECT_FALSE(Error::system("bind", Errno(EACCES)).is_busy());
  EXPECT_TRUE(Error("Failed to get lock").as_busy().with_prefix("x: ").clone().is_busy());
}

TEST(Log, PrintableEscapesControlBytesAndCuts) {
  EXPECT_EQ(printable("a\x01\n\x7f"), "a\\x01\\x0a\\x7f");
  EXPECT_EQ(printable("abcdef", 3), "abc...");
}

}  // namespace
}  // namespace blockexport
