"""Runs rigpose on the real PyCUDA and a stand-in for the driver; prints a JSON object of what the driver saw.

Torch is the real one but for its streams and events, which need a GPU: tensors are on the CPU, where the stand-in has
its device's memory. Each case runs in a process of its own, because a process has one context and ends once; they are
forked from one that has imported everything and called nothing.

    .venv/bin/python tests/engine/gpu/pycuda_contract.py .pycuda LIBRARY FOLDER
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
import threading
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
sys.path.append(sys.argv[1])  # behind all else: of what lies there PyCUDA alone is wanted

from tests.engine.gpu.stub_cuda import Stub  # noqa: E402

stub = Stub(Path(sys.argv[2]))  # before anything looks for the driver

import numpy as np  # noqa: E402
import torch  # noqa: E402

from capture.buffers import BufferPool  # noqa: E402
from engine.gpu import pycuda as module  # noqa: E402
from engine.gpu.crops import NORM, VIEW  # noqa: E402
from engine.gpu.pycuda import PyCuda, load_driver, primary  # noqa: E402
from engine.gpu.ring import Ring  # noqa: E402

CUBIN = b"cubin of "
CHANNELS, HEIGHT, WIDTH = 3, 65, 100


class Stream:
    """As torch sees a stream of somebody else."""

    def __init__(self, handle, device):
        self.cuda_stream, self.device = handle, device

    def wait_event(self, event):
        pass


class Event:
    """What lies before it on a stream of the stand-in has already happened."""

    def record(self, stream):
        pass

    def query(self):
        return True

    def synchronize(self):
        pass


class Norm(ctypes.Structure):
    """``RigposeNorm`` of crop.h."""

    _fields_ = [
        ("scale", ctypes.c_float * 3), ("shift", ctypes.c_float * 3), ("order", ctypes.c_int * 3),
        ("channels", ctypes.c_int),
    ]  # fmt: skip


class Arguments(ctypes.Structure):
    """The kernel's, where a C compiler places them."""

    _fields_ = [
        ("views", ctypes.c_uint64), ("norm", Norm), ("height", ctypes.c_int), ("width", ctypes.c_int),
        ("planes", ctypes.c_uint64),
    ]  # fmt: skip


def stand_in():
    """Take the place of what needs a GPU or nvcc."""
    torch.cuda.init = lambda: None
    torch.cuda.ExternalStream, torch.cuda.Event, torch.cuda.stream = Stream, Event, lambda stream: nullcontext()
    module.cubin = lambda arch: CUBIN + arch.encode()


def in_thread(work):
    """What ``work`` gives in a thread that has ended; what it raises is raised here."""
    answers, errors = [], []

    def run():
        try:
            answers.append(work())
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return answers[0]


def inside(work):
    """The same in the context."""
    with primary():
        return work()


def allocate(helper, count):
    """As a `BufferPool` is told to."""
    return inside(lambda: helper.allocate(count))


def calls():
    """What the driver is told when everything is called once."""
    with primary() as cuda:
        helper = PyCuda(cuda)
        torch.cuda.current_stream = lambda device: helper.stream
        made = {"streams": stub.seen.streams, "flags": stub.seen.stream_flags, "image": stub.seen.image.decode()}
        made |= {"module": cuda is load_driver(), "function": stub.seen.function.decode()}
        return {"made": made, "uploads": uploads(helper), **launch(helper)}


