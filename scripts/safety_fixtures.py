"""Every labelled migration, what it should come to and what it comes to; exit 1 on any disagreement."""

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from gatebook.safety.linting import lint
from migration_fixtures import fixtures


def main() -> int:
    wrong = 0
    counts = {"fail": 0, "pass": 0}
    with tempfile.TemporaryDirectory() as folder:
        for each in fixtures():
            (judgement,) = lint([each.write(Path(folder) / "versions")])
            found = "pass" if judgement.passes else "fail"
            counts[each.verdict] += found == each.verdict
            wrong += found != each.verdict
            patterns = ", ".join(dict.fromkeys(finding.effect.pattern for finding in judgement.findings)) or "–"
            mark = "✓" if found == each.verdict else "✗"
            print(f"{mark} {each.name:<28} {each.verdict:<5} {found:<5} {each.kind:<13} {patterns[:48]:<48} {each.why}")
    total = {verdict: sum(each.verdict == verdict for each in fixtures()) for verdict in counts}
    caught, clean = f"{counts['fail']} of {total['fail']}", total["pass"] - counts["pass"]
    print(f"destructive caught: {caught}; clean flagged: {clean} of {total['pass']}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
