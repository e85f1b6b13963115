"""The model document: found in one order, checked against its network, one clear line when it does not fit."""

from __future__ import annotations

import hashlib
import pickle
import shutil

import onnx
import pytest
import yaml
from onnx import TensorProto, helper

from engine import zoo
from engine.document import ModelDocument, UndescribedModelError, check_domain, find_model, read_document
from engine.fitting import template
from rigpose.errors import ConfigError
from tests.engine import networks


def bare(folder, kind="heatmap", name="net", **keys):
    """A network on disk that nothing describes, and its document as a dict."""
    content = networks.document(kind, **keys)
    path = folder / f"{name}.onnx"
    onnx.save(networks.network(content), path)
    return path, content


def described(folder, content=None, **keys):
    """A network with a YAML beside it."""
    path, fitting = bare(folder, **keys)
    yaml_path = path.with_suffix(".yaml")
    yaml_path.write_text(yaml.safe_dump(content or fitting))
    return path, yaml_path


def one_line(error):
    assert "\n" not in str(error)
    return str(error)


class TestFindModel:
    def test_metadata_comes_first(self, tmp_path):
        located = networks.model(tmp_path)
        located.path.with_suffix(".yaml").write_text(yaml.safe_dump(networks.document("heatmap", id="beside")))
        found = find_model(located.path)
        assert (found.document.id, found.origin) == ("small-heatmap", "metadata")

    def test_then_the_yaml_beside(self, tmp_path):
        path, yaml_path = described(tmp_path)
        found = find_model(path)
        assert (found.document.id, found.origin) == ("small-heatmap", str(yaml_path))
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_then_the_bytes_that_are_known(self, tmp_path, monkeypatch):
        path, content = bare(tmp_path)
        monkeypatch.setattr(zoo, "FOLDER", tmp_path / "zoo")
        known = tmp_path / "zoo" / "known" / f"{hashlib.sha256(path.read_bytes()).hexdigest()}.yaml"
        known.parent.mkdir(parents=True)
        known.write_text(yaml.safe_dump(content | {"id": "known"}))
        assert find_model(path).document.id == "known"

    def test_a_yaml_names_the_network_of_the_same_stem(self, tmp_path):
        path, yaml_path = described(tmp_path)
        assert find_model(yaml_path).path == path
        path.unlink()
        with pytest.raises(ConfigError, match="describes net.onnx, which is not beside it"):
            find_model(yaml_path)

    def test_a_name_of_the_zoo(self):
        assert find_model("discs").path == zoo.path("discs")

    def test_what_nothing_describes_gets_a_yaml_to_fill_in_that_works(self, tmp_path):
        path, _ = bare(tmp_path)
        with pytest.raises(UndescribedModelError) as caught:
            find_model(path)
        message = str(caught.value)
        assert message.splitlines()[0].startswith(f"{path}: nothing describes this network")
        assert str(path.with_suffix(".yaml")) in message.splitlines()[0]
        path.with_suffix(".yaml").write_text(caught.value.template)
        found = find_model(path).document
        assert found.output.kind == "heatmap"
        assert found.output.stride == 8
        assert found.input.size == networks.SIZE
        assert len(found.skeleton.joints) == networks.JOINTS
        assert str(pickle.loads(pickle.dumps(caught.value))) == message

    @pytest.mark.parametrize("kind", ["heatmap", "heatmap_offset", "simcc", "keypoints"])
    @pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
    def test_the_yaml_to_fill_in_guesses_the_kind(self, tmp_path, kind, layout):
        path, content = bare(tmp_path, kind, input={"layout": layout, "dtype": "uint8"})
        guess = yaml.safe_load(template(path, onnx.load(path)))
        assert guess["output"]["kind"] == kind
        assert guess["input"]["layout"] == layout
        assert guess["input"]["dtype"] == "uint8"
        assert len(guess["skeleton"]["joints"]) == networks.JOINTS
        if "stride" in content["output"]:
            assert guess["output"]["stride"] == content["output"]["stride"]

    @pytest.mark.parametrize("argument", ["nowhere.onnx", "nowhere.yaml", "some/where", "nowhere"])
    def test_a_missing_file_or_name_is_named(self, tmp_path, monkeypatch, argument):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigError, match=argument) as caught:
            find_model(argument)
        one_line(caught.value)

    def test_a_file_that_is_no_network_is_named(self, tmp_path):
        path = tmp_path / "net.onnx"
        path.write_bytes(b"this is no protobuf at all")
        with pytest.raises(ConfigError, match=r"net\.onnx: (cannot be read as ONNX|is not an ONNX network)") as caught:
            find_model(path)
        one_line(caught.value)

    def test_metadata_that_is_no_json_is_named(self, tmp_path):
        path, _ = bare(tmp_path)
        proto = onnx.load(path)
        helper.set_model_props(proto, {"rigpose.model": "{"})
        onnx.save(proto, path)
        with pytest.raises(ConfigError, match=r"metadata rigpose\.model is not JSON"):
            find_model(path)

    def test_the_sha256_is_checked(self, tmp_path):
        path, yaml_path = described(tmp_path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        yaml_path.write_text(yaml_path.read_text() + f"sha256: {sha256}\n")
        assert find_model(path).document.sha256 == sha256
        other = bare(tmp_path, "keypoints", name="other")[0]
        shutil.copy(other, path)
        with pytest.raises(ConfigError, match=f"key sha256: is {sha256[:12]}") as caught:
            find_model(path)
        assert str(yaml_path) in one_line(caught.value)


BAD_KEYS = [
    ({"skeleton": {"name": "s", "joints": []}}, "skeleton.joints"),
    ({"domain": "dreamt"}, "domain"),
    ({"schema": 2}, "schema"),
    ({"colour": "RGB"}, "colour"),
    ({"sha256": "abc"}, "sha256"),
    ({"input": {"dtype": "float64"}}, "input.dtype"),
    ({"input": {"size": [0, 4]}}, "input.size"),
    ({"input": {"mean": [1.0, 2.0]}}, "input"),
    ({"input": {"std": 0}}, "input"),
    ({"input": {"color": "RGB"}}, "input.color"),
    ({"output": {"kind": "blobs"}}, "output.kind"),
    ({"output": {"stride": None}}, "output"),
    ({"output": {"name": ["a", "b"]}}, "output"),
    ({"output": {"min_score": 2}}, "output.min_score"),
    ({"crop": {"margin": 0.5}}, "crop.margin"),
    ({"crop": {"padding": "mirror"}}, "crop.padding"),
]


class TestBadDocument:
    @pytest.mark.parametrize("change, key", BAD_KEYS)
    def test_names_the_file_and_the_key(self, tmp_path, change, key):
        path, content = bare(tmp_path)
        for name, value in change.items():
            content[name] = content[name] | value if isinstance(value, dict) and name in content else value
        yaml_path = path.with_suffix(".yaml")
        yaml_path.write_text(yaml.safe_dump(content))
        with pytest.raises(ConfigError) as caught:
            find_model(path)
        line = one_line(caught.value)
        assert str(yaml_path) in line
        assert f"key {key}" in line

    @pytest.mark.parametrize("key", ["schema", "id", "domain", "licence", "skeleton", "input", "output"])
    def test_names_the_key_that_is_missing(self, tmp_path, key):
        path, content = bare(tmp_path)
        del content[key]
        path.with_suffix(".yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(ConfigError, match=f"key {key}: is missing"):
            find_model(path)


UNFIT = [
    ({"input": {"name": "image"}}, "key input.name: net.onnx has no input image (it has: picture)"),
    ({"input": {"dtype": "uint8"}}, "key input.dtype: is uint8, but the network takes float32"),
    ({"input": {"size": [64, 48]}}, "input.size"),
    ({"input": {"layout": "NHWC"}}, "[?, 64, 48, 3], but the network takes [1, 3, 64, 48]"),
    ({"input": {"colour": "GRAY"}}, "[?, 1, 64, 48]"),
    ({"output": {"name": "heat"}}, "key output.name: net.onnx has no output heat (it has: out0)"),
    ({"output": {"stride": 4}}, "[?, 5, 16, 12], but the network's output out0 is [1, 5, 8, 6]"),
    ({"output": {"layout": "NHWC"}}, "[?, 8, 6, 5]"),
    ({"output": {"kind": "keypoints"}}, "[..., 5, 2 or 3]"),
    ({"output": {"kind": "simcc", "name": ["out0", "out0"], "stride": 0.5}}, "output"),
]


class TestDocumentAndNetwork:
    @pytest.mark.parametrize("change, said", UNFIT)
    def test_what_does_not_fit_is_one_line(self, tmp_path, change, said):
        path, content = bare(tmp_path)
        for name, value in change.items():
            content[name] |= value
        yaml_path = path.with_suffix(".yaml")
        yaml_path.write_text(yaml.safe_dump(content))
        with pytest.raises(ConfigError) as caught:
            find_model(path)
        line = one_line(caught.value)
        assert line.startswith(str(yaml_path))
        assert said in line

    def test_a_joint_too_many_is_found(self, tmp_path):
        path, content = bare(tmp_path)
        content["skeleton"]["joints"].append("tail")
        path.with_suffix(".yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(ConfigError, match=r"skeleton\.joints \(6\)"):
            find_model(path)

    def test_a_network_that_wants_more_than_a_picture_is_refused(self, tmp_path):
        path, content = bare(tmp_path)
        proto = onnx.load(path)
        proto.graph.input.append(helper.make_tensor_value_info("extra", TensorProto.FLOAT, [1]))
        onnx.save(proto, path)
        path.with_suffix(".yaml").write_text(yaml.safe_dump(content))
        with pytest.raises(ConfigError, match="wants more than a picture: extra"):
            find_model(path)

    def test_free_sizes_fit(self, tmp_path):
        located = networks.model(tmp_path, "heatmap", batch="N")
        assert located.document.input.size == networks.SIZE


class TestDomain:
    def test_synthetic_is_refused_on_real_cameras(self):
        document = find_model("discs").document
        with pytest.raises(ConfigError, match="--force"):
            check_domain(document, real_cameras=True)

    def test_unless_forced_or_drawn(self, tmp_path):
        document = find_model("discs").document
        check_domain(document, real_cameras=True, force=True)
        check_domain(document, real_cameras=False)
        check_domain(networks.model(tmp_path).document, real_cameras=True)


class TestModelDocument:
    def test_json_comes_back_as_it_was(self, tmp_path):
        _, yaml_path = described(tmp_path)
        document = read_document(yaml_path)
        assert ModelDocument.model_validate_json(document.to_json()) == document

    def test_aspect_is_the_inputs_where_the_crop_says_none(self):
        assert ModelDocument.model_validate(networks.document("heatmap")).aspect == 48 / 64
        assert ModelDocument.model_validate(networks.document("heatmap", crop={"aspect": 0.75})).aspect == 0.75
        with pytest.raises(ValueError, match="crop.aspect is 0.5"):
            ModelDocument.model_validate(networks.document("heatmap", crop={"aspect": 0.5}))

    @pytest.mark.parametrize(
        "kind, unit, corner",
        [("heatmap", "px", True), ("heatmap_offset", "px", False), ("simcc", "px", False), ("keypoints", "px", False)]
        + [("keypoints", "unit", True)],
    )
    def test_where_counting_starts_when_nothing_is_said(self, kind, unit, corner):
        said = ModelDocument.model_validate(networks.document(kind, output={"unit": unit}))
        assert said.output.counts_from_corner is corner
        for given in (True, False):
            output = {"unit": unit, "half_pixel": given}
            assert (
                ModelDocument.model_validate(networks.document(kind, output=output)).output.counts_from_corner is given
            )


@pytest.mark.data
@pytest.mark.parametrize("name", ["movenet_lightning_coco17", "hourglass_heatmap14"])
def test_real_documents_fit_their_networks(models_dir, name):
    located = find_model(models_dir / f"{name}.onnx")
    assert located.document.sha256 == located.sha256
    assert find_model(models_dir / f"{name}.yaml").path == located.path
