// Planes from patches: cells are fitted, then merged best first while the joint fit costs no more than noise explains.
#include <algorithm>
#include <cmath>

#include "lumper_faces/faces.hpp"

namespace lumper_faces {

Eigen::Vector3d Fit::solve(double& sse) const {
  // Centred, so that the 2x2 system keeps its digits.
  const double mx = x / n, my = y / n, md = d / n;
  const double sxx = xx - n * mx * mx, sxy = xy - n * mx * my, syy = yy - n * my * my;
  const double sdx = dx - n * md * mx, sdy = dy - n * md * my, sdd = dd - n * md * md;
  const double det = sxx * syy - sxy * sxy;
  double a = 0, b = 0;
  if (det > 1e-9 * sxx * syy && det > 0) {
    a = (sdx * syy - sdy * sxy) / det;
    b = (sdy * sxx - sdx * sxy) / det;
  }
  sse = std::max(0.0, sdd - a * sdx - b * sdy);
  return {a, b, md - a * mx - b * my};
}

double Image::tolerance(double d, const Options& o) const { return 3.0 * sigma + o.flatness_m * d * d; }

double noise_of(const Image& image) {
  // Second differences of a plane vanish in inverse depth; their median is not moved by edges.
  std::vector<float> values;
  const int w = image.camera.width, h = image.camera.height;
  values.reserve(static_cast<size_t>(w * h / 12));
  for (int v = 1; v < h; v += 4) {
    for (int u = 1; u + 1 < w; u += 3) {
      const float* p = &image.inverse[static_cast<size_t>(v * w + u)];
      if (p[-1] > 0 && p[0] > 0 && p[1] > 0) values.push_back(std::abs(p[-1] + p[1] - 2 * p[0]));
    }
  }
  if (values.size() < 50) return 1e-3;
  auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle / 0.6745 / std::sqrt(6.0);
}

namespace {

struct Node {
  Fit fit;
  double sse = 0;
  int parent = -1;
};

struct Edge {
  int a, b;
  double cost = 0;
};

int root(const std::vector<Node>& nodes, int i) {
  while (nodes[static_cast<size_t>(i)].parent >= 0) i = nodes[static_cast<size_t>(i)].parent;
  return i;
}

// Cost of one plane for both, as a fraction of what is allowed.
double joint_cost(const Node& a, const Node& b, double var, const Options& o) {
  Fit both = a.fit;
  both.add(b.fit);
  double sse = 0;
  both.solve(sse);
  const double less = std::min(a.fit.n, b.fit.n);
  const double inverse = both.d / both.n;
  const double uneven = o.flatness_m * inverse * inverse;
  return (sse - a.sse - b.sse) / (var * o.merge_chi2 + less * uneven * uneven);
}

// Rounds of merging each patch with its best neighbour, where that choice is mutual or the neighbour is much larger:
// the same tree as best-first merging up to ties, without its queue.
void merge_patches(std::vector<Node>& nodes, std::vector<Edge>& edges, double var, const Options& options) {
  std::vector<int> choice(nodes.size());
  std::vector<double> best(nodes.size());
  std::vector<char> busy(nodes.size()), dirty(nodes.size(), 1);
  for (int round = 0; round < 64; ++round) {
    std::fill(choice.begin(), choice.end(), -1);
    std::fill(best.begin(), best.end(), 1.0);
    for (Edge& e : edges) {
      const auto a = static_cast<size_t>(e.a), b = static_cast<size_t>(e.b);
      if (dirty[a] || dirty[b]) e.cost = joint_cost(nodes[a], nodes[b], var, options);
      if (e.cost < best[a]) best[a] = e.cost, choice[a] = e.b;
      if (e.cost < best[b]) best[b] = e.cost, choice[b] = e.a;
    }
    std::fill(dirty.begin(), dirty.end(), 0);
    std::fill(busy.begin(), busy.end(), 0);
    int merged = 0;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (choice[i] < 0 || busy[i] == 1) continue;
      const auto j = static_cast<size_t>(choice[i]);
      if (busy[j] == 1) continue;
      const bool mutual = choice[j] == static_cast<int>(i);
      if (!mutual && (nodes[j].fit.n < 4.0 * nodes[i].fit.n || busy[i] == 2)) continue;
      const size_t keep = nodes[i].fit.n > nodes[j].fit.n || busy[i] == 2 ? i : j, lose = keep == i ? j : i;
      if (busy[lose] == 2) continue;
      nodes[lose].parent = static_cast<int>(keep);
      nodes[keep].fit.add(nodes[lose].fit);
      busy[lose] = 1, busy[keep] = 2, dirty[keep] = 1;
      ++merged;
    }
    if (merged == 0) return;
    for (size_t i = 0; i < nodes.size(); ++i)
      if (busy[i] == 2) nodes[i].fit.solve(nodes[i].sse);
    for (Edge& e : edges) {
      e.a = root(nodes, e.a), e.b = root(nodes, e.b);
      if (e.a > e.b) std::swap(e.a, e.b);
    }
    const auto less = [](const Edge& x, const Edge& y) { return x.a != y.a ? x.a < y.a : x.b < y.b; };
    edges.erase(std::remove_if(edges.begin(), edges.end(), [](const Edge& e) { return e.a == e.b; }), edges.end());
    std::sort(edges.begin(), edges.end(), less);
    edges.erase(
        std::unique(edges.begin(), edges.end(), [](const Edge& x, const Edge& y) { return x.a == y.a && x.b == y.b; }),
        edges.end());
  }
}

}  // namespace

