// From cells to pixels: planes grow into what they explain, borders settle where residuals and neighbours agree.
#include <algorithm>
#include <cmath>

#include "frame.hpp"

namespace lumper_faces {
namespace {

double residual(const Image& image, const Plane& plane, int u, int v) {
  const int i = v * image.camera.width + u;
  return image.inverse[static_cast<size_t>(i)] -
         plane.at(image.slope_x[static_cast<size_t>(u)], image.slope_y[static_cast<size_t>(v)]);
}

// How much a border costs between pixels whose colours differ by so much (squared distance), relative to where they
// agree: less where the colour changes too (contrast-sensitive Potts; Boykov & Jolly 2001).
class BorderCost {
 public:
  BorderCost() {
    for (size_t k = 0; k < kLength; ++k) cost_[k] = 0.25 + 1.25 * std::exp(-static_cast<double>(k) / 400.0);
  }
  double operator()(uint32_t one, uint32_t two) const {
    const int r = static_cast<int>((one >> 16) & 255U) - static_cast<int>((two >> 16) & 255U),
              g = static_cast<int>((one >> 8) & 255U) - static_cast<int>((two >> 8) & 255U),
              b = static_cast<int>(one & 255U) - static_cast<int>(two & 255U);
    return cost_[std::min(static_cast<size_t>(r * r + g * g + b * b), kLength - 1)];
  }

