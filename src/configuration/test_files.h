// ConfigurationFolder: for tests: a private directory with configuration files. Not part of the daemon.
#pragma once

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "configuration/check.h"

namespace blockexport::configuration::testing {

class ConfigurationFolder {
 public:
  ConfigurationFolder() {
    std::string name = std::filesystem::temp_directory_path() / "configuration-XXXXXX";
    path_ = mkdtemp(name.data());
    for (const char* folder : {"conf.d", "exports.d"}) {
      std::filesystem::create_directory(path_ / folder);
      chmod((path_ / folder).c_str(), 0755);
    }
  }
  ~ConfigurationFolder() { std::filesystem::remove_all(path_); }

  void write(const std::string& name, const std::string& text, mode_t mode = 0600) const {
    std::ofstream(path_ / name) << text;
    chmod((path_ / name).c_str(), mode);
  }
  void remove(const std::string& name) const { std::filesystem::remove(path_ / name); }
  std::string path(const std::string& name = "main.toml") const { return path_ / name; }

  ReadConfiguration read(const std::string& name = "main.toml", const Surroundings& surroundings = {}) const {
    ReadConfiguration configuration = read_configuration(path(name));
    if (configuration.findings.empty()) check(configuration, surroundings);
    return configuration;
  }
  // The errors, with "@/" for the directory.
  std::string errors(const std::string& name = "main.toml") const {
    std::string text = read(name).findings.text();
    const std::string prefix = path_.string() + "/";
    for (std::size_t at = text.find(prefix); at != std::string::npos; at = text.find(prefix, at)) {
      text.replace(at, prefix.size(), "@/");
    }
    return text;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace blockexport::configuration::testing
