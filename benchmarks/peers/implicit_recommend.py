"""implicit's exact top N of given factors, seen items left out; tells speed, CPU seconds and memory as JSON.

python implicit_recommend.py FACTORS_FOLDER TOP_N THREADS

It wants an environment of its own: uv venv --python 3.11 peers-env && uv pip install --python peers-env implicit scipy
The factors are those of `scored_lake.factors`.

Set as implicit (0.7.3) is best, by CPU seconds for 20,000 users x 50,000 items on two cores, medians of three. Users
per call: 200 3.1, 1,000 2.8, 5,000 2.7, all 2.6; it cuts them into small batches itself. Threads of OpenBLAS: one 2.6,
two 4.4, for implicit's own threads take the batches. OpenBLAS takes AVX2 on a CPU it does not know, 2.6; AVX-512 2.5.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

# Both are read when a library is loaded, so the imports below come after them.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
if " avx512f " in Path("/proc/cpuinfo").read_text():
    os.environ.setdefault("OPENBLAS_CORETYPE", "SkylakeX")

import numpy as np
import scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares

BATCH_USERS = 100_000


def main(folder: Path, top_n: int, threads: int) -> None:
    arrays = {name: np.load(folder / f"{name}.npy") for name in ("user_factors", "item_factors", "indptr", "indices")}
    user_factors, item_factors = arrays["user_factors"], arrays["item_factors"]
    seen = scipy.sparse.csr_matrix(
        (np.ones(len(arrays["indices"]), dtype=np.float32), arrays["indices"], arrays["indptr"]),
        shape=(len(user_factors), len(item_factors)),
    )
    model = AlternatingLeastSquares(factors=user_factors.shape[1], num_threads=threads)
    model.user_factors, model.item_factors = user_factors, item_factors

    for _ in range(2):  # the first time memory is fresh
        cpu_s = seconds = 0.0
        num_lists = 0
        for first in range(0, len(user_factors), BATCH_USERS):
            users = np.arange(first, min(first + BATCH_USERS, len(user_factors)))
            theirs = seen[users]
            cpu_before, before = time.process_time(), time.monotonic()
            ids, _ = model.recommend(users, theirs, N=top_n, filter_already_liked_items=True)
            cpu_s, seconds = cpu_s + time.process_time() - cpu_before, seconds + time.monotonic() - before
            num_lists += len(ids)
        told = {
            "pairs": num_lists * len(item_factors),
            "seconds": seconds,
            "cpu_s": cpu_s,
            "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