 private:
  // Where the exponential no longer shows in a double beside 0.25.
  static constexpr size_t kLength = 16384;
  std::array<double, kLength> cost_{};
};

void refit(const Image& image, Segmentation& s) {
  for (Plane& plane : s.planes) plane.fit = {};
  const int w = image.camera.width, h = image.camera.height;
  for (const Run& run : runs_of(s.label, w, h))
    s.planes[static_cast<size_t>(run.label)].fit.add(&image.slope_x[static_cast<size_t>(run.u)],
                                                     image.slope_y[static_cast<size_t>(run.v)],
                                                     &image.inverse[static_cast<size_t>(run.v * w + run.u)], run.count);
  for (Plane& plane : s.planes) {
    double sse = 0;
    if (plane.fit.n > 10) plane.p = plane.fit.solve(sse);
  }
}

// Cells across a crease make thin planes of their own; where their neighbours explain the pixels, these take them.
void absorb_slivers(const Image& image, const Options& options, Segmentation& s) {
  const int w = image.camera.width, h = image.camera.height;
  const size_t count = s.planes.size();
  std::vector<int> pixels(count, 0), rim(count, 0), explained(count, 0);
  std::vector<std::vector<int>> near(count);
  for (const Run& run : runs_of(s.label, w, h)) {
    if (run.v < 1 || run.v + 1 >= h) continue;
    const auto m = static_cast<size_t>(run.label);
    const int* row = &s.label[static_cast<size_t>(run.v * w)];
    const int first = std::max(run.u, 1), last = std::min(run.u + run.count - 1, w - 2);
    pixels[m] += std::max(0, last - first + 1);
    for (int u = first; u <= last; ++u) {
      if (row[u - 1] == run.label && row[u + 1] == run.label && row[u - w] == run.label && row[u + w] == run.label)
        continue;
      ++rim[m];
      for (const int other : {row[u - 1], row[u + 1], row[u - w], row[u + w]})
        if (other >= 0 && other != run.label && std::find(near[m].begin(), near[m].end(), other) == near[m].end())
          near[m].push_back(other);
    }
  }
  std::vector<char> thin(count, 0);
  for (size_t k = 0; k < count; ++k) thin[k] = !near[k].empty() && pixels[k] < 4.0 * rim[k] && pixels[k] < 3000;
  auto best = [&](int u, int v, size_t mine, double& distance) {
    int choice = -1;
    distance = 1e9;
    for (const int k : near[mine]) {
      // A ledge between two fronts is thin too, but not as small as what lies across its crease.
      if (thin[static_cast<size_t>(k)] && pixels[static_cast<size_t>(k)] <= pixels[mine]) continue;
      const double r = std::abs(residual(image, s.planes[static_cast<size_t>(k)], u, v));
      if (r < distance) distance = r, choice = k;
    }
    return choice;
  };
  for (int round = 0; round < 2; ++round) {
    for (int v = 1; v + 1 < h; ++v) {
      for (int u = 1; u + 1 < w; ++u) {
        const auto i = static_cast<size_t>(v * w + u);
        const int mine = s.label[i];
        if (mine < 0 || !thin[static_cast<size_t>(mine)]) continue;
        double distance = 0;
        const int choice = best(u, v, static_cast<size_t>(mine), distance);
        const bool fits = choice >= 0 && distance < 1.6 * image.tolerance(image.inverse[i], options);
        if (round == 0) {
          explained[static_cast<size_t>(mine)] += fits;
        } else if (explained[static_cast<size_t>(mine)] > 0.6 * pixels[static_cast<size_t>(mine)]) {
          s.label[i] = fits ? choice : -1;
        }
      }
    }
  }
}

}  // namespace

void refine_labels(const Image& image, const Options& options, Segmentation& s) {
  const int w = image.camera.width, h = image.camera.height;
  const std::array<int, 4> du{1, -1, 0, 0}, dv{0, 0, 1, -1};
  // What a cell took in by its shape, but no pixel of the plane is.
  for (int v = 0; v < h; ++v) {
    for (int u = 0; u < w; ++u) {
      int& label = s.label[static_cast<size_t>(v * w + u)];
      if (label < 0) continue;
      const double d = image.inverse[static_cast<size_t>(v * w + u)];
      if (d <= 0 ||
          std::abs(residual(image, s.planes[static_cast<size_t>(label)], u, v)) > 1.3 * image.tolerance(d, options))
        label = -1;
    }
  }
  std::vector<int> front, next;
  for (int v = 0; v < h; ++v) {
    for (int u = 0; u < w; ++u) {
      const int i = v * w + u;
      if (s.label[static_cast<size_t>(i)] < 0) continue;
      if ((u > 0 && s.label[static_cast<size_t>(i - 1)] < 0) ||
          (u + 1 < w && s.label[static_cast<size_t>(i + 1)] < 0) ||
          (v > 0 && s.label[static_cast<size_t>(i - w)] < 0) || (v + 1 < h && s.label[static_cast<size_t>(i + w)] < 0))
        front.push_back(i);
    }
  }
  for (int round = 0; round < 4 * options.cell_px && !front.empty(); ++round) {
    next.clear();
    for (const int i : front) {
      const int u = i % w, v = i / w, label = s.label[static_cast<size_t>(i)];
      for (size_t k = 0; k < 4; ++k) {
        const int x = u + du[k], y = v + dv[k];
        if (x < 0 || y < 0 || x >= w || y >= h) continue;
        const auto j = static_cast<size_t>(y * w + x);
        if (s.label[j] >= 0 || image.inverse[j] <= 0) continue;
        if (std::abs(residual(image, s.planes[static_cast<size_t>(label)], x, y)) >
            image.tolerance(image.inverse[j], options))
          continue;
        s.label[j] = label;
        next.push_back(static_cast<int>(j));
      }
    }
    front.swap(next);
  }
  absorb_slivers(image, options, s);
  refit(image, s);
  // Iterated conditional modes with a Potts prior (Besag 1986) along the borders.
  static const BorderCost border_cost;
  const double var = image.sigma * image.sigma;
  std::vector<int> active, following;
  std::vector<char> queued(s.label.size(), 0);
  for (int v = 1; v + 1 < h; ++v) {
    for (int u = 1; u + 1 < w; ++u) {
      const auto i = static_cast<size_t>(v * w + u);
      const int mine = s.label[i];
      if (s.label[i - 1] != mine || s.label[i + 1] != mine || s.label[i - static_cast<size_t>(w)] != mine ||
          s.label[i + static_cast<size_t>(w)] != mine)
        active.push_back(static_cast<int>(i));
    }
  }
  for (int sweep = 0; sweep < 6; ++sweep) {
    int changed = 0;
    following.clear();
    for (const int at : active) {
      const auto i = static_cast<size_t>(at);
      if (image.inverse[i] <= 0) continue;
      const int u = at % w, v = at / w, mine = s.label[i];
      std::array<int, 9> seen{};
      for (size_t k = 0; k < 9; ++k)
        seen[k] = s.label[static_cast<size_t>((v - 1 + static_cast<int>(k) / 3) * w + u - 1 + static_cast<int>(k) % 3)];
      const double uneven = options.flatness_m * image.inverse[i] * image.inverse[i] * 0.5;
      const double weight = 0.5 / (var + uneven * uneven);
      std::array<double, 9> alike{};
      alike.fill(1.0);
      if (!image.colour.empty()) {
        for (size_t k = 0; k < 9; ++k)
          alike[k] =
              border_cost(image.colour[i], image.colour[static_cast<size_t>((v - 1 + static_cast<int>(k) / 3) * w + u -
                                                                            1 + static_cast<int>(k) % 3)]);
      }
      double best = 1e18;
      int choice = mine;
      for (size_t k = 0; k < 9; ++k) {
        const int candidate = seen[k];
        if (candidate < 0 || std::find(seen.begin(), seen.begin() + static_cast<std::ptrdiff_t>(k), candidate) !=
                                 seen.begin() + static_cast<std::ptrdiff_t>(k))
          continue;
        double same = 0;
        for (size_t m = 0; m < 9; ++m)
          if (m != 4 && seen[m] == candidate) same += alike[m];
        const double r = residual(image, s.planes[static_cast<size_t>(candidate)], u, v);
        const double cost = weight * r * r - 0.9 * same;
        if (cost < best) best = cost, choice = candidate;
      }
      if (choice >= 0 && best > 7.0) choice = -1;
      if (choice != mine) {
        s.label[i] = choice;
        ++changed;
        for (const int j : {at - 1, at + 1, at - w, at + w}) {
          const int x = j % w, y = j / w;
          if (x > 0 && y > 0 && x + 1 < w && y + 1 < h && !queued[static_cast<size_t>(j)])
            queued[static_cast<size_t>(j)] = 1, following.push_back(j);
        }
      }
    }
    for (const int j : following) queued[static_cast<size_t>(j)] = 0;
    active.swap(following);
    if (sweep == 1 || sweep == 3) refit(image, s);
    if (changed < 20) break;
  }
  refit(image, s);
}

void split_components(const Image& image, const Options& options, Segmentation& s) {
  const int w = image.camera.width, h = image.camera.height;
  const std::vector<Run> runs = runs_of(s.label, w, h);
  std::vector<int> parent(runs.size());
  const auto root = [&parent](size_t k) {
    while (parent[k] != static_cast<int>(k))
      k = static_cast<size_t>(parent[k] = parent[static_cast<size_t>(parent[k])]);
    return k;
  };
  // Runs of neighbouring rows that touch; the earlier one leads, so that components are numbered by their first pixel.
  size_t above = 0;
  for (size_t k = 0; k < runs.size(); ++k) {
    const Run& run = runs[k];
    parent[k] = static_cast<int>(k);
    while (runs[above].v < run.v - 1 || (runs[above].v == run.v - 1 && runs[above].u + runs[above].count <= run.u))
      ++above;
    for (size_t j = above; runs[j].v == run.v - 1 && runs[j].u < run.u + run.count; ++j) {
      if (runs[j].label != run.label) continue;
      const size_t a = root(j), b = root(k);
      parent[std::max(a, b)] = static_cast<int>(std::min(a, b));
    }
  }
  std::vector<Fit> fit(runs.size());
  for (size_t k = 0; k < runs.size(); ++k)
    fit[root(k)].add(&image.slope_x[static_cast<size_t>(runs[k].u)], image.slope_y[static_cast<size_t>(runs[k].v)],
                     &image.inverse[static_cast<size_t>(runs[k].v * w + runs[k].u)], runs[k].count);
  std::vector<int> id(runs.size(), -1);
  std::vector<Plane> planes;
  for (size_t k = 0; k < runs.size(); ++k) {
    const size_t top = root(k);
    if (top == k && fit[k].n >= options.least_pixels) {
      id[k] = static_cast<int>(planes.size());
      double sse = 0;
      const Eigen::Vector3d p = fit[k].solve(sse);
      planes.push_back({p, fit[k]});
    }
    std::fill_n(s.label.begin() + runs[k].v * w + runs[k].u, runs[k].count, id[top]);
  }
  s.planes.swap(planes);
  s.own_fit.assign(s.planes.size(), 1);
}

}  // namespace lumper_faces