Segmentation find_planes(const Image& image, const Options& options) {
  const int w = image.camera.width, h = image.camera.height, s = options.cell_px;
  const int columns = w / s, rows = h / s;
  const double var = image.sigma * image.sigma;
  std::vector<Node> nodes(static_cast<size_t>(columns * rows));
  std::vector<char> good(nodes.size(), 0);
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      Node& node = nodes[static_cast<size_t>(r * columns + c)];
      for (int v = r * s; v < (r + 1) * s; ++v) {
        const double Y = image.slope_y[static_cast<size_t>(v)];
        const float *X = &image.slope_x[static_cast<size_t>(c * s)],
                    *D = &image.inverse[static_cast<size_t>(v * w + c * s)];
        if (std::all_of(D, D + s, [](float d) { return d > 0; })) {
          node.fit.add(X, Y, D, s);
          continue;
        }
        for (int k = 0; k < s; ++k)
          if (D[k] > 0) node.fit.add(X[k], Y, D[k]);
      }
      if (node.fit.n < 0.7 * s * s) continue;
      node.fit.solve(node.sse);
      const double inverse = node.fit.d / node.fit.n, uneven = options.flatness_m * inverse * inverse;
      good[static_cast<size_t>(r * columns + c)] = node.sse / (node.fit.n - 3) < 2.6 * var + uneven * uneven;
    }
  }
  std::vector<Edge> edges;
  edges.reserve(2 * nodes.size());
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      const int i = r * columns + c;
      for (const int j : {c + 1 < columns ? i + 1 : -1, r + 1 < rows ? i + columns : -1})
        if (j >= 0 && good[static_cast<size_t>(i)] && good[static_cast<size_t>(j)]) edges.push_back({i, j});
    }
  }
  merge_patches(nodes, edges, var, options);
  Segmentation result;
  result.label.assign(static_cast<size_t>(w * h), -1);
  std::vector<int> plane_of(nodes.size(), -1);
  const double least = std::max(2.0 * s * s, static_cast<double>(options.least_pixels));
  for (size_t i = 0; i < nodes.size(); ++i) {
    if (!good[i]) continue;
    const auto top = static_cast<size_t>(root(nodes, static_cast<int>(i)));
    if (nodes[top].fit.n < least) continue;
    if (plane_of[top] < 0) {
      plane_of[top] = static_cast<int>(result.planes.size());
      double sse = 0;
      result.planes.push_back({nodes[top].fit.solve(sse), nodes[top].fit});
    }
    const int r = static_cast<int>(i) / columns, c = static_cast<int>(i) % columns;
    for (int v = r * s; v < (r + 1) * s; ++v)
      for (int u = c * s; u < (c + 1) * s; ++u) result.label[static_cast<size_t>(v * w + u)] = plane_of[top];
  }
  return result;
}

}  // namespace lumper_faces
