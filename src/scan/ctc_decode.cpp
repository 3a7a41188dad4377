// ctc_decode: greedy, or prefix search with a beam.
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "core/dtype.hpp"
#include "core/errors.hpp"
#include "core/parallel.hpp"
#include "logsum/ctc.hpp"
#include "scan/ctc_batch.hpp"
#include "scan/ctc_jobs.hpp"
#include "scan/ctc_prefixes.hpp"
#include "scan/numbers.hpp"

namespace logsum {

using namespace scan;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Decoded {
  std::vector<std::int64_t> labels;
  double score;
};

// Calls visit(t, row) with each frame as doubles; false if a frame has +inf or NaN.
template <class Visit>
bool AlongFrames(const CtcFrames& frames, std::int64_t count, const Visit& visit) {
  std::vector<double> row(static_cast<std::size_t>(frames.labels));
  for (std::int64_t t = 0; t < count; ++t) {
    bool valid = true;
    VisitFloating(frames.dtype, [&](auto storage) {
      const auto* const from =
          static_cast<const decltype(storage)*>(frames.data) + t * frames.frame_stride;
      for (std::int64_t c = 0; c < frames.labels; ++c) {
        const auto x = static_cast<double>(ToFloat(from[c * frames.label_stride]));
        row[static_cast<std::size_t>(c)] = x <= kZeroWeight ? -kInfinity : x;
        valid &= x < kInfinity;
      }
    });
    if (!valid) return false;
    visit(t, row);
  }
  return true;
}

Decoded Greedy(const CtcFrames& frames, std::int64_t count, std::int64_t blank) {
  Decoded decoded = {{}, 0};
  std::int64_t previous = blank;
  const bool valid = AlongFrames(frames, count, [&](std::int64_t, const std::vector<double>& row) {
    std::size_t best = 0;
    for (std::size_t c = 1; c < row.size(); ++c) {
      if (row[c] > row[best]) best = c;
    }
    decoded.score += row[best];
    const auto label = static_cast<std::int64_t>(best);
    if (label != blank && label != previous) decoded.labels.push_back(label);
    previous = label;
  });
  if (!valid) return {{}, std::numeric_limits<double>::quiet_NaN()};
  if (decoded.score == -kInfinity) decoded.labels.clear();
  return decoded;
}

Decoded PrefixSearch(const CtcFrames& frames, std::int64_t count, std::int64_t blank,
                     std::int64_t beam) {
  CtcPrefixes prefixes(frames.labels, blank, beam);
  const bool valid = AlongFrames(
      frames, count, [&](std::int64_t, const std::vector<double>& row) { prefixes.Extend(row); });
  if (!valid) return {{}, std::numeric_limits<double>::quiet_NaN()};
  return {prefixes.BestLabels(), prefixes.BestScore()};
}

}  // namespace

void ctc_decode(const Tensor& log_probs, const Tensor& input_lengths, Tensor& labels,
                Tensor& label_lengths, Tensor& scores, CtcDecodeOptions options, Context context) {
  constexpr std::string_view kFunction = "ctc_decode";
  const CtcBatch batch(kFunction, log_probs, input_lengths, options.blank);
  if (options.beam < 0) {
    ThrowInvalid(kFunction, "beam", "a number of prefixes, or 0 for greedy decoding",
                 std::to_string(options.beam));
  }
  batch.CheckLabels("labels", labels);
  CheckTensor(kFunction, "label_lengths", label_lengths);
  CheckDType(kFunction, "label_lengths", label_lengths, DType::i64);
  CheckShape(kFunction, "label_lengths", label_lengths, std::array{batch.size()});
  batch.CheckScores("scores", scores);
  CheckOutputs(kFunction,
               {{"labels", &labels}, {"label_lengths", &label_lengths}, {"scores", &scores}});
  ParallelFor(batch.size(), context.threads, [&](std::int64_t n) {
    const std::int64_t count = batch.sequence(n).frames;
    const CtcFrames frames = FramesOf(log_probs, n);
    const Decoded decoded = options.beam == 0
                                ? Greedy(frames, count, options.blank)
                                : PrefixSearch(frames, count, options.blank, options.beam);
    auto* const to = static_cast<std::int64_t*>(labels.data) + n * labels.strides[0];
    const auto length = static_cast<std::int64_t>(decoded.labels.size());
    for (std::int64_t t = 0; t < batch.num_frames(); ++t) {
      to[t * labels.strides[1]] = t < length ? decoded.labels[static_cast<std::size_t>(t)] : -1;
    }
    static_cast<std::int64_t*>(label_lengths.data)[n * label_lengths.strides[0]] = length;
    StoreScore(scores, n, decoded.score);
  });
}

}  // namespace logsum
