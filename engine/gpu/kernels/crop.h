// From a raw picture to what a network sees: the arithmetic of one pixel.
//
// The same text is compiled by nvcc for the kernel and by a host compiler for its tests. Coordinates are pixels of the
// raw picture, (0, 0) the centre of the first pixel; what lies outside of the picture is border.
#pragma once

#ifdef __CUDACC__
#define RIGPOSE_BOTH __host__ __device__ __forceinline__
#else
#include <cmath>
#define RIGPOSE_BOTH static inline
#endif

enum RigposeBorder { RIGPOSE_CONSTANT = 0, RIGPOSE_REPLICATE = 1, RIGPOSE_REFLECT_101 = 2 };

// One camera's picture and where its crop lies in it. engine.gpu.crops.VIEW is this in numpy: keep both alike.
struct RigposeView {
    unsigned long long pixels;  // address; 0 = the camera is absent, and its crop is black
    int width, height, pitch, channels;  // pitch in bytes; channels 1 (mono), 3 (BGR) or 2 (NV12: chroma below luma)
    float to_image[6];  // row by row, from crop px to raw px
    float spread;  // 0 = one sample; else four, so many crop px from the middle, which are averaged
    int border;
};

// How a pixel becomes a number. engine.gpu.crops.NORM is this in numpy.
struct RigposeNorm {
    float scale[3], shift[3];  // number = grey value * scale + shift, for each channel of the network
    int order[3];              // which of B, G, R each channel of the network is
    int channels;              // of the network: 3, or 1 = grey
};

RIGPOSE_BOTH int rigpose_inside(int place, int size, int border) {
    if (place >= 0 && place < size) return place;
    if (border == RIGPOSE_CONSTANT) return -1;
    if (border == RIGPOSE_REPLICATE || size == 1) return place < 0 ? 0 : size - 1;
    const int period = 2 * (size - 1);
    int folded = place % period;
    if (folded < 0) folded += period;
    return folded < size ? folded : period - folded;
}

// Pixels that lie beside each other, `step` bytes from one to the next.
struct RigposePlane {
    const unsigned char* pixels;
    int width, height, pitch, step, border;
    float fill;  // what a constant border is
};

RIGPOSE_BOTH float rigpose_texel(const RigposePlane& plane, int x, int y, int channel) {
    const int column = rigpose_inside(x, plane.width, plane.border);
    const int row = rigpose_inside(y, plane.height, plane.border);
    if (column < 0 || row < 0) return plane.fill;
    return (float)plane.pixels[(long long)row * plane.pitch + column * plane.step + channel];
}

RIGPOSE_BOTH float rigpose_bilinear(const RigposePlane& plane, float x, float y, int channel) {
    const float left = floorf(x), top = floorf(y);
    const float across = x - left, down = y - top;
    const int column = (int)left, row = (int)top;
    const float a = rigpose_texel(plane, column, row, channel), b = rigpose_texel(plane, column + 1, row, channel);
    const float c = rigpose_texel(plane, column, row + 1, channel), d = rigpose_texel(plane, column + 1, row + 1, channel);
    const float above = a + (b - a) * across, below = c + (d - c) * across;
    return above + (below - above) * down;
}

// One channel (B, G or R) of the raw picture at a place between its pixels.
RIGPOSE_BOTH float rigpose_sample(const RigposeView& view, float x, float y, int channel) {
    const unsigned char* pixels = (const unsigned char*)view.pixels;
    if (view.channels != 2) {
        const RigposePlane plane = {pixels, view.width, view.height, view.pitch, view.channels, view.border, 0.0f};
        return rigpose_bilinear(plane, x, y, view.channels == 1 ? 0 : channel);
    }
    const RigposePlane luma = {pixels, view.width, view.height, view.pitch, 1, view.border, 16.0f};
    const RigposePlane chroma = {
        pixels + (long long)view.height * view.pitch, view.width / 2, view.height / 2, view.pitch, 2, view.border, 128.0f};
    // BT.601 of limited range, as OpenCV has it; a pixel of chroma covers two by two of luma.
    const float across = 0.5f * x - 0.25f, down = 0.5f * y - 0.25f;
    const float u = rigpose_bilinear(chroma, across, down, 0) - 128.0f;
    const float v = rigpose_bilinear(chroma, across, down, 1) - 128.0f;
    const float light = 1.164f * fmaxf(rigpose_bilinear(luma, x, y, 0) - 16.0f, 0.0f);
    const float value = channel == 0 ? light + 2.018f * u
        : channel == 1 ? light - 0.391f * u - 0.813f * v : light + 1.596f * v;
    return fminf(fmaxf(value, 0.0f), 255.0f);
}

// The grey value of one channel (B, G or R) of crop pixel (column, row).
RIGPOSE_BOTH float rigpose_value(const RigposeView& view, int column, int row, int channel) {
    if (view.pixels == 0) return 0.0f;
    const float* m = view.to_image;
    if (view.spread == 0.0f) {
        const float x = (float)column, y = (float)row;
        return rigpose_sample(view, m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5], channel);
    }
    float sum = 0.0f;
    for (int index = 0; index < 4; ++index) {
        const float x = (float)column + (index & 1 ? view.spread : -view.spread);
        const float y = (float)row + (index & 2 ? view.spread : -view.spread);
        sum += rigpose_sample(view, m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5], channel);
    }
    return 0.25f * sum;
}

// Channel `plane` of the network's input at (column, row).
RIGPOSE_BOTH float rigpose_pixel(const RigposeView& view, const RigposeNorm& norm, int column, int row, int plane) {
    float value;
    if (norm.channels == 1 && view.channels != 1) {
        value = 0.114f * rigpose_value(view, column, row, 0) + 0.587f * rigpose_value(view, column, row, 1)
            + 0.299f * rigpose_value(view, column, row, 2);
    } else {
        value = rigpose_value(view, column, row, norm.order[plane]);
    }
    return value * norm.scale[plane] + norm.shift[plane];
}
