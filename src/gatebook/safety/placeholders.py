"""Parameters in SQL: SQLAlchemy's `:name`, the driver's `%s` and `%(name)s`, as the `$1` that PostgreSQL parses."""

import re

# Strings, quoted names, dollar quotes and comments are passed over; what stands in them is no parameter.
TOKENS = re.compile(
    r"""
      (?P<kept> [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*"
        | (?P<dollar>\$(?:[A-Za-z_]\w*)?\$).*?(?P=dollar)
        | --[^\n]* | /\*.*?\*/ | :: | \$\d+ )
    | (?P<escaped> \\: )
    | (?P<named> (?<![:\w]) :[A-Za-z_]\w* )
    | (?P<driver> %\(\w+\)s | %s )
    | (?P<percent> %% )
    """,
    re.VERBOSE | re.DOTALL,
)


def neutral(text: str) -> str:
    """The same statement with every parameter as $1."""

    def replaced(found: re.Match[str]) -> str:
        if found["kept"]:
            return found["kept"]
        return ":" if found["escaped"] else "%" if found["percent"] else " $1 "

    return TOKENS.sub(replaced, text)
