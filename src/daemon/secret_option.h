// Where an option of the command line has a secret in it, which is not shown in messages nor in the list of processes.
// Pure; main thread.
#pragma once

#include <string_view>

namespace blockexport::daemon {

// Where the secret stands in the argument of --object, as "secret,id=x,data=HERE"; empty when there is none. In the
// JSON form it is the whole argument: what is not read yet is not taken apart either.
std::string_view secret_in_object_option(std::string_view argument);

}  // namespace blockexport::daemon
