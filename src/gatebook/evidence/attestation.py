"""attestation.dsse.json: an in-toto Statement v1 about manifest and notebooks, in a DSSE envelope.

The statement follows from the folder alone, so every signer signs the same bytes, and a reader makes it again.
Its predicate is in-toto's test-result v0.1; what that has no field for stands below the key OWN.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import CryptoSigner, Key

from gatebook.evidence.manifest import MANIFEST, sha256
from gatebook.evidence.results import Results
from gatebook.runs import ENVELOPE, write_whole

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://in-toto.io/attestation/test-result/v0.1"
OWN = "gatebook:run/v1"
RESULT = {"PASS": "PASSED", "FAIL": "FAILED", "UNKNOWN": "FAILED"}


def statement(folder: Path, results: Results) -> bytes:
    """What is signed: the digests of manifest and notebooks, and what the run proved."""
    notebooks = sorted(folder.glob("notebooks/*.ipynb"))
    content = {
        "_type": STATEMENT,
        "subject": [_resource(folder, path) for path in (folder / MANIFEST, *notebooks)],
        "predicateType": PREDICATE,
        "predicate": predicate(folder, results),
    }
    return json.dumps(content, ensure_ascii=False, sort_keys=True, default=str).encode()


def predicate(folder: Path, results: Results) -> dict[str, Any]:
    """test-result v0.1, with times, numbers, and the gates that nobody could decide or reached under OWN."""
    gates = [gate for phase in results.phases for gate in phase.gates]
    by_verdict = {
        verdict: [gate.gate for gate in gates if gate.verdict == verdict]
        for verdict in ("PASS", "FAIL", "UNKNOWN", "NOT REACHED")
    }
    return {
        "result": RESULT[results.verdict],
        "configuration": [_resource(folder, folder / "gates.yaml")],
        "passedTests": by_verdict["PASS"],
        "warnedTests": [],
        "failedTests": by_verdict["FAIL"] + by_verdict["UNKNOWN"],
        OWN: {
            "run": results.run,
            "verdict": results.verdict,
            "ended": results.ended,
            "started": results.started,
            "finished": results.finished,
            "unknownGates": by_verdict["UNKNOWN"],
            "notReachedGates": by_verdict["NOT REACHED"],
            "facts": results.facts,
            "totals": results.totals(),
        },
    }


def sign(folder: Path, results: Results, signer: CryptoSigner) -> str:
    """Add a signature to those that are there; the key's id. Everything else in the folder stays as it is."""
    envelope = read(folder) or Envelope(statement(folder, results), PAYLOAD_TYPE, {})
    keyid = envelope.sign(signer).keyid
    write_whole(folder / ENVELOPE, render(envelope))
    return keyid


def read(folder: Path) -> Envelope | None:
    """The envelope of a run, or None of an unsigned one.

    Errors  ValueError and its like when there is one that cannot be read
    """
    path = folder / ENVELOPE
    return Envelope.from_dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def render(envelope: Envelope) -> str:
    return json.dumps(envelope.to_dict(), indent=1) + "\n"


def problems(envelope: Envelope, keys: Sequence[Key], threshold: int) -> list[str]:
    """What is wrong with the signatures: each must be good and by a key that was given, and there must be enough."""
    known = {key.keyid: key for key in keys}
    found, good = [], 0
    for keyid, signature in envelope.signatures.items():
        try:
            known[keyid].verify_signature(signature, envelope.pae())
            good += 1
        except KeyError:
            found.append(f"key {keyid[:16]}… signed too, and its public key was not given")
        except UnverifiedSignatureError:
            found.append(f"the signature by key {keyid[:16]}… does not fit")
    missing = [keyid for keyid in known if keyid not in envelope.signatures]
    if good < threshold:
        absent = f"; none by {', '.join(f'{keyid[:16]}…' for keyid in missing)}" if missing else ""
        found.append(f"{good} good signatures, {threshold} wanted{absent}")
    return found


def _resource(folder: Path, path: Path) -> dict[str, Any]:
    return {"name": path.relative_to(folder).as_posix(), "digest": {"sha256": sha256(path.read_bytes())}}
