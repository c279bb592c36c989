"""Random streams against a plain reading of the rules: stamps decide, and nothing else does.

The oracle below knows all stamps at once and has no buffer, no watermark and no clock.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from armlet.align import Aligner, Policy, Sample, StreamConfig, grid_index, grid_ns, offline

pytestmark = pytest.mark.thorough

MS = 1_000_000
START = 1_700_000_000_000_000_000
MAX_WAIT_MS = 300
LASTS_MS = 4500
NAN = float("nan")

quick = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Came:
    """A sample and when it came, all in ns."""

    at_ns: int
    stream: str
    stamp_ns: int
    value: np.ndarray


def value_of(stamp_ns, side=0.0):
    """Tells the sample's stamp (exactly: offsets are whole milliseconds) and its side of a step."""
    return np.array([(stamp_ns - START) / MS, side])


@st.composite
def recordings(draw, partial=False):
    """Streams of any rate with jitter, drops and, within their reorder_s, disorder."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    configs, came = [], []
    for name in ("a", "b", "c")[: draw(st.integers(1, 3))]:
        policy = Policy.LINEAR if partial else draw(st.sampled_from(Policy))
        reorder_ms = draw(st.sampled_from([0, 15]))
        tolerance_ms, period_ms = draw(st.integers(5, 80)), draw(st.integers(4, 70))
        jitter_ms, drop = draw(st.integers(0, period_ms)), draw(st.sampled_from([0, 0.1, 0.5]))
        latency_ms = draw(st.integers(0, 150))
        configs.append(StreamConfig(name, policy, tolerance_ms / 1000, reorder_ms / 1000))
        stamps = np.arange(0, 900, period_ms)
        stamps += random.integers(0, jitter_ms, len(stamps), endpoint=True)
        for stamp_ms in np.unique(stamps[random.random(len(stamps)) >= drop]):
            value = value_of(START + int(stamp_ms) * MS)
            if partial and random.random() < 0.3:
                value[random.integers(2)] = NAN
            delay_ms = latency_ms + int(random.integers(0, reorder_ms, endpoint=True))
            stamp_ns = START + int(stamp_ms) * MS
            came.append(Came(stamp_ns + delay_ms * MS, name, stamp_ns, value))
    assume({sample.stream for sample in came} == {config.name for config in configs})
    return configs, sorted(came, key=lambda sample: sample.at_ns)


def pick(policy, tolerance_ns, samples, at_ns):
    """What a stream is worth at a time, from the definition; None if nothing."""
    before = max((s for s in samples if s[0] <= at_ns), default=None, key=lambda s: s[0])
    after = min((s for s in samples if s[0] >= at_ns), default=None, key=lambda s: s[0])
    before = before if before and at_ns - before[0] <= tolerance_ns else None
    after = after if after and after[0] - at_ns <= tolerance_ns else None
    if policy is Policy.PREVIOUS:
        return before and before[1]
    if policy is Policy.NEAREST:
        near = [s for s in (before, after) if s]
        return min(near, key=lambda s: abs(s[0] - at_ns))[1] if near else None
    if not before or not after:
        return None
    if before[0] == after[0]:
        return before[1]
    share = (at_ns - before[0]) / (after[0] - before[0])
    return (1 - share) * before[1] + share * after[1]


def by_rule(configs, came, fps):
    """{index: {stream: value bytes}} of every frame that can be built."""
    frames = {}
    first = grid_index(min(s.stamp_ns for s in came), fps)
    for index in range(first, grid_index(max(s.stamp_ns for s in came) + 100 * MS, fps)):
        at_ns = grid_ns(index, fps)
        values = {}
        for config in configs:
            columns = [
                pick(
                    config.policy,
                    config.tolerance_ns,
                    [
                        (s.stamp_ns, s.value[column])
                        for s in came
                        if s.stream == config.name and not np.isnan(s.value[column])
                    ],
                    at_ns,
                )
                for column in (0, 1)
            ]
            if not any(value is None for value in columns):
                values[config.name] = np.array(columns).tobytes()
        if len(values) == len(configs):
            frames[index] = values
    return frames


def contents(frames):
    """Frames as by_rule tells them; each once and in order."""
    frames = list(frames)
    indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices)), "emitted out of order, or twice"
    return {f.index: {name: v.tobytes() for name, v in f.values.items()} for f in frames}


def live(configs, came, fps, calls=None):
    """As a node does it; `calls`: after which of the samples it asks for frames."""
    aligner = Aligner(configs, fps, MAX_WAIT_MS / 1000)
    frames = []
    for i, sample in enumerate(came):
        aligner.push(sample.stream, sample.stamp_ns, sample.value)
        if calls is None or i in calls:
            frames += aligner.frames(sample.at_ns)
    frames += aligner.frames(came[-1].at_ns + 900 * MS)
    return aligner, frames


def late(aligner):
    return sum(account.late for account in aligner.ledger.streams.values())


@pytest.mark.parametrize("partial", [False, True], ids=["whole", "joints missing"])
@quick
@given(st.data())
def test_frames_are_what_the_rules_say_of_the_stamps(partial, data):
    configs, came = data.draw(recordings(partial))
    fps = data.draw(st.sampled_from([15, 30, 50]))
    calls = data.draw(st.none() | st.sets(st.integers(0, len(came) - 1)))
    aligner, frames = live(configs, came, fps, calls)
    assert late(aligner) == 0
    assert contents(frames) == by_rule(configs, came, fps)


@pytest.mark.parametrize("partial", [False, True], ids=["whole", "joints missing"])
@quick
@given(st.data())
def test_a_bag_gives_the_frames_of_the_live_run_bit_for_bit(partial, data):
    configs, came = data.draw(recordings(partial))
    fps = data.draw(st.sampled_from([15, 30]))
    stamps_known = data.draw(st.booleans())
    bag = [
        Sample(s.stream, s.stamp_ns, s.value, None, s.at_ns if stamps_known else None) for s in came
    ]
    _, frames = live(configs, came, fps)
    assert contents(offline(configs, bag, fps, MAX_WAIT_MS / 1000)) == contents(frames)


@quick
@given(st.data())
def test_any_interleaving_of_the_streams_gives_the_same_frames(data):
    """With all the time in the world; each stream in its own order."""
    configs, came = data.draw(recordings())
    names = data.draw(st.permutations([sample.stream for sample in came]))
    left = {c.name: iter([s for s in came if s.stream == c.name]) for c in configs}
    aligner = Aligner(configs, 30, 100.0)
    frames = []
    for name in names:
        sample = next(left[name])
        aligner.push(name, sample.stamp_ns, sample.value)
        frames += aligner.frames(START + 2000 * MS)
    frames += aligner.frames(START + 102_000 * MS)
    assert late(aligner) == 0
    assert contents(frames) == by_rule(configs, came, 30)


@quick
@given(st.data())
def test_two_aligners_joined_by_stamp_are_one(data):
    """From the time on at which every stream has begun."""
    configs, came = data.draw(recordings())
    assume(len(configs) > 1)
    whole = contents(live(configs, came, 30)[1])
    names = {config.name for config in configs[:1]}
    halves = []
    for mine in (names, {config.name for config in configs} - names):
        samples = [s for s in came if s.stream in mine]
        assume(samples)
        halves.append(contents(live([c for c in configs if c.name in mine], samples, 30)[1]))
    begun = max(
        grid_index(min(s.stamp_ns for s in came if s.stream == c.name), 30) for c in configs
    )
    joined = {k: halves[0][k] | halves[1][k] for k in halves[0].keys() & halves[1].keys()}
    assert {k: v for k, v in joined.items() if k >= begun} == {
        k: v for k, v in whole.items() if k >= begun
    }


@quick
@given(st.data())
def test_whatever_comes_however_late_nothing_is_beyond_tolerance_or_out_of_order(data):
    """No assumption on delays: samples come in any order, and frames are still true or absent."""
    configs, came = data.draw(recordings())
    came = data.draw(st.permutations(came))
    aligner = Aligner(configs, 30, MAX_WAIT_MS / 1000)
    now, frames = START, []
    for sample in came:
        now += data.draw(st.integers(0, 60)) * MS
        aligner.push(sample.stream, sample.stamp_ns, sample.value)
        frames += aligner.frames(now)
    frames += aligner.frames(now + 5000 * MS)
    indices = [frame.index for frame in frames]
    assert indices == sorted(set(indices))
    for frame in frames:
        for config in configs:
            stamp_ns = START + round(frame.values[config.name][0] * MS)
            assert abs(stamp_ns - frame.stamp_ns) <= config.tolerance_ns + 1
            stamps = [s.stamp_ns for s in came if s.stream == config.name]
            nearest = min(abs(stamp - frame.stamp_ns) for stamp in stamps)
            assert nearest <= config.tolerance_ns
            skew_ns = round(frame.skew_s[config.name] * 1e9)
            assert frame.stamp_ns + skew_ns in stamps
    account = aligner.ledger
    for stream in account.streams.values():
        assert stream.used == account.frames == len(frames)


@st.composite
def stepped(draw):
    """Streams whose clock is stepped once; values tell on which side they were sampled."""
    configs, came = [], []
    step_ms = draw(st.integers(-5000, 5000))
    for name in ("a", "b")[: draw(st.integers(1, 2))]:
        policy = draw(st.sampled_from(Policy))
        configs.append(StreamConfig(name, policy, draw(st.integers(20, 60)) / 1000))
        period_ms, latency_ms = draw(st.integers(5, 33)), draw(st.integers(0, 60))
        for true_ms in range(draw(st.integers(0, 30)), LASTS_MS, period_ms):
            stepped_by = step_ms if true_ms >= 2000 else 0
            stamp_ns = START + (true_ms + stepped_by) * MS
            # The node's clock steps with the stamps'.
            now_ms = true_ms + latency_ms
            at_ns = START + (now_ms + (step_ms if now_ms >= 2000 else 0)) * MS
            value = np.array([float(true_ms), float(true_ms >= 2000)])
            came.append((now_ms, Came(at_ns, name, stamp_ns, value)))
    came.sort(key=lambda entry: entry[0])
    return configs, [sample for _, sample in came], step_ms


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(stepped())
def test_a_stepped_clock_mixes_nothing_and_costs_only_what_is_near_it(drawn):
    configs, came, step_ms = drawn
    aligner = Aligner(configs, 30, MAX_WAIT_MS / 1000)
    frames, epochs = [], []
    for sample in came:
        aligner.push(sample.stream, sample.stamp_ns, sample.value)
        new = list(aligner.frames(sample.at_ns))
        frames += new
        epochs += [aligner.ledger.clock_jumps] * len(new)
    for i in range(1, len(frames)):
        if epochs[i] == epochs[i - 1]:
            assert frames[i].index > frames[i - 1].index
    if step_ms >= -1000:
        assert len({frame.index for frame in frames}) == len(frames)
    if abs(step_ms) > 1200:
        for frame in frames:
            sides = {float(value[1]) for value in frame.values.values()}
            assert sides in ({0.0}, {1.0}), "samples from both sides of the step in one frame"
    # Far from the step the frames are those of streams that were never stepped.
    caught_up_ms = -step_ms if -1500 < step_ms < 0 else 0
    before = by_rule(configs, [s for s in came if s.value[1] == 0], 30)
    after = by_rule(configs, [s for s in came if s.value[1] == 1], 30)
    found = {(f.index, float(value[1])) for f in frames for value in f.values.values()}
    for index in before:
        if grid_ns(index, 30) < START + 1500 * MS:
            assert (index, 0.0) in found
    for index in after:
        true_ms = (grid_ns(index, 30) - START) // MS - step_ms
        if 2700 + caught_up_ms < true_ms < LASTS_MS - 200:
            assert (index, 1.0) in found, f"{true_ms} ms"
