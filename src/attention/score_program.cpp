#include "attention/score_program.hpp"

#include "core/text.hpp"
#include "formula/builder.hpp"
#include "reduce/lower.hpp"
#include "reduce/lower_fuse.hpp"
#include "reduce/lower_schedule.hpp"

namespace logsum::attend {

ScoreProgram CompileScore(std::span<const formula::Expression> values) {
  reduce::TermGraph graph;
  std::vector<int> terms;
  for (const formula::Expression& value : values) terms.push_back(graph.Lower(value));
  std::vector<int*> roots;
  for (int& term : terms) roots.push_back(&term);
  reduce::Fuse(graph, roots);

  ScoreProgram program;
  reduce::Scheduler scheduler(graph);
  for (const int term : terms) {
    const int value = scheduler.InTile(term);
    program.outputs.push_back({scheduler.NumTileInstructions(), value});
    scheduler.UseInTile(value);
  }
  scheduler.Finish(program.stages);
  // A view shares the memory that is its base's by the schedule.
  for (int k = 0; k < graph.Size(); ++k) {
    const reduce::Code code = graph[k].code;
    const bool is_view = code == reduce::Code::extract || code == reduce::Code::broadcast ||
                         code == reduce::Code::concat;
    if (is_view && graph[k].stage == formula::Dependence::ij) program.in_place = false;
  }
  const std::int64_t bytes = ScoreMemory<double>(program) * std::int64_t{sizeof(double)};
  if (bytes > kMostScoreBytes) {
    throw formula::Refusal(Text("values of at most ", kMostScoreBytes, " bytes for a tile"),
                           Text(bytes));
  }
  return program;
}

}  // namespace logsum::attend
