// Objects that follow their files while the kernel refuses the calls for that: the loaded content stays in use, and the
// new content is loaded as soon as possible, even if the files do not change again.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "aio/testing/backends.h"
#include "authz/authorizer.h"
#include "control/testing/bare_daemon.h"
#include "control/testing/failing_calls.h"
#include "net/testing/certificates.h"

namespace blockexport::control {
namespace {

using testing::BareDaemon;
using testing::FailingCalls;

// Above the number of calls of one check of the files.
constexpr std::uint64_t kCallsMax = 60;
constexpr std::uint64_t kWaitMaxNs = 30'000'000'000;
constexpr const char* kAddList = R"({"qom-type": "authz-list-file", "id": "door", "filename": "@/list"})";
constexpr const char* kAddKeys = R"({"qom-type": "tls-creds-psk", "id": "t", "endpoint": "server", "dir": "@/tls"})";
constexpr const char* kAddFiles = R"({"qom-type": "tls-creds-x509", "id": "t", "endpoint": "server", "dir": "@/tls"})";

aio::Task<void> pause(aio::Reactor& reactor) {
  (void)co_await reactor.sleep_until(reactor.now_ns() + 2'000'000);
}

aio::Task<void> ask(Control& control, std::string identity, bool& allowed) {
  allowed = (co_await authz::authorize(control.authorizers(), "door", std::move(identity))).allowed;
}

class FollowedObjectsTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directory(path("tls")); }

  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }
  // Replaces the file at once.
  void replace(const std::string& name, std::string_view text) {
    std::ofstream(path("new")) << text;
    std::filesystem::rename(path("new"), path(name));
  }
  void write_keys(const std::string& user) { replace("tls/keys.psk", user + ":00112233445566778899aabbccddeeff\n"); }
  void write_list(const std::string& name) {
    replace("list", R"({"rules": [{"match": ")" + name + R"(", "policy": "allow"}]})");
  }
  void add(const char* options) { ASSERT_EQ(daemon_.run({"object-add", options}), ""); }

  // The credentials that a handshake would get now.
  net::TlsCredentialsReference credentials() {
    auto found = daemon_.control().tls_credentials().find("t", net::TlsEndpoint::kServer);
    EXPECT_TRUE(found);
    return found ? *found : nullptr;
  }
  bool is_allowed(const std::string& name) {
    bool allowed = false;
    aio::testing::run(daemon_.reactor(), ask(daemon_.control(), name, allowed));
    return allowed;
  }
  // Runs the daemon until the condition holds.
  template <class Condition>
  void run_until(Condition condition) {
    const std::uint64_t end_ns = daemon_.reactor().now_ns() + kWaitMaxNs;
    while (!condition() && !HasFailure()) {
      ASSERT_LT(daemon_.reactor().now_ns(), end_ns) << "the condition never holds";
      aio::testing::run(daemon_.reactor(), pause(daemon_.reactor()));
    }
  }

  aio::testing::TemporaryDirectory directory_;
  BareDaemon daemon_{directory_.path()};
};

TEST_F(FollowedObjectsTest, NewKeysAreLoadedWhicheverCallFailsOnce) {
  write_keys("anna");
  add(kAddKeys);
  std::uint64_t number = 0;
  for (bool was_met = true; was_met && !HasFailure(); ++number) {
    ASSERT_LT(number, kCallsMax);
    const net::TlsCredentialsReference old = credentials();
    FailingCalls failing(number);
    write_keys("user" + std::to_string(number));
    run_until([&] { return credentials() != old; });
    was_met = failing.refusals() > 0;
  }
  EXPECT_GT(number, 4u);
}

TEST_F(FollowedObjectsTest, NewCertificatesAreLoadedWhenFilesCanBeOpenedAgain) {
  net::testing::CertificateDirectory made;
  std::filesystem::copy(made.path(), path("tls"));
  add(kAddFiles);
  const net::TlsCredentialsReference old = credentials();
  {
    FailingCalls failing("open");
    replace("tls/ca-cert.pem", made.read("ca-cert.pem"));
    run_until([&] { return failing.refusals() > 1; });
    EXPECT_EQ(credentials(), old);
  }
  run_until([&] { return credentials() != old; });
}

TEST_F(FollowedObjectsTest, InvalidCertificatesNeverReplaceTheOldOnes) {
  net::testing::CertificateDirectory made;
  std::filesystem::copy(made.path(), path("tls"));
  add(kAddFiles);
  const net::TlsCredentialsReference old = credentials();
  FailingCalls counting(UINT64_MAX);
  replace("tls/server-cert.pem", "nonsense");
  // Each reading of the files makes more than ten calls.
  run_until([&] { return counting.calls() > 40; });
  EXPECT_EQ(credentials(), old);
  replace("tls/server-cert.pem", made.read("server-cert.pem"));
  run_until([&] { return credentials() != old; });
}

TEST_F(FollowedObjectsTest, ADirectoryThatComesBackIsFollowedAfterAFailedWatch) {
  write_keys("anna");
  add(kAddKeys);
  net::TlsCredentialsReference old = credentials();
  {
    FailingCalls failing("inotify_init1");
    std::filesystem::rename(path("tls"), path("away"));
    std::filesystem::rename(path("away"), path("tls"));
    run_until([&] { return failing.refusals() > 0; });
    EXPECT_EQ(credentials(), old);
  }
  run_until([&] { return credentials() != old; });
  old = credentials();
  write_keys("bob");
  run_until([&] { return credentials() != old; });
}

TEST_F(FollowedObjectsTest, CredentialsWithoutAWatchAreFollowedOnceAWatchIsPossible) {
  write_keys("anna");
  {
    FailingCalls failing("inotify_add_watch");
    add(kAddKeys);
    EXPECT_EQ(failing.refusals(), 1u);
  }
  const net::TlsCredentialsReference old = credentials();
  write_keys("bob");
  run_until([&] { return credentials() != old; });
}

TEST_F(FollowedObjectsTest, ANewListIsReadWhicheverCallFailsOnceAndTheOldOneHoldsUntilThen) {
  write_list("user0");
  add(kAddList);
  std::uint64_t number = 0;
  for (bool was_met = true; was_met && !HasFailure(); ++number) {
    ASSERT_LT(number, kCallsMax);
    const std::string old = "user" + std::to_string(number);
    const std::string young = "user" + std::to_string(number + 1);
    run_until([&] { return is_allowed(old); });
    FailingCalls failing(number);
    write_list(young);
    run_until([&] {
      const bool is_there = is_allowed(young);
      EXPECT_TRUE(is_there || is_allowed(old));
      return is_there;
    });
    was_met = failing.refusals() > 0;
  }
  EXPECT_GT(number, 3u);
}

TEST_F(FollowedObjectsTest, AListThatCouldNotBeReadForLongIsReadLaterWithoutAChange) {
  write_list("anna");
  add(kAddList);
  {
    FailingCalls failing("open");
    write_list("bob");
    run_until([&] { return !is_allowed("anna"); });
    EXPECT_GT(failing.refusals(), 1u);
    EXPECT_FALSE(is_allowed("bob"));
  }
  run_until([&] { return is_allowed("bob"); });
}

}  // namespace
}  // namespace blockexport::control
