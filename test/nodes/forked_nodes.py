"""Node processes forked from a Python that has loaded what they need: see forked_python.

A graph's start is mostly the loading of numpy, torch and our rooms, again for each node. From the
fork on a node is as when started by its command line, which `test_node_start`, `test_up_command`
and others go by.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from forked_python import Forked

LOADED = (
    *("numpy", "pyarrow.parquet", "cv2", "av", "yaml", "dateutil.relativedelta"),
    *("armlet.align", "armlet.camera", "armlet.control", "armlet.contract", "armlet.datasets"),
    *("armlet.bringup", "armlet.motors.feetech", "armlet.motors.registry", "armlet.priority"),
    *("armlet.motors.watchdog_keeper", "armlet.settings.catalogue", "armlet.sim.lockstep"),
    *("armlet.sim.arms_process", "armlet.sim.bench", "painted_table"),
    *("diagnostic_msgs.msg", "geometry_msgs.msg", "lifecycle_msgs.srv", "rcl_interfaces.srv"),
    *("rosgraph_msgs.msg", "sensor_msgs.msg", "std_msgs.msg", "std_srvs.srv"),
    *("trajectory_msgs.msg", "type_description_interfaces.srv", "rosidl_generator_py"),
)
# Apart, as torch takes memory and time of every process that has it.
LOADED_BY_POLICIES = (
    *(*LOADED, "torch", "torch.onnx", "armlet.policies.families.act", "armlet.policies.fit.check"),
    "armlet.policies.execution.session",
)


class Popen(Forked):
    """Like `subprocess.Popen` of a Python's command line with `-m` or `-c`, but for the loading.

    It is killed when the last reference to it goes.
    """

    def __init__(
        self,
        line,
        stdin=None,
        stdout=None,
        stderr=None,
        text=True,
        env=None,
        start_new_session=False,
    ):
        assert line[0] == sys.executable, f"no Python of ours: {line}"
        assert text and stdin in (None, subprocess.DEVNULL), "what is started here reads nothing"
        loaded = LOADED_BY_POLICIES if _is_policy(line) else LOADED
        with contextlib.ExitStack() as given:
            self.stdout, out = _stream(stdout, 1, given)
            self.stderr, err = (
                (None, out) if stderr == subprocess.STDOUT else _stream(stderr, 2, given)
            )
            environment = dict(os.environ if env is None else env)
            super().__init__(
                sys.executable,
                loaded,
                line[1:],
                environment,
                (None, out, err),
                session=start_new_session,
            )

    def communicate(self):
        """(stdout, stderr) to their ends: of a process with one pipe, or that says little."""
        pipes = self.stdout, self.stderr
        said = [None if file is None or file.closed else file.read() for file in pipes]
        self.wait()
        for file in pipes:
            if file is not None:
                file.close()
        return tuple(said)


def _is_policy(line):
    return line[1:4] == ["-m", "armlet.nodes.program", "policy"] or (
        line[1] == "-c" and "armlet.nodes.policy" in line[2]
    )


def _stream(wanted, inherited, given):
    """(what to read from or None, the descriptor to write to)."""
    if wanted == subprocess.PIPE:
        reading, writing = os.pipe()
        given.callback(os.close, writing)
        return os.fdopen(reading), writing
    if wanted == subprocess.DEVNULL:
        return None, given.enter_context(Path(os.devnull).open("w")).fileno()
    return None, inherited if wanted is None else wanted.fileno()
