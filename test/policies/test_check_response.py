"""What files cannot show: a policy that answers to nothing, or to the wrong thing.

The checkpoint that armlet ships is trained; its network is damaged as a broken export, a wrong
merge or a lost tensor damages one, and asked about demonstrations it was not trained on. Small
networks of every kind, with random weights, are asked too.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the policy extra is not installed")

import check_world as w  # noqa: E402
from small_diffusion import diffusion_config, make_diffusion  # noqa: E402
from small_policies import act_config, make_act, make_statistics  # noqa: E402
from small_smolvla import make_language_model, make_smolvla, smolvla_config  # noqa: E402

from armlet.findings import Code, Severity, worst  # noqa: E402
from armlet.policies import (  # noqa: E402
    Observation,
    Policy,
    load_network,
    read_checkpoint,
    save_checkpoint,
)
from armlet.policies.fit.limits import Limits  # noqa: E402
from armlet.policies.fit.response import response_findings  # noqa: E402
from armlet.policies.fit.samples import Moment, moments_of  # noqa: E402
from armlet.robots.kinematics import HOME  # noqa: E402
from armlet.robots.units import own_converter  # noqa: E402
from armlet.sim import FOLLOWER  # noqa: E402
from armlet.sim.demonstrator import demonstrate_reach, random_target  # noqa: E402
from armlet.sim.scene import Scene, View  # noqa: E402

pytestmark = pytest.mark.thorough

REACH = Path(__file__).parents[2] / "checkpoints" / "reach"
FPS, EPISODES, PLACES = 30, 3, 3
HEAD, FINAL = "action_head", "unet.final_conv.1"


def demonstrations(size, chunk, history=1):
    """Moments of reaches, three places of each: what is seen, and the goals from there on."""
    scene, rng, convert = Scene(), np.random.default_rng(3), own_converter(FOLLOWER)
    views = {name: View(name, *size) for name in w.CAMERAS}
    moments = []
    for _ in range(EPISODES):
        target = random_target(rng)
        reach = demonstrate_reach(HOME, target, rng)

        def seen(at, reach=reach, target=target):
            joints = reach.joints(max(at, 0.0))
            state = convert.radians_to_dataset(joints[None], "degrees")[0]
            images = {name: scene.render(view, joints, target) for name, view in views.items()}
            return Observation(state.astype(np.float32), images, "reach the target")

        for at in np.linspace(0, reach.duration_s, PLACES):
            left = max(1, min(chunk, round((reach.duration_s - at) * FPS)))
            goals = np.stack([reach.joints(at + (step + 1) / FPS) for step in range(left)])
            earlier = tuple(seen(at - back / FPS) for back in range(history - 1, 0, -1))
            observation = dataclasses.replace(seen(at), earlier=earlier)
            moments.append(Moment(observation, convert.radians_to_dataset(goals, "degrees")))
    return moments


@pytest.fixture(scope="module")
def reach():
    checkpoint = read_checkpoint(REACH)
    return checkpoint, demonstrations((128, 96), checkpoint.config.chunk_size)


@pytest.fixture(scope="module")
def small():
    return demonstrations((w.WIDTH, w.HEIGHT), 8)


def asked(checkpoint, moments, change=None, limits=None, source="dataset"):
    """Findings of a checkpoint whose network is changed before it is asked."""
    network = load_network(checkpoint)
    if change is not None:
        with torch.no_grad():
            change(network)
    policy = Policy(checkpoint, network.optimize_for_inference(), "cpu")
    answer = policy.repeatable()
    return [*response_findings(checkpoint, answer, source, moments, w.NAMES, limits)]


def zeroed(*names):
    def change(network):
        for name in names:
            network.get_parameter(name).zero_()

    return change


def ordered(order):
    def change(network):
        for name in ("weight", "bias"):
            head = network.get_parameter(f"{HEAD}.{name}")
            head.copy_(head[list(order)].clone())

    return change


def one_joint(network):
    network.get_parameter(f"{HEAD}.weight")[3].zero_()


def scaled(network):
    network.get_parameter(f"{HEAD}.weight").mul_(300)


def head(weight, bias=0.0):
    """The head's outputs, normalized actions, times `weight` and with an offset."""

    def change(network):
        network.get_parameter(f"{HEAD}.weight").mul_(weight)
        network.get_parameter(f"{HEAD}.bias").mul_(weight).add_(bias)

    return change


def one_negated(network):
    for name in ("weight", "bias"):
        network.get_parameter(f"{HEAD}.{name}")[2].mul_(-1)


