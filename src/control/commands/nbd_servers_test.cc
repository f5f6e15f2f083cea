// NBD servers by id: their commands, the change of a running one, and the fate of exports when a server stops.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "aio/testing/backends.h"
#include "aio/testing/task_test.h"
#include "aio/testing/until.h"
#include "control/commands/server_preparation.h"
#include "control/testing/bare_daemon.h"
#include "export/nbd/server/nbd_export.h"

namespace blockexport::control {
namespace {

using testing::BareDaemon;

class NbdServersTest : public ::testing::Test {
 protected:
  std::string run(const std::string& command, const std::string& arguments) {
    return daemon_.run({command, arguments});
  }
  std::string add(const std::string& id, const std::string& rest) {
    return run("nbd-servers-add", fmt::format(R"({{"id": "{}", {}}})", id, rest));
  }
  std::string add_on_path(const std::string& id, const std::string& rest = "") {
    return add(id, fmt::format(R"("listen": ["unix:@/{}"]{}{})", id, rest.empty() ? "" : ", ", rest));
  }
  std::string remove(const std::string& id) { return run("nbd-servers-remove", fmt::format(R"({{"id": "{}"}})", id)); }
  std::string start_default() {
    return run("nbd-server-start", R"({"addr": {"type": "unix", "data": {"path": "@/default"}}})");
  }
  std::string stop_default() { return run("nbd-server-stop", "{}"); }
  void add_node() { EXPECT_EQ(run("blockdev-add", R"({"driver": "null-co", "node-name": "n"})"), ""); }
  std::string add_export(const std::string& name, const std::string& rest = "") {
    return run("block-export-add",
               fmt::format(R"({{"type": "nbd", "id": "{0}", "name": "{0}", "node-name": "n"{1}}})", name, rest));
  }
  Servers& servers() { return daemon_.control().servers(); }
  // The names of the exports that exist.
  std::string exports() {
    std::string ids;
    for (exports::Export* one : daemon_.control().exports().list()) ids = one->id() + " " + ids;
    return ids;
  }
  std::string shown(const std::string& id) {
    std::string names;
    nbd::ServerState& state = servers().find(id)->state();
    for (const auto* info = state.next_after(0); info != nullptr; info = state.next_after(info->sequence)) {
      names += info->name + (info->read_only ? ":ro " : " ");
    }
    return names;
  }
  // Changes a running server.
  std::string change(const std::string& id, schema::NbdServerConfiguration configuration) {
    return daemon_.run(change_task(daemon_.control(), id, std::move(configuration)));
  }
  static aio::Task<Result<>> change_task(Control& control, std::string id,
                                         schema::NbdServerConfiguration configuration) {
    CO_TRY_ASSIGN(PreparedServer prepared,
                  co_await PreparedServer::change(control, std::move(id), std::move(configuration)));
    std::move(prepared).commit(control);
    co_return Result<>{};
  }
  schema::NbdListenAddress path(const std::string& name) { return {.value = "unix:" + directory_.path() + "/" + name}; }
  bool is_there(const std::string& name) const { return std::filesystem::exists(directory_.path() + "/" + name); }

