"""Golden values of the published networks, made by running their public code beside ours.

    git clone https://github.com/karfly/learnable-triangulation-pytorch REFERENCE
    python scripts/golden_published.py REFERENCE

writes tests/engine/models/golden/published.npz (inputs and outputs) and engine/models/manifests/*.json.gz (keys
and shapes of the published files). The reference runs as it is, but in float64: in float32 its SVD alone is off by
hundredths of a millimetre where views contradict each other; where it asks for float32 by name it is given float64.
Two things about it are fixed here: it draws its ten pairs of views at random, which here come in their
order, and it turns the cuboid in training by a random angle, which here is given. Weights come from
tests/engine/models/reference/weights.py, by key, so that no file of weights is needed. It takes minutes on one core.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
import sys
import warnings
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "engine" / "models" / "golden" / "published.npz"
MANIFESTS = ROOT / "engine" / "models" / "manifests"
PARTS = ("manifests", "algebraic", "ransac", "volumetric", "unprojection")
JOINTS, VIEWS, SAMPLES = 17, 4, 2
HEIGHT, WIDTH = 128, 160
DRAWS = 10
SIZE, SIDE_MM = 32, 2500.0
STEADY_MM = 1e-3
"""Where the reference's answer moves by more when its points do by 1e-9 px, its optimiser stops by chance."""


