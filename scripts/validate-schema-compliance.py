#!/usr/bin/env python3
"""Hold a database against the canonical schema: exit 0 no divergence, 1 BLOCKING, 2 HIGH only, or could not tell."""

import argparse
import json
import sys
from contextlib import closing

from gatebook import catalog
from gatebook.canonical import load_canonical
from gatebook.compliance import divergences
from gatebook.database import open_database
from gatebook.errors import GatebookError
from gatebook.project import Project
from gatebook.readiness import severities


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", default="embedded", help='"embedded", or the name of a variable that holds a URL')
    parser.add_argument("--format", choices=("text", "json"), default="text")
    given = parser.parse_args()
    project = Project.find()
    with closing(open_database(given.database, project=project)) as database, database.connect() as connection:
        found = tuple(divergences(load_canonical(project), catalog.snapshot(connection)))
    counts = severities(found)
    if given.format == "json":
        print(json.dumps({"severities": counts, "divergences": found}, indent=2))
    else:
        for row in found:
            print(f"{row['severity']:<8} {row['table']}.{row['object']}: {row['have']}, wanted {row['want']}")
        print(", ".join(f"{count} {severity}" for severity, count in counts.items()))
    return 1 if counts["BLOCKING"] else 2 if counts["HIGH"] else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except GatebookError as error:
        print(f"validate-schema-compliance: {error}", file=sys.stderr)
        sys.exit(2)
