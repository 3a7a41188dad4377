#include "score_fuzz.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <span>
#include <string_view>
#include <vector>

#include "attention/problem.hpp"
#include "attention/score.hpp"
#include "attention/score_body.hpp"
#include "attention/score_gradient.hpp"
#include "attention/score_tangent.hpp"

namespace logsum::fuzz {
namespace {

// Zeros.
struct NamedArray {
  std::string_view name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape, strides;
  std::vector<std::int64_t> storage;  // of eight bytes, whatever the dtype

  // An axis that is no digit from 0 to 9 ends the sizes; so does the fourth.
  explicit NamedArray(std::string_view line) : name(line.substr(0, line.find(' '))) {
    line.remove_prefix(std::min(line.size(), name.size() + 1));
    while (!line.empty() && line[0] >= '0' && line[0] <= '9' && shape.size() < 4) {
      shape.push_back(line[0] - '0');
      line.remove_prefix(1);
    }
    if (line.ends_with(" i")) dtype = DType::i64;
    std::int64_t count = 1;
    strides.resize(shape.size());
    for (std::size_t axis = shape.size(); axis-- > 0;) {
      strides[axis] = count;
      count *= shape[axis];
    }
    storage.resize(static_cast<std::size_t>(count));
  }

  Tensor View() { return {storage.data(), dtype, Device::cpu, 0, shape, strides}; }
};

attend::Problem SmallProblem() {
  attend::Problem problem;
  problem.q.dtype = DType::f32;
  problem.batch = 2;
  problem.heads = problem.kv_heads = 3;
  problem.queries = 5;
  problem.keys = 7;
  problem.lengths_q = {5, 4};
  problem.lengths_k = {7, 7};
  return problem;
}

}  // namespace

void VisitScore(std::string_view text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view formula = text.substr(0, end);
  text.remove_prefix(std::min(text.size(), end + 1));
  std::deque<NamedArray> arrays;  // they do not move
  std::vector<std::string_view> names;
  std::vector<Tensor> tensors, moving;
  while (!text.empty() && arrays.size() < 8) {
    const std::size_t length = std::min(text.find('\n'), text.size());
    NamedArray& array = arrays.emplace_back(text.substr(0, length));
    text.remove_prefix(std::min(text.size(), length + 1));
    names.push_back(array.name);
    tensors.push_back(array.View());
    moving.push_back(array.dtype == DType::f32 ? array.View() : Tensor{});
  }
  attend::Problem problem = SmallProblem();
  const attend::Score score(formula, names, tensors, problem);
  if (score.body().program.outputs.size() != 1) std::abort();
  problem.score = &score;
  const attend::ScoreTangent of_s(problem, {}), of_all(problem, moving);
  if (of_s.ScratchElements() < 0 || of_all.ScratchElements() < 0) std::abort();
  constexpr int kSlots = 2;
  const std::vector<Tensor> still(tensors.size());
  for (const std::span<const Tensor> wanted : {std::span<const Tensor>(moving), {still}}) {
    attend::ScoreGradient(problem, wanted, kSlots).Finish({.threads = 1});
    attend::ScoreGradient(problem, wanted, kSlots, moving).Finish({.threads = 1});
  }
}

}  // namespace logsum::fuzz
