// What an option of the command line that carries a secret looks like when it is shown: in messages, and in the list of
// processes. Pure; main thread.
#pragma once

#include <string>
#include <string_view>

namespace blockexport::daemon {

// Where the secret stands in the argument of --object, as "secret,id=x,data=HERE"; empty when there is none. In the
// JSON form it is the whole argument: what is not read yet is not taken apart either.
std::string_view secret_in_object_option(std::string_view argument);

// `text` with every byte of `secret`, which is a part of it, as '*'.
std::string masked(std::string_view text, std::string_view secret);

}  // namespace blockexport::daemon
