// Control commands while one call to the kernel fails, each call in turn: the command fails, the state is as before,
// and it succeeds when repeated; or it succeeds without the failed call. The command that undoes it never fails,
// whichever call fails. On the host's own files, sockets and threads.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "aio/testing/backends.h"
#include "authz/pam_library.h"
#include "base/owned_fd.h"
#include "control/commands/nbd_server.h"
#include "control/commands/server_preparation.h"
#include "control/testing/bare_daemon.h"
#include "control/testing/failing_calls.h"
#include "net/testing/certificates.h"

namespace blockexport::control {
namespace {

using testing::BareDaemon;
using testing::FailingCalls;
using testing::Step;

// Above the number of calls of every command here.
constexpr std::uint64_t kCallsMax = 200;
constexpr std::string_view kKey = "anna:00112233445566778899aabbccddeeff\n";

struct Case {
  const char* name;
  std::vector<Step> before;
  Step step;
  Step back;
  // The calls whose failure the command tolerates.
  std::set<std::string> tolerated = {};
  // True if a failing call can make the command fail.
  bool may_fail = true;
};

void PrintTo(const Case& one, std::ostream* out) {
  *out << one.name;
}

class FailingCallTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    write("list", R"({"rules": []})");
    write("secret", "secret");
    write("key", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    write("input", "");
    write("log", "before");
    std::filesystem::create_directory(path("psk"));
    write("psk/keys.psk", kKey);
    if (std::string_view(GetParam().name).starts_with("Certificates")) {
      net::testing::CertificateDirectory made;
      std::filesystem::copy(made.path(), path("tls"));
    }
    // Opens the files that the process opens once and keeps.
    BareDaemon first(directory_.path());
    prepare(first, GetParam().before);
    EXPECT_EQ(first.run(GetParam().step), "");
    EXPECT_EQ(first.run(GetParam().back), "");
  }

  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }
  void write(const std::string& name, std::string_view text) {
    std::ofstream(path(name)) << text;
    std::filesystem::permissions(path(name), std::filesystem::perms(0600));
  }
  static void prepare(BareDaemon& daemon, const std::vector<Step>& steps) {
    for (const Step& step : steps) ASSERT_EQ(daemon.run(step), "") << step.command << step.arguments;
  }

  aio::testing::TemporaryDirectory directory_;
};

TEST_P(FailingCallTest, FailsWithoutAChangeOrSucceedsWithoutTheCall) {
  std::string succeeded;
  std::uint64_t number = 0;
  bool has_failed = false;
  for (bool was_met = true; was_met && !HasFailure(); ++number) {
    ASSERT_LT(number, kCallsMax);
    BareDaemon daemon(directory_.path());
    prepare(daemon, GetParam().before);
    const std::string before = daemon.state();
    std::string message;
    std::string refused;
    {
      FailingCalls failing(number);
      message = daemon.run(GetParam().step);
      was_met = failing.refusals() > 0;
      refused = failing.refused();
    }
    SCOPED_TRACE(::testing::Message() << "call " << number << ": " << refused << ": " << message);
    if (!message.empty()) {
      has_failed = true;
      EXPECT_EQ(daemon.state_that_becomes(before), before);
      EXPECT_EQ(daemon.run(GetParam().step), "");
    } else if (was_met) {
      EXPECT_TRUE(GetParam().tolerated.contains(refused));
    }
    const std::string after = daemon.visible_state();
    if (succeeded.empty()) succeeded = after;
    EXPECT_EQ(after, succeeded);
    EXPECT_NE(daemon.state(), before);
    EXPECT_EQ(daemon.run(GetParam().back), "");
    EXPECT_EQ(daemon.state_that_becomes(before), before);
  }
  EXPECT_EQ(has_failed, GetParam().may_fail);
}

