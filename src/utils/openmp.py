"""How OpenMP threads wait, set on import; it counts only if torch is not loaded yet. Numbers don't depend on it."""

import os

# Waiting threads spin before they sleep. On cores shared with other jobs the default spin makes small networks tens of
# times slower; this one costs little on idle cores.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
