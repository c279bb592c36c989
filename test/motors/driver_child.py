"""A driver that arms two servos under a watchdog's eyes, says so and waits to be ended.

Arguments: port, and what to do at the end of its input: "forget", "release" or "nothing".
"""

import ctypes
import signal
import sys

from armlet.motors.feetech import Bus
from armlet.motors.feetech.registers import TORQUE_ENABLE
from armlet.motors.torque_watchdog import WatchdogProcess

# As `armlet up` has its nodes end with it.
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

port, ending = sys.argv[1:]
bus = Bus(port, timeout_s=10.0)  # the emulated servos are as slow as this computer is busy
bus.open()
watchdog = WatchdogProcess(port, 1_000_000, (1, 2))
for servo in (1, 2):
    bus.write(servo, TORQUE_ENABLE, 1)
print(watchdog.pid, flush=True)
sys.stdin.readline()
if ending == "release":
    for servo in (1, 2):
        bus.write(servo, TORQUE_ENABLE, 0)
        bus.write(servo, TORQUE_ENABLE, 1)  # the test sees by it that nobody cuts it again
    watchdog.released()
bus.close()
watchdog.close()
print("closed", flush=True)