TEST_P(FailingCallTest, IsUndoneWhicheverCallFails) {
  std::uint64_t number = 0;
  for (bool was_met = true; was_met && !HasFailure(); ++number) {
    ASSERT_LT(number, kCallsMax);
    BareDaemon daemon(directory_.path());
    prepare(daemon, GetParam().before);
    const std::string before = daemon.state();
    ASSERT_EQ(daemon.run(GetParam().step), "");
    {
      FailingCalls failing(number);
      EXPECT_EQ(daemon.run(GetParam().back), "");
      was_met = failing.refusals() > 0;
    }
    EXPECT_EQ(daemon.state_that_becomes(before), before);
    EXPECT_EQ(daemon.run(GetParam().step), "");
    EXPECT_EQ(daemon.run(GetParam().back), "");
  }
}

Step add_object(const std::string& type, const std::string& rest = "", const std::string& id = "o") {
  return {"object-add", R"({"qom-type": ")" + type + R"(", "id": ")" + id + '"' + rest + "}"};
}
Step add_chardev(const std::string& type, const std::string& data) {
  return {"chardev-add", R"({"id": "c", "backend": {"type": ")" + type + R"(", "data": {)" + data + "}}}"};
}
Step start_server(const std::string& address, const std::string& rest = "") {
  return {"nbd-server-start", R"({"addr": )" + address + rest + "}"};
}
const Step kDeleteObject{"object-del", R"({"id": "o"})"};
const Step kRemoveChardev{"chardev-remove", R"({"id": "c"})"};
const Step kStopServer{"nbd-server-stop"};
const char* const kPath = R"({"type": "unix", "data": {"path": "@/socket"}})";
const char* const kAbstract = R"({"type": "unix", "data": {"path": "@/socket", "abstract": true}})";
const char* const kPort = R"({"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}})";
const char* const kServer = R"("server": true, "wait": false, "addr": )";
const Step kAnonymous = add_object("tls-creds-anon", R"(, "endpoint": "server")", "t");

// Calls for watching files: without a watch, the object polls its files.
const std::set<std::string> kFollowing = {"epoll_ctl", "inotify_add_watch", "inotify_init1", "pthread_create"};
// Calls of an object's background work, which it repeats later.
const std::set<std::string> kReadingAgain = {"epoll_ctl", "fstat", "open", "preadv2", "pthread_create"};
// Accepting is retried after a pause.
const std::set<std::string> kAccepting = {"epoll_ctl"};
// A name is resolved again when the first query fails.
const std::set<std::string> kAcceptingOnAPort = {"epoll_ctl", "getaddrinfo", "pthread_create"};

std::vector<Case> object_cases() {
  std::vector<Case> cases = {
      // A descriptor that watches for closed connections is made when it is first needed.
      {"Iothread", {}, add_object("iothread"), kDeleteObject, {"epoll_create1"}},
      {"Secret", {}, add_object("secret", R"(, "file": "@/secret")"), kDeleteObject},
      {"SecretWithAKey",
       {add_object("secret", R"(, "file": "@/key", "format": "base64")", "k")},
       add_object("secret", R"(, "data": "UQdw44JDqzsxYpkSCwXDIA==", "format": "base64", "keyid": "k",
                            "iv": "MDEyMzQ1Njc4OWFiY2RlZg==")"),
       kDeleteObject,
       {},
       false},
      {"AnonymousWithoutFiles", {}, add_object("tls-creds-anon", R"(, "endpoint": "server")"), kDeleteObject},
      {"AnonymousWithFiles",
       {},
       add_object("tls-creds-anon", R"(, "endpoint": "server", "dir": "@/psk")"),
       kDeleteObject,
       kFollowing},
      {"SharedKeys",
       {},
       add_object("tls-creds-psk", R"(, "endpoint": "server", "dir": "@/psk")"),
       kDeleteObject,
       kFollowing},
      {"SharedKeysOfAClient",
       {},
       add_object("tls-creds-psk", R"(, "endpoint": "client", "dir": "@/psk", "username": "anna")"),
       kDeleteObject,
       kFollowing},
      {"CertificatesOfAServer",
       {},
       add_object("tls-creds-x509", R"(, "endpoint": "server", "dir": "@/tls")"),
       kDeleteObject,
       kFollowing},
      {"CertificatesOfAClient",
       {},
       add_object("tls-creds-x509", R"(, "endpoint": "client", "dir": "@/tls")"),
       kDeleteObject,
       kFollowing},
      {"Simple", {}, add_object("authz-simple", R"(, "identity": "anna")"), kDeleteObject, {}, false},
      {"List", {}, add_object("authz-list", R"(, "rules": [])"), kDeleteObject, {}, false},
      {"ListFile", {}, add_object("authz-list-file", R"(, "filename": "@/list")"), kDeleteObject, kReadingAgain},
      {"ListFileThatIsNotFollowed",
       {},
       add_object("authz-list-file", R"(, "filename": "@/list", "refresh": false)"),
       kDeleteObject},
      {"MonitorOverASocket",
       {add_chardev("socket", std::string(kServer) + kPath)},
       add_object("monitor-qmp", R"(, "chardev": "c")"),
       kDeleteObject,
       kAccepting,
       false},
      {"MonitorOverAFile",
       {add_chardev("file", R"("out": "/dev/null", "in": "@/input")")},
       add_object("monitor-qmp", R"(, "chardev": "c")"),
       kDeleteObject,
       {"read"},
       false},
  };
  if (authz::load_pam()) cases.push_back({"Pam", {}, add_object("authz-pam", R"(, "service": "x")"), kDeleteObject});
  return cases;
}
INSTANTIATE_TEST_SUITE_P(Objects, FailingCallTest, ::testing::ValuesIn(object_cases()),
                         [](const auto& info) { return std::string(info.param.name); });

