#include "lumper_faces/faces.hpp"

namespace lumper_faces {

Result segment(const Image& image, const Options& options) {
  Result result;
  result.sigma = image.sigma;
  result.segmentation = find_planes(image, options);
  refine_labels(image, options, result.segmentation);
  split_components(image, options, result.segmentation);
  split_by_colour(image, options, result.segmentation);
  result.faces = fit_rectangles(image, options, result.segmentation);
  result.box_of_plane = group_boxes(image, options, result.segmentation, result.faces);
  return result;
}

}  // namespace lumper_faces
