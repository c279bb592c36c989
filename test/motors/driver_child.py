"""A driver that arms two servos under a watchdog's eyes, says so and waits to be ended.

Arguments: port, what to do at the end of its input ("forget", "release" or "nothing"), motors.
"live": say once that it lives, and never again, where 2 s without it mean that it hangs.
"""

import ctypes
import signal
import sys

from armlet.motors.registry import family
from armlet.motors.torque_watchdog import WatchdogProcess

# As `armlet up` has its nodes end with it.
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

port, ending, model = sys.argv[1:]
motors = family(model)
TORQUE_ENABLE = motors.models[model].torque_enable
bus = motors.make_bus(
    port, timeout_s=120.0
)  # the emulated servos are as slow as this computer is busy
bus.open()
hang_s = {"hang_s": 2} if ending == "live" else {}
watchdog = WatchdogProcess(port, 1_000_000, (1, 2), motors.origin, **hang_s)
for servo in (1, 2):
    bus.write(servo, TORQUE_ENABLE, 1)
print(watchdog.pid, flush=True)
if ending == "live":
    watchdog.lives()  # last: from here on it is killed wherever it stands still
sys.stdin.readline()
if ending == "release":
    for servo in (1, 2):
        bus.write(servo, TORQUE_ENABLE, 0)
        bus.write(servo, TORQUE_ENABLE, 1)  # the test sees by it that nobody cuts it again
    watchdog.released()
bus.close()
watchdog.close()
print("closed", flush=True)