def huge(network):
    network.get_parameter(f"{HEAD}.weight").fill_(3e38)


def test_a_trained_policy_answers_to_all_it_sees(reach):
    [finding] = asked(*reach)
    assert finding.severity is Severity.OK
    assert "spread 1 of the recorded actions'" in finding.found
    [finding] = asked(reach[0], reach[1][5:6], source="live robot")
    assert finding.severity is Severity.OK, finding


@pytest.mark.parametrize("row", range(1, EPISODES * PLACES, 4))
def test_a_trained_policy_is_not_accused_at_any_single_pose(row, reach):
    assert worst(asked(reach[0], reach[1][row : row + 1])) is Severity.OK


# What recorded actions show, and a pose does not.
LIKENESS = (
    Code.POLICY_ACTIONS_INVERTED,
    Code.POLICY_ACTIONS_SCALED,
    Code.POLICY_ACTIONS_SHIFTED,
)
# name: (damage, code, subject, words)
DAMAGED = {
    "head zeroed": (
        zeroed(f"{HEAD}.weight", f"{HEAD}.bias"),
        Code.POLICY_ACTIONS_CONSTANT,
        "answers to the dataset",
        "the mean of the training data",
    ),
    "head's weights lost, biases kept": (
        zeroed(f"{HEAD}.weight"),
        Code.POLICY_ACTIONS_CONSTANT,
        "answers to the dataset",
        "the same actions for 9 different observations",
    ),
    "one joint's row lost": (
        one_joint,
        Code.POLICY_ACTIONS_CONSTANT,
        "answers of wrist_flex",
        "row of this joint",
    ),
    "head too large": (
        scaled,
        Code.POLICY_ACTIONS_WILD,
        "answers to the dataset",
        "at most 10 times the recorded actions'",
    ),
    "two joints exchanged": (
        ordered((0, 2, 1, 3, 4, 5)),
        Code.POLICY_ACTIONS_PERMUTED,
        "answers to the dataset",
        "shoulder_lift has the actions of elbow_flex; elbow_flex has the actions of shoulder_lift",
    ),
    "joints that move alike exchanged": (
        ordered((0, 5, 2, 3, 4, 1)),
        Code.POLICY_ACTIONS_PERMUTED,
        "answers to the dataset",
        "gripper has the actions of shoulder_lift",
    ),
    "joints reversed": (
        ordered((5, 4, 3, 2, 1, 0)),
        Code.POLICY_ACTIONS_PERMUTED,
        "answers to the dataset",
        "elbow_flex has the actions of wrist_flex",
    ),
    "head negated": (
        head(-1.0),
        Code.POLICY_ACTIONS_INVERTED,
        "answers to the dataset",
        "found shoulder_pan -1.00, shoulder_lift -1.00, elbow_flex -0.99, wrist_flex -0.96",
    ),
    "one joint negated": (
        one_negated,
        Code.POLICY_ACTIONS_INVERTED,
        "answers to the dataset",
        "found elbow_flex -0.99 (",
    ),
    "head times three": (
        head(3.0),
        Code.POLICY_ACTIONS_SCALED,
        "answers to the dataset",
        "found shoulder_pan 3.1, shoulder_lift 2.9",
    ),
    "head a third": (
        head(1 / 3),
        Code.POLICY_ACTIONS_SCALED,
        "answers to the dataset",
        "found shoulder_pan 0.34, shoulder_lift 0.32",
    ),
    "radians for degrees": (
        head(np.pi / 180),
        Code.POLICY_ACTIONS_SCALED,
        "answers to the dataset",
        "found shoulder_pan 0.018, shoulder_lift 0.017",
    ),
    "head shifted": (
        head(1.0, 1.0),
        Code.POLICY_ACTIONS_SHIFTED,
        "answers to the dataset",
        "found shoulder_pan +1.1, shoulder_lift +1",
    ),
    "pictures not connected": (
        zeroed("encoder_img_feat_input_proj.weight"),
        Code.POLICY_BLIND_TO_PICTURES,
        "answers to the dataset",
        "whatever the pictures",
    ),
    "joints not connected": (
        zeroed("encoder_robot_state_input_proj.weight"),
        Code.POLICY_BLIND_TO_STATE,
        "answers to the dataset",
        "whatever the joints",
    ),
    "not finite": (
        huge,
        Code.POLICY_ACTIONS_NOT_FINITE,
        "answers to the dataset",
        "finite",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_network_is_refused_by_what_it_answers(name, reach):
    change, code, subject, words = DAMAGED[name]
    findings = asked(*reach, change)
    [found] = [f for f in findings if f.severity is Severity.ERROR]
    assert (found.code, found.subject) == (code, subject)
    assert words in str(found)
    assert "restore model.safetensors" in found.fix


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, (_, code, *_) in DAMAGED.items()
        if "exchanged" not in name and name[:3] not in ("one", "joi") and code not in LIKENESS
    ],
)
def test_one_frame_of_an_arm_that_waits_is_enough(name, reach):
    change, code, *_ = DAMAGED[name]
    findings = asked(reach[0], reach[1][:1], change, source="live robot")
    assert [f.code for f in findings if f.severity is Severity.ERROR] == [code]


