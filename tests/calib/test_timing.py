"""What time offsets and lengths of recordings mean, in words."""

from calib.timing import Offset, Timing, frame_counts


class TestFindings:
    def test_the_finding_says_how_much_and_what_to_do(self):
        timing = Timing("a", (Offset("a", 0, 0, 0), Offset("b", 33.4, 1.0, 1.002)), 33.3, "test", "rays")
        (finding,) = timing.findings()
        assert finding.level == "bad"
        assert finding.cameras == ("b",)
        assert "33 ms +- 1 ms late (1.0 frames)" in finding.what
        assert "the first frame of b" in finding.remedy


class TestFrameCounts:
    def test_equal(self):
        assert frame_counts({"a": 100, "b": 100}) == ()

    def test_the_odd_one_is_named_with_what_it_has_more(self):
        (finding,) = frame_counts({"a": 1000, "b": 1041, "c": 1000})
        assert finding.level == "suspect"
        assert finding.cameras == ("b",)
        assert "41 frames more than the others (1041, not 1000)" in finding.what

    def test_one_frame_is_a_note(self):
        assert [f.level for f in frame_counts({"a": 99, "b": 100, "c": 100})] == ["note"]

    def test_two_cameras_do_not_say_which(self):
        (finding,) = frame_counts({"a": 100, "b": 141})
        assert finding.cameras == ("a", "b")
        assert "a 100, b 141" in finding.what