def seeded(shapes, seed=0):
    """The weights of the tests."""
    path = ROOT / "tests" / "engine" / "models" / "reference" / "weights.py"
    spec = importlib.util.spec_from_file_location("weights", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.seeded(shapes, seed)


def config(layers=18, style="simple", joints=JOINTS, **model):
    """What the reference's networks read of their configuration."""
    backbone = SimpleNamespace(num_layers=layers, style=style, num_joints=joints, init_weights=False, checkpoint="")
    defaults = {
        "backbone": backbone,
        "use_confidences": True,
        "heatmap_softmax": True,
        "heatmap_multiplier": 100.0,
        "direct_optimization": True,
        "volume_aggregation_method": "softmax",
        "volume_softmax": True,
        "volume_multiplier": 1.0,
        "volume_size": SIZE,
        "cuboid_side": SIDE_MM,
        "kind": "mpii",
        "use_gt_pelvis": False,
    }
    return SimpleNamespace(model=SimpleNamespace(**(defaults | model)))


def filled(model):
    """A network of the reference with the seeded weights."""
    state = seeded({key: tuple(value.shape) for key, value in model.state_dict().items()})
    model.load_state_dict({key: torch.from_numpy(np.asarray(value)) for key, value in state.items()}, strict=True)
    return model.eval()


def exact():
    """Let the reference compute in float64, also where it asks for float32 by name."""
    torch.set_default_dtype(torch.float64)
    as_type = torch.Tensor.type
    torch.Tensor.float = torch.Tensor.double
    torch.Tensor.type = lambda self, dtype: as_type(self, torch.float64 if dtype is torch.float32 else dtype)


class Pairs:
    """In place of the module ``random``: the pairs of views one after the other, anew for each joint."""

    def __init__(self, views):
        self.pairs, self.calls = list(combinations(range(views), 2)), 0

    def sample(self, views, count):
        """The next pair."""
        pair = self.pairs[self.calls % DRAWS % len(self.pairs)]
        self.calls += 1
        return list(pair)


def scene():
    """Inputs: cameras about a place, boxes in their pictures, and what is in the boxes."""
    random = np.random.RandomState(7)
    K, R, t = [], [], []
    for view in range(VIEWS):
        angle = 0.4 + view * 1.5
        center = np.array([4500 * np.cos(angle), 4200 * np.sin(angle), 1500.0 + 100 * view])
        forward = np.array([30.0 * view, -20.0, 900.0]) - center
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0, 0, 1))
        right /= np.linalg.norm(right)
        R.append(np.stack([right, np.cross(forward, right), forward]))
        t.append(-R[-1] @ center)
        K.append(np.array([[1145 + view, 0, 512 + 3 * view], [0, 1143 - view, 515 - view], [0, 0, 1.0]]))
    corners = np.array([112, 190]) + random.randint(-20, 20, (SAMPLES, VIEWS, 2))
    sizes = np.array([[800, 640], [760, 640]])[:, None].repeat(VIEWS, axis=1)
    coarse = random.randint(0, 256, (SAMPLES, VIEWS, HEIGHT // 8, WIDTH // 8, 3)).astype(np.uint8)
    crops = coarse.repeat(8, axis=2).repeat(8, axis=3)
    crop_to_image = np.zeros((SAMPLES, VIEWS, 2, 3))
    crop_to_image[..., 0, 0] = sizes[..., 0] / WIDTH
    crop_to_image[..., 1, 1] = sizes[..., 1] / HEIGHT
    crop_to_image[..., 2] = corners
    boxes = np.concatenate([corners, corners + sizes], axis=-1)
    base_mm = np.array([[50.0, -120, 950], [-200, 80, 870]])
    return {
        "K": np.array(K),
        "R": np.array(R),
        "t": np.array(t),
        "boxes": boxes,
        "crops": crops,
        "crop_to_image": crop_to_image,
        "base_mm": base_mm,
    }


def batch_of(scene, mvn):
    """Inputs as the reference's data set gives them."""
    pictures = [[mvn.img.normalize_image(crop) for crop in crops] for crops in scene["crops"]]
    images = torch.from_numpy(np.array(pictures)).permute(0, 1, 4, 2, 3).contiguous()
    cameras = []
    for view in range(VIEWS):
        each = []
        for sample in range(SAMPLES):
            camera = mvn.multiview.Camera(scene["R"][view], scene["t"][view], scene["K"][view])
            left, top, right, bottom = scene["boxes"][sample, view]
            camera.update_after_crop((left, top, right, bottom))
            camera.update_after_resize((bottom - top, right - left), (HEIGHT, WIDTH))
            each.append(camera)
        cameras.append(each)
    projections = torch.from_numpy(np.array([[c.projection for c in each] for each in cameras]))
    # The pelvis is joint 6 of one kind of skeleton, and the middle of joints 11 and 12 of another.
    keypoints = np.zeros((SAMPLES, JOINTS, 3))
    keypoints[:, 6] = scene["base_mm"]
    keypoints[:, 11] = scene["base_mm"] + (130, 20, -5)
    keypoints[:, 12] = scene["base_mm"] - (130, 20, -5)
    return images, projections.transpose(0, 1), {"cameras": cameras, "pred_keypoints_3d": keypoints}


def algebraic(mvn, inputs):
    """Runs of the algebraic network."""
    runs = {
        "alg": {},
        "alg_no_conf": {"use_confidences": False},
        "alg_mass": {"heatmap_softmax": False},
        "alg_50": {"layers": 50},
        "alg_caffe": {"layers": 50, "style": "caffe"},
    }
    for name, options in runs.items():
        model = filled(mvn.triangulation.AlgebraicTriangulationNet(config(**options), device="cpu"))
        points3d, points2d, _, confidence = model(*inputs)
        yield f"{name}.points3d", points3d
        yield f"{name}.points2d", points2d
        yield f"{name}.confidence", confidence


def ransac(mvn, inputs):
    """Runs of the baseline, and its consensus on points with outliers."""
    model = filled(mvn.triangulation.RANSACTriangulationNet(config(), device="cpu"))
    mvn.triangulation.random = Pairs(VIEWS)
    points3d, points2d, _, _ = model(*inputs)
    yield "ransac.points3d", points3d
    yield "ransac.points2d", points2d
    random = np.random.RandomState(11)
    matrices = inputs[1][0].numpy()
    points, positions, direct = [], [], []
    for joint in range(48):
        position = random.uniform(-600, 600, 3) + (0, 0, 900)
        homogeneous = matrices @ np.append(position, 1)
        point = homogeneous[:, :2] / homogeneous[:, 2:] + random.standard_normal((VIEWS, 2)) * (0.3 + joint % 4)
        outliers = random.permutation(VIEWS)[: joint % 3]
        point[outliers] += random.uniform(-60, 60, (len(outliers), 2))
        found = [model.triangulate_ransac(matrices, point, direct_optimization=way) for way in (True, False)]
        again = model.triangulate_ransac(matrices, point + 1e-9, direct_optimization=True)
        if np.linalg.norm(again[0] - found[0][0]) > STEADY_MM:
            continue
        points.append(point)
        positions.append(found[0][0])
        direct.append(np.append(found[1][0], sum(1 << view for view in found[1][1])))
    yield "consensus.matrices", matrices
    yield "consensus.points", np.array(points)
    yield "consensus.points3d", np.array(positions)
    yield "consensus.linear3d", np.array(direct)[:, :3]
    yield "consensus.inliers", np.array(direct)[:, 3].astype(np.uint8)


def volumetric(mvn, inputs):
    """Runs of the volumetric network."""
    theta = np.array([0.7, 4.1])
    runs = {
        "vol_softmax": {"volume_aggregation_method": "softmax"},
        "vol_conf_norm": {"volume_aggregation_method": "conf_norm", "turned": True},
        "vol_sum": {"volume_aggregation_method": "sum", "kind": "coco", "turned": True},
        "vol_max": {"volume_aggregation_method": "max", "transfer_cmu_to_human36m": True},
        "vol_conf": {"volume_aggregation_method": "conf", "volume_softmax": False, "volume_multiplier": 0.0001},
    }
    yield "vol.theta", theta
    for name, options in runs.items():
        turned = options.pop("turned", False)
        model = filled(mvn.triangulation.VolumetricTriangulationNet(config(**options), device="cpu"))
        if turned:
            # The flag of the outermost module alone: it turns the cuboid and leaves the running statistics.
            model.training = True
            angles = iter(theta)
            np.random.uniform = lambda low, high, angles=angles: next(angles)
        points3d, _, volumes, _, _, grid, base = model(*inputs)
        assert np.allclose(base.numpy(), inputs[2]["pred_keypoints_3d"][:, 6], atol=1e-6)
        yield f"{name}.points3d", points3d
        yield f"{name}.corner_mm", grid[:, 3, 5, 7]
        yield f"{name}.heat", volumes[:, :, ::8, ::8, ::8].to(torch.float32)


def unprojection(mvn, inputs):
    """The unprojection alone, with voxels behind cameras and beside their pictures."""
    random = np.random.RandomState(5)
    features = random.standard_normal((SAMPLES, VIEWS, 4, 6, 9))
    grid = random.uniform(-5000, 5000, (SAMPLES, 5, 5, 5, 3))
    grid[:, 1:4] = grid[:, 1:4] / 6 + np.array([0, 0, 900])
    matrices = inputs[1].numpy() * np.array([9 / WIDTH, 6 / HEIGHT, 1])[:, None]
    confidence = random.uniform(0, 1, (SAMPLES, VIEWS, 4))
    yield "unprojection.features", features
    yield "unprojection.grid_mm", grid
    yield "unprojection.matrices", matrices
    yield "unprojection.confidence", confidence
    for way in ("sum", "max", "softmax", "conf"):
        arrays = [torch.from_numpy(array) for array in (features, matrices, grid, confidence)]
        yield f"unprojection.{way}", mvn.op.unproject_heatmaps(*arrays[:3], way, arrays[3])


def write_manifest(name, model, arguments, state):
    """Keys and shapes of one published file, the same bytes each time."""
    tensors = {key: list(value.shape) for key, value in state.items()}
    document = json.dumps({"model": model, "arguments": arguments, "tensors": tensors}, separators=(",", ":"))
    (MANIFESTS / f"{name}.json.gz").write_bytes(gzip.compress(document.encode(), mtime=0))
    count = sum(int(np.prod(shape)) for key, shape in tensors.items() if "running" not in key and "num_b" not in key)
    print(f"{name}: {len(tensors)} tensors, {count} parameters")


def manifests(mvn):
    """Of the three published files; the backbone's answers with 16 + 17 heatmaps."""
    net = mvn.triangulation
    alg = net.AlgebraicTriangulationNet(config(layers=152), device="cpu").state_dict()
    write_manifest("human36m_alg", "PublishedAlgebraic", {"parity": True}, alg)
    vol = net.VolumetricTriangulationNet(config(layers=152), device="cpu").state_dict()
    write_manifest("human36m_vol_softmax", "PublishedVolumetric", {"parity": True}, vol)
    backbone = net.RANSACTriangulationNet(config(layers=152, joints=33), device="cpu").backbone.state_dict()
    write_manifest("pose_resnet_human36m", "PoseResNet", {"joints": 33}, backbone)


def main():
    """Run the reference and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("reference", type=Path, help="a checkout of karfly/learnable-triangulation-pytorch")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="write these and leave the others")
    options = parser.parse_args()
    if not (options.reference / "mvn" / "models" / "triangulation.py").is_file():
        parser.error(f"{options.reference} is no checkout of the reference")
    sys.path.insert(0, str(options.reference))
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    exact()
    from mvn.models import triangulation
    from mvn.utils import img, multiview, op

    mvn = SimpleNamespace(triangulation=triangulation, img=img, multiview=multiview, op=op)
    if "manifests" in options.only:
        MANIFESTS.mkdir(exist_ok=True)
        manifests(mvn)
    values = scene()
    if GOLDEN.exists():
        with np.load(GOLDEN) as before:
            values = dict(before) | values
    with torch.no_grad():
        inputs = batch_of(values, mvn)
        for part in (algebraic, ransac, volumetric, unprojection):
            for name, value in part(mvn, inputs) if part.__name__ in options.only else ():
                values[name] = value.numpy() if isinstance(value, torch.Tensor) else value
                print(name, values[name].shape, flush=True)
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(GOLDEN, **values)
    print(f"{GOLDEN.relative_to(ROOT)}: {GOLDEN.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
