"""What is learnt: card state, features, training, model bundles and their compiled scorers."""

import os

# Training runs beside other processes. Threads of OpenMP that wait by spinning take the core from the very thread they
# wait for: on two busy cores 1 second of boosting was measured to become 25. OpenMP reads this once, when it is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