@pytest.mark.parametrize(("weight", "bias"), [(1.5, 0.0), (0.7, 0.0), (1.0, 0.3), (1.0, -0.3)])
def test_a_policy_that_is_a_little_off_is_not_accused(weight, bias, reach):
    assert worst(asked(*reach, head(weight, bias))) is Severity.OK


def test_what_a_policy_does_on_another_dataset_is_no_error_of_its_files(reach):
    checkpoint, moments = reach
    answer = Policy(checkpoint, load_network(checkpoint), "cpu").repeatable()

    def negated(observation):
        centre = checkpoint.statistics["action"]["mean"]
        return 2 * np.asarray(centre, np.float32) - answer(observation)

    options = ("dataset", moments, w.NAMES)
    for trained, severity in ((True, Severity.ERROR), (False, Severity.WARNING)):
        findings = response_findings(checkpoint, negated, *options, trained=trained)
        [found] = [f for f in findings if f.severity is not Severity.OK]
        assert (found.code, found.severity) == (Code.POLICY_ACTIONS_INVERTED, severity)


def test_an_arm_that_waits_warns_of_permuted_joints(reach):
    [warned] = [
        f
        for f in asked(reach[0], reach[1][:1], ordered((5, 4, 3, 2, 1, 0)), source="live robot")
        if f.severity is Severity.WARNING
    ]
    assert warned.code is Code.POLICY_ACTIONS_PERMUTED and "--dataset" in warned.fix


def test_a_camera_that_is_not_looked_at_is_named(reach):
    """As one that showed nothing in training: the others are seen, so it is a warning."""
    checkpoint, moments = reach
    network = load_network(checkpoint)
    policy = Policy(checkpoint, network.optimize_for_inference(), "cpu")
    answer, black = policy.repeatable(), np.zeros((96, 128, 3), np.uint8)

    def unlooking(observation):
        images = {**observation.images, "wrist": black}
        return answer(dataclasses.replace(observation, images=images))

    findings = [*response_findings(checkpoint, unlooking, "dataset", moments, w.NAMES)]
    [warned] = [f for f in findings if f.severity is not Severity.OK]
    assert (warned.code, warned.severity) == (Code.POLICY_BLIND_TO_CAMERA, Severity.WARNING)
    assert "camera wrist" in warned.found


@pytest.mark.parametrize("cameras", [("front",), w.CAMERAS])
def test_pictures_that_never_change_do_not_make_a_policy_blind(cameras, reach):
    """A camera that hung, or a covered one, in the recording: the network is connected to it."""
    checkpoint, moments = reach
    first = moments[0].observation.images

    def hung(moment):
        images = {**moment.observation.images, **{name: first[name] for name in cameras}}
        return dataclasses.replace(
            moment, observation=dataclasses.replace(moment.observation, images=images)
        )

    findings = asked(checkpoint, [hung(moment) for moment in moments])
    assert worst(findings) is Severity.OK, findings
    unconnected = zeroed("encoder_img_feat_input_proj.weight")
    [found] = [f for f in asked(checkpoint, [*map(hung, moments)], unconnected) if not f.ok]
    assert found.code is Code.POLICY_BLIND_TO_PICTURES


def test_limits_are_a_persons_to_set(reach):
    dead = zeroed(f"{HEAD}.weight", f"{HEAD}.bias")
    limits = Limits.parse(["constant=0", "blind=0", "unconnected=0", "faint=0"])
    assert worst(asked(*reach, dead, limits)) is Severity.OK
    for setting, severity in (("blind=0.9", "WARNING"), ("unconnected=0.9", "ERROR")):
        findings = asked(*reach, None, Limits.parse([setting]))
        [found] = [f for f in findings if f.code is Code.POLICY_BLIND_TO_PICTURES]
        assert found.severity is Severity[severity]
        assert worst(findings) is Severity[severity]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("blnd=1", "did you mean blind?"),
        ("blind", "expected a number"),
        ("blind=x", "blind=0.5"),
        ("far=-1", "0 or a positive number"),
        ("far=nan", "0 or a positive number"),
        ("far=inf", "0 or a positive number"),
    ],
)
def test_limits_that_are_none_are_refused(setting, words):
    with pytest.raises(ValueError, match="limit") as refused:
        Limits.parse([setting])
    assert words in str(refused.value)


