"""Start Spark as a job does, do nothing, stop: what every job pays before its work begins."""

from sparkrec.config import load_settings
from sparkrec.session import start_session

spark = start_session(load_settings("conf/local.yaml").spark)
spark.range(1).count()
spark.stop()