std::vector<Case> chardev_and_server_cases() {
  return {
      {"ChardevOnAPath", {}, add_chardev("socket", std::string(kServer) + kPath), kRemoveChardev, {"fstat"}},
      {"ChardevOnAPort", {}, add_chardev("socket", std::string(kServer) + kPort), kRemoveChardev, kAcceptingOnAPort},
      {"ChardevOnAPortWithTls",
       {kAnonymous},
       add_chardev("socket", std::string(kServer) + kPort + R"(, "tls-creds": "t")"),
       kRemoveChardev,
       kAcceptingOnAPort},
      {"ChardevThatCalls",
       {start_server(kPath)},
       add_chardev("socket", std::string(R"("server": false, "addr": )") + kPath),
       kRemoveChardev,
       kAccepting},
      {"ChardevOfAFile", {}, add_chardev("file", R"("out": "@/log", "append": true)"), kRemoveChardev},
      {"ChardevOfTwoFiles",
       {},
       add_chardev("file", R"("out": "@/log", "append": true, "in": "@/input")"),
       kRemoveChardev},
      {"ChardevOfNothing", {}, add_chardev("null", ""), kRemoveChardev, {}, false},
      {"ChardevOfStandardStreams", {}, add_chardev("stdio", ""), kRemoveChardev, {}, false},
      {"ServerOnAPath", {}, start_server(kPath), kStopServer, {"epoll_ctl", "fstat"}},
      {"ServerOnAnAbstractName", {}, start_server(kAbstract), kStopServer, kAccepting},
      {"ServerOnAPort", {}, start_server(kPort), kStopServer, kAcceptingOnAPort},
      {"ServerWithTls",
       {kAnonymous},
       start_server(kPath, R"(, "tls-creds": "t")"),
       kStopServer,
       {"epoll_ctl", "fstat"}},
      {"ServerByIdOnTwoAddresses",
       {kAnonymous},
       {"nbd-servers-add", R"({"id": "s", "listen": ["unix:@/socket", "127.0.0.1:0"], "exports": ["x*"],
                              "tls": {"creds": "t"}})"},
       {"nbd-servers-remove", R"({"id": "s"})"},
       {"epoll_ctl", "fstat", "getaddrinfo", "pthread_create"}},
  };
}
INSTANTIATE_TEST_SUITE_P(ChardevsAndServers, FailingCallTest, ::testing::ValuesIn(chardev_and_server_cases()),
                         [](const auto& info) { return std::string(info.param.name); });

