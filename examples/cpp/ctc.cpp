// What a recogniser heard, frame by frame, against a word: its CTC loss, where the letters are, and
// what would have been read.
#include <array>
#include <cstdint>
#include <iostream>
#include <limits>
#include <logsum/logsum.hpp>
#include <span>
#include <string>
#include <string_view>

namespace {

constexpr std::string_view kLetters = "-tre";  // the blank first
constexpr std::string_view kHeard = "ttr-e-ee";
constexpr std::int64_t kFrames = kHeard.size(), kClasses = kLetters.size();

using Frames = std::array<float, kFrames * kClasses>;  // T x N x C, one sequence

constexpr std::array<std::int64_t, 3> kShape = {kFrames, 1, kClasses};
constexpr std::array<std::int64_t, 3> kStrides = {kClasses, kClasses, 1};

logsum::Tensor View(Frames& frames) {
  return {.data = frames.data(), .dtype = logsum::DType::f32, .shape = kShape, .strides = kStrides};
}

// One row of numbers: (1, size) for labels, (1,) for what there is one of to a sequence.
template <class T, std::size_t kRank>
logsum::Tensor Row(T* data, logsum::DType dtype, const std::array<std::int64_t, kRank>& shape) {
  static constexpr std::array<std::int64_t, 2> kRowStrides = {1, 1};
  return {
      .data = data, .dtype = dtype, .shape = shape, .strides = std::span(kRowStrides).first(kRank)};
}

std::string Spelled(const std::int64_t* labels, std::int64_t count) {
  std::string text;
  for (std::int64_t t = 0; t < count; ++t) text += kLetters[static_cast<std::size_t>(labels[t])];
  return text;
}

}  // namespace

int main() {
  Frames logits{}, grad{};
  for (std::size_t t = 0; t < kHeard.size(); ++t) {
    logits[t * kLetters.size() + kLetters.find(kHeard[t])] = 4;
  }
  std::array<std::int64_t, 4> word = {1, 2, 3, 3};  // "tree"
  std::int64_t frames = kFrames, letters = word.size();
  constexpr std::array<std::int64_t, 1> kOne = {1};
  constexpr std::array<std::int64_t, 2> kWord = {1, word.size()}, kLine = {1, kFrames};
  using logsum::DType;
  const logsum::Tensor targets = Row(word.data(), DType::i64, kWord);
  const logsum::Tensor input_lengths = Row(&frames, DType::i64, kOne);
  const logsum::Tensor target_lengths = Row(&letters, DType::i64, kOne);

  float loss = 0;
  logsum::Tensor losses = Row(&loss, DType::f32, kOne), gradient = View(grad);
  logsum::ctc_loss(View(logits), targets, input_lengths, target_lengths, losses, &gradient,
                   {.from_logits = true});
  std::cout.precision(std::numeric_limits<float>::max_digits10);
  std::cout << "loss:      " << loss << "\n";
  // Where the gradient is negative, more of that letter would lower the loss.
  const std::size_t parted = kHeard.rfind('-');
  std::cout << "gradient of the blank between the two e: " << grad[parted * kLetters.size()]
            << "\n";

  // What is best in a frame is so before and after its logits are normalised.
  std::array<std::int64_t, kFrames> labels{};
  float score = 0;
  logsum::Tensor line = Row(labels.data(), DType::i64, kLine),
                 scores = Row(&score, DType::f32, kOne);
  logsum::ctc_align(View(logits), targets, input_lengths, target_lengths, line, scores);
  std::cout << "heard:     " << kHeard << "\nalignment: " << Spelled(labels.data(), kFrames)
            << "\n";

  std::int64_t count = 0;
  logsum::Tensor counts = Row(&count, DType::i64, kOne);
  logsum::ctc_decode(View(logits), input_lengths, line, counts, scores, {.beam = 8});
  std::cout << "read:      " << Spelled(labels.data(), count) << "\n";
}
