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
    int width, height, pitch, channels;  // pitch in bytes; channels 1 (mono) or 3 (BGR)
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

RIGPOSE_BOTH float rigpose_texel(const RigposeView& view, int x, int y, int channel) {
    const int column = rigpose_inside(x, view.width, view.border);
    const int row = rigpose_inside(y, view.height, view.border);
    if (column < 0 || row < 0) return 0.0f;
    const unsigned char* pixels = (const unsigned char*)view.pixels;
    const int offset = view.channels == 1 ? column : column * view.channels + channel;
    return (float)pixels[(long long)row * view.pitch + offset];
}

RIGPOSE_BOTH float rigpose_bilinear(const RigposeView& view, float x, float y, int channel) {
    const float left = floorf(x), top = floorf(y);
    const float across = x - left, down = y - top;
    const int column = (int)left, row = (int)top;
    const float a = rigpose_texel(view, column, row, channel), b = rigpose_texel(view, column + 1, row, channel);
    const float c = rigpose_texel(view, column, row + 1, channel), d = rigpose_texel(view, column + 1, row + 1, channel);
    const float above = a + (b - a) * across, below = c + (d - c) * across;
    return above + (below - above) * down;
}

// The grey value of one channel (B, G or R) of crop pixel (column, row).
RIGPOSE_BOTH float rigpose_value(const RigposeView& view, int column, int row, int channel) {
    if (view.pixels == 0) return 0.0f;
    const float* m = view.to_image;
    if (view.spread == 0.0f) {
        const float x = (float)column, y = (float)row;
        return rigpose_bilinear(view, m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5], channel);
    }
    float sum = 0.0f;
    for (int index = 0; index < 4; ++index) {
        const float x = (float)column + (index & 1 ? view.spread : -view.spread);
        const float y = (float)row + (index & 2 ? view.spread : -view.spread);
        sum += rigpose_bilinear(view, m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5], channel);
    }
    return 0.25f * sum;
}

// Channel `plane` of the network's input at (column, row).
RIGPOSE_BOTH float rigpose_pixel(const RigposeView& view, const RigposeNorm& norm, int column, int row, int plane) {
    float value;
    if (norm.channels == 1 && view.channels == 3) {
        value = 0.114f * rigpose_value(view, column, row, 0) + 0.587f * rigpose_value(view, column, row, 1)
            + 0.299f * rigpose_value(view, column, row, 2);
    } else {
        value = rigpose_value(view, column, row, norm.order[plane]);
    }
    return value * norm.scale[plane] + norm.shift[plane];
}
