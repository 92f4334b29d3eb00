#!/usr/bin/env bash
# Create .venv with every locked package, Delta's jars and Spark's defaults. A second call finds its stamp and ends.
set -euo pipefail
cd "$(dirname "$0")/.."
# Another Spark that this shell was set up for would be used in place of ours.
unset SPARK_HOME SPARK_CONF_DIR PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON

delta=io.delta:delta-spark_2.13:4.4.0
# Spark brings these itself, in newer versions; Delta's dependency list would put second copies beside them.
excludes='org.apache.hadoop:*,org.apache.parquet:*,org.apache.logging.log4j:*,com.github.luben:*'
excludes+=',com.fasterxml.jackson.core:*,com.fasterxml.jackson.datatype:*,org.slf4j:*,org.xerial.snappy:*'
excludes+=',org.roaringbitmap:*,io.airlift:*,commons-pool:*,commons-logging:*,com.google.code.findbugs:*'
excludes+=',javax.annotation:*,org.locationtech.jts:*'
needed_gib=9

fail() { echo "install: $*" >&2; exit 1; }

check_java() {
    local java="${JAVA_HOME:+$JAVA_HOME/bin/}java" banner
    command -v "$java" >/dev/null 2>&1 \
        || fail "Java 17 is needed, '$java' was not found; install it (Debian: apt-get install openjdk-17-jre-headless) or set JAVA_HOME"
    banner=$("$java" -version 2>&1 | grep -m1 version || true)
    [[ $banner == *'"17'* ]] \
        || fail "Java 17 is needed, '$java' is ${banner:-of no version it tells}; set JAVA_HOME to a Java 17"
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3.11}" python3 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 is needed, found $(python3 --version 2>&1 || echo none); install it or call 'make install PYTHON=/path/to/python3.11'"
}

check_disk() {
    local free_gib
    free_gib=$(( $(df -Pk . | awk 'NR==2 {print $4}') / 1048576 ))
    (( free_gib >= needed_gib )) \
        || fail "$needed_gib GiB of free disk are needed in $PWD, $free_gib are free; clear some space or clone elsewhere"
}

logged() {  # logged WHAT COMMAND...: keep the output, show its end only when the command fails
    local what=$1; shift
    "$@" >>.venv/install.log 2>&1 || { tail -n 15 .venv/install.log >&2; fail "$what failed; the whole output is in .venv/install.log"; }
}

create_environment() {
    "$python" -m venv --clear .venv \
        || fail "'$python -m venv' failed; install the venv module (Debian: apt-get install python3.11-venv)"
    logged "fetching uv" .venv/bin/pip --disable-pip-version-check install --require-hashes --no-deps -r install/uv.lock
    logged "fetching packages" .venv/bin/uv pip sync --python .venv/bin/python --require-hashes install/requirements.lock
    logged "installing sparkrec" .venv/bin/uv pip install --python .venv/bin/python --no-deps --no-build-isolation --config-setting editable_mode=compat --editable .
}

fetch_jars() {
    : > .venv/nothing.py
    # Outside the clone, so that a later clone resolves without a network.
    local ivy="${XDG_CACHE_HOME:-$HOME/.cache}/sparkrec/delta-4.4.0"
    PATH="$PWD/.venv/bin:$PATH" logged "fetching Delta's jars" \
        spark-submit --conf "spark.jars.ivy=$ivy" --packages "$delta" --conf "spark.jars.excludes=$excludes" .venv/nothing.py
    mkdir -p .venv/jars
    cp "$ivy"/jars/*.jar .venv/jars/
}

place_spark_defaults() {
    local conf
    conf=$(.venv/bin/python -c 'import pathlib, pyspark; print(pathlib.Path(pyspark.__file__).parent / "conf")')
    mkdir -p "$conf"
    cp install/log4j2.properties "$conf/"
    {
        cat install/spark-defaults.conf
        echo "spark.jars $(printf '%s,' "$PWD"/.venv/jars/*.jar | sed 's/,$//')"
    } > "$conf/spark-defaults.conf"
}

check_java
stamp=$({ pwd; cat install/* pyproject.toml; } | sha256sum | cut -d' ' -f1)
[[ -f .venv/installed && $(cat .venv/installed) == "$stamp" ]] && exit 0

python=$(find_python)
check_disk
started=$SECONDS
echo "install: Python packages (5.8 GB, mostly torch's CUDA libraries), about a minute"
create_environment
echo "install: Delta's jars from Maven Central"
fetch_jars
place_spark_defaults
echo "$stamp" > .venv/installed
echo "install: ready in $((SECONDS - started)) s; 'source .venv/bin/activate' puts spark-submit on your PATH"
