"""What rigpose asks of the real PyCUDA reaches the driver, and nothing is kept or said that should not be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig

import pytest

pytest.importorskip("torch")

from engine.gpu.kernel import BLOCK  # noqa: E402
from tests.engine.gpu.stub_cuda import build  # noqa: E402

FOLDER = ".pycuda"
PLACES = ("here", "here, in the context", "in a thread", "in a thread, in the context")

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def answers(root, tmp_path_factory):
    """What pycuda_contract.py tells of each of its cases."""
    binding = root / FOLDER / "pycuda" / f"_driver{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not binding.exists():
        pytest.skip(f"there is no {FOLDER} for this Python: make env-pycuda makes it")
    if not all(map(shutil.which, ("gcc", "nm"))):
        pytest.skip("there is no gcc to build a stand-in for the driver with")
    folder = tmp_path_factory.mktemp("driver")
    library = build(binding, root / FOLDER / "include", folder)
    script = root / "tests" / "engine" / "gpu" / "pycuda_contract.py"
    command = [sys.executable, str(script), str(root / FOLDER), str(library), str(folder)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout.splitlines()[-1])


@pytest.fixture
def said(answers):
    """Of a case, what it printed."""

    def of(case):
        assert answers[case]["said"] is not None, answers[case]["errors"]
        return answers[case]["said"]

    return of


class TestCalls:
    def test_streams_do_not_meet_the_default_one_and_the_kernel_is_of_our_module(self, said):
        assert said("calls")["made"] == {
            "streams": 2, "flags": 1, "module": True, "image": "cubin of sm_90", "function": "rigpose_crop",
        }  # fmt: skip

    @pytest.mark.parametrize(
        "source", ["whole", "sliced", "read-only", "leased", "leased, sliced and read-only", "foreign"]
    )
    def test_an_upload_is_of_the_array_s_own_memory_in_its_length_on_the_stream_of_copies(self, said, source):
        assert said("calls")["uploads"][source] is True

    def test_an_array_with_gaps_is_refused(self, said):
        assert "not contiguous" in said("calls")["uploads"]["with gaps"]

    def test_the_kernel_s_arguments_are_where_a_compiler_looks_for_them(self, said):
        told = said("calls")
        assert told["launched"] == told["wanted"]
        assert told["launches"] == 1

    def test_the_normalisation_is_passed_by_value(self, said):
        assert said("calls")["norm"] == [1, 2, 3, 4, 5, 6, 2, 1, 0, 3]

    def test_the_grid_covers_the_planes_and_has_a_layer_a_view(self, said):
        told = said("calls")
        assert told["block"] == list(BLOCK)
        assert told["grid"] == [-(-100 // BLOCK[0]), -(-65 // BLOCK[1]), 4]


class TestContexts:
    def test_a_thread_is_left_as_it_was_found_however_often(self, said):
        told = said("contexts")
        assert told["here"] == 1, "torch's context, which was there before"
        assert told["in a bare thread"] == 0

    def test_it_may_be_entered_within_itself(self, said):
        deepest, after = said("contexts")["nested"]
        assert deepest > after == 1

    def test_it_is_left_when_something_fails_in_it(self, said):
        assert said("contexts")["raised"] == 1

    def test_several_threads_are_in_it_at_once(self, said):
        told = said("contexts")
        assert told["threads"] == [0, 0, 0, 0]
        assert told["locked"] == 0

    def test_it_is_retained_once_for_all_of_them(self, said):
        told = said("contexts")
        assert (told["retains"], told["detaches"]) == (1, 0)


class TestMemory:
    @pytest.mark.parametrize("gone", PLACES)
    @pytest.mark.parametrize("made", PLACES)
    def test_is_freed_with_its_last_array_wherever_that_goes_and_nothing_is_said(self, said, made, gone):
        assert said("memory")["each"][f"made {made}, gone {gone}"] == ["", -1]

    def test_of_a_pool_that_is_gone_is_freed_with_the_last_picture(self, said):
        assert said("memory")["leased"] == ["", -1]


class TestFrames:
    def test_pictures_in_bgr_mono_and_nv12_give_the_poses_that_torch_gives(self, said):
        told = said("frames")
        assert told["off"]["points2d"] < 0.05 and told["off"]["confidence"] < 1e-3
        assert told["off"]["points3d"] < 0.5 and told["off"]["residual_px"] < 0.1
        assert told["same gaps"]

    def test_each_set_is_an_upload_a_view_and_one_launch(self, said):
        told = said("frames")
        assert (told["uploads"], told["launches"]) == (9, 3)


class TestExit:
    @pytest.mark.parametrize("case, locked", [("at exit", 6), ("ended", 1)])
    def test_is_silent_with_what_is_still_alive_whichever_thread_made_it(self, answers, said, case, locked):
        assert said(case)["locked"] == locked
        assert (answers[case]["code"], answers[case]["errors"]) == (0, "")

    def test_lets_the_context_go_as_a_primary_one(self, answers):
        assert answers["at exit"]["end"] == {"retains": 1, "releases": 1, "detaches": 0}

    @pytest.mark.parametrize("case", ["calls", "contexts", "memory", "frames"])
    def test_is_silent_after_everything_else(self, answers, case):
        assert (answers[case]["code"], answers[case]["errors"]) == (0, "")
        assert answers[case]["end"]["detaches"] == 0
