"""TensorRT as a Python module that runs on a CPU, with the ways in which the real one fails.

A plan is the ONNX network itself; a context reads and writes the memory whose addresses it was given, by ONNX Runtime,
as the real one does by its kernels. `Failing` makes one step fail the way that the real bindings do: a False, a None,
a message to the logger.
"""

from __future__ import annotations

import ctypes
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper

_MAGIC = b"plan of a fake\n"


class _Severity:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = "INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"


class _FakeTrt:
    """The module.

    Args:
        fail: Steps that fail: ``builder``, ``parse``, ``build``, ``timing``, ``runtime``, ``deserialise``,
            ``context``, ``shape``, ``address``, ``execute``.
        version: Of TensorRT.
    """

    def __init__(self, *fail, version="11.4.0.106"):
        self.fail, self.__version__ = set(fail), version
        self.built, self.configs, self.levels = [], [], []
        self.NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
        self.BuilderFlag = SimpleNamespace(TF32="TF32")  # no FP16, BF16 or INT8: they are gone in 11
        self.MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
        self.TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
        self.DataType = SimpleNamespace(FLOAT="DataType.FLOAT")

    class ILogger:
        """The base of loggers."""

        Severity = _Severity

        def __init__(self):
            pass

    class IProgressMonitor:
        """The base of progress monitors."""

        def __init__(self):
            pass

    def Builder(self, logger):
        if "builder" in self.fail:
            logger.log(_Severity.INTERNAL_ERROR, "createInferBuilder: Error Code 6: CUDA initialization failure: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return _Builder(self, logger)

    def OnnxParser(self, network, logger):
        return _Parser(self, network)

    def Runtime(self, logger):
        if "runtime" in self.fail:
            logger.log(_Severity.INTERNAL_ERROR, "createInferRuntime: CUDA initialization failure with error: 35")
        return _Runtime(self, logger)


FakeTrt: Any = _FakeTrt


class _Builder:
    def __init__(self, trt, logger):
        self.trt, self.logger = trt, logger

    def create_network(self, flags=0):
        assert flags & 1 << self.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED, "the network is not strongly typed"
        return SimpleNamespace(model=None, num_inputs=0, num_outputs=0, get_input=None, get_output=None)

    def create_builder_config(self):
        config = _Config(self.trt)
        self.trt.configs.append(config)
        return config

    def build_serialized_network(self, network, config):
        if config.progress_monitor is not None:
            config.progress_monitor.phase_start("Building Engine", None, 4)
            config.progress_monitor.phase_start("Tactics", "Building Engine", 2)
            assert config.progress_monitor.step_complete("Tactics", 0)
            config.progress_monitor.phase_finish("Tactics")
            for step in range(4):
                assert config.progress_monitor.step_complete("Building Engine", step)
            config.progress_monitor.phase_finish("Building Engine")
        if "build" in self.trt.fail:
            self.logger.log(_Severity.ERROR, "Error Code 10: Could not find any implementation for node Conv_3")
            return None
        self.trt.built.append(network.model)
        return memoryview(_MAGIC + json.dumps({"version": self.trt.__version__}).encode() + b"\n" + network.model)


class _Config:
    def __init__(self, trt):
        self.trt, self.cleared, self.pools, self.cache = trt, set(), {}, None
        self.builder_optimization_level, self.progress_monitor = 3, None

    def set_memory_pool_limit(self, pool, pool_size):
        self.pools[pool] = pool_size

    def clear_flag(self, flag):
        self.cleared.add(flag)

    def create_timing_cache(self, serialized_timing_cache):
        return SimpleNamespace(data=bytes(serialized_timing_cache), serialize=lambda: b"timings")

    def set_timing_cache(self, cache, ignore_mismatch):
        if "timing" in self.trt.fail and cache.data:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self):
        return self.cache


class _Parser:
    def __init__(self, trt, network):
        self.trt, self.network, self.num_errors = trt, network, 0

    def parse(self, model):
        if "parse" in self.trt.fail:
            self.num_errors = 1
            return False
        proto = onnx.load_from_string(model)
        values = [list(proto.graph.input), list(proto.graph.output)]
        shaped = [
            [
                SimpleNamespace(name=v.name, shape=[d.dim_value or -1 for d in v.type.tensor_type.shape.dim])
                for v in side
            ]
            for side in values
        ]
        self.network.model = model
        self.network.num_inputs, self.network.num_outputs = map(len, shaped)
        self.network.get_input, self.network.get_output = shaped[0].__getitem__, shaped[1].__getitem__
        return True

    def get_error(self, index):
        return SimpleNamespace(desc=lambda: "no importer for operator NoSuchOperator", node=lambda: 7)


class _Runtime:
    def __init__(self, trt, logger):
        self.trt, self.logger = trt, logger

    def deserialize_cuda_engine(self, serialized_engine):
        if "runtime" in self.trt.fail:
            raise SystemExit(139)  # the real one ends the process
        head, _, rest = bytes(serialized_engine).removeprefix(_MAGIC).partition(b"\n")
        if "deserialise" in self.trt.fail or not bytes(serialized_engine).startswith(_MAGIC):
            self.logger.log(_Severity.ERROR, "Error Code 1: Serialization assertion stdVersionRead failed")
            return None
        return _Engine(self.trt, self.logger, rest)


class _Engine:
    def __init__(self, trt, logger, model):
        self.trt, self.logger = trt, logger
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        proto = onnx.load_from_string(model)
        self.inputs = {v.name: v for v in proto.graph.input}
        self.names = [*self.inputs, *(v.name for v in proto.graph.output)]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, index):
        return self.names[index]

    def get_tensor_mode(self, name):
        modes = self.trt.TensorIOMode
        return modes.INPUT if name in self.inputs else modes.OUTPUT

    def get_tensor_dtype(self, name):
        return "DataType.FLOAT"

    def create_execution_context(self):
        return None if "context" in self.trt.fail else _Context(self)


class _Context:
    def __init__(self, engine):
        self.engine, self.fail, self.addresses = engine, engine.trt.fail, {}
        feed = {
            name: np.zeros(
                [d.dim_value for d in value.type.tensor_type.shape.dim],
                helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type),
            )
            for name, value in engine.inputs.items()
        }
        self.shapes = {name: array.shape for name, array in feed.items()}
        outputs = engine.names[len(feed) :]
        self.shapes |= {
            name: array.shape for name, array in zip(outputs, engine.session.run(outputs, feed), strict=True)
        }

    def set_input_shape(self, name, shape):
        return "shape" not in self.fail and tuple(shape) == self.shapes[name]

    def set_tensor_address(self, name, memory):
        self.addresses[name] = memory
        return "address" not in self.fail

    def get_tensor_shape(self, name):
        return self.shapes[name]

    def execute_async_v3(self, stream_handle):
        if "execute" in self.fail:
            self.engine.logger.log(_Severity.ERROR, "Error Code 3: API Usage Error (enqueueV3)")
            return False
        inputs = {name: self._array(name) for name in self.engine.inputs}
        outputs = self.engine.names[len(inputs) :]
        for name, value in zip(outputs, self.engine.session.run(outputs, inputs), strict=True):
            self._array(name)[...] = value
        return True

    def _array(self, name):
        count = int(np.prod(self.shapes[name]))
        memory: Any = (ctypes.c_float * count).from_address(self.addresses[name])
        return np.frombuffer(memory, np.float32).reshape(self.shapes[name])
