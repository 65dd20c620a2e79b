"""Router: finds the labels of each tweet that somebody wants and publishes it under them."""

import os

# numpy comes with a library that starts a thread for each processor, and nothing here uses it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
