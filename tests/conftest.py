"""One thread, so that tests neither fight for cores nor differ between machines."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
