"""The table of the emulated bench, painted as this is loaded: half a second of every bench's start.

For a Python that forks benches (forked_python): threads of OpenCV's would be missing in a fork.
"""

import cv2

from armlet.sim import table

_THREADS = cv2.getNumThreads()
cv2.setNumThreads(0)
table.pyramid()
cv2.setNumThreads(_THREADS)
