// Planes from patches: cells are fitted, then merged best first while the joint fit costs no more than noise explains.
#include <algorithm>
#include <cmath>
#include <queue>

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
  Eigen::Vector3d plane;
  double sse = 0;
  int parent = -1;
  int version = 0;
  std::vector<int> near;
};

struct Candidate {
  double cost;
  int a, b, version_a, version_b;
  bool operator<(const Candidate& o) const { return cost != o.cost ? cost > o.cost : (a != o.a ? a > o.a : b > o.b); }
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
        for (int u = c * s; u < (c + 1) * s; ++u) {
          const float d = image.inverse[static_cast<size_t>(v * w + u)];
          if (d > 0) node.fit.add(image.slope_x[static_cast<size_t>(u)], image.slope_y[static_cast<size_t>(v)], d);
        }
      }
      if (node.fit.n < 0.7 * s * s) continue;
      node.plane = node.fit.solve(node.sse);
      const double inverse = node.fit.d / node.fit.n, uneven = options.flatness_m * inverse * inverse;
      good[static_cast<size_t>(r * columns + c)] = node.sse / (node.fit.n - 3) < 2.6 * var + uneven * uneven;
    }
  }
  std::priority_queue<Candidate> queue;
  auto propose = [&](int a, int b) {
    const Node &na = nodes[static_cast<size_t>(a)], &nb = nodes[static_cast<size_t>(b)];
    const double cost = joint_cost(na, nb, var, options);
    if (cost < 1.0) queue.push({cost, a, b, na.version, nb.version});
  };
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < columns; ++c) {
      const int i = r * columns + c;
      if (!good[static_cast<size_t>(i)]) continue;
      for (const int j : {c + 1 < columns ? i + 1 : -1, r + 1 < rows ? i + columns : -1}) {
        if (j < 0 || !good[static_cast<size_t>(j)]) continue;
        nodes[static_cast<size_t>(i)].near.push_back(j);
        nodes[static_cast<size_t>(j)].near.push_back(i);
        propose(i, j);
      }
    }
  }
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    Node *a = &nodes[static_cast<size_t>(top.a)], *b = &nodes[static_cast<size_t>(top.b)];
    if (a->parent >= 0 || b->parent >= 0 || a->version != top.version_a || b->version != top.version_b) continue;
    int keep = top.a;
    if (a->near.size() < b->near.size()) {
      std::swap(a, b);
      keep = top.b;
    }
    b->parent = keep;
    a->fit.add(b->fit);
    a->plane = a->fit.solve(a->sse);
    ++a->version;
    a->near.insert(a->near.end(), b->near.begin(), b->near.end());
    b->near = {};
    for (int& j : a->near) j = root(nodes, j);
    std::sort(a->near.begin(), a->near.end());
    a->near.erase(std::unique(a->near.begin(), a->near.end()), a->near.end());
    a->near.erase(std::remove(a->near.begin(), a->near.end(), keep), a->near.end());
    for (const int j : a->near) propose(std::min(keep, j), std::max(keep, j));
  }
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
      result.planes.push_back({nodes[top].plane, nodes[top].fit});
    }
    const int r = static_cast<int>(i) / columns, c = static_cast<int>(i) % columns;
    for (int v = r * s; v < (r + 1) * s; ++v)
      for (int u = c * s; u < (c + 1) * s; ++u) result.label[static_cast<size_t>(v * w + u)] = plane_of[top];
  }
  return result;
}

}  // namespace lumper_faces
