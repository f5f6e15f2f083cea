#include "export/engine/session_states.h"

#include <gtest/gtest.h>

#include <vector>

namespace blockexport::exports {
namespace {

constexpr Phase kPhases[] = {Phase::kCreated, Phase::kServing, Phase::kAnswering, Phase::kDraining, Phase::kEnded};
constexpr Ending kEndings[] = {Ending::kOpen,      Ending::kClientLeft, Ending::kFinishing,
                               Ending::kSuspended, Ending::kLost,       Ending::kDropped};

// A session in `phase`.
SessionStates states_in(Phase phase) {
  SessionStates states;
  for (Phase next : kPhases) {
    if (next > Phase::kCreated && next <= phase) states.enter(next);
  }
  return states;
}

TEST(SessionStatesTest, EachPhaseFollowsTheOneBeforeIt) {
  for (Phase from : kPhases) {
    for (Phase to : kPhases) {
      EXPECT_EQ(is_legal(from, to), static_cast<int>(to) - static_cast<int>(from) == 1);
    }
  }
}

TEST(SessionStatesTest, EveryEndingCanBeReachedAndACutIsFinal) {
  std::vector<Ending> reached = {Ending::kOpen};
  for (const EndingTransition& transition : kEndingTransitions) {
    EXPECT_NE(std::ranges::find(reached, transition.from), reached.end());
    EXPECT_NE(transition.from, Ending::kLost);
    EXPECT_NE(transition.from, Ending::kDropped);
    reached.push_back(transition.to);
  }
  for (Ending ending : kEndings) EXPECT_NE(std::ranges::find(reached, ending), reached.end());
}

TEST(SessionStatesTest, AnEndingHasOneCause) {
  for (const EndingTransition& one : kEndingTransitions) {
    for (const EndingTransition& other : kEndingTransitions) {
      if (one.to == other.to) EXPECT_EQ(one.cause, other.cause);
    }
  }
}

TEST(SessionStatesTest, TheReaderWaitsOnlyWhileTheSessionIsOpenAndServing) {
  for (Phase phase : kPhases) {
    for (Ending ending : kEndings) {
      EXPECT_EQ(is_legal(ReaderWait::kInput, phase, ending), phase == Phase::kServing && ending == Ending::kOpen);
      EXPECT_FALSE(is_legal(ReaderWait::kNone, phase, ending));
    }
  }
}

TEST(SessionStatesTest, AValueFollowsTheTable) {
  for (const EndingTransition& transition : kEndingTransitions) {
    for (Phase phase : kPhases) {
      SessionStates states = states_in(phase);
      if (transition.from == Ending::kClientLeft) states.end(transition.from, EndingCause::kReader);
      if (transition.from == Ending::kFinishing || transition.from == Ending::kSuspended) {
        states.end(transition.from, EndingCause::kServer);
      }
      states.end(transition.to, transition.cause);
      EXPECT_EQ(states.ending(), transition.to);
      EXPECT_EQ(states.phase(), phase);
    }
  }
}

#ifndef NDEBUG
constexpr EndingCause kCauses[] = {EndingCause::kReader, EndingCause::kConnection, EndingCause::kServer,
                                   EndingCause::kRemoval};

// A transition that is not in the table fails an assertion.
TEST(SessionStatesDeathTest, AnIllegalEndingFailsAnAssertion) {
  for (Ending to : kEndings) {
    for (EndingCause cause : kCauses) {
      if (is_legal({Ending::kOpen, to, cause})) continue;
      EXPECT_DEATH(SessionStates().end(to, cause), "is_legal");
    }
  }
  SessionStates lost;
  lost.end(Ending::kLost, EndingCause::kConnection);
  EXPECT_DEATH(lost.end(Ending::kDropped, EndingCause::kRemoval), "is_legal");
}

TEST(SessionStatesDeathTest, ASkippedOrRepeatedPhaseFailsAnAssertion) {
  EXPECT_DEATH(SessionStates().enter(Phase::kAnswering), "is_legal");
  EXPECT_DEATH(states_in(Phase::kServing).enter(Phase::kServing), "is_legal");
  EXPECT_DEATH(states_in(Phase::kEnded).enter(Phase::kCreated), "is_legal");
}

TEST(SessionStatesDeathTest, AWaitWithinAWaitOrAfterTheEndFailsAnAssertion) {
  SessionStates waiting = states_in(Phase::kServing);
  waiting.begin_wait(ReaderWait::kInput);
  EXPECT_DEATH(waiting.begin_wait(ReaderWait::kSlot), "kNone");
  EXPECT_DEATH(waiting.enter(Phase::kAnswering), "kNone");
  EXPECT_DEATH(states_in(Phase::kAnswering).begin_wait(ReaderWait::kInput), "is_legal");
  EXPECT_DEATH(states_in(Phase::kEnded).begin_wait(SenderWait::kClient), "is_legal");
}
#endif

}  // namespace
}  // namespace blockexport::exports
