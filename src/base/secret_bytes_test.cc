#include "base/secret_bytes.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace blockexport {
namespace {

// The flags that the kernel shows for the mapping which holds `address`.
std::string flags_of(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  std::string line;
  bool inside = false;
  while (std::getline(maps, line)) {
    std::uintptr_t begin = 0;
    std::uintptr_t end = 0;
    char dash = 0;
    std::istringstream range(line);
    if (range >> std::hex >> begin >> dash >> end && dash == '-') {
      auto wanted = reinterpret_cast<std::uintptr_t>(address);
      inside = begin <= wanted && wanted < end;
    }
    if (inside && line.starts_with("VmFlags:")) return line + " ";
  }
  return {};
}

TEST(SecretBytes, HoldsWhatItWasGivenWithANulBehindIt) {
  SecretBytes secret("geheim");
  EXPECT_EQ(secret.text(), "geheim");
  EXPECT_STREQ(secret.c_str(), "geheim");
  SecretBytes moved = std::move(secret);
  EXPECT_EQ(moved.text(), "geheim");
}

TEST(SecretBytes, AWholePageHasRoomForItsNul) {
  std::string page(static_cast<std::size_t>(sysconf(_SC_PAGESIZE)), 'x');
  SecretBytes secret(page);
  EXPECT_EQ(std::string_view(secret.c_str()), page);
}

TEST(SecretBytes, NothingIsNoSecret) {
  SecretBytes none("");
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.c_str(), nullptr);
}

TEST(SecretBytes, IsLeftOutOfCores) {
  SecretBytes secret("geheim");
  EXPECT_NE(flags_of(secret.c_str()).find(" dd "), std::string::npos) << flags_of(secret.c_str());
}

TEST(SecretBytes, AForkedChildSeesZeroes) {
  SecretBytes secret("geheim");
  pid_t child = fork();
  if (child == 0) _exit(secret.text() == std::string_view("\0\0\0\0\0\0", 6) ? 0 : 1);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST(SecretBytes, ShrinkingWipesTheRest) {
  SecretBytes secret("geheim");
  secret.shrink(2);
  EXPECT_EQ(secret.text(), "ge");
  EXPECT_STREQ(secret.c_str(), "ge");
}

TEST(SecretBytes, WipingEmptiesAText) {
  std::string text = "geheim";
  const char* bytes = text.data();
  wipe(text);
  EXPECT_TRUE(text.empty());
  EXPECT_EQ(std::string_view(bytes, 6), std::string_view("\0\0\0\0\0\0", 6));
}

}  // namespace
}  // namespace blockexport
