#include "base/lasting_condition.h"

#include "base/log_episodes.h"

namespace blockexport {

LastingCondition::LastingCondition(const Log& log, std::string server)
    : log_(log), episode_{.server = std::move(server)} {
  log_.episodes().add(episode_);
}

LastingCondition::~LastingCondition() {
  log_.episodes().remove(episode_);
}

void LastingCondition::happened(std::string_view text) {
  const LogField server{.name = "server", .value = episode_.server};
  log_.write_line(log_.episodes().happened(episode_, text), {&server, episode_.server.empty() ? 0u : 1u});
}

void LastingCondition::clear() {
  if (is_on()) log_.episodes().clear(episode_);
}

void LastingCondition::ended(std::string_view text) {
  if (!is_on()) return;
  log_.episodes().ended(episode_, text);
  log_.due_time_changed();
}

}  // namespace blockexport