std::vector<Case> backup_cases() {
  std::vector<Step> disks{start_server(kPath)};
  for (const char* name : {"a", "b"}) {
    disks.push_back({"blockdev-add", R"({"driver": "null-co", "node-name": ")" + std::string(name) + "\"}"});
  }
  const Step begin{"backup-begin", R"({"id": "k", "checkpoint": "p", "scratch-directory": "@",
      "disks": [{"node-name": "a"}, {"node-name": "b"}]})"};
  return {{"BackupWithScratchFiles", disks, begin, {"backup-end", R"({"id": "k", "outcome": "abort"})"}, {"fstat"}}};
}
INSTANTIATE_TEST_SUITE_P(Backups, FailingCallTest, ::testing::ValuesIn(backup_cases()),
                         [](const auto& info) { return std::string(info.param.name); });

// An address of a unix socket in the directory.
net::UnixAddress address_of(const std::string& path) {
  return {.path = path};
}

OwnedFd listen_at(const std::string& path) {
  OwnedFd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address = net::unix_address(address_of(path));
  EXPECT_EQ(bind(listener.get(), address->get(), address->length), 0);
  EXPECT_EQ(listen(listener.get(), 1), 0);
  return listener;
}

bool is_answered(const std::string& path) {
  OwnedFd caller(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto address = net::unix_address(address_of(path));
  return connect(caller.get(), address->get(), address->length) == 0;
}

class ListeningTest : public ::testing::Test {
 protected:
  // Runs `step` on a daemon of its own for each call that can fail, until no call failed: after a failure the state is
  // that after `prepare`.
  void fail_each_call(std::function<void(BareDaemon&)> prepare, std::function<std::string(BareDaemon&)> step) {
    std::uint64_t number = 0;
    for (bool was_met = true; was_met && !HasFailure(); ++number) {
      ASSERT_LT(number, kCallsMax);
      BareDaemon daemon(directory_.path());
      prepare(daemon);
      const std::string before = daemon.state();
      std::string message;
      {
        FailingCalls failing(number);
        message = step(daemon);
        was_met = failing.refusals() > 0;
      }
      SCOPED_TRACE(::testing::Message() << "call " << number << ": " << message);
      if (message.empty()) {
        EXPECT_NE(daemon.state(), before);
      } else {
        EXPECT_EQ(daemon.state_that_becomes(before), before);
        EXPECT_TRUE(is_answered(path_)) << "the former listener is reachable";
      }
      if (daemon.control().servers().contains(kDefaultServerId)) EXPECT_EQ(daemon.run(kStopServer), "");
    }
  }

  aio::testing::TemporaryDirectory directory_;
  const std::string path_ = directory_.path() + "/socket";
};

aio::Task<Result<>> change_server(Control& control, schema::NbdServerConfiguration configuration) {
  CO_TRY_ASSIGN(PreparedServer prepared, co_await PreparedServer::change(control, "s", std::move(configuration)));
  std::move(prepared).commit(control);
  co_return Result<>{};
}

TEST_F(ListeningTest, AServerChangesWhollyOrNotAtAllWhicheverCallFails) {
  fail_each_call(
      [&](BareDaemon& daemon) {
        EXPECT_EQ(daemon.run({"nbd-servers-add", R"({"id": "s", "listen": ["unix:@/socket"]})"}), "");
      },
      [&](BareDaemon& daemon) {
        return daemon.run(change_server(
            daemon.control(),
            {.listen = {{.value = "unix:" + path_}, {.value = "127.0.0.1:0"}, {.value = "unix:" + path_ + "2"}},
             .exports = {{"x*"}},
             .access = schema::NbdServerAccess::kReadOnly,
             .max_connections = 5}));
      });
}

TEST_F(ListeningTest, TheFormerListenerGetsItsPathBackWhicheverCallFails) {
  OwnedFd other;
  fail_each_call(
      [&](BareDaemon&) {
        unlink(path_.c_str());
        other = listen_at(path_);
      },
      [](BareDaemon& daemon) { return daemon.run(start_server(kPath)); });
}

TEST_F(ListeningTest, AFailingSecondAddressLeavesTheFirstAsItWas) {
  const auto start_first = [](BareDaemon& daemon) { ASSERT_EQ(daemon.run(start_server(kPath)), ""); };
  fail_each_call(start_first, [&](BareDaemon& daemon) {
    return daemon.run(add_nbd_listener(daemon.control(), address_of(directory_.path() + "/second")));
  });
  fail_each_call(start_first, [&](BareDaemon& daemon) {
    return daemon.run(add_nbd_listener(daemon.control(), net::InetAddress{.host = "127.0.0.1", .port = "0"}));
  });
}

TEST(RefusedOptionsTest, AreRefusedBeforeAnyChange) {
  aio::testing::TemporaryDirectory directory;
  BareDaemon daemon(directory.path());
  for (const Step& step :
       {kAnonymous, add_object("tls-creds-anon", R"(, "endpoint": "client")", "client"), add_chardev("null", "")}) {
    ASSERT_EQ(daemon.run(step), "");
  }
  // A stale socket file, which a server would replace.
  listen_at(directory.path() + "/socket").reset();
  const std::string before = daemon.state();
  const std::pair<Step, std::string> refused[] = {
      {start_server(kPath, R"(, "tls-creds": "none")"), "No TLS credentials with id 'none'"},
      {start_server(kPath, R"(, "tls-creds": "client")"), "Expected TLS credentials for a server endpoint"},
      {start_server(kPath, R"(, "tls-authz": "a")"), "'tls-authz' option requires 'tls-creds' option"},
      {add_chardev("socket", std::string(kServer) + kPath), "Chardev with id 'c' already exists"},
      {{"chardev-add", std::string(R"({"id": "d", "backend": {"type": "socket", "data": {"tls-creds": "t", )") +
                           kServer + kPath + "}}}"},
       "Failed to add chardev 'd': 'tls_creds' option is incompatible with 'unix' address type"},
      {add_object("secret", R"(, "file": "@/none")", "t"),
       "attempt to add duplicate property 't' to object (type 'container')"},
  };
  for (const auto& [step, message] : refused) {
    FailingCalls counting(UINT64_MAX);
    EXPECT_EQ(daemon.run(step), message);
    EXPECT_EQ(counting.calls(), 0u) << message;
  }
  EXPECT_EQ(daemon.state(), before);
}

TEST(RefusedOptionsTest, AValueThatIsRefusedLeavesTheOldOne) {
  aio::testing::TemporaryDirectory directory;
  BareDaemon daemon(directory.path());
  const std::string rule = R"({"match": "anna", "policy": "allow"})";
  for (const Step& step :
       {add_object("authz-simple", R"(, "identity": "anna")", "simple"),
        add_object("authz-list", R"(, "policy": "deny", "rules": [)" + rule + "]", "list"),
        add_object("secret", R"(, "data": "x")", "secret"), add_object("iothread", "", "thread"), kAnonymous}) {
    ASSERT_EQ(daemon.run(step), "");
  }
  const std::string before = daemon.state();
  const std::array<std::string, 3> refused[] = {
      {"simple", "identity", "1"},
      {"list", "policy", R"("maybe")"},
      {"list", "rules", R"([{"match": "bob", "policy": "allow"}, {"match": "x"}])"},
      {"list", "rules", "{}"},
      {"secret", "format", R"("hex")"},
      {"secret", "strict-modes", "1"},
      {"thread", "thread-pool-max", "-1"},
      {"thread", "poll-weight", "64"},
      {"t", "endpoint", R"("both")"},
      {"t", "verify-peer", R"("on")"},
      {"t", "type", R"("iothread")"},
  };
  for (const auto& [id, property, value] : refused) {
    const std::string arguments =
        R"({"path": "/objects/)" + id + R"(", "property": ")" + property + R"(", "value": )" + value + "}";
    EXPECT_NE(daemon.run({"qom-set", arguments}), "") << arguments;
    EXPECT_EQ(daemon.state(), before) << arguments;
  }
}

}  // namespace
}  // namespace blockexport::control
