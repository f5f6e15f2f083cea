// The parser of requests: what RFC 9112 requires, and what attackers send.
#include "http/request.h"

#include <gtest/gtest.h>

#include <string>

#include "http/host_check.h"

namespace blockexport::http {
namespace {

Parsed parse(std::string_view text) {
  return parse_request(text);
}
// The code of the refusal; 0 for a complete request, -1 for an incomplete one.
int code_of(std::string_view text) {
  const Parsed parsed = parse(text);
  return parsed.status == ParseStatus::kIncomplete ? -1 : parsed.code;
}

TEST(RequestTest, TakesTheRequestOfAnOrdinaryClient) {
  constexpr std::string_view kText =
      "GET /metrics?x=1 HTTP/1.1\r\nHost: localhost:9809\r\nAccept: text/plain;q=0.5\r\nUser-Agent: x\r\n\r\nGET";
  const Parsed parsed = parse(kText);
  ASSERT_EQ(parsed.status, ParseStatus::kComplete);
  EXPECT_EQ(parsed.consumed, kText.size() - 3);
  EXPECT_EQ(parsed.request.method, "GET");
  EXPECT_EQ(parsed.request.path, "/metrics");
  EXPECT_EQ(parsed.request.host, "localhost:9809");
  EXPECT_EQ(parsed.request.accept, "text/plain;q=0.5");
  EXPECT_TRUE(parsed.request.keeps_connection);
}

TEST(RequestTest, EachPrefixIsIncomplete) {
  const std::string text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_EQ(code_of(std::string_view(text).substr(0, length)), -1) << length;
  }
  EXPECT_EQ(code_of(text), 0);
}

TEST(RequestTest, KeepsTheConnectionAsTheVersionAndTheFieldSay) {
  EXPECT_FALSE(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n").request.keeps_connection);
  EXPECT_FALSE(parse("GET / HTTP/1.1\r\nHost: a\r\nConnection: x, close\r\n\r\n").request.keeps_connection);
  EXPECT_FALSE(parse("GET / HTTP/1.0\r\n\r\n").request.keeps_connection);
  EXPECT_TRUE(parse("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").request.keeps_connection);
}

TEST(RequestTest, AnAbsoluteTargetReplacesTheHost) {
  const Parsed parsed = parse("GET http://there:1/metrics HTTP/1.1\r\nHost: here\r\n\r\n");
  ASSERT_EQ(parsed.status, ParseStatus::kComplete);
  EXPECT_EQ(parsed.request.host, "there:1");
  EXPECT_EQ(parsed.request.path, "/metrics");
  EXPECT_EQ(parse("GET HTTP://there HTTP/1.1\r\nHost: here\r\n\r\n").request.path, "/");
}

TEST(RequestTest, RefusesWhatIsNoRequest) {
  for (std::string_view text :
       {"GET /\r\n\r\n", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "GET x HTTP/1.1\r\nHost: a\r\n\r\n", " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\nX: a\r\n\r\n", "\r\n\r\n", "\r\n\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "GET / http/1.1\r\nHost: a\r\n\r\n"}) {
    EXPECT_EQ(code_of(text), 400) << text;
  }
  EXPECT_EQ(code_of(std::string_view("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", 29)), 400);
}

TEST(RequestTest, RefusesABodyAnotherVersionAndALongHead) {
  EXPECT_EQ(code_of("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"), 413);
  EXPECT_EQ(code_of("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 00\r\n\r\n"), 0);
  EXPECT_EQ(code_of("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), 501);
  EXPECT_EQ(code_of("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), 505);
  EXPECT_EQ(code_of(std::string(kHeadBytesMax - 1, 'x')), -1);
  EXPECT_EQ(code_of(std::string(kHeadBytesMax, 'x')), 431);
}

TEST(RequestTest, ChoosesAMediaTypeByItsQuality) {
  constexpr std::string_view kPrometheus =
      "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
      "text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
  EXPECT_EQ(quality_of(kPrometheus, "application", "openmetrics-text"), 1000);
  EXPECT_EQ(quality_of(kPrometheus, "text", "plain"), 500);
  EXPECT_EQ(quality_of(kPrometheus, "image", "png"), 100);
  EXPECT_EQ(quality_of("", "text", "plain"), 1000);
  EXPECT_EQ(quality_of("text/*;q=0.25", "text", "plain"), 250);
  EXPECT_EQ(quality_of("text/html", "text", "plain"), 0);
  EXPECT_EQ(quality_of("text/plain;q=0", "text", "plain"), 0);
  EXPECT_EQ(quality_of("text/plain;q=9", "text", "plain"), 0);
  EXPECT_EQ(quality_of("*/*;q=1.0,text/plain;q=0.001", "text", "plain"), 1);
}

TEST(HostCheckTest, AcceptsOnlyNamesOfThisHost) {
  HostCheck hosts;
  ASSERT_TRUE(hosts.add("Storage1.example"));
  ASSERT_TRUE(hosts.add(""));
  for (std::string_view host :
       {"localhost", "LOCALHOST:9809", "127.0.0.1", "[::1]:9809", "192.0.2.1:1", "storage1.example:9809"}) {
    EXPECT_TRUE(hosts.accepts(host)) << host;
  }
  for (std::string_view host : {"", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "a:b",
                                "localhost:80:80", "storage1.example.", "[localhost]x"}) {
    EXPECT_FALSE(hosts.accepts(host)) << host;
  }
  EXPECT_FALSE(hosts.add(std::string(kHostNameBytesMax + 1, 'a')));
  for (std::size_t i = 1; i < kHostNamesMax; ++i) EXPECT_TRUE(hosts.add("a"));
  EXPECT_FALSE(hosts.add("a"));
}

}  // namespace
}  // namespace blockexport::http
