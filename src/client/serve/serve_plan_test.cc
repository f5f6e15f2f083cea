#include "client/serve/serve_plan.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace blockexport::serve {
namespace {

constexpr char kSocket[] = "/run/private/nbd.sock";

ServedImage raw(std::string path) {
  return {.path = std::move(path), .detected_format = {}};
}

std::vector<std::string> values_of(const ServePlan& plan, std::string_view option) {
  std::vector<std::string> values;
  for (std::size_t i = 0; i + 1 < plan.arguments.size(); i += 2) {
    if (plan.arguments[i] == option) values.push_back(plan.arguments[i + 1]);
  }
  return values;
}

std::string refusal(const ServeOptions& options, const std::vector<ServedImage>& images) {
  const auto plan = make_plan(options, images, kSocket, false);
  return plan ? "" : plan.error().message();
}

TEST(ServePlanTest, OneImageIsTheDefaultExportOfAPrivateSocket) {
  const auto plan = make_plan({}, {raw("/srv/disk.img")}, kSocket, false);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->uris, std::vector<std::string>{"nbd+unix:///?socket=/run/private/nbd.sock"});
  EXPECT_EQ(plan->sockets, std::vector<std::string>{kSocket});
  EXPECT_EQ(
      values_of(*plan, "--blockdev"),
      std::vector<std::string>{R"({"driver": "raw", "node-name": "image0", "read-only": true, "discard": "unmap", )"
                               R"("file": {"driver": "file", "filename": "/srv/disk.img"}})"});
  EXPECT_EQ(values_of(*plan, "--export"),
            std::vector<std::string>{
                R"({"type": "nbd", "id": "export0", "node-name": "image0", "name": "", "writable": false})"});
  // The server comes before the exports, and after the objects that it names.
  EXPECT_EQ(plan->arguments.front(), "--nbd-server");
}

TEST(ServePlanTest, SeveralImagesAreExportedByTheirNames) {
  ServeOptions options{.is_writable = true, .listen = {"unix:/run/a b.sock", "[::1]:10810", ":10811", "host"}};
  const auto plan = make_plan(options, {raw("/srv/a.img"), raw("/dev/vg0/b ü")}, kSocket, false);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->uris,
            (std::vector<std::string>{"nbd+unix:///a.img?socket=/run/a%20b.sock", "nbd://[::1]:10810/a.img",
                                      "nbd://localhost:10811/a.img", "nbd://host:10809/a.img",
                                      "nbd+unix:///b%20%C3%BC?socket=/run/a%20b.sock", "nbd://[::1]:10810/b%20%C3%BC",
                                      "nbd://localhost:10811/b%20%C3%BC", "nbd://host:10809/b%20%C3%BC"}));
  EXPECT_EQ(values_of(*plan, "--listen").size(), 3u);
  EXPECT_EQ(values_of(*plan, "--export").size(), 2u);
  EXPECT_NE(values_of(*plan, "--export")[1].find(R"("writable": true)"), std::string::npos);
}

TEST(ServePlanTest, EachFormOfAnAddressHasItsUri) {
  const ServeOptions options{
      .listen = {"[::1]", "[fe80::1%lo]:1", "0.0.0.0:2", "[::]:3", "vsock::4", "vsock:2:5", "unix:./@x"}};
  const auto plan = make_plan(options, {raw("/srv/a")}, kSocket, false);
  ASSERT_TRUE(plan);
  ASSERT_EQ(plan->sockets.size(), 1u);
  const std::string file = plan->sockets.front();
  EXPECT_TRUE(file.starts_with('/') && file.ends_with("/@x")) << file;
  EXPECT_EQ(plan->uris.size(), 7u);
  EXPECT_EQ(std::vector<std::string>(plan->uris.begin(), plan->uris.end() - 1),
            (std::vector<std::string>{"nbd://[::1]:10809/", "nbd://[fe80::1%25lo]:1/", "nbd://localhost:2/",
                                      "nbd://localhost:3/", "nbd+vsock://1:4/", "nbd+vsock://2:5/"}));
  EXPECT_EQ(values_of(*plan, "--listen")[4], R"({"type": "vsock", "cid": "2", "port": "5"})");
}

TEST(ServePlanTest, TlsComesFromTheDirectory) {
  ServeOptions options{.tls_directory = "/etc/pki", .tls_authz_identity = "CN=anna"};
  const auto plan = make_plan(options, {raw("/srv/a.img")}, kSocket, false);
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->uris.front(), "nbds+unix:///?socket=/run/private/nbd.sock");
  ASSERT_EQ(values_of(*plan, "--object").size(), 2u);
  EXPECT_NE(values_of(*plan, "--object")[0].find("tls-creds-x509"), std::string::npos);
  EXPECT_NE(values_of(*plan, "--nbd-server")[0].find(R"("tls-authz": "authz0")"), std::string::npos);
  const auto shared = make_plan({.tls_directory = "/etc/pki"}, {raw("/srv/a.img")}, kSocket, true);
  EXPECT_NE(values_of(*shared, "--object")[0].find("tls-creds-psk"), std::string::npos);
}

TEST(ServePlanTest, AFormatIsNotGuessed) {
  const ServedImage image{.path = "/srv/a.qcow2", .detected_format = "qcow2"};
  const auto plan = make_plan({}, {image}, kSocket, false);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().message(), "/srv/a.qcow2 begins or ends as a file of the format qcow2 does");
  EXPECT_NE(plan.error().hint().find("--format qcow2 serves the disk in it, --format raw its bytes"),
            std::string::npos);
  EXPECT_TRUE(make_plan({.format = "raw"}, {image}, kSocket, false));
  EXPECT_TRUE(make_plan({.format = "qcow2"}, {image}, kSocket, false));
}

TEST(ServePlanTest, WrongOptionsAreRefused) {
  EXPECT_EQ(refusal({.listen = {"unix:"}}, {raw("/a")}), "--listen: Address 'unix:' has no path");
  EXPECT_EQ(refusal({.listen = {""}}, {raw("/a")}), "--listen: An address is empty");
  EXPECT_EQ(refusal({.listen = {"host:nbd"}}, {raw("/a")}), "--listen host:nbd: 'nbd' is no port number");
  EXPECT_EQ(refusal({.listen = {"host:65536"}}, {raw("/a")}), "--listen: Address 'host:65536' has a port above 65535");
  EXPECT_EQ(refusal({.listen = {"::1"}}, {raw("/a")}),
            "--listen: Address '::1' has several colons: an IPv6 address stands in brackets");
  EXPECT_EQ(refusal({.listen = {"unix:@x"}}, {raw("/a")}), "--listen unix:@x: an abstract socket has no URI");
  EXPECT_EQ(refusal({.listen = {"systemd:x"}}, {raw("/a")}),
            "--listen systemd:x: only a service has sockets of systemd");
  EXPECT_EQ(refusal({.export_name = "x"}, {raw("/a"), raw("/b")}),
            "--export-name is for one image; several are exported by the names of their files");
  EXPECT_EQ(refusal({}, {raw("/a/x"), raw("/b/x")}), "Two images have the name 'x'");
  EXPECT_EQ(refusal({.tls_authz_identity = "x"}, {raw("/a")}), "--tls-client needs --tls");
  EXPECT_EQ(refusal({}, std::vector<ServedImage>(kServedImagesMax + 1, raw("/a"))),
            "1001 images are too many: 1000 at most");
}

}  // namespace
}  // namespace blockexport::serve
