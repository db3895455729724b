"""${message}.

Why    <what the schema lacks, and who needs it>

Locks  <which lock on which table, whether it is rewritten, and for how long>

Undo   <what downgrade removes, and which data goes with it>

Rules  One idea a revision; plain SQL in literal strings, one statement a call; a comment on every new object;
       no CASCADE, no IF EXISTS; rows are read with row security in mind: the owner is no superuser.
"""

from alembic import op
${imports if imports else ""}
revision: str = "${up_revision}"
down_revision: str | None = ${chr(34) + down_revision + chr(34) if isinstance(down_revision, str) else repr(down_revision)}
branch_labels: str | None = ${repr(branch_labels)}
depends_on: str | None = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else 'raise NotImplementedError'}


def downgrade() -> None:
    ${downgrades if downgrades else 'raise NotImplementedError'}
