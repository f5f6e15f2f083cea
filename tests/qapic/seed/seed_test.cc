// The first schema of block exports, compiled unchanged: its types, its command table, its command line options.
#include <gtest/gtest.h>

#include "schema/codec.h"
#include "seed_schema/block_export.h"
#include "seed_schema/block_export_commands.h"
#include "seed_schema/command_table.h"

// Handlers that do nothing.
namespace blockexport::control {

aio::Task<Result<>> nbd_server_start(Control& /*control*/, schema::NbdServerStartArguments /*arguments*/) {
  co_return Result<>();
}
aio::Task<Result<>> nbd_server_add(Control& /*control*/, schema::BlockExportNbd /*arguments*/) {
  co_return Result<>();
}
aio::Task<Result<>> nbd_server_remove(Control& /*control*/, schema::NbdServerRemoveArguments /*arguments*/) {
  co_return Result<>();
}
aio::Task<Result<>> nbd_server_stop(Control& /*control*/) {
  co_return Result<>();
}

}  // namespace blockexport::control

namespace blockexport::schema {
namespace {

TEST(Seed, HasItsFourCommands) {
  std::vector<std::string_view> names;
  for (const CommandEntry& entry : command_table()) names.push_back(entry.name);
  EXPECT_EQ(names, (std::vector<std::string_view>{"nbd-server-add", "nbd-server-remove", "nbd-server-start",
                                                  "nbd-server-stop"}));
}

TEST(Seed, ReadsItsCommandLineOptions) {
  json::Value address = json::Object{{"type", "unix"}, {"path", "/run/nbd"}};
  auto server = decode_keyval<NbdServerOptions>(json::Object{{"addr", address}, {"tls-creds", "tls0"}});
  ASSERT_TRUE(server.has_value());
  EXPECT_EQ(server->addr.as<SocketAddressType::kUnix>().path, "/run/nbd");
  EXPECT_EQ(server->tls_creds, "tls0");

  auto exported = decode_keyval<BlockExport>(json::Object{{"type", "nbd"}, {"device", "disk0"}, {"writable", "on"}});
  ASSERT_TRUE(exported.has_value());
  EXPECT_EQ(exported->as<BlockExportType::kNbd>().device, "disk0");
  EXPECT_EQ(exported->as<BlockExportType::kNbd>().writable, true);
}

TEST(Seed, RefusesWhatItDoesNotName) {
  auto removed = decode<NbdServerRemoveArguments>(json::Object{{"name", "a"}, {"mode", "hide"}});
  ASSERT_FALSE(removed.has_value());
  EXPECT_EQ(removed.error().message(), "Parameter 'mode' does not accept value 'hide'");
}

}  // namespace
}  // namespace blockexport::schema