def uploads(helper):
    """For each kind of array whether the driver was told its address, its length, the target and the stream."""
    memory = helper.allocate(4096)
    memory[:] = np.arange(4096) % 251
    read_only = memory[:120].reshape(10, 12)
    read_only.flags.writeable = False
    leased = BufferPool(lambda count: allocate(helper, count)).take("a", 300)
    assert leased is not None
    leased[:] = 7
    picture = leased[:270].reshape(9, 10, 3)
    picture.flags.writeable = False
    sources = {
        "whole": memory, "sliced": memory[256:616].reshape(10, 12, 3), "read-only": read_only, "leased": leased,
        "leased, sliced and read-only": picture, "foreign": np.frombuffer(bytes(range(100)), np.uint8),
    }  # fmt: skip
    told: dict[str, object] = {}
    for name, source in sources.items():
        target, before = torch.zeros(source.shape, dtype=torch.uint8), stub.seen.copy.count
        helper.upload(target, source)
        copy = stub.seen.copy
        got = (copy.count - before, copy.target, copy.source, copy.bytes, copy.stream)
        wanted = (1, target.data_ptr(), source.ctypes.data, source.size, helper.copies.cuda_stream)
        told[name] = got == wanted and bool((target.numpy() == source).all())
    try:
        helper.upload(torch.zeros(50, dtype=torch.uint8), memory[:100:2])
    except ValueError as error:
        told["with gaps"] = str(error)
    return told


def launch(helper):
    """What the kernel was given, and what it had to be given."""
    views, planes = torch.zeros(4 * VIEW.itemsize, dtype=torch.uint8), torch.zeros(4, CHANNELS, HEIGHT, WIDTH)
    norm = np.zeros(1, NORM)
    norm["scale"], norm["shift"], norm["order"], norm["channels"] = (1, 2, 3), (4, 5, 6), (2, 1, 0), CHANNELS
    helper.crop(views, norm, planes)
    norm[:] = np.zeros(1, NORM)  # by value: the kernel may run when this is something else
    seen = stub.seen.launch
    given = Arguments.from_buffer_copy(bytes(seen.arguments))
    packed = given.norm
    got = [given.views, given.planes, given.height, given.width, seen.bytes, seen.stream, seen.shared]
    wanted = [
        views.data_ptr(),
        planes.data_ptr(),
        HEIGHT,
        WIDTH,
        ctypes.sizeof(Arguments),
        helper.stream.cuda_stream,
        0,
    ]
    return {
        "launched": got, "wanted": wanted, "launches": seen.count, "grid": list(seen.grid), "block": list(seen.block),
        "norm": [*packed.scale, *packed.shift, *packed.order, packed.channels],
    }  # fmt: skip


