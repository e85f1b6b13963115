// All crops of a frame set in one launch: raw pictures in, normalised float planes out. blockIdx.z is the view.
#include "crop.h"

extern "C" __global__ void rigpose_crop(
    const RigposeView* views, const RigposeNorm norm, int height, int width, float* planes) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (column >= width || row >= height) return;
    const RigposeView view = views[blockIdx.z];
    for (int plane = 0; plane < norm.channels; ++plane) {
        const long long place = (((long long)blockIdx.z * norm.channels + plane) * height + row) * width + column;
        planes[place] = rigpose_pixel(view, norm, column, row, plane);
    }
}
