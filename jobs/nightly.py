"""All five stages for one date: prepare, window, train, recommend, evaluate.

spark-submit jobs/nightly.py --source conf/sources/rees46.yaml --input 2019-Oct.csv.gz --date 2019-10-01
"""

import evaluate
import prepare
import recommend
import train
import window

from sparkrec.evaluate.report.write import reported
from sparkrec.job import Run, execute, now, stage_of, start
from sparkrec.nightly.morning import last_line, show_morning

STAGES = {
    "prepare": prepare.main,
    "window": window.main,
    "train": train.main,
    "recommend": recommend.main,
    "evaluate": evaluate.main,
}


def main(run: Run) -> None:
    for job, stage in STAGES.items():
        of_stage = stage_of(run, job)
        execute(of_stage, stage)
        run.figures.update(of_stage.figures)
    show_morning(run.lake, run.date)
    seconds = (now() - run.started_at).total_seconds()
    run.last_words = last_line(run.lake, run.date, seconds, run.figures)


if __name__ == "__main__":
    start(__doc__, main, reported)