def contexts():
    """How deep the stack of contexts is after what enters and leaves `primary`."""

    def often():
        for _ in range(1000):
            with primary():
                pass
        return stub.depth

    def nested():
        with primary(), primary(), primary():
            deepest = stub.depth
        return [deepest, stub.depth]

    def raising():
        try:
            with primary():
                raise RuntimeError
        except RuntimeError:
            return stub.depth

    stub.use()
    bare, here, deep, raised = in_thread(often), often(), nested(), raising()
    barrier, depths = threading.Barrier(4), []

    def together():
        for _ in range(100):
            with primary() as cuda:
                barrier.wait()
                cuda.pagelocked_empty(10, np.uint8)
        depths.append(stub.depth)

    threads = [threading.Thread(target=together) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seen = {"locked": stub.seen.locked, "retains": stub.seen.retains, "detaches": stub.seen.detaches}
    return {"here": here, "in a bare thread": bare, "nested": deep, "raised": raised, "threads": depths, **seen}


def memory():
    """For where memory is made and where its last array goes: an error, and how the number of allocations changes."""
    warnings.simplefilter("error")
    stub.use()
    helper = inside(lambda: PyCuda(load_driver()))
    places = {
        "here": lambda work: work(), "here, in the context": inside, "in a thread": in_thread,
        "in a thread, in the context": lambda work: in_thread(lambda: inside(work)),
    }  # fmt: skip

    def drop(arrays, let_go):
        there = stub.seen.locked
        try:
            let_go(arrays.clear)
        except BaseException as error:  # noqa: BLE001 - told
            return [repr(error), stub.seen.locked - there]
        return ["", stub.seen.locked - there]

    told = {}
    for made, make in places.items():
        for gone, let_go in places.items():
            arrays: list[np.ndarray] = []
            make(lambda arrays=arrays: arrays.append(allocate(helper, 100)[10:60].reshape(5, 10)))
            told[f"made {made}, gone {gone}"] = drop(arrays, let_go)
    pool = BufferPool(lambda count: allocate(helper, count))
    picture = pool.take("a", 100)
    assert picture is not None
    pictures = [picture[:50]]
    del pool, picture
    return {"each": told, "leased": drop(pictures, in_thread)}


def frames():
    """How far poses that went through PyCUDA are from those that did not, for views in BGR, mono and NV12."""
    from capture.sources.pictures import nv12_of
    from engine.gpu.frames import FrameGraph
    from engine.graph import compose
    from tests.engine.gpu.host_kernel import HostKernel
    from tests.engine.gpu.test_frames import CPU, CROPS, by_frames, located_model, pictures, rig_of

    located = located_model("ours", None)
    graph, rig, images = compose(located, 3), rig_of(located), pictures()
    images[0] = nv12_of(images[0])
    shapes = [image.shape for image in images]
    expected, _ = by_frames(FrameGraph(graph, shapes, CPU, nv12={0}), images, CROPS, rig)
    with tempfile.TemporaryDirectory() as folder, primary() as cuda:
        host = HostKernel(Path(folder)).library.rigpose_crop_host
        pointer = ctypes.c_void_p

        def kernel(address, views):
            given = Arguments.from_address(address)
            norm = pointer(address + Arguments.norm.offset)
            host(pointer(given.views), views, norm, given.height, given.width, pointer(given.planes))

        stub.run_as_kernel(kernel)
        helper = PyCuda(cuda)
        torch.cuda.current_stream = lambda device: helper.stream
        graphs = FrameGraph(graph, shapes, CPU, helper=helper, nv12={0})
        stub.seen.copy.count = stub.seen.launch.count = 0
        for _ in range(3):  # each buffer, and the first one again
            got, _ = by_frames(graphs, images, CROPS, rig)
    off = {name: float(np.nanmax(np.abs(got[name] - expected[name]))) for name in expected}
    nans = all((np.isnan(got[name]) == np.isnan(expected[name])).all() for name in expected)
    counts = {"uploads": stub.seen.copy.count, "launches": stub.seen.launch.count}
    return {"off": off, "same gaps": nans, "locked": stub.seen.locked, **counts}


def kept():
    """A module to keep things in until the interpreter ends; this one's own stay, because torch holds its functions."""
    return sys.modules.setdefault("kept", ModuleType("kept"))


def at_exit():
    """Leave everything behind as the engine does: made in two threads, one of which has ended."""
    stub.use()
    kept().helper = helper = inside(lambda: PyCuda(load_driver()))
    kept().pool = BufferPool(lambda count: allocate(helper, count))
    kept().pictures = [kept().pool.take("a", 100) for _ in range(3)]
    kept().pictures.pop()

    def solve():
        kept().ring = Ring([(10, 10)], 3, lambda count: allocate(helper, count))
        kept().slots = [kept().ring.take() for _ in range(3)]

    in_thread(solve)
    return {"locked": stub.seen.locked}


def ended():
    """Leave behind what was made in a thread that has ended; nothing was made elsewhere."""

    def work():
        with primary() as cuda:
            kept().helper = PyCuda(cuda)
            kept().memory = kept().helper.allocate(10)

    in_thread(work)
    return {"locked": stub.seen.locked}


CASES = {"calls": calls, "contexts": contexts, "memory": memory, "frames": frames, "at exit": at_exit, "ended": ended}


def main(folder):
    """In each child run its case, and end as a program does; in the parent print what came of them."""
    stand_in()
    told = {}
    for case, work in CASES.items():
        files = {name: folder / f"{case}.{name}" for name in ("out", "err", "end")}
        child = os.fork()
        if child == 0:
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(files[name], os.O_WRONLY | os.O_CREAT), number)
            stub.report_to(files["end"])
            print(json.dumps(work()))
            return
        _, status = os.waitpid(child, 0)
        out, err, end = (file.read_text() if file.exists() else "" for file in files.values())
        said, counts = (json.loads(text) if text else None for text in (out, end))
        told[case] = {"said": said, "errors": err, "code": os.waitstatus_to_exitcode(status), "end": counts}
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[3]))
