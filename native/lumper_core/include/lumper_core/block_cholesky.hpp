#pragma once

#include <cstdint>
#include <vector>

#include "lumper_core/types.hpp"

namespace lumper_core {

/// Sparse symmetric positive definite matrix of 6x6 blocks and its Cholesky factor. Memory is kept between uses.
class BlockCholesky {
 public:
  /// Start a new pattern of n block rows; only the diagonal is in it.
  void begin(int n);
  /// Put the block (i, j), i != j, into the pattern.
  void connect(int i, int j);
  /// Order by minimum degree and find the fill.
  void analyse();
  /// Set all blocks to zero.
  void zero();
  Mat6& diagonal(int i) { return diagonal_[static_cast<size_t>(place_[static_cast<size_t>(i)])]; }
  /// Block (i, j) as stored, which is the block (j, i) transposed when `*transposed`.
  Mat6& off_diagonal(int i, int j, bool* transposed);
  /// Factor in place; false: not positive definite.
  bool factor();
  /// x <- A^-1 x, for n vectors of 6.
  void solve(Vec6* x);
  int size() const { return n_; }

 private:
  int32_t& at(int row, int column) {
    return index_[static_cast<size_t>(row) * static_cast<size_t>(n_) + static_cast<size_t>(column)];
  }

  int n_ = 0;
  int words_ = 0;
  int32_t block_count_ = 0;
  std::vector<uint64_t> bits_;
  std::vector<int> place_, degrees_;
  std::vector<int32_t> index_;
  std::vector<std::vector<int>> rows_;
  std::vector<Mat6, Eigen::aligned_allocator<Mat6>> diagonal_, blocks_;
  std::vector<Vec6, Eigen::aligned_allocator<Vec6>> permuted_;
};

}  // namespace lumper_core
