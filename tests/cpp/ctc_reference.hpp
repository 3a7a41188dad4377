// CTC by definition and by recursion, in long double logarithms: what the tests compare with.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace logsum::testing {

using Labels = std::vector<std::int64_t>;
using LongRow = std::vector<long double>;
using LongRows = std::vector<LongRow>;

inline constexpr long double kLongInf = std::numeric_limits<long double>::infinity();

// log(e^a + e^b), or the larger one.
inline long double LogJoin(long double a, long double b, bool is_max = false) {
  const long double high = std::max(a, b), low = std::min(a, b);
  if (is_max || low == -kLongInf) return high;
  return high + std::log1p(std::exp(low - high));
}

// A path's weight: zero absorbs whatever it meets.
inline long double LogTimes(long double a, long double b) {
  return a == -kLongInf || b == -kLongInf ? -kLongInf : a + b;
}

// log_softmax of a row; relative to the largest, so that what is near zero is right there.
inline LongRow LogSoftmax(const LongRow& row) {
  const auto top = std::max_element(row.begin(), row.end());
  if (*top == -kLongInf) return row;
  long double others = 0;
  for (auto x = row.begin(); x != row.end(); ++x) {
    if (x != top) others += std::exp(*x - *top);
  }
  LongRow result;
  for (const long double x : row) result.push_back(x - *top - std::log1p(others));
  return result;
}

// One sequence: log probabilities [frame][label], of its own frames only.
struct CtcSequenceOf {
  LongRows frames;
  Labels labels;
  std::int64_t blank = 0;

  std::int64_t NumStates() const { return 2 * static_cast<std::int64_t>(labels.size()) + 1; }
  std::int64_t LabelOf(std::int64_t state) const {
    return state % 2 == 0 ? blank : labels[static_cast<std::size_t>(state / 2)];
  }
  bool MaySkipTo(std::int64_t state) const {
    return state % 2 == 1 && state > 1 && LabelOf(state) != LabelOf(state - 2);
  }
  long double At(std::size_t t, std::int64_t state) const {
    const long double x = frames[t][static_cast<std::size_t>(LabelOf(state))];
    return x <= -1e30L ? -kLongInf : x;
  }
};

// The sum over all alignments (or the best one) and the share of each label in each frame.
struct CtcExact {
  long double score = -kLongInf;  // minus the loss
  LongRows posteriors;            // [frame][label]; empty in the max semiring

  explicit CtcExact(const CtcSequenceOf& of, bool is_max = false) {
    const std::size_t T = of.frames.size();
    const std::int64_t S = of.NumStates();
    if (T == 0) {
      score = of.labels.empty() ? 0 : -kLongInf;
      return;
    }
    LongRow row(static_cast<std::size_t>(S), -kLongInf);
    LongRows forward;
    for (std::size_t t = 0; t < T; ++t) {
      const LongRow before = row;
      for (std::int64_t s = 0; s < S; ++s) {
        const auto i = static_cast<std::size_t>(s);
        long double sum = t == 0 && s <= 1 ? 0 : before[i];
        if (s > 0) sum = LogJoin(sum, before[i - 1], is_max);
        if (of.MaySkipTo(s)) sum = LogJoin(sum, before[i - 2], is_max);
        row[i] = LogTimes(sum, of.At(t, s));
      }
      forward.push_back(row);
    }
    const auto last = static_cast<std::size_t>(S) - 1;
    score = last == 0 ? row[0] : LogJoin(row[last], row[last - 1], is_max);
    if (is_max) return;
    // What follows a state, its own frame left out.
    posteriors.assign(T, LongRow(of.frames[0].size(), 0));
    LongRow after(static_cast<std::size_t>(S), -kLongInf);
    after[last] = 0;
    if (last > 0) after[last - 1] = 0;
    for (std::size_t t = T; t-- > 0;) {
      for (std::int64_t s = 0; s < S && score != -kLongInf; ++s) {
        const auto i = static_cast<std::size_t>(s);
        const long double share = LogTimes(forward[t][i], after[i]);
        posteriors[t][static_cast<std::size_t>(of.LabelOf(s))] += std::exp(share - score);
      }
      LongRow next(static_cast<std::size_t>(S), -kLongInf);
      for (std::int64_t s = 0; s < S; ++s) {
        const auto i = static_cast<std::size_t>(s);
        const long double out = LogTimes(after[i], of.At(t, s));
        next[i] = LogJoin(next[i], out);
        if (s > 0) next[i - 1] = LogJoin(next[i - 1], out);
        if (of.MaySkipTo(s)) next[i - 2] = LogJoin(next[i - 2], out);
      }
      after = next;
    }
  }
};

// What an alignment says: repeats merged, blanks dropped.
inline Labels Collapsed(const Labels& alignment, std::int64_t blank) {
  Labels labels;
  for (std::size_t t = 0; t < alignment.size(); ++t) {
    if (alignment[t] == blank || (t > 0 && alignment[t] == alignment[t - 1])) continue;
    labels.push_back(alignment[t]);
  }
  return labels;
}

// Calls visit(alignment, score) for each of the C^T sequences of labels, whatever they say.
template <class Visit>
void ForEachAlignment(const LongRows& frames, const Visit& visit) {
  const std::size_t T = frames.size(), C = T == 0 ? 1 : frames[0].size();
  Labels alignment(T, 0);
  for (;;) {
    long double score = 0;
    for (std::size_t t = 0; t < T; ++t) {
      score = LogTimes(score, frames[t][static_cast<std::size_t>(alignment[t])]);
    }
    visit(alignment, score);
    std::size_t t = 0;
    while (t < T && ++alignment[t] == static_cast<std::int64_t>(C)) alignment[t++] = 0;
    if (t == T) return;
  }
}

}  // namespace logsum::testing