  aio::testing::TemporaryDirectory directory_;
  BareDaemon daemon_{directory_.path()};
};

TEST_F(NbdServersTest, AnIdIsAnIdentifierAndBelongsToOneServer) {
  EXPECT_EQ(add_on_path("a"), "");
  EXPECT_EQ(add_on_path("a"), "NBD server 'a' exists already");
  EXPECT_EQ(add("1", R"("listen": ["unix:@/x"])"), "Parameter 'id' expects an identifier");
  EXPECT_EQ(add(std::string(65, 'a'), R"("listen": ["unix:@/x"])"), "The id of an NBD server has at most 64 bytes");
  EXPECT_EQ(add("default", R"("listen": ["unix:@/x"])"), "The NBD server 'default' is that of nbd-server-start");
  EXPECT_EQ(remove("b"), "NBD server 'b' not found");
  EXPECT_EQ(remove("a"), "");
  EXPECT_EQ(remove("a"), "NBD server 'a' not found");
  EXPECT_FALSE(is_there("a"));
  EXPECT_FALSE(is_there("x"));
}

TEST_F(NbdServersTest, WrongConfigurationsAreRefusedBeforeAnAddressIsBound) {
  const auto with = [&](const std::string& rest) { return add("s", R"("listen": ["unix:@/s"], )" + rest); };
  EXPECT_EQ(add("s", R"("listen": [])"), "Parameter 'listen' expects at least one address");
  EXPECT_EQ(add("s", R"("listen": ["unix:@/s", "127.0.0.1"])"), "Address '127.0.0.1' has no port");
  EXPECT_EQ(add("s", R"("listen": [{"type": "fd", "str": "3"}])"),
            "Parameter 'listen' does not accept a descriptor number");
  EXPECT_EQ(add("s", R"("listen": ["systemd:x"])"), "This process has no sockets of systemd");
  EXPECT_EQ(add("s", R"("listen": ["127.0.0.1:0", {"type": "inet", "host": "127.0.0.1", "port": "0"}])"),
            "Address '127.0.0.1:0' is given twice");
  EXPECT_EQ(with(R"("tls": {"creds": "t"})"), "No TLS credentials with id 't'");
  std::string many;
  for (int i = 0; i < 65; ++i) many += (i > 0 ? ", " : "") + fmt::format("\"unix:@/{}\"", i);
  EXPECT_EQ(add("s", fmt::format(R"("listen": [{}])", many)),
            "An NBD server listens on at most 64 addresses, and there are 65");
  EXPECT_EQ(with(fmt::format(R"("exports": [{}])", many)),
            "A server has at most 64 patterns of export names, and there are 65");
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
  EXPECT_FALSE(servers().any());
}

TEST_F(NbdServersTest, AnAddressInUseLeavesNothingBehind) {
  EXPECT_EQ(add_on_path("a"), "");
  EXPECT_EQ(add("b", R"("listen": ["unix:@/first", "unix:@/a"])"),
            fmt::format("NBD server 'b', address unix:{0}/a: Unix socket {0}/a is in use: this process listens on it",
                        directory_.path()));
  EXPECT_FALSE(is_there("first"));
  EXPECT_TRUE(is_there("a"));
  EXPECT_FALSE(servers().contains("b"));
  EXPECT_EQ(add("b", R"("listen": ["unix:@/first"])"), "");
}

TEST_F(NbdServersTest, ThereAreAsManyServersAsTheLimitSays) {
  for (std::size_t i = 0; i < kServersMax; ++i) ASSERT_EQ(add_on_path(fmt::format("s{}", i)), "");
  EXPECT_EQ(add_on_path("more"), "There are 64 NBD servers already");
  EXPECT_EQ(start_default(), "There are 64 NBD servers already");
  EXPECT_EQ(remove("s3"), "");
  EXPECT_EQ(start_default(), "");
}

TEST_F(NbdServersTest, AnExportNeedsAServerButNoParticularOne) {
  add_node();
  EXPECT_EQ(add_export("e"), "NBD server not running");
  EXPECT_EQ(add_on_path("a", R"("exports": ["x*"])"), "");
  EXPECT_EQ(add_export("e"), "");
  EXPECT_EQ(add_export("x"), "");
  EXPECT_EQ(run("block-export-add", R"({"type": "nbd", "id": "e2", "name": "e", "node-name": "n"})"),
            "NBD server already has export named 'e'");
  EXPECT_EQ(shown("a"), "x:ro ");
  EXPECT_EQ(add_on_path("b"), "");
  EXPECT_EQ(shown("b"), "e:ro x:ro ");
}

TEST_F(NbdServersTest, TheEndOfAServerByItsIdLeavesTheExports) {
  add_node();
  EXPECT_EQ(start_default(), "");
  EXPECT_EQ(add_on_path("a"), "");
  EXPECT_EQ(add_export("e"), "");
  EXPECT_EQ(remove("a"), "");
  EXPECT_EQ(remove("default"), "");
  EXPECT_EQ(exports(), "e ");
  EXPECT_EQ(stop_default(), "NBD server not running");
  EXPECT_EQ(start_default(), "");
  EXPECT_EQ(shown("default"), "e:ro ");
}

TEST_F(NbdServersTest, TheEndOfTheDefaultServerRemovesExportsThatNoOtherShows) {
  add_node();
  EXPECT_EQ(start_default(), "");
  EXPECT_EQ(add_on_path("a", R"("exports": ["a*"])"), "");
  for (const char* name : {"a1", "b1", "a2"}) EXPECT_EQ(add_export(name), "");
  EXPECT_EQ(stop_default(), "");
  EXPECT_EQ(exports(), "a1 a2 ");
  EXPECT_EQ(start_default(), "");
  EXPECT_EQ(remove("a"), "");
  EXPECT_EQ(stop_default(), "");
  EXPECT_EQ(exports(), "");
}

TEST_F(NbdServersTest, AnExportForSomeClientsNeedsAServerWithTls) {
  add_node();
  EXPECT_EQ(start_default(), "");
  const std::string authz = R"(, "tls-authz": "z")";
  EXPECT_EQ(add_export("e", authz), "Export 'e' has 'tls-authz', which requires an NBD server with 'tls-creds'");
  EXPECT_EQ(run("object-add", R"({"qom-type": "tls-creds-anon", "id": "t", "endpoint": "server"})"), "");
  EXPECT_EQ(add_on_path("a", R"("tls": {"creds": "t"})"), "");
  EXPECT_EQ(add_export("e", authz), "");
  EXPECT_EQ(shown("default"), "");
  EXPECT_EQ(shown("a"), "e:ro ");
}

TEST_F(NbdServersTest, AChangeAddsAndRemovesListenersAndTheViewHoldsAtOnce) {
  add_node();
  EXPECT_EQ(add_on_path("s"), "");
  EXPECT_EQ(add_export("a", R"(, "writable": true)"), "");
  EXPECT_EQ(add_export("b", R"(, "writable": true)"), "");
  EXPECT_EQ(shown("s"), "a b ");
  schema::NbdServerConfiguration wanted{.listen = {path("s"), path("second"), {.value = "127.0.0.1:0"}},
                                        .exports = {{"b"}},
                                        .access = schema::NbdServerAccess::kReadOnly,
                                        .max_connections = 7,
                                        .handshake_max_seconds = 3};
  EXPECT_EQ(change("s", wanted), "");
  EXPECT_EQ(shown("s"), "b:ro ");
  EXPECT_EQ(servers().find("s")->listeners().size(), 3u);
  EXPECT_EQ(servers().find("s")->state().options.max_connections, 7u);
  EXPECT_EQ(servers().find("s")->state().options.handshake_max_seconds, 3u);
  // The same again changes nothing: a port that the kernel chose stays.
  const std::string before = daemon_.state();
  const net::Listener* on_a_port = servers().find("s")->listeners().back();
  EXPECT_EQ(change("s", wanted), "");
  EXPECT_EQ(servers().find("s")->listeners().back(), on_a_port);
  EXPECT_EQ(daemon_.state_that_becomes(before), before);
  wanted.listen = {path("second")};
  EXPECT_EQ(change("s", wanted), "");
  EXPECT_EQ(servers().find("s")->listeners().size(), 1u);
  aio::testing::run(daemon_.reactor(), aio::testing::until(daemon_.reactor(), [this] { return !is_there("s"); }));
  EXPECT_TRUE(is_there("second"));
}

TEST_F(NbdServersTest, AChangeThatFailsChangesNothing) {
  EXPECT_EQ(add_on_path("s"), "");
  EXPECT_EQ(add_on_path("other"), "");
  const std::string before = daemon_.state();
  EXPECT_EQ(change("missing", {.listen = {path("x")}}), "NBD server 'missing' not found");
  EXPECT_NE(change("s", {.listen = {path("new"), path("other")}, .exports = {{"x"}}}), "");
  EXPECT_NE(change("s", {.listen = {path("s")}, .tls = {{.creds = "none"}}}), "");
  EXPECT_EQ(daemon_.state_that_becomes(before), before);
}

TEST_F(NbdServersTest, APreparedServerThatIsNotCommittedLeavesNoTrace) {
  const std::string before = daemon_.state();
  {
    std::optional<PreparedServer> prepared;
    const auto prepare = [](Control& control, schema::NbdServerConfiguration configuration,
                            std::optional<PreparedServer>& made) -> aio::Task<Result<>> {
      CO_TRY_ASSIGN(PreparedServer one, co_await PreparedServer::add(control, "s", std::move(configuration)));
      made.emplace(std::move(one));
      co_return Result<>{};
    };
    EXPECT_EQ(daemon_.run(prepare(daemon_.control(), {.listen = {path("s")}}, prepared)), "");
    EXPECT_TRUE(is_there("s"));
    EXPECT_FALSE(servers().contains("s"));
    EXPECT_EQ(add_on_path("s"), "NBD server 's' exists already");
  }
  EXPECT_EQ(daemon_.state_that_becomes(before), before);
  EXPECT_EQ(add_on_path("s"), "");
}

TEST_F(NbdServersTest, AllServersTogetherKeepAsManyHandshakesAsOne) {
  EXPECT_EQ(start_default(), "");
  for (const char* id : {"a", "b", "c"}) EXPECT_EQ(add_on_path(id), "");
  EXPECT_FALSE(servers().find("a")->state().handshakes.is_full());
  EXPECT_EQ(servers().find("a")->state().handshakes.slots(), nbd::handshakes_permitted() / 4);
  for (const char* id : {"a", "b", "c"}) EXPECT_EQ(remove(id), "");
  EXPECT_EQ(servers().find_default()->state().handshakes.slots(), nbd::handshakes_permitted());
}

}  // namespace
}  // namespace blockexport::control
