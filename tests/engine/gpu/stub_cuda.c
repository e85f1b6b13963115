/* The CUDA driver without a GPU, as far as PyCUDA sees it: one device, its primary context, and host memory in the
 * place of the device's.
 *
 * It keeps what the driver keeps: a stack of contexts for each thread, how often the primary context was retained, what
 * is allocated. What needs a current context fails without one, as in the driver. Letting the primary context go leaves
 * all stacks as they are: it is documented so. `seen` and `stub_*` tell the tests about it; stub_cuda.py mirrors them
 * and adds all else that PyCUDA wants of the driver, as functions that succeed.
 */
#include <cuda.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRIMARY ((CUcontext)0xC0FFEE00)
#define MODULE ((CUmodule)0x7000)
#define FUNCTION ((CUfunction)0x8000)
#define STACK 4096
#define NEEDS_CONTEXT \
    if (depth == 0) return CUDA_ERROR_INVALID_CONTEXT

struct {
    long retains, releases, detaches, locked, streams, modules; /* the last three: that are there now */
    unsigned stream_flags;                                      /* of the last stream that was made */
    unsigned char image[32];                                    /* how the last module began */
    char function[64];
    struct {
        long count;
        CUdeviceptr target;
        const void* source;
        size_t bytes;
        CUstream stream;
    } copy;
    struct {
        long count;
        unsigned grid[3], block[3], shared;
        CUstream stream;
        size_t bytes;
        unsigned char arguments[256];
    } launch;
} seen;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread CUcontext stack[STACK];
static __thread long depth;
static void (*kernel)(const void* arguments, unsigned views);

static void add(long* count, long what) {
    pthread_mutex_lock(&lock);
    *count += what;
    pthread_mutex_unlock(&lock);
}

long stub_depth(void) { return depth; }

/* As torch leaves a thread in which it was used. */
void stub_set_current(void) {
    if (depth == 0) depth = 1;
    stack[depth - 1] = PRIMARY;
}

/* What runs in the kernel's place when it is launched. */
void stub_set_kernel(void (*run)(const void* arguments, unsigned views)) { kernel = run; }

/* When the interpreter has ended there is nobody left to ask. */
static char report[4096];
void stub_report_to(const char* path) { snprintf(report, sizeof report, "%s", path); }

__attribute__((destructor)) static void end(void) {
    FILE* file = *report ? fopen(report, "w") : NULL;
    if (!file) return;
    const char* format = "{\"retains\": %ld, \"releases\": %ld, \"detaches\": %ld}\n";
    fprintf(file, format, seen.retains, seen.releases, seen.detaches);
    fclose(file);
}

CUresult cuInit(unsigned flags) { return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS; }

CUresult cuDriverGetVersion(int* version) {
    *version = CUDA_VERSION;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
    *count = 1;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int index) {
    *device = index;
    return index == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceGetName(char* name, int size, CUdevice device) {
    (void)device;
    snprintf(name, (size_t)size, "Stub");
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t* bytes, CUdevice device) {
    (void)device;
    *bytes = 1u << 30;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice device) {
    (void)device;
    *value = which == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? 9 : 0;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult error, const char** text) {
    *text = error == CUDA_ERROR_INVALID_CONTEXT ? "invalid device context" : "an error of the stub";
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice device) {
    (void)device;
    add(&seen.retains, 1);
    *context = PRIMARY;
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
    (void)device;
    add(&seen.releases, 1);
    return seen.releases > seen.retains ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}

/* For contexts of cuCtxCreate and cuCtxAttach alone; what it does to a primary one is not documented. */
CUresult cuCtxDetach(CUcontext context) {
    (void)context;
    add(&seen.detaches, 1);
    return CUDA_SUCCESS;
}

CUresult cuCtxPushCurrent(CUcontext context) {
    if (depth == STACK) return CUDA_ERROR_OUT_OF_MEMORY;
    stack[depth++] = context;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext* context) {
    NEEDS_CONTEXT;
    *context = stack[--depth];
    return CUDA_SUCCESS;
}

CUresult cuCtxGetDevice(CUdevice* device) {
    NEEDS_CONTEXT;
    *device = 0;
    return CUDA_SUCCESS;
}

CUresult cuMemHostAlloc(void** memory, size_t bytes, unsigned flags) {
    (void)flags;
    NEEDS_CONTEXT;
    if (posix_memalign(memory, 4096, bytes ? bytes : 1)) return CUDA_ERROR_OUT_OF_MEMORY;
    add(&seen.locked, 1);
    return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void* memory) {
    NEEDS_CONTEXT;
    add(&seen.locked, -1);
    free(memory);
    return CUDA_SUCCESS;
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr target, const void* source, size_t bytes, CUstream stream) {
    NEEDS_CONTEXT;
    pthread_mutex_lock(&lock);
    ++seen.copy.count;
    seen.copy.target = target, seen.copy.source = source, seen.copy.bytes = bytes, seen.copy.stream = stream;
    pthread_mutex_unlock(&lock);
    memcpy((void*)target, source, bytes);
    return CUDA_SUCCESS;
}

CUresult cuStreamCreate(CUstream* stream, unsigned flags) {
    static long made = 0;
    NEEDS_CONTEXT;
    add(&made, 1);
    add(&seen.streams, 1);
    seen.stream_flags = flags;
    *stream = (CUstream)(0x5000 + 16 * made);
    return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream stream) {
    (void)stream;
    NEEDS_CONTEXT;
    add(&seen.streams, -1);
    return CUDA_SUCCESS;
}

CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned count, CUjit_option* options, void** values) {
    (void)count, (void)options, (void)values;
    NEEDS_CONTEXT;
    strncpy((char*)seen.image, image, sizeof seen.image - 1);
    add(&seen.modules, 1);
    *module = MODULE;
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module) {
    (void)module;
    NEEDS_CONTEXT;
    add(&seen.modules, -1);
    return CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
    if (module != MODULE) return CUDA_ERROR_INVALID_HANDLE;
    snprintf(seen.function, sizeof seen.function, "%s", name);
    *function = FUNCTION;
    return CUDA_SUCCESS;
}

CUresult cuLaunchKernel(
    CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
    unsigned block_z, unsigned shared, CUstream stream, void** parameters, void** extra) {
    NEEDS_CONTEXT;
    if (function != FUNCTION || parameters || !extra) return CUDA_ERROR_INVALID_VALUE;
    const void* arguments = NULL;
    size_t bytes = 0;
    for (; *extra != CU_LAUNCH_PARAM_END; extra += 2) {
        if (*extra == CU_LAUNCH_PARAM_BUFFER_POINTER) arguments = extra[1];
        if (*extra == CU_LAUNCH_PARAM_BUFFER_SIZE) bytes = *(size_t*)extra[1];
    }
    if (!arguments || bytes > sizeof seen.launch.arguments) return CUDA_ERROR_INVALID_VALUE;
    ++seen.launch.count;
    seen.launch.grid[0] = grid_x, seen.launch.grid[1] = grid_y, seen.launch.grid[2] = grid_z;
    seen.launch.block[0] = block_x, seen.launch.block[1] = block_y, seen.launch.block[2] = block_z;
    seen.launch.shared = shared, seen.launch.stream = stream, seen.launch.bytes = bytes;
    memcpy(seen.launch.arguments, arguments, bytes);
    if (kernel) kernel(seen.launch.arguments, grid_z);
    return CUDA_SUCCESS;
}
