"""`rigpose models` tells what a network says about itself."""

from __future__ import annotations

import functools
import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from engine import zoo
from engine.document import METADATA_KEY, UndescribedModelError, find_model
from engine.fitting import sha256_of
from nodes import download, models
from nodes.models import add_model, list_models, show_model
from rigpose.errors import ConfigError, RigposeError

DOCUMENT = {
    "schema": 1,
    "id": "two-dots",
    "domain": "synthetic",
    "licence": "Apache-2.0",
    "skeleton": {"name": "dots2", "joints": ["left", "right"], "edges": [[0, 1]], "left_right": [[0, 1]], "root": [0]},
    "input": {"name": "image", "layout": "NHWC", "dtype": "float32", "size": [64, 32], "mean": 127.5, "std": 127.5},
    "output": {"kind": "keypoints", "name": "points", "min_score": 0.25, "score": "prob"},
}


@pytest.fixture(autouse=True)
def models_of_the_user(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("user") / "models"
    monkeypatch.setattr(zoo, "user_folder", lambda: folder)
    return folder


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """A real ONNX file whose answer is two fixed keypoints, with its document beside it."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 32, 64, 3])
    points = helper.make_tensor_value_info("points", TensorProto.FLOAT, [1, 2, 3])
    value = helper.make_tensor("value", TensorProto.FLOAT, [1, 2, 3], [1.0, 2.0, 0.5, 3.0, 4.0, 0.5])
    node = helper.make_node("Constant", [], ["points"], value=value)
    graph = helper.make_graph([node], "dots", [image], [points])
    path = tmp_path / "dots.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    path.with_suffix(".yaml").write_text(yaml.safe_dump(DOCUMENT))
    return path


class TestShow:
    def test_tells_input_output_joints_and_origin(self, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert show_model(str(network)) == 0
        shown = "".join(capsys.readouterr().out.split())
        for text in ("two-dots", "64x32px", "keypoints:points", "0left,1right", "dots.yaml", "need--force"):
            assert text in shown

    def test_json_is_the_document_and_where_it_is_from(self, network: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert show_model(str(network.with_suffix(".yaml")), as_json=True) == 0
        answer = json.loads(capsys.readouterr().out)
        assert answer["path"] == str(network) and answer["described_by"] == str(network.with_suffix(".yaml"))
        assert answer["skeleton"]["joints"] == ["left", "right"] and len(answer["sha256"]) == 64

    def test_a_network_that_nothing_describes_is_an_error_with_a_template(self, network: Path) -> None:
        network.with_suffix(".yaml").unlink()
        with pytest.raises(ConfigError, match="nothing describes this network"):
            show_model(str(network))

    def test_a_document_that_does_not_fit_is_an_error(self, network: Path) -> None:
        wrong = {**DOCUMENT, "input": {**DOCUMENT["input"], "size": [32, 64]}}  # type: ignore[dict-item]
        network.with_suffix(".yaml").write_text(yaml.safe_dump(wrong))
        with pytest.raises(ConfigError, match=r"input\.size"):
            show_model(str(network))

    @pytest.mark.data
    def test_the_networks_of_others_are_shown(self, models_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for path in sorted(models_dir.glob("*.onnx")):
            assert show_model(str(path)) == 0
        assert "left_shoulder" in capsys.readouterr().out


class TestList:
    def test_names_every_model_of_the_zoo(
        self, network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(zoo, "FOLDER", network.parent)
        assert list_models(as_json=True) == 0
        (row,) = json.loads(capsys.readouterr().out)["models"]
        assert (row["name"], row["id"], row["joints"], row["path"]) == ("dots", "two-dots", 2, str(network))

    def test_the_table_says_what_each_is(
        self, network: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(zoo, "FOLDER", network.parent)
        assert list_models() == 0
        shown = " ".join(capsys.readouterr().out.split())
        assert "dots two-dots synthetic dots2 (2) 64x32 Apache-2.0" in shown

    def test_the_models_that_are_shipped_can_be_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert list_models(as_json=True) == 0
        names = [row["name"] for row in json.loads(capsys.readouterr().out)["models"] if row["name"]]
        assert names == list(zoo.names())


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, and the ways in which a server can be in the way."""

    protocol_version = "HTTP/1.0"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        served = Path(self.directory)
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", {"file": "file:///etc/passwd", "dots": "/dots.onnx"}[path[4:].split(".")[0]])
            self.end_headers()
        elif path.startswith("/page/") and path.endswith(".yaml"):
            self._answer(b"<html>no such page</html>")
        elif path.startswith("/page/"):
            self._answer((served / path[6:]).read_bytes())
        elif path.startswith("/short/"):
            self._answer((served / path[7:]).read_bytes()[:-20], missing=20)
        elif path == "/endless.onnx":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(65536))
            except OSError:
                return
        else:
            super().do_GET()

    def _answer(self, content: bytes, missing: int = 0) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content) + missing))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a real web server over ``tmp_path``."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    handler = functools.partial(Handler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def describe_itself(network: Path) -> None:
    proto = onnx.load(network)
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, json.dumps(DOCUMENT)
    onnx.save(proto, network)
    network.with_suffix(".yaml").unlink()


