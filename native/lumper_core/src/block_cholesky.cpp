#include "lumper_core/block_cholesky.hpp"

#include <cmath>

namespace lumper_core {
namespace {

constexpr double kSmallestPivot = 1e-300;

/// Lower Cholesky factor in place; the diagonal keeps reciprocals.
bool factor_dense(Mat6& a) {
  for (int j = 0; j < 6; ++j) {
    double d = a(j, j);
    for (int k = 0; k < j; ++k) {
      d -= a(j, k) * a(j, k);
    }
    if (!(d > kSmallestPivot)) {
      return false;
    }
    const double inverse = 1.0 / std::sqrt(d);
    a(j, j) = inverse;
    for (int i = j + 1; i < 6; ++i) {
      double s = a(i, j);
      for (int k = 0; k < j; ++k) {
        s -= a(i, k) * a(j, k);
      }
      a(i, j) = s * inverse;
    }
  }
  return true;
}

void forward(const Mat6& l, Vec6& x) {
  for (int i = 0; i < 6; ++i) {
    double s = x[i];
    for (int k = 0; k < i; ++k) {
      s -= l(i, k) * x[k];
    }
    x[i] = s * l(i, i);
  }
}

void backward(const Mat6& l, Vec6& x) {
  for (int i = 5; i >= 0; --i) {
    double s = x[i];
    for (int k = i + 1; k < 6; ++k) {
      s -= l(k, i) * x[k];
    }
    x[i] = s * l(i, i);
  }
}

/// x <- x l^-T
void right_solve_transposed(const Mat6& l, Mat6& x) {
  for (int j = 0; j < 6; ++j) {
    for (int k = 0; k < j; ++k) {
      x.col(j) -= x.col(k) * l(j, k);
    }
    x.col(j) *= l(j, j);
  }
}

}  // namespace

void BlockCholesky::begin(int n) {
  n_ = n;
  words_ = (n + 63) / 64;
  bits_.assign(static_cast<size_t>(n) * static_cast<size_t>(words_), 0);
}

void BlockCholesky::connect(int i, int j) {
  bits_[static_cast<size_t>(i * words_ + j / 64)] |= 1ULL << (j % 64);
  bits_[static_cast<size_t>(j * words_ + i / 64)] |= 1ULL << (i % 64);
}

void BlockCholesky::analyse() {
  const auto n = static_cast<size_t>(n_);
  place_.assign(n, -1);
  degrees_.resize(n);
  if (rows_.size() < n) {
    rows_.resize(n);
  }
  if (diagonal_.size() < n) {
    diagonal_.resize(n);
    permuted_.resize(n);
  }
  for (int i = 0; i < n_; ++i) {
    int count = 0;
    for (int w = 0; w < words_; ++w) {
      count += __builtin_popcountll(bits_[static_cast<size_t>(i * words_ + w)]);
    }
    degrees_[static_cast<size_t>(i)] = count;
  }
  for (int step = 0; step < n_; ++step) {
    int best = -1;
    for (int i = 0; i < n_; ++i) {
      if (place_[static_cast<size_t>(i)] < 0 &&
          (best < 0 || degrees_[static_cast<size_t>(i)] < degrees_[static_cast<size_t>(best)])) {
        best = i;
      }
    }
    place_[static_cast<size_t>(best)] = step;
    auto& rows = rows_[static_cast<size_t>(step)];
    rows.clear();
    const uint64_t* own = &bits_[static_cast<size_t>(best * words_)];
    for (int w = 0; w < words_; ++w) {
      for (uint64_t rest = own[w]; rest != 0; rest &= rest - 1) {
        rows.push_back(w * 64 + __builtin_ctzll(rest));
      }
    }
    for (const int i : rows) {
      uint64_t* other = &bits_[static_cast<size_t>(i * words_)];
      int count = 0;
      for (int w = 0; w < words_; ++w) {
        other[w] |= own[w];
      }
      other[best / 64] &= ~(1ULL << (best % 64));
      other[i / 64] &= ~(1ULL << (i % 64));
      for (int w = 0; w < words_; ++w) {
        count += __builtin_popcountll(other[w]);
      }
      degrees_[static_cast<size_t>(i)] = count;
    }
  }
  index_.resize(n * n);
  int32_t blocks = 0;
  for (int step = 0; step < n_; ++step) {
    for (int& i : rows_[static_cast<size_t>(step)]) {
      i = place_[static_cast<size_t>(i)];
      at(i, step) = blocks++;
    }
  }
  if (blocks_.size() < static_cast<size_t>(blocks)) {
    blocks_.resize(static_cast<size_t>(blocks));
  }
  block_count_ = blocks;
}

void BlockCholesky::zero() {
  for (int i = 0; i < n_; ++i) {
    diagonal_[static_cast<size_t>(i)].setZero();
  }
  for (int i = 0; i < block_count_; ++i) {
    blocks_[static_cast<size_t>(i)].setZero();
  }
}

Mat6& BlockCholesky::off_diagonal(int i, int j, bool* transposed) {
  const int pi = place_[static_cast<size_t>(i)];
  const int pj = place_[static_cast<size_t>(j)];
  *transposed = pi < pj;
  return blocks_[static_cast<size_t>(*transposed ? at(pj, pi) : at(pi, pj))];
}

bool BlockCholesky::factor() {
  for (int j = 0; j < n_; ++j) {
    Mat6& diagonal = diagonal_[static_cast<size_t>(j)];
    if (!factor_dense(diagonal)) {
      return false;
    }
    const auto& rows = rows_[static_cast<size_t>(j)];
    for (const int i : rows) {
      right_solve_transposed(diagonal, blocks_[static_cast<size_t>(at(i, j))]);
    }
    for (size_t p = 0; p < rows.size(); ++p) {
      const Mat6& left = blocks_[static_cast<size_t>(at(rows[p], j))];
      diagonal_[static_cast<size_t>(rows[p])].noalias() -= left * left.transpose();
      for (size_t q = 0; q < p; ++q) {
        const Mat6& right = blocks_[static_cast<size_t>(at(rows[q], j))];
        if (rows[p] > rows[q]) {
          blocks_[static_cast<size_t>(at(rows[p], rows[q]))].noalias() -= left * right.transpose();
        } else {
          blocks_[static_cast<size_t>(at(rows[q], rows[p]))].noalias() -= right * left.transpose();
        }
      }
    }
  }
  return true;
}

void BlockCholesky::solve(Vec6* x) {
  for (int i = 0; i < n_; ++i) {
    permuted_[static_cast<size_t>(place_[static_cast<size_t>(i)])] = x[i];
  }
  for (int j = 0; j < n_; ++j) {
    Vec6& own = permuted_[static_cast<size_t>(j)];
    forward(diagonal_[static_cast<size_t>(j)], own);
    for (const int i : rows_[static_cast<size_t>(j)]) {
      permuted_[static_cast<size_t>(i)].noalias() -= blocks_[static_cast<size_t>(at(i, j))] * own;
    }
  }
  for (int j = n_ - 1; j >= 0; --j) {
    Vec6& own = permuted_[static_cast<size_t>(j)];
    for (const int i : rows_[static_cast<size_t>(j)]) {
      own.noalias() -= blocks_[static_cast<size_t>(at(i, j))].transpose() * permuted_[static_cast<size_t>(i)];
    }
    backward(diagonal_[static_cast<size_t>(j)], own);
  }
  for (int i = 0; i < n_; ++i) {
    x[i] = permuted_[static_cast<size_t>(place_[static_cast<size_t>(i)])];
  }
}

}  // namespace lumper_core
