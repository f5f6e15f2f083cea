#include "base/lasting_condition.h"

#include "base/log_episodes.h"

namespace blockexport {

LastingCondition::LastingCondition(const Log& log) : log_(log) {
  log_.episodes().add(episode_);
}

LastingCondition::~LastingCondition() {
  log_.episodes().remove(episode_);
}

void LastingCondition::happened(std::string_view text) {
  log_.write_line(log_.episodes().happened(episode_, text));
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
