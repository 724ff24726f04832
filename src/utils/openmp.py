"""How OpenMP threads wait, set on import; it counts only if torch is not loaded yet. Numbers don't depend on it."""

import os

# Waiting threads spin before they sleep. On cores shared with other jobs the default spin made ten rounds on digits
# take 240 s instead of 5; with this one they take 24 s, and 6 on idle cores.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
