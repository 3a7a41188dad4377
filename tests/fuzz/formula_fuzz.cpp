// Any bytes as a formula: refused with a message, or parsed, printed, compiled and differentiated
// twice. For libFuzzer; tests/cpp/formula_fuzz_test.cpp drives it where there is none.
//
// After the byte @ it is a score of attention (score_fuzz.hpp). Any other first byte, counted from
// a space, chooses the reduction, the axis and K of one; then lines: the formula, the second
// formula, and any number of aliases.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "logsum/reduce.hpp"
#include "score_fuzz.hpp"

namespace {

constexpr std::string_view kReductions[] = {
    "Sum",
    "LogSumExp",
    "LogSumExpWeight",
    "SumSoftMaxWeight",
    "Min",
    "Max",
    "ArgMin",
    "Min_ArgMin",
    "KMin",
    "KMin_ArgKMin",
    "Nope",
};

std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (true) {
    const std::size_t end = text.find('\n');
    lines.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + 1);
  }
}

// Positions of everything that can be differentiated by.
std::vector<int> Floating(const logsum::Reduction& reduction) {
  std::vector<int> positions;
  for (std::size_t k = 0; k < reduction.arguments().size(); ++k) {
    if (!reduction.arguments()[k].integer) positions.push_back(static_cast<int>(k));
  }
  return positions;
}

void VisitReduction(std::string_view text) {
  const unsigned choice = text.empty() ? 0u : (static_cast<unsigned char>(text[0]) - ' ') & 255u;
  if (!text.empty()) text.remove_prefix(1);
  std::vector<std::string_view> lines = Lines(text);
  lines.resize(lines.size() < 2 ? 2 : lines.size());
  const std::size_t count = sizeof(kReductions) / sizeof(kReductions[0]);
  const logsum::Reduction reduction = logsum::Reduction::parse(
      lines[0], std::span(lines).subspan(2), kReductions[choice / 2 % count],
      static_cast<int>(choice % 2), static_cast<int>(choice / 2 / count) + 1, lines[1]);
  if (reduction.text().empty() || reduction.outputs().empty()) std::abort();
  if (reduction.saving().outputs().size() < reduction.outputs().size()) std::abort();
  const logsum::Reduction gradient = reduction.gradient(Floating(reduction));
  if (gradient.outputs().size() != Floating(reduction).size()) std::abort();
  gradient.gradient(Floating(gradient)).text();
  reduction.saving().tangent(Floating(reduction)).text();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    if (text.starts_with('@')) {
      logsum::fuzz::VisitScore(text.substr(1));
    } else {
      VisitReduction(text);
    }
  } catch (const std::invalid_argument&) {
    return 0;  // refused with a message: that is what text may be
  }
  return 0;
}
