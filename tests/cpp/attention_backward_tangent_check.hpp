// A call of attention, of its forward mode and of its gradients' tangents, the last judged.
#pragma once
#include <vector>

#include "attention_case.hpp"

namespace logsum::testing {

// Roundings of a unit (attention_reference.hpp): those of gradients, and once more of the tangents
// of scores, of lse and of out.
inline constexpr double kTangentRoundings = 60;

template <class T>
void RunWithTangents(AttentionCase<T>& work) {
  work.Run();
  work.RunTangent();
  work.RunBackwardTangent();
}

template <class T>
void CheckTangents(AttentionCase<T>& work, double roundings = kTangentRoundings) {
  RunWithTangents(work);
  work.CheckBackwardTangent(roundings);
}

template <class T>
void CheckTangents(const AttentionInput& input, const std::vector<int>& order = {},
                   const Moves& moves = {}) {
  AttentionCase<T> work(input, order);
  work.moves = moves;
  CheckTangents(work);
}

}  // namespace logsum::testing
