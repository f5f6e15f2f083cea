// Sandbox: what the process gives up by itself before it serves: another user's rights, capabilities, system calls, and
// files outside of some directories. docs/sandbox.md describes what stays possible.
//
// Main thread, before any other thread runs: threads that start later inherit it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace blockexport::daemon {

enum class SandboxMode {
  kOff,
  kSeccomp,  // no capabilities, and only the system calls that the daemon uses
  kFull,     // also only the files beneath the directories of SandboxOptions
};

struct SandboxOptions {
  SandboxMode mode = SandboxMode::kOff;
  bool is_configured = false;  // by a configuration file, which errors then name
  // Directories, files or devices; every path beneath a directory belongs to it. One that begins with '-' may be
  // missing.
  std::vector<std::string> images = {};       // read and written, created, removed
  std::vector<std::string> credentials = {};  // read only: keys, certificates, secrets, lists, configuration
  std::vector<std::string> state = {};        // read and written: bitmap stores, PID files, traces
  std::vector<std::string> sockets = {};      // where unix sockets are made and removed
};

// The word of a mode; nothing for another word.
std::optional<SandboxMode> sandbox_mode_of(std::string_view word);

// Reads the argument of --sandbox, "MODE[,images=PATH][,credentials=PATH][,state=PATH][,sockets=PATH]", in which each
// key may stand several times. Errors: an unknown mode or key, an empty path, directories without the mode full.
Result<SandboxOptions> parse_sandbox(std::string_view argument);

// Becomes `user`, "NAME" or "NAME:GROUP", with the groups of that user. Errors: there is no such user or group, this
// user may not do it.
Result<> become_user(const std::string& user);

// Errors: there is no such user or group.
Result<> check_user(const std::string& user);

// Enters the sandbox; nothing leaves it. Errors: a directory is missing, the kernel or the build lacks something.
Result<> enter_sandbox(const SandboxOptions& options);

// The sentence that follows "Permission denied" and "Operation not permitted" in an error; empty when the mode is off.
std::string sandbox_note(const SandboxOptions& options);

}  // namespace blockexport::daemon
