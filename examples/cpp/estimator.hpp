// Picture to poses: the detector on the whole picture, then the second stage on a crop round each.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

#include <openvino/openvino.hpp>

#include "poses.hpp"

// What a user can mend, in one line.
struct BadInput : std::runtime_error {
    using std::runtime_error::runtime_error;
};

// The two networks. Compiled once for as many streams of one thread as there are threads, since
// small networks gain more from two pictures at once than from two threads on one.
struct Pair {
    // For pictures of `size`, whose longer side becomes `input_side` pixels (0: what the detector says);
    // BadInput if a file is none of limbwise's, or another stage's.
    Pair(const std::string& detector, const std::string& second_stage, cv::Size size, int threads,
         const std::string& precision, int input_side);

    int side, multiple;  // of the detector's input
    cv::Size crop;       // the second stage's input
    double first;        // the pixel of a crop where a heatmap's first cell lies
    ov::CompiledModel detector, single, couple;  // the second stage for one crop and for two
};

// One thread's way of a picture.
class Estimator {
public:
    explicit Estimator(Pair& pair);

    std::vector<Pose> operator()(const cv::Mat& picture);

private:
    const Pair& pair;
    ov::InferRequest detect, single, couple;
};
