"""Exported directories: what is in them, whose units they speak, and what is refused of them."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")
pytest.importorskip("onnxruntime", reason="the export extra is not installed")
pytest.importorskip("onnx", reason="the export extra is not installed")

import onnx
import torch
from safetensors.torch import load_file
from small_policies import act_config, make_act, make_observation, make_statistics
from test_checkpoint_eras import make_old

import armlet
from armlet import contract as contracts
from armlet.policies import (
    CheckpointError,
    Choices,
    derive_contract,
    load_network,
    load_policy,
    read_checkpoint,
    save_checkpoint,
)
from armlet.policies.preprocess import Preprocessor
from armlet.policies.runtime.export import (
    EXPORT,
    GRAPH,
    PolicyGraph,
    export_policy,
    is_export,
    read_export,
    run_export,
)
from armlet.policies.runtime.graph import read_face, trace
from armlet.policies.runtime.radians import joint_map, robot_of
from armlet.robots import CalibrationError
from armlet.robots import calibration as calibrations
from armlet.robots.units import own_converter

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
NAMES = tuple(f"{joint}.pos" for joint in JOINTS)
RANGES = ((700, 3400), (800, 3301), (900, 3100), (850, 3200), (0, 4095), (2000, 3500))
CALIBRATION = {
    joint: calibrations.JointCalibration(number, number % 2, 7 * number, *ends)
    for number, (joint, ends) in enumerate(zip(JOINTS, RANGES, strict=True), 1)
}


def with_contract(path, **settings):
    """A checkpoint that states its contract, joints in degrees; without cameras, so small."""
    config = act_config(**{"cameras": (), **settings})
    statistics = make_statistics(config)
    contract = derive_contract(
        config,
        Preprocessor.from_config(config, statistics).describe(),
        fps=30,
        state_names=NAMES,
        action_names=NAMES,
        joint_units="degrees",
    )
    save_checkpoint(path, make_act(config), config, statistics, contract)
    return read_checkpoint(path)


@pytest.fixture(scope="module")
def stated(tmp_path_factory):
    """A checkpoint with a contract and its export."""
    folder = tmp_path_factory.mktemp("stated")
    checkpoint = with_contract(folder / "checkpoint")
    export_policy(checkpoint, folder / "export", "onnxruntime")
    return checkpoint, folder / "export"


@pytest.fixture
def export(stated, tmp_path):
    """A copy that may be changed."""
    return shutil.copytree(stated[1], tmp_path / "export")


@pytest.fixture
def calibration_file(tmp_path):
    path = tmp_path / "calibration.json"
    entries = {joint: vars(entry) for joint, entry in CALIBRATION.items()}
    path.write_text(json.dumps(entries))
    return path


def test_the_graph_says_what_it_is(stated):
    checkpoint, path = stated
    assert is_export(path) and not is_export(checkpoint.path)
    face = read_face((path / GRAPH).read_bytes(), "graph")
    said = json.loads(face.metadata)
    assert said["armlet"] == armlet.__version__
    assert said["contract"] == checkpoint.contract.canonical()
    assert contracts.parse(said["contract"]) == checkpoint.contract
    assert said["statistics"] == checkpoint.preprocessor.fingerprint()
    assert (said["backend"], said["precision"]) == ("onnxruntime", "float32")
    assert (said["units"], said["joint_units"], said["calibration"]) == ("dataset", "degrees", None)
    assert [port["name"] for port in said["inputs"]] == [
        "observation.state",
        "observation.environment_state",
    ]
    assert len(said["deviation"]) == 6 and max(said["deviation"]) < 1e-4
    manifest = read_export(path).manifest
    assert manifest.canonical() == face.metadata
    onnx.checker.check_model(onnx.load_model_from_string((path / GRAPH).read_bytes()))


def test_pictures_go_in_as_the_camera_gives_them():
    config = act_config(("front",))
    network = make_act(config)
    preprocessor = Preprocessor.from_config(config, make_statistics(config))
    face = read_face(trace(config, preprocessor, network.fold_for_inference()), "graph")
    assert [(p.name, p.shape, p.dtype) for p in face.inputs] == [
        ("observation.state", (6,), "float32"),
        ("observation.images.front", (48, 64, 3), "uint8"),
    ]
    assert [(p.name, p.shape, p.dtype) for p in face.outputs] == [("action", (8, 6), "float32")]


def test_an_export_is_a_policy_with_all_its_files(stated):
    checkpoint, path = stated
    policy = load_policy(path, backend="onnxruntime")
    assert policy.contract == checkpoint.contract
    assert policy.config == checkpoint.config
    assert policy.preprocessor.fingerprint() == checkpoint.preprocessor.fingerprint()
    for key, table in checkpoint.statistics.items():
        for name, values in table.items():
            np.testing.assert_array_equal(policy.checkpoint.statistics[key][name], values)


@pytest.mark.representatives(1)
@pytest.mark.parametrize("mode", ["MEAN_STD", "MIN_MAX"])
def test_0_3_keeps_its_own_formulas(mode, tmp_path):
    modes = dict.fromkeys(("VISUAL", "STATE", "ACTION", "ENV"), mode)
    config = act_config(cameras=(), normalization_mapping=modes)
    save_checkpoint(tmp_path / "old", make_act(config), config, make_statistics(config))
    make_old(tmp_path / "old", config, make_statistics(config), infix="so100_")
    checkpoint = read_checkpoint(tmp_path / "old", Choices(embodiment="so100"))
    export_policy(checkpoint, tmp_path / "export", "onnxruntime", embodiment="so100")
    # Only statistics are in what is left of the weights file.
    left = load_file(tmp_path / "export" / "model.safetensors")
    assert left and all("normalize" in name for name in left)
    policy = load_policy(tmp_path / "export", backend="onnxruntime")
    exact = load_policy(tmp_path / "old", optimize=False, choices=Choices(embodiment="so100"))
    observation = make_observation(config)
    np.testing.assert_allclose(
        policy.predict_chunk(observation), exact.predict_chunk(observation), atol=1e-4
    )
    assert policy.checkpoint.era == exact.checkpoint.era == "0.3.x"


# --- radians --------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", ["degrees", "range_m100_100"])
def test_lines_are_the_arms_conversions_within_the_clamps_and_beyond(units):
    convert = own_converter(CALIBRATION)
    joints = joint_map(convert, convert, units)
    random = np.random.default_rng(0)
    radians = random.uniform(-4, 4, (500, 6))
    values = random.uniform(-150, 150, (500, 6))
    np.testing.assert_allclose(
        joints.to_dataset(torch.from_numpy(radians)).numpy(),
        own_converter(CALIBRATION).radians_to_dataset(radians, units),
        atol=2e-5,
    )
    np.testing.assert_allclose(
        joints.to_radians(torch.from_numpy(values)).numpy(),
        own_converter(CALIBRATION).dataset_to_radians(values, units),
        atol=2e-6,
    )


def test_with_a_calibration_the_graph_speaks_radians(stated, calibration_file, tmp_path):
    import onnxruntime

    checkpoint, _ = stated
    robot = robot_of(checkpoint, calibration_file)
    manifest = export_policy(checkpoint, tmp_path / "export", "onnxruntime", robot=robot)
    assert (manifest.units, manifest.joint_units) == ("radians", "degrees")
    assert manifest.calibration == calibrations.fingerprint(CALIBRATION)
    session = onnxruntime.InferenceSession(tmp_path / "export" / GRAPH)
    observation = make_observation(checkpoint.config)
    # A robot's state cannot be outside its calibrated range: the gripper's is clamped.
    radians = (
        own_converter(CALIBRATION)
        .dataset_to_radians(observation.state, "degrees")
        .astype(np.float32)
    )
    state = own_converter(CALIBRATION).radians_to_dataset(radians, "degrees").astype(np.float32)
    (chunk,) = session.run(
        None,
        {
            "observation.state": radians,
            "observation.environment_state": observation.environment_state,
        },
    )
    exact = load_policy(checkpoint.path, optimize=False)
    expected = exact.predict_chunk(
        type(observation)(state, {}, environment_state=observation.environment_state)
    )
    expected = own_converter(CALIBRATION).dataset_to_radians(expected, "degrees")
    np.testing.assert_allclose(chunk, expected, atol=5e-6)
    assert np.ptp(chunk) > 0.1
    with pytest.raises(CheckpointError, match=r"units of the graph: .* found radians"):
        load_policy(tmp_path / "export", backend="onnxruntime")


def test_the_order_of_a_calibration_file_means_nothing(stated, calibration_file, tmp_path):
    path = tmp_path / "swapped.json"
    path.write_text(json.dumps({joint: vars(CALIBRATION[joint]) for joint in sorted(JOINTS)}))
    one, other = robot_of(stated[0], calibration_file), robot_of(stated[0], path)
    assert (one.calibration, one.joint_units) == (other.calibration, other.joint_units)
    radians = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (50, 6)))
    assert torch.equal(one.joints.to_dataset(radians), other.joints.to_dataset(radians))
    assert torch.equal(one.joints.to_radians(radians), other.joints.to_radians(radians))


def test_a_calibration_of_other_joints_is_refused(stated, tmp_path):
    other = ["left_shoulder_pan", *JOINTS[1:]]
    path = tmp_path / "other.json"
    entries = dict(zip(other, (CALIBRATION[joint] for joint in JOINTS), strict=True))
    path.write_text(json.dumps({joint: vars(entry) for joint, entry in entries.items()}))
    with pytest.raises(CheckpointError, match=r"joints: expected shoulder_pan, .* found "):
        robot_of(stated[0], path)
    path.write_text("{}")
    with pytest.raises(CalibrationError):
        robot_of(stated[0], path)


def test_units_are_stated_once(stated, saved_vectors, calibration_file):
    with pytest.raises(CheckpointError, match="expected degrees, as in the contract, found range"):
        robot_of(stated[0], calibration_file, "range_m100_100")
    plain = read_checkpoint(saved_vectors)
    with pytest.raises(CheckpointError, match=r"units of the joints: .* found neither"):
        robot_of(plain, calibration_file)
    assert robot_of(plain, calibration_file, "degrees").joint_units == "degrees"


# --- refusals -------------------------------------------------------------------------------------


def test_a_graph_that_errs_is_not_written(stated, tmp_path, monkeypatch):
    forward = PolicyGraph.forward
    folded = []

    def wrong(self, *values):
        chunk = forward(self, *values)
        return chunk + 0.5 if folded else chunk

    def fold(network):
        folded.append(network)
        return network

    monkeypatch.setattr(PolicyGraph, "forward", wrong)
    monkeypatch.setattr(type(load_network(stated[0])), "fold_for_inference", fold)
    with pytest.raises(CheckpointError, match=r"graph to export: actions .* found errors of 0.5"):
        export_policy(stated[0], tmp_path / "export", "onnxruntime")
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(stated):
    with pytest.raises(FileExistsError, match="expected a new directory"):
        export_policy(stated[0], stated[1], "onnxruntime")


def test_torch_wants_the_checkpoint(stated):
    with pytest.raises(CheckpointError, match="backend: expected onnxruntime or openvino"):
        load_policy(stated[1])
    with pytest.raises(CheckpointError, match="expected a checkpoint, found an exported policy"):
        load_network(read_checkpoint(stated[1]))


def refuse(path, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        load_policy(path, backend="onnxruntime")
    assert "expected" in str(caught.value) and "found" in str(caught.value)
    assert caught.value.finding is not None and caught.value.finding.fix


def test_a_torn_graph_is_refused(export):
    graph = export / GRAPH
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1])
    refuse(export, f"graph: expected {len(whole)} bytes, found {len(whole) - 1} bytes")
    graph.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refuse(export, "SHA-256 of the graph")
    graph.unlink()
    refuse(export, "found no such file")


def resign(export, model):
    """Put another model into an export, with the digest it has."""
    import hashlib

    content = model.SerializeToString()
    (export / GRAPH).write_bytes(content)
    document = json.loads((export / EXPORT).read_text())
    document["graph"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (export / EXPORT).write_text(json.dumps(document))


def outside(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../secret.bin"


def outside_within(model):
    """The same, in a constant within the branch of an If."""
    node = model.graph.node.add()
    node.op_type = "If"
    attribute = node.attribute.add()
    attribute.name, attribute.type = "then_branch", onnx.AttributeProto.GRAPH
    constant = attribute.g.node.add()
    constant.op_type = "Constant"
    value = constant.attribute.add()
    value.name, value.type = "value", onnx.AttributeProto.TENSOR
    value.t.data_location = onnx.TensorProto.EXTERNAL


def foreign(model):
    model.graph.node[3].domain = "com.example"


def foreign_within(model):
    node = model.graph.node.add()
    node.op_type = "Loop"
    attribute = node.attribute.add()
    attribute.type = onnx.AttributeProto.GRAPH
    attribute.g.node.add().domain = "com.example"


def function(model):
    model.functions.add().name = "mine"


def renamed(model):
    model.graph.input[0].name = "observation.other"


def batched(model):
    model.graph.input[0].type.tensor_type.shape.dim[0].ClearField("dim_value")


def silent(model):
    del model.metadata_props[:]


def other_manifest(model):
    text = model.metadata_props[0].value
    model.metadata_props[0].value = text.replace('"dataset"', '"radians"')


def other_weights(model):
    for tensor in model.graph.initializer:
        if tensor.name.endswith("action_head.bias"):
            tensor.raw_data = (np.frombuffer(tensor.raw_data, np.float32) + 1).tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (outside, r"expected its values in the graph's own file, found .*\.\./\.\./secret\.bin"),
        (outside_within, "its values in the graph's own file"),
        (foreign, "operators: expected only ONNX's own, found com.example"),
        (foreign_within, "found com.example"),
        (function, "found functions defined in the file"),
        (renamed, "inputs: .*observation.state.* found .*observation.other"),
        (batched, r"inputs: .*shape=\(6,\).* found .*shape=\(-1,\)"),
        (silent, "manifest: expected .* found nothing"),
        (other_manifest, "manifest: expected .*dataset.* found .*radians"),
        (other_weights, "expected torch's within .* found errors of"),
    ],
)
def test_another_graph_is_refused(change, message, export):
    model = onnx.load_model_from_string((export / GRAPH).read_bytes())
    change(model)
    resign(export, model)
    refuse(export, message)


def test_no_graph_at_all_is_refused(export):
    class Junk:
        def SerializeToString(self):
            return b"\xffnot protobuf"

    resign(export, Junk())
    refuse(export, "graph not readable: expected an ONNX model, found 13 bytes")


def test_another_contract_is_refused(export):
    path = export / contracts.FILE_NAME
    changed = json.loads(path.read_text()) | {"fps": 15}
    changed.pop("signature")
    contracts.parse(json.dumps(changed)).save(path)
    refuse(export, "contract: expected .*15.* found .*30")
    path.unlink()
    refuse(export, "contract: expected None")


def test_other_statistics_are_refused(stated, saved_vectors, export):
    config = act_config(cameras=())
    other = export.parent / "other"
    save_checkpoint(other, make_act(config), config, make_statistics(config, seed=5))
    for file in other.glob("policy_*.safetensors"):
        shutil.copy(file, export / file.name)
    (export / contracts.FILE_NAME).unlink()
    refuse(export, "statistics: expected")


def set_at(document, value, *keys):
    for key in keys[:-1]:
        document = document[key]
    document[keys[-1]] = value


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("more",), 1, "unknown keys"),
        (("manifest",), [], "expected a JSON object"),
        (("manifest", "format"), 2, "format of the export: expected 1, found 2"),
        (("manifest", "extra"), 2, "keys: expected"),
        (("manifest", "precision"), 7, "expected str"),
        (("manifest", "inputs"), {}, "expected lists"),
        (("manifest", "inputs", 0, "shape"), [6.5], "expected a list of whole numbers"),
        (("manifest", "deviation", 0), "none", "deviation: wrong kind of value"),
        (("witness", "chunk", 0), [1, 2], "golden sample: chunk"),
        (("witness", "chunk", 0, 0), None, "golden sample: chunk"),
        (("witness", "seed"), -1, "golden sample: seed"),
        (("witness", "chunk", 0, 0), 1e4, "expected torch's within"),
        (("graph", "bytes"), None, "graph: expected None bytes"),
        (("graph", "sha1"), "", "keys: expected bytes, sha256"),
    ],
)
def test_a_changed_file_is_refused(keys, value, message, export):
    document = json.loads((export / EXPORT).read_text())
    set_at(document, value, *keys)
    (export / EXPORT).write_text(json.dumps(document))
    refuse(export, message)


def test_a_torn_file_is_refused(export):
    text = (export / EXPORT).read_text()
    (export / EXPORT).write_text(text[: len(text) // 2])
    refuse(export, "not readable as JSON")
    document = json.loads(text)
    del document["witness"]
    (export / EXPORT).write_text(json.dumps(document))
    refuse(export, "expected a JSON object, found nothing")


def test_an_export_runs_where_it_is_read(stated):
    running = run_export(read_export(stated[1]), "onnxruntime", "float32", threads=1)
    assert running.deviation.shape == (6,) and (running.deviation < 1e-4).all()
