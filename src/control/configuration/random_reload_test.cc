// Random configurations, good and bad ones, one after the other: the check and the reload accept the same ones; after a
// reload the daemon is as a new one that starts with this configuration, or as before.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "aio/testing/seeds.h"
#include "control/configuration/full_check.h"
#include "control/configuration/test_daemon.h"

namespace blockexport::control {
namespace {

using testing::ConfiguredDaemon;

constexpr std::uint64_t kDocuments = 150;

// BLOCKEXPORT_RANDOM_CONFIGURATIONS sets another number, for a thorough run.
std::uint64_t documents_here() {
  const char* given = std::getenv("BLOCKEXPORT_RANDOM_CONFIGURATIONS");  // NOLINT(concurrency-mt-unsafe)
  return given != nullptr ? std::strtoull(given, nullptr, 10) : aio::testing::seeds_here(kDocuments);
}

class Generator {
 public:
  Generator(std::uint64_t seed, std::string directory) : random_(seed), directory_(std::move(directory)) {}

  std::string document() {
    std::string text;
    if (one_in(2)) text += daemon();
    for (const char* id : {"io0", "io1"}) {
      if (one_in(2)) text += fmt::format("[objects.{}]\nqom-type = \"iothread\"\npoll-max-ns = {}\n", id, below(3));
    }
    if (one_in(2)) text += fmt::format("[objects.s]\nqom-type = \"secret\"\ndata = \"{}\"\n", below(2));
    if (one_in(3)) text += "[objects.z]\nqom-type = \"authz-simple\"\nidentity = \"fred\"\n";
    if (one_in(8)) text += "[objects.f]\nqom-type = \"secret\"\nfile = \"/absent\"\n";
    for (int i = 0; i < 3; ++i) {
      if (one_in(2)) text += fmt::format("[nodes.n{}]\n{}", i, node(i));
    }
    for (int i = 0; i < 2; ++i) {
      if (one_in(2)) text += server(i);
    }
    for (int i = 0; i < 4; ++i) {
      if (one_in(2)) text += one_export(i);
    }
    return one_in(4) ? spoilt(std::move(text)) : text;
  }

 private:
  std::uint64_t below(std::uint64_t limit) { return random_() % limit; }
  bool one_in(std::uint64_t count) { return below(count) == 0; }

  std::string daemon() {
    std::string text = "[daemon]\n";
    if (one_in(3)) text += fmt::format("reactors = {}\n", one_in(20) ? 0 : 1);
    if (one_in(3)) text += fmt::format("polling = \"{}\"\n", one_in(2) ? "auto" : "off");
    if (one_in(3)) text += fmt::format("log = {{ level = \"{}\" }}\n", one_in(2) ? "debug" : "error");
    if (one_in(6)) text += fmt::format("user = \"{}\"\n", one_in(8) ? ":x" : "nobody");
    if (one_in(4)) {
      text += fmt::format("metrics = {{ listen = [\"unix:{}m{}.sock\"{}], per-client = {} }}\n", directory_, below(2),
                          one_in(8) ? ", \"nonsense\"" : "", one_in(2) ? "true" : "false");
    }
    if (one_in(4)) {
      text += fmt::format("sandbox = {{ mode = \"{}\"{} }}\n", one_in(2) ? "full" : "seccomp",
                          one_in(6) ? ", images = [\"/\"]" : "");
    }
    return text;
  }

  std::string node(int number) {
    switch (below(4)) {
      case 0:
        return fmt::format("driver = \"null-co\"\nsize = {}\n", 4096 * (1 + below(2)));
      case 1:
        return fmt::format("driver = \"raw\"\nfile = \"n{}\"\n", below(3));
      case 2:
        return fmt::format("driver = \"raw\"\nfile = {{ driver = \"null-co\" }}\nread-only = {}\n",
                           one_in(2) ? "true" : "false");
      default:
        return fmt::format("driver = \"file\"\nfilename = \"{}image{}\"\nread-only = true\n", directory_,
                           one_in(10) ? 9 : number);
    }
  }

  std::string server(int number) {
    std::string text = fmt::format("[servers.s{}]\nlisten = [\"unix:{}s{}.sock\"", number, directory_, number);
    if (one_in(2)) text += fmt::format(", \"unix:{}t{}.sock\"", directory_, number);
    text += fmt::format("]\nmax-connections = {}\n", 10 + below(2));
    if (one_in(4)) text += "access = \"read-only\"\n";
    if (one_in(10)) text += "tls = { creds = \"s\" }\n";
    return text;
  }

