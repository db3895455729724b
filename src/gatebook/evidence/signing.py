"""A signature for a run that is finished: only where its evidence holds, and nothing else in the folder changes."""

from pathlib import Path

from securesystemslib.signer import CryptoSigner

from gatebook.errors import ConfigurationError
from gatebook.evidence import archive, attestation
from gatebook.evidence.verify import verify


def sign(folder: Path, signer: CryptoSigner) -> str:
    """Sign; the key's id. Earlier signatures stay.

    Errors  ConfigurationError for a folder that is no finished run, or whose evidence does not hold
    """
    path = archive.finished(folder)
    problems = [problem for check in verify(path).checks for problem in check.problems]
    if problems:
        raise ConfigurationError(
            f"the evidence does not hold, so it is not signed: {problems[0]}",
            where=str(folder),
            next_step="run `gatebook evidence verify` on it",
        )
    return attestation.sign(path, archive.load(path).results, signer)
