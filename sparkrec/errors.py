"""Errors that a person reads: where, what was wanted, what was found, what to do next."""


class SparkrecError(Exception):
    """A stage cannot go on. The message is all that the user sees; the run is recorded as failed."""


class RefusedError(SparkrecError):
    """Settings or input were refused before anything was written; the lake is as it was."""


class ContractError(SparkrecError):
    """A frame does not have the columns that its table promises."""
