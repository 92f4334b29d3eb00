"""What Spark's long errors say in a line."""

import re


def cause_of(error: Exception) -> str:
    """Return the file at fault, where Spark names one, and the innermost cause."""
    text = str(error)
    file = re.search(r"while reading file (\S+?)\.?\s", text)
    causes = re.findall(r"Caused by: ([^\n]+)", text) + re.findall(r"^([\w.]*Error: [^\n]+)", text, re.MULTILINE)
    last = causes[-1] if causes else text.strip().split("\n")[0]
    return (f"{file.group(1)} cannot be read, {last}" if file else last)[:2000]
