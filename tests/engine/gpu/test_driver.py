"""The driver is asked by name and number, and what it refuses is a sentence."""

from __future__ import annotations

import ctypes

from engine.gpu import driver as module
from engine.gpu.driver import NO_DRIVER, ask, driver


class Library:
    """A driver as `ctypes` shows it."""

    def __init__(self, start=0, count=1, counts=0, name=b"NVIDIA H200"):
        self.start, self.count, self.counts, self.name = start, count, counts, name

    def cuInit(self, flags):
        return self.start

    def cuDriverGetVersion(self, version):
        version._obj.value = 13000
        return 0

    def cuDeviceGetCount(self, count):
        count._obj.value = self.count
        return self.counts

    def cuDeviceGet(self, handle, index):
        handle._obj.value = index
        return 0

    def cuDeviceGetName(self, text, size, handle):
        text.value = self.name
        return 0

    def cuDeviceTotalMem_v2(self, total, handle):
        total._obj.value = 141 * 2**30
        return 0

    def cuDeviceGetAttribute(self, value, which, handle):
        value._obj.value = {75: 9, 76: 0, 13: 1980000, 36: 3201000}[which]
        return 0


def test_each_gpu_is_named_with_what_it_is():
    found = ask(Library(count=2))
    assert (found.version, found.problem, len(found.gpus)) == ("13.0", "", 2)
    gpu = found.gpus[0]
    assert (gpu.name, gpu.memory_bytes, gpu.compute, gpu.arch) == ("NVIDIA H200", 141 * 2**30, (9, 0), "sm_90")
    assert (gpu.clock_khz, gpu.memory_khz) == (1980000, 3201000)


def test_a_driver_that_does_not_start_or_shows_nothing_is_a_sentence():
    assert ask(Library(start=999)).problem == "the NVIDIA driver does not start (error 999)"
    assert ask(Library(count=0)).problem == "a driver, but no GPU"
    assert ask(Library(counts=3)).gpus == ()


def test_no_driver_is_a_sentence(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    module.driver.cache_clear()
    try:
        assert (driver().problem, driver().gpus) == (NO_DRIVER, ())
    finally:
        module.driver.cache_clear()
