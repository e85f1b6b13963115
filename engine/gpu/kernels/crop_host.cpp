// The kernel's loop for a host compiler: what its tests call.
#include "crop.h"

extern "C" int rigpose_view_bytes() { return (int)sizeof(RigposeView); }
extern "C" int rigpose_norm_bytes() { return (int)sizeof(RigposeNorm); }

extern "C" void rigpose_crop_host(
    const RigposeView* views, int count, const RigposeNorm* norm, int height, int width, float* planes) {
    for (int view = 0; view < count; ++view)
        for (int plane = 0; plane < norm->channels; ++plane)
            for (int row = 0; row < height; ++row)
                for (int column = 0; column < width; ++column)
                    *planes++ = rigpose_pixel(views[view], *norm, column, row, plane);
}
