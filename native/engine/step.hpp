// One thread's way through all blocks of a decoder.
#pragma once

#include "engine/model.hpp"

namespace tersor {

class Step {
 public:
  // `pass`: of all threads, with all tokens.
  Step(const Model& model, const Pass& pass, const std::vector<std::size_t>& wanted, float* logits)
      : model_(model), pass_(pass), everyone_(pass.crew), wanted_(wanted), logits_(logits) {}

  void run();

 private:
  // A crew of this thread alone, with its share of the tokens, which lie where own.rows says; nobody waits for it.
  Crew alone();
  void embed();
  // The rest of a block, once its mixer remembers.
  void finish(const Block& block, const Linear& next);
  Crew keep_wanted();
  void keep_rows(Rows& buffer);
  void predict();

  const Model& model_;
  Pass pass_;
  const Crew everyone_;
  const std::vector<std::size_t>& wanted_;
  float* const logits_;
};

}  // namespace tersor
