"""Parses the text of /metrics on the standard input as Prometheus does; fails if it is malformed, or names a series twice."""

import sys

from prometheus_client.parser import text_string_to_metric_families

seen = set()
for family in text_string_to_metric_families(sys.stdin.read()):
    if family.type == "unknown" or not family.documentation:
        sys.exit(f"{family.name} has no type or no description")
    for sample in family.samples:
        series = (sample.name, tuple(sorted(sample.labels.items())))
        if series in seen:
            sys.exit(f"{series} occurs twice")
        seen.add(series)
