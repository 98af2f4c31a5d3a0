// Coordinates of a picture and of a network's input, and how the one becomes the other.
// As src/limbwise/geometry.py: the centre of a pixel is a whole number.
#pragma once

#include <utility>

#include <opencv2/core.hpp>

// An affine map without rotation: input = scale * picture + shift.
struct View {
    cv::Vec2d scale, shift;

    cv::Point2f back(double x, double y) const {
        return {float((x - shift[0]) / scale[0]), float((y - shift[1]) / scale[1])};
    }
};

// The whole picture with its longer side `side` pixels long, padded with grey to whole multiples.
std::pair<cv::Mat, View> letterbox(const cv::Mat& picture, int side, int multiple);

struct Box {
    float left, top, right, bottom, score;

    double area() const { return double(right - left) * (bottom - top); }
};

// From the picture to a crop of `size` round a box, 1.25 times as large.
View view_of(const Box& box, cv::Size size);

// Writes what a view shows of the picture into `crop`, which has its size; grey outside.
void cut(const cv::Mat& picture, const View& view, cv::Mat crop);
