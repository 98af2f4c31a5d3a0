// What the two networks say, read back as people. As src/limbwise/boxes.py and refine.py.
#pragma once

#include <array>
#include <vector>

#include "geometry.hpp"

struct Keypoint {
    float x, y, confidence;  // confidence 0: not found
};

const int KEYPOINTS = 18;  // COCO's 17 and the neck, in the order of NAMES
extern const std::array<const char*, KEYPOINTS> NAMES;

struct Pose {
    std::array<Keypoint, KEYPOINTS> keypoints;
    float score;
    double area;  // of the person, in square pixels
};

// Which of a detector's boxes (count rows of left, top, right, bottom, score) are people.
std::vector<Box> find_boxes(const float* boxes, int count);

// Boxes of an input in the picture's pixels, and within it.
Box in_picture(const Box& box, const View& view, cv::Size picture);

// Where a map's cell m lies in a crop: at m * stride + first.
struct Cells {
    int rows, columns;
    double stride, first;
};

// The person in a crop, from COCO's 17 heatmaps.
Pose read_pose(const float* heatmaps, const Cells& cells, const View& view, const Box& box,
               cv::Size picture);

// Best first, each person once, without those that are too unsure to be shown.
std::vector<Pose> distinct(std::vector<Pose> poses);
