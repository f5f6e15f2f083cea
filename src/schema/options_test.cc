// The daemon's own schema, with the messages that qemu-storage-daemon was observed to give for the same input.
#include <gtest/gtest.h>

#include "schema/block_core.h"
#include "schema/block_export.h"
#include "schema/char.h"
#include "schema/codec.h"
#include "schema/control.h"
#include "schema/introspection.h"
#include "schema/qom.h"
#include "schema/sample/json_text.h"

namespace blockexport::schema {
namespace {

using test::array;
using test::object;

template <class T>
std::string error_of(const json::Value& document) {
  auto value = decode<T>(document);
  return value ? "" : value.error().message();
}

template <class T>
std::string keyval_error_of(const json::Value& document) {
  auto value = decode_keyval<T>(document);
  return value ? "" : value.error().message();
}

TEST(Options, BlockdevMessages) {
  using T = BlockdevOptions;
  EXPECT_EQ(error_of<T>(object({{"driver", json::Null{}}})), "Invalid parameter type for 'driver', expected: string");
  EXPECT_EQ(error_of<T>(object({{"driver", "raw"}})), "Parameter 'file' is missing");
  EXPECT_EQ(error_of<T>(object({{"driver", "raw"}, {"file", 3}})),
            "Invalid parameter type for 'file', expected: BlockdevRef");
  EXPECT_EQ(error_of<T>(object({{"driver", "raw"}, {"file", object({{"driver", "foo"}})}})),
            "Parameter 'driver' does not accept value 'foo'");
  EXPECT_EQ(error_of<T>(object({{"driver", "raw"}, {"file", object({{"driver", "null-co"}, {"x", 1}})}})),
            "Parameter 'file.x' is unexpected");
  EXPECT_EQ(error_of<T>(object({{"driver", "null-co"}, {"cache", 3}})),
            "Invalid parameter type for 'cache', expected: object");
  EXPECT_EQ(error_of<T>(object({{"driver", "null-co"}, {"cache", object({{"foo", object({{"a", 1}})}})}})),
            "Parameter 'cache.foo' is unexpected");
  EXPECT_EQ(error_of<T>(object({{"driver", "null-co"}, {"latency-ns", 1.0}})), "Parameter 'latency-ns' expects uint64");
  EXPECT_EQ(error_of<T>(object({{"driver", "null-co"}, {"size", std::uint64_t{1} << 63}})),
            "Invalid parameter type for 'size', expected: integer");
}

TEST(Options, BlockdevReopenMessages) {
  using T = BlockdevReopenArguments;
  EXPECT_EQ(error_of<T>(object({{"options", array({3})}})),
            "Invalid parameter type for 'options[0]', expected: object");
  EXPECT_EQ(error_of<T>(object({{"options", object({})}})), "Invalid parameter type for 'options', expected: array");
  EXPECT_EQ(error_of<T>(object({{"options", array({object({{"driver", "null-co"}, {"foo", "a"}})})}})),
            "Parameter 'options[0].foo' is unexpected");
  EXPECT_EQ(error_of<T>(object({{"options", array({object({{"driver", "null-co"}, {"size", "a"}})})}})),
            "Invalid parameter type for 'options[0].size', expected: integer");
}

TEST(Options, NbdServerMessages) {
  using T = NbdServerOptionsLegacy;
  auto inet = [](std::initializer_list<json::Object::Member> data) {
    return object({{"type", "inet"}, {"data", object(data)}});
  };
  EXPECT_EQ(error_of<T>(object({})), "Parameter 'addr' is missing");
  EXPECT_EQ(error_of<T>(object({{"addr", inet({{"host", "a"}, {"port", "1"}, {"to", 70000}})}})),
            "Parameter 'to' expects uint16_t");
  EXPECT_EQ(error_of<T>(object({{"addr", inet({{"host", "a"}, {"port", "1"}, {"to", "7"}})}})),
            "Parameter 'addr.data.to' expects uint64");
  EXPECT_EQ(error_of<T>(object({{"addr", object({{"type", "inet"}})}})), "Parameter 'addr.data' is missing");
  EXPECT_EQ(error_of<T>(object({{"addr", inet({{"host", "a"}, {"port", "1"}, {"foo", object({})}})}})),
            "Parameter 'addr.data.foo' is unexpected");
  auto address = inet({{"host", "a"}, {"port", "1"}});
  EXPECT_EQ(error_of<T>(object({{"addr", address}, {"x", 1}, {"max-connections", -1}})),
            "Parameter 'max-connections' expects uint32_t");
}

TEST(Options, BlockExportMessages) {
  using T = BlockExportOptions;
  EXPECT_EQ(error_of<T>(object({{"type", "nbd"}, {"bitmaps", array({json::Null{}})}})), "Parameter 'id' is missing");
  auto with = [](const char* name, json::Value value) {
    return object({{"type", "nbd"}, {"id", "a"}, {"node-name", "n"}, {name, std::move(value)}});
  };
  EXPECT_EQ(error_of<T>(with("bitmaps", array({json::Null{}}))),
            "Invalid parameter type for 'null', expected: BlockDirtyBitmapOrStr");
  EXPECT_EQ(error_of<T>(with("bitmaps", array({object({{"node", 1}})}))),
            "Invalid parameter type for 'bitmaps[0].node', expected: string");
  EXPECT_EQ(error_of<T>(with("writable", "on")), "Invalid parameter type for 'writable', expected: boolean");
  EXPECT_EQ(error_of<T>(with("type", "fuse")), "Parameter 'type' does not accept value 'fuse'");
}

TEST(Options, ObjectAndCapabilityMessages) {
  EXPECT_EQ(error_of<ObjectOptions>(object({})), "Parameter 'qom-type' is missing");
  EXPECT_EQ(error_of<ObjectOptions>(object({{"qom-type", "iothread"}, {"id", "a"}, {"poll-max-ns", "a"}})),
            "Invalid parameter type for 'poll-max-ns', expected: integer");
  EXPECT_EQ(error_of<QmpCapabilitiesArguments>(object({{"enable", array({"foo"})}})),
            "Parameter 'null' does not accept value 'foo'");
  EXPECT_EQ(error_of<QmpCapabilitiesArguments>(object({{"enable", array({1})}})),
            "Invalid parameter type for 'enable[0]', expected: string");
}

TEST(Options, CommandLineMessages) {
  EXPECT_EQ(keyval_error_of<BlockdevOptions>(object({{"driver", "null-co"}, {"size", "1k"}})),
            "Parameter 'size' expects integer");
  EXPECT_EQ(keyval_error_of<BlockdevOptions>(object({{"driver", "null-co"}, {"node-name", object({{"x", "a"}})}})),
            "Parameters 'node-name.*' are unexpected");
  EXPECT_EQ(keyval_error_of<BlockdevOptions>(object({{"driver", "null-co"}, {"cache", "3"}})),
            "Invalid parameter type for 'cache', expected: object");
  auto address = object({{"type", "inet"}, {"host", "a"}, {"port", "1"}, {"to", "7k"}});
  EXPECT_EQ(keyval_error_of<NbdServerOptions>(object({{"addr", address}})), "Parameter 'addr.to' expects integer");
  EXPECT_EQ(keyval_error_of<BlockExportOptions>(object(
                {{"type", "nbd"}, {"id", "a"}, {"node-name", "b"}, {"bitmaps", array({object({{"node", "a"}})})}})),
            "Parameter 'bitmaps.0.name' is missing");
  EXPECT_EQ(keyval_error_of<MonitorOptions>(object({{"id", "m"}})), "Parameter 'chardev' is missing");
}

TEST(Options, ReadsAChainOfNodes) {
  auto options = decode_keyval<BlockdevOptions>(
      object({{"driver", "raw"},
              {"node-name", "disk0"},
              {"offset", "0x1000"},
              {"cache", object({{"direct", "on"}})},
              {"file", object({{"driver", "file"}, {"filename", "/srv/a.img"}, {"aio", "io_uring"}})}}));
  ASSERT_TRUE(options.has_value()) << options.error().message();
  EXPECT_EQ(options->cache->direct, true);
  const BlockdevOptionsRaw& raw = options->as<BlockdevDriver::kRaw>();
  EXPECT_EQ(raw.offset, 4096);
  const BlockdevOptions* file = raw.file.definition();
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->as<BlockdevDriver::kFile>().filename, "/srv/a.img");
  EXPECT_EQ(file->as<BlockdevDriver::kFile>().aio, BlockdevAioOptions::kIoUring);
}

TEST(Options, SurvivesDeepNesting) {
  json::Value node = object({{"driver", "null-co"}});
  for (int depth = 0; depth < 500; ++depth) node = object({{"driver", "raw"}, {"file", std::move(node)}});
  auto options = decode<BlockdevOptions>(node);
  ASSERT_TRUE(options.has_value());
  EXPECT_EQ(encode(*options), node);
}

TEST(Options, TellsExportDeletion) {
  EXPECT_EQ(block_export_deleted_event({.id = "e"}),
            object({{"event", "BLOCK_EXPORT_DELETED"}, {"data", object({{"id", "e"}})}}));
}

TEST(Options, IntrospectionHasNoNamesOfTypes) {
  EXPECT_EQ(introspection_text().find("BlockdevOptions"), std::string_view::npos);
  EXPECT_NE(introspection_text().find("\"block-export-add\""), std::string_view::npos);
}

}  // namespace
}  // namespace blockexport::schema
