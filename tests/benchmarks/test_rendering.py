"""What a picture costs is measured for each scenario."""

import json

from benchmarks import rendering


def test_a_camera_is_a_sample(monkeypatch, tmp_path, capsys):
    assert rendering.costs("demo", worlds=2, frames=1).shape == (8,)
    monkeypatch.setattr(rendering, "SCENARIOS", ("demo",))
    monkeypatch.setattr(rendering, "costs", lambda *_: rendering.np.array([3.0, 4.5]))
    path = tmp_path / "out.json"
    assert rendering.main(["--quick", "--json", str(path)]) == 0
    mean, each = json.loads(path.read_text())["rows"]
    assert (mean["ours"], mean["goal"], mean["met"], each["n"]) == (3.75, 4.0, True, 2)
    assert "rendering" in capsys.readouterr().out
