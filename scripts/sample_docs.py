"""Write the samples in docs/ as their commands print them: scripts/sample_docs.py [--check]"""

import sys
from pathlib import Path

from gatebook.validators import with_samples

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    stale = []
    for path in sorted((ROOT / "docs").glob("*.md")):
        text = path.read_text("utf-8")
        renewed = with_samples(text, ROOT)
        if renewed != text:
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in arguments:
                path.write_text(renewed, "utf-8")
    for name in stale:
        print(f"{name}: {'stale' if '--check' in arguments else 'written'}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
