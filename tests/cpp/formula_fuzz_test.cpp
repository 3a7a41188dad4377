// The fuzzer's entry point on its corpus and random mutations of it: every build does this much,
// whether its compiler has libFuzzer or not.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::vector<std::string> Corpus() {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(LOGSUM_FUZZ_CORPUS)) {
    paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  std::vector<std::string> texts;
  for (const std::filesystem::path& path : paths) {
    std::ifstream file(path, std::ios::binary);
    texts.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return texts;
}

void Feed(const std::string& text) {
  EXPECT_EQ(LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()),
            0);
}

TEST(FormulaFuzz, Corpus) {
  const std::vector<std::string> corpus = Corpus();
  ASSERT_GE(corpus.size(), 16u);
  for (const std::string& text : corpus) Feed(text);
}

TEST(FormulaFuzz, Mutations) {
  const std::vector<std::string> corpus = Corpus();
  std::mt19937 random(6);
  const auto below = [&](std::size_t n) { return n == 0 ? 0 : random() % n; };
  constexpr int kRuns = 15000;
  for (int run = 0; run < kRuns; ++run) {
    std::string text = corpus[below(corpus.size())];
    for (std::size_t left = 1 + below(4); left > 0; --left) {
      const std::size_t place = below(text.size());
      const std::string& other = corpus[below(corpus.size())];
      const std::size_t begin = below(other.size());
      const std::string piece = other.substr(begin, 1 + below(12));
      switch (below(5)) {
        case 0:
          text.erase(place, 1 + below(8));
          break;
        case 1:
          text.insert(place, piece);
          break;
        case 2:
          text.replace(place, piece.size(), piece);
          break;
        case 3:
          text.insert(place, 1, static_cast<char>(random() & 255u));
          break;
        default:
          text.insert(place, text.substr(place, 1 + below(30)));
          break;
      }
    }
    SCOPED_TRACE(text);
    Feed(text);
  }
}

TEST(FormulaFuzz, NothingAndMuch) {
  Feed("");
  Feed(std::string(1, '\0'));
  Feed("@");
  for (const char* piece :
       {"(", ")", "x", "-", "Exp(", "1e", "**", "\n", "|", ",", "Vi(0,3)", "<"}) {
    for (std::string text : {" ", "@", "@s + x\n"}) {
      while (text.size() < 200000) text += piece;
      Feed(text);
    }
  }
}

}  // namespace