# --- kinds of policies, with random weights -------------------------------------------------------


def act(folder, cameras=w.CAMERAS):
    config = w.small_config(cameras=cameras)
    statistics = w.dataset().statistics
    save_checkpoint(folder / "act", make_act(config), config, statistics, None, torch.float16)
    return read_checkpoint(folder / "act")


def diffusion(folder):
    modes = dict.fromkeys(("VISUAL", "STATE", "ACTION"), "MEAN_STD")
    config = diffusion_config(
        n_obs_steps=2, horizon=16, n_action_steps=8, normalization_mapping=modes
    )
    save_checkpoint(folder / "diff", make_diffusion(config), config, w.dataset().statistics)
    return read_checkpoint(folder / "diff")


def smolvla(folder):
    pytest.importorskip("tokenizers", reason="the policy extra is not installed")
    vlm = make_language_model(folder / "language")
    config = smolvla_config()
    network = make_smolvla(config, vlm)
    save_checkpoint(folder / "vla", network, config, w.dataset().statistics, vlm=vlm)
    return read_checkpoint(folder / "vla")


KINDS = {
    "act": (act, f"{HEAD}.weight", f"{HEAD}.bias"),
    "diffusion": (
        diffusion,
        f"{FINAL}.weight",
        f"{FINAL}.bias",
    ),
    "smolvla": (smolvla, "action_out_proj.weight", "action_out_proj.bias"),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request, tmp_path_factory):
    make, *head = KINDS[request.param]
    checkpoint = make(tmp_path_factory.mktemp(request.param))
    history = checkpoint.config.n_obs_steps
    size = (w.WIDTH, w.HEIGHT)
    moments = demonstrations(size, checkpoint.config.chunk_size, history)
    return checkpoint, moments, head


def test_random_weights_may_be_warned_of_and_are_not_refused(kind):
    checkpoint, moments, _ = kind
    [finding] = asked(checkpoint, moments)
    assert finding.code is Code.POLICY_ACTIONS_FAINT and finding.ok
    assert "pictures account for 0." in finding.found and "joints for" in finding.found
    assert worst(asked(checkpoint, moments[:1])) is Severity.OK


def test_the_same_noise_leaves_only_the_input_to_make_a_difference(kind):
    """A head that gives nothing leaves the noise, which spreads over steps and not over frames."""
    checkpoint, moments, head = kind
    for some in (moments, moments[:1]):
        [found] = asked(checkpoint, some, zeroed(*head))
        assert (found.code, found.severity) == (Code.POLICY_ACTIONS_CONSTANT, Severity.ERROR)


def test_what_cannot_be_asked_is_open(small, tmp_path):
    checkpoint = act(tmp_path)
    [none] = asked(checkpoint, [])
    still = [Moment(m.observation, np.zeros((8, 6))) for m in small]
    [alike] = asked(checkpoint, still)
    config = act_config(cameras=())
    save_checkpoint(tmp_path / "c", make_act(config), config, make_statistics(config))
    [simulated] = asked(read_checkpoint(tmp_path / "c"), small)
    for found, words in ((none, "no frame"), (alike, "all alike"), (simulated, "simulator")):
        assert found.code is Code.POLICY_RESPONSE_UNKNOWN and found.severity is Severity.OPEN
        assert words in found.found


def test_frames_of_a_robot_are_moments_where_their_units_are_known(tmp_path):
    world = w.World(tmp_path, radians=w.motion(1, 2, 5)[:, :6], pictures=w.seen(1, 2, 5))
    live = world.live()
    moments = moments_of(live, "degrees", 2, "go", 4)
    assert [len(m.observation.earlier) for m in moments] == [1] * 4
    np.testing.assert_allclose(moments[-1].observation.state, live.states["degrees"][-1], rtol=1e-6)
    assert moments[0].observation.task == "go" and moments[0].actions is None
    assert moments_of(live, "", 1, "", 4) == []
    assert moments_of(live, "degrees", 1, "", 0) == []
