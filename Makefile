# sparkrec: `make` lists the targets. Variables: CONFIG, DATE, LAKE, SOURCE, INPUT, MASTER, FORCE=1, AGAINST="version …", SET="section.key=value …".
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install sample nightly prepare window train recommend evaluate test check faults cluster-night bench-prepare bench-prepare-large bench-skew bench-billion bench-feed bench-train bench-recommend bench-evaluate bench-quality paper-tables protocols docs lock clean

# Another Spark that this shell was set up for would be used in place of ours.
unexport SPARK_HOME SPARK_CONF_DIR PYSPARK_PYTHON PYSPARK_DRIVER_PYTHON
export PATH := $(CURDIR)/.venv/bin:$(PATH)
submit = spark-submit $(if $(MASTER),--master $(MASTER)) jobs/$(1).py \
	$(if $(CONFIG),--config $(CONFIG)) $(if $(DATE),--date $(DATE)) $(if $(LAKE),--lake $(LAKE)) \
	$(foreach setting,$(SET),--set $(setting)) $(2)
force = $(if $(FORCE),--force)
clicks = $(if $(SOURCE),--source $(SOURCE)) $(if $(INPUT),--input '$(INPUT)')
# The sample is made only where no clicks of one's own are named.
need_sample = $(if $(SOURCE)$(INPUT),,python -m sparkrec.sample --if-missing)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'Variables: CONFIG=conf/local.yaml DATE=YYYY-MM-DD LAKE=lake SOURCE=conf/sources/….yaml INPUT=path MASTER=spark://… FORCE=1 SET="section.key=value …"'

install: ## Python environment, Delta jars, Spark defaults; does nothing the second time
	@./install/install.sh

sample: install ## make a clickstream in sample/; EVENTS USERS ITEMS DAYS SEED FORMAT=csv|parquet OUT
	@python -m sparkrec.sample $(if $(EVENTS),--events $(EVENTS)) $(if $(USERS),--users $(USERS)) \
		$(if $(ITEMS),--items $(ITEMS)) $(if $(DAYS),--days $(DAYS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(FORMAT),--format $(FORMAT)) $(if $(OUT),--out $(OUT))

nightly: install ## all five stages for one date, on the sample or on SOURCE and INPUT
	@$(need_sample)
	@$(call submit,nightly,$(clicks) $(force))

prepare: install ## stage 1: raw clicks -> events, quarantine, items, item_days, histories
	@$(need_sample)
	@$(call submit,prepare,$(clicks))

window: install ## stage 2: histories -> windows with negatives
	@$(call submit,window)

train: install ## stage 3: windows -> a model and its held-out figures
	@$(call submit,train)

recommend: install ## stage 4: histories and a model -> top N per user, checked and published
	@$(call submit,recommend,$(force))

evaluate: install ## stage 5: held-out targets -> metrics beside most-popular, and beside models AGAINST="version …"
	@$(call submit,evaluate,$(foreach version,$(AGAINST),--against $(version)))

test: install ## all tests: those that need Spark, and beside them the others, told of at the end
	@others=$$(mktemp); python -m pytest -m 'not spark' >$$others 2>&1 & \
		python -m pytest -m spark; failed=$$?; wait $$! || failed=1; cat $$others; rm $$others; exit $$failed

check: install ## ruff, mypy --strict, tests of the architecture
	@ruff check . && ruff format --check -q . && mypy && python -m pytest tests/test_architecture.py tests/test_config.py tests/test_docs.py

faults: install ## scripted faults and kills at every stage (longer than the tests)
	@failed=0; for script in faults train_faults recommend_faults; do python benchmarks/$$script.py || failed=1; done; exit $$failed

cluster-night: install ## the sample's night on a standalone Spark cluster of two workers on this machine
	@python benchmarks/cluster_night.py

bench-prepare: install ## prepare at 20 million events beside DuckDB, Spark SQL and Polars; the cost of one night
	@python benchmarks/bench_prepare.py

bench-prepare-large: install ## prepare at 200 million events against 20 million
	@python benchmarks/bench_prepare.py --large

bench-skew: install ## tasks of prepare when one user has a million events and one item a third of all
	@python benchmarks/bench_skew.py

bench-billion: install ## a billion rows: fifty nights of twenty million, hours and 60 GB of disk
	@python benchmarks/bench_billion.py

bench-feed: install ## windows of 20 million events, and how fast the feed hands them over
	@python benchmarks/bench_feed.py

bench-train: install ## training on Amazon Beauty beside RecTools, ten CPU minutes each, and two ranks against one
	@python benchmarks/bench_train.py

bench-recommend: install ## top 20 of 100,000 users among 50,000 items beside implicit and Spark ALS; ten times the users
	@python benchmarks/bench_recommend.py

bench-evaluate: install ## metrics of 138,000 users' top 100 beside RePlay; what full ranking costs beside scoring
	@python benchmarks/bench_evaluate.py

bench-quality: install ## models on Beauty, MovieLens, Taobao, REES46 (or DATA="beauty …"); hours, goes on where it was
	@python benchmarks/bench_quality.py $(DATA)

paper-tables: install ## the tables of papers A and C with the published figures beside ours; hours, goes on where it was
	@python benchmarks/paper_tables.py

protocols: install ## sasrec and most-popular by every protocol on the sample and the public excerpts; an hour
	@python benchmarks/protocols.py

docs: install ## write docs/tables.md from the contracts
	@python docs/write_tables.py

lock: install ## resolve the dependencies of pyproject.toml anew
	@uv pip compile -q --python-version 3.11 --generate-hashes --no-header --no-annotate --extra dev \
		--override install/overrides.txt pyproject.toml -o install/requirements.lock
	@echo uv | uv pip compile -q --python-version 3.11 --generate-hashes --no-header --no-annotate \
		-c install/requirements.lock - -o install/uv.lock

clean: ## remove the sample, its lake and caches; the environment stays
	@rm -rf sample lake .pytest_cache .mypy_cache .ruff_cache spark-warehouse