  std::string one_export(int number) {
    std::string text = fmt::format("[exports.e{}]\n", number);
    if (one_in(3)) text += fmt::format("writable = {}\n", one_in(2) ? "true" : "false");
    if (one_in(3)) text += fmt::format("name = \"name{}\"\n", below(3));
    if (one_in(3)) text += fmt::format("description = \"{}\"\n", below(2));
    if (one_in(4)) text += fmt::format("iothread = \"io{}\"\n", below(2));
    if (one_in(4)) text += "on-remove = \"hard\"\n";
    if (one_in(10)) text += "tls-authz = \"z\"\n";
    if (one_in(6)) text += fmt::format("servers = [\"s{}\"]\n", below(2));
    if (one_in(2)) return text + fmt::format("node-name = \"n{}\"\n", below(3));
    return text + fmt::format("[exports.e{}.node]\n{}", number, node(number));
  }

  // One letter is another one, or a line is gone.
  std::string spoilt(std::string text) {
    if (text.empty()) return text;
    const std::size_t at = below(text.size());
    if (one_in(2)) {
      if (text[at] != '\n') text[at] = static_cast<char>('a' + below(26));
      return text;
    }
    const std::size_t end = text.find('\n', at);
    const std::size_t start = text.rfind('\n', at);
    const std::size_t from = start == std::string::npos ? 0 : start + 1;
    return text.substr(0, from) + (end == std::string::npos ? "" : text.substr(std::max(end + 1, from)));
  }

  std::mt19937_64 random_;
  std::string directory_;
};

aio::Task<Result<>> check_into(Control& control, configuration::ReadConfiguration& read) {
  co_await check_fully(control, read, /*is_deep=*/true);
  co_return Result<>();
}

class RandomReloadTest : public ::testing::Test {
 protected:
  RandomReloadTest() {
    for (const char* folder : {"conf.d", "exports.d"}) folder_.remove(folder);
    for (int i = 0; i < 3; ++i) {
      std::ofstream(folder_.path("image" + std::to_string(i))) << "";
      std::filesystem::resize_file(folder_.path("image" + std::to_string(i)), 65536);
    }
  }

  // The errors that --check-config --deep prints.
  std::string errors_of_check() {
    configuration::ReadConfiguration read = folder_.read();
    if (!read.findings.empty()) return read.findings.text();
    testing::BareDaemon daemon(folder_.path(""));
    EXPECT_EQ(daemon.run(check_into(daemon.control(), read)), "");
    return read.findings.text();
  }

  // The state of a daemon that starts with the file; its sockets have other paths, since the first daemon has them.
  std::string state_of_new(const std::string& text, const std::string& directory) {
    std::string moved = text;
    for (std::size_t at = moved.find("unix:" + directory); at != std::string::npos;
         at = moved.find("unix:" + directory, at + 1)) {
      moved.insert(at + 5 + directory.size(), "new-");
    }
    folder_.write("new.toml", moved);
    ConfiguredDaemon fresh(folder_, "new.toml");
    EXPECT_EQ(fresh.start(), "") << text;
    std::string state = fresh.summary();
    for (std::size_t at = state.find("new-"); at != std::string::npos; at = state.find("new-")) state.erase(at, 4);
    return state;
  }

  configuration::testing::ConfigurationFolder folder_;
};

TEST_F(RandomReloadTest, ReachesTheNewStateOrKeepsTheOldOne) {
  const std::string directory = folder_.path("");
  std::uint64_t accepted = 0;
  std::uint64_t refused = 0;
  folder_.write("main.toml", "");
  auto daemon = std::make_unique<ConfiguredDaemon>(folder_);
  ASSERT_EQ(daemon->start(), "");
  for (std::uint64_t seed = 0; seed < documents_here() && !HasFailure(); ++seed) {
    const std::string text = Generator(seed, directory).document();
    SCOPED_TRACE(fmt::format("seed {}\n{}", seed, text));
    const std::string before = daemon->summary();
    folder_.write("main.toml", text);
    const std::string errors = errors_of_check();
    const std::string outcome = daemon->reload();
    if (!errors.empty()) {
      ++refused;
      EXPECT_NE(outcome, "") << "the check says: " << errors;
      EXPECT_EQ(daemon->summary(), before);
      continue;
    }
    EXPECT_EQ(outcome, "");
    ++accepted;
    EXPECT_EQ(daemon->summary(), state_of_new(text, directory));
    EXPECT_EQ(daemon->reload({.is_dry_run = true}), "");
    EXPECT_EQ(daemon->differences().find("exports"), std::string::npos) << daemon->differences();
  }
  RecordProperty("accepted", std::to_string(accepted));
  RecordProperty("refused", std::to_string(refused));
  // About one document in thirteen is accepted, so a run with few may meet none.
  EXPECT_GE(accepted, documents_here() / 50);
  EXPECT_GE(refused, documents_here() / 10);
}

}  // namespace
}  // namespace blockexport::control