def left(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*")) if folder.exists() else []


class TestAdd:
    def test_from_the_web_it_is_found_by_its_name_and_says_where_it_is_from(
        self, network: Path, web: str, models_of_the_user: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert add_model(f"{web}/dots.onnx?key=secret") == 0
        told = capsys.readouterr().out
        assert sha256_of(network) in told and "Apache-2.0" in told and "--model dots" in told
        located = find_model("dots")
        assert located.path == models_of_the_user / "dots" / "dots.onnx"
        assert located.path.read_bytes() == network.read_bytes()
        assert located.document.id == "two-dots" and located.document.sha256 == sha256_of(network)
        origin = json.loads((models_of_the_user / "dots" / zoo.ORIGIN).read_text())
        assert (origin["source"], origin["licence"]) == (f"{web}/dots.onnx", "Apache-2.0")
        assert origin["sha256"] == sha256_of(network) and origin["bytes"] == network.stat().st_size
        assert left(models_of_the_user) == ["dots", "dots.onnx", "dots.yaml", zoo.ORIGIN]
        list_models()
        shown = "".join(capsys.readouterr().out.split())
        assert "two-dots" in shown and "shipped" in shown and f"{web}/dots.onnx".split("//")[1] in shown
        assert "secret" not in told + shown + json.dumps(origin)

    @pytest.mark.parametrize("form", ["{path}", "file://{path}"])
    def test_from_this_machine(self, network: Path, form: str) -> None:
        add_model(form.format(path=network), name="other")
        assert find_model("other").document.id == "two-dots"

    def test_one_that_describes_itself(self, network: Path, web: str, models_of_the_user: Path) -> None:
        describe_itself(network)
        add_model(f"{web}/dots.onnx")
        assert find_model("dots").origin == "metadata"
        assert left(models_of_the_user) == ["dots", "dots.onnx", zoo.ORIGIN]
        with pytest.raises(ConfigError, match="describes itself"):
            add_model(f"{web}/dots.onnx", document=network, name="more")

    def test_a_document_of_the_users(self, network: Path, web: str, tmp_path: Path) -> None:
        document = network.with_suffix(".yaml").rename(tmp_path / "mine.yaml")
        add_model(f"{web}/dots.onnx", document=document)
        assert find_model("dots").document.licence == "Apache-2.0"

    def test_one_that_is_known_by_its_bytes(
        self, network: Path, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        document = network.with_suffix(".yaml").rename(tmp_path / "known.yaml")
        monkeypatch.setattr(zoo, "known", lambda sha256: document if sha256 == sha256_of(network) else None)
        add_model(f"{web}/page/dots.onnx")
        assert find_model("dots").document.id == "two-dots"

    def test_nothing_describes_it(self, network: Path, web: str, models_of_the_user: Path) -> None:
        network.with_suffix(".yaml").unlink()
        for source in (f"{web}/dots.onnx", f"{web}/page/dots.onnx", str(network)):
            with pytest.raises(UndescribedModelError, match=r"give it as --document:(.|\n)*schema: 1") as caught:
                add_model(source)
            assert caught.value.where == source
        assert left(models_of_the_user) == []

    def test_a_document_that_does_not_fit_is_refused_and_nothing_is_left(
        self, network: Path, web: str, tmp_path: Path, models_of_the_user: Path
    ) -> None:
        wrong = tmp_path / "wrong.yaml"
        wrong.write_text(yaml.safe_dump({**DOCUMENT, "input": {**DOCUMENT["input"], "size": [32, 64]}}))  # type: ignore[dict-item]
        with pytest.raises(ConfigError, match=rf"^{wrong}: .*input\.size"):
            add_model(f"{web}/dots.onnx", document=wrong)
        wrong.write_text(yaml.safe_dump({**DOCUMENT, "sha256": "0" * 64}))
        with pytest.raises(ConfigError, match="that of another network"):
            add_model(f"{web}/dots.onnx", document=wrong)
        assert left(models_of_the_user) == []

    def test_the_checksum_decides(self, network: Path, web: str, models_of_the_user: Path) -> None:
        with pytest.raises(ConfigError, match="not the one given"):
            add_model(f"{web}/dots.onnx", sha256="ab" * 32)
        with pytest.raises(ConfigError, match="64 hexadecimal digits"):
            add_model(f"{web}/dots.onnx", sha256="abc")
        assert left(models_of_the_user) == []
        add_model(f"{web}/dots.onnx", sha256=sha256_of(network).upper())

    def test_a_name_is_given_once(self, network: Path, web: str) -> None:
        add_model(f"{web}/dots.onnx")
        with pytest.raises(ConfigError, match="was added before .*remove"):
            add_model(str(network))
        with pytest.raises(ConfigError, match="that rigpose ships"):
            add_model(str(network), name="discs")

    def test_of_two_at_once_one_wins_whole(
        self, network: Path, models_of_the_user: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The other process is done between the last look and the renaming."""
        real = models._refuse_taken
        looks = []

        def look(name: str) -> None:
            real(name)
            looks.append(name)
            if len(looks) == 2:
                (models_of_the_user / name).mkdir()
                (models_of_the_user / name / "theirs").touch()

        monkeypatch.setattr(models, "_refuse_taken", look)
        with pytest.raises(ConfigError, match="cannot be written"):
            add_model(str(network))
        assert left(models_of_the_user) == ["dots", "theirs"]

    @pytest.mark.parametrize("name", ["../dots", "a/b", "a.b", ".x", "x" * 65])
    def test_a_name_is_never_a_path(self, network: Path, name: str, models_of_the_user: Path) -> None:
        with pytest.raises(ConfigError, match="is not a name for a model"):
            add_model(str(network), name=name)
        assert left(models_of_the_user) == []

    def test_what_is_no_onnx_is_refused(self, tmp_path: Path, web: str, models_of_the_user: Path) -> None:
        (tmp_path / "net.zip").write_bytes(b"PK\x03\x04" + bytes(100))
        with pytest.raises(ConfigError, match=r"net.zip: .*give the address of an \.onnx file"):
            add_model(f"{web}/net.zip")
        assert left(models_of_the_user) == []

    def test_what_the_web_can_do_is_one_line_each(
        self, network: Path, web: str, free_tcp_port: int, models_of_the_user: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(models, "MAX_BYTES", 10**6)
        for source, message in {
            f"{web}/none.onnx": "answers 404",
            f"http://127.0.0.1:{free_tcp_port}/a.onnx": "cannot be reached",
            f"{web}/endless.onnx": "larger than 1 MB",
            f"{web}/short/dots.onnx": "broke off|ended after",
            f"{web}/to/file.onnx": "not allowed",
            "ftp://example.org/a.onnx": "not an address that is fetched",
            str(network.parent / "none.onnx"): "No such file",
        }.items():
            with pytest.raises(RigposeError, match=message) as caught:
                add_model(source)
            assert "\n" not in str(caught.value)
        assert left(models_of_the_user) == []
        add_model(f"{web}/to/dots.onnx", name="led", document=network.with_suffix(".yaml"))

    def test_https_is_never_left_for_http(self) -> None:
        import urllib.request

        asked = urllib.request.Request("https://example.org/a.onnx")
        with pytest.raises(RigposeError, match="not safe"):
            download._SafeRedirects().redirect_request(asked, None, 302, "", {}, "http://example.org/a.onnx")

    def test_a_folder_that_cannot_be_written(
        self, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setattr(zoo, "user_folder", lambda: tmp_path / "file" / "models")
        with pytest.raises(ConfigError, match="cannot be written"):
            add_model(str(network))

    def test_one_that_was_changed_behind_our_back_is_told_and_hides_no_other(
        self, network: Path, models_of_the_user: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        add_model(str(network), name="first")
        add_model(str(network), name="second")
        with (models_of_the_user / "first" / "first.onnx").open("ab") as file:
            file.write(b"\n\x00")
        capsys.readouterr()
        assert list_models(as_json=True) == 0
        rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["models"]}
        assert "problem" in rows["first"] and rows["second"]["id"] == "two-dots"
        assert rows["second"]["origin"] == str(network) and rows["discs"]["origin"] == "shipped"
        assert os.linesep not in rows["first"]["problem"]
        assert list_models() == 0
