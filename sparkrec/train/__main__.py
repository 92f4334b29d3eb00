"""One rank under torchrun, for a training that jobs/train.py has planned:

torchrun --nproc-per-node 2 -m sparkrec.train lake/_models/<model_version>.attempt

Where it ends well, jobs/train.py finds the model and goes on with its figures.
"""

import sys

from sparkrec.train.rank import train_rank_alone

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    train_rank_alone(sys.argv[1], under_spark=False)
